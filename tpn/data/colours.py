"""Decoded pictures as RGB: by the matrix the file names, or the nearest that FFmpeg can convert by."""

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from tpn.errors import DataError

# Numbers of ITU-T H.273. FFmpeg 8.1 refuses the others: YCgCo, ICtCp, those of constant luminance or derived from the
# primaries. decord 0.6.0 and ffmpeg 5.1 take them for BT.601, as pictures that name none.
CONVERTIBLE = {0, 1, 2, 4, 5, 6, 7, 9}
UNSPECIFIED = 2
NEAREST = {10: 9}  # BT.2020 of constant luminance, and of the usual kind


def with_convertible_matrix(frame: VideoFrame) -> VideoFrame:
    """The same frame, told to be of another matrix where FFmpeg cannot convert by its own."""
    if frame.colorspace not in CONVERTIBLE:
        frame.colorspace = NEAREST.get(frame.colorspace, UNSPECIFIED)
    return frame


def as_rgb(frame: VideoFrame, reformatter: VideoReformatter, path: str) -> np.ndarray:
    """(H, W, 3) uint8. One thread converts: starting others for pictures of this size costs more than the conversion.

    Raises DataError naming `path` for a format that FFmpeg decodes and cannot convert, as rgb4.
    """
    try:
        return reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    except MemoryError:
        raise
    except FFmpegError as error:
        raise DataError(
            f"{path} has pictures in the format {frame.format.name}, which FFmpeg cannot convert to RGB "
            f"({error.strerror}); re-encode it"
        ) from None

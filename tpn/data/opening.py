"""A video file opened with care: no playlists, one decoder thread, and a sentence for what cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from tpn.data.frames import MAX_PIXELS
from tpn.data.paths import kind_of, out_of_reach
from tpn.errors import DataError

# Containers of FFmpeg that are read: none that opens other files, as playlists and patterns of image names do.
CONTAINERS = (
    "mov matroska avi flv live_flv mpegts mpeg mpegvideo h264 hevc vvc m4v obu av1 ivf asf asf_o ogg rm mxf dv nut "
    "gif apng yuv4mpegpipe mjpeg mjpeg_2000 smjpeg mpjpeg wtv vc1 h261 h263 dirac nsv nuv film_cpk gxf pva ty dhav "
    "cavsvideo"
)
OPENING = {
    "max_pixels": str(MAX_PIXELS),
    "protocol_whitelist": "file",
    "format_whitelist": CONTAINERS.replace(" ", ","),
}
# What is not UTF-8 in the tags of a file is no reason to refuse it. PyAV 19 has no such option, and keeps the bytes.
LENIENT: dict[str, Any] = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}
JPEG = b"\xff\xd8\xff"  # what each picture begins with
INVALID_ARGUMENT = 22  # what FFmpeg answers for a container that it knows and may not open


def open_video(path: str) -> tuple[InputContainer, VideoStream]:
    """Open a file and its best video stream; one thread decodes, since the loader's workers already fill the cores.

    Raises:
        DataError: the file is missing, empty, no video, of too many pixels, or may not be read.
    """
    container = open_container(path)
    try:
        return container, best_stream(path, container)
    except BaseException:
        container.close()
        raise


def open_container(path: str) -> InputContainer:
    """Open a file; errors as of `open_video`."""
    check_file(path)
    try:  # 'file:': a name like 'a:b.mp4' is not to be taken for an address
        container = "mjpeg" if is_bare_mjpeg(path) else None
        return av.open(f"file:{path}", format=container, options=OPENING, **LENIENT)
    except (FFmpegError, OSError) as error:
        raise DataError(f"{path} {refusal(path, error)}") from None


def is_bare_mjpeg(path: str) -> bool:
    """Whether a file is JPEG pictures one after the other and called so: FFmpeg 8.1 takes it for a single picture."""
    if Path(path).suffix.lower() not in {".mjpeg", ".mjpg"}:
        return False
    with Path(path).open("rb") as file:
        return file.read(len(JPEG)) == JPEG


def refusal(path: str, error: FFmpegError | OSError) -> str:
    """Why FFmpeg did not open a file. Of ASF whose header is damaged it says that this was not permitted."""
    if isinstance(error, PermissionError) and not os.access(path, os.R_OK):
        return f"cannot be read ({error.strerror}); change its permissions"
    if error.errno == INVALID_ARGUMENT:
        return "is not a video that is read, but a picture, a playlist or in a rare container; convert it to MP4"
    return f"is damaged, cut off or not a video ({error.strerror}); replace the file, or leave it out"


def check_file(path: str) -> None:
    """Raise DataError unless there is a file that is not empty."""
    kind = kind_of(path)
    if kind is None:
        raise DataError(f"{path} does not exist; correct the list file or data_prefix")
    if kind == "out of reach":
        raise DataError(out_of_reach(path))
    if kind != "file":
        raise DataError(f"{path} is not a file but a {kind}; folders of frames need format 'rawframes'")
    if not Path(path).stat().st_size:
        raise DataError(f"{path} is empty (0 bytes); replace the file, or leave it out")


def demuxed(container: InputContainer, *streams: Stream) -> Iterator[Packet]:
    """The packets of these streams. PyAV 18.1 fails after the last where another stream has appeared midway."""
    try:
        yield from container.demux(*streams)
    except IndexError:
        return


def best_stream(path: str, container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        raise DataError(f"{path} has no video stream (only sound?); replace the file, or leave it out")
    codec = stream.codec_context
    if codec is None:
        raise DataError(f"{path} is damaged, or of a codec that FFmpeg does not know; re-encode or replace the file")
    codec.thread_count = 1
    codec.options = {"max_pixels": str(MAX_PIXELS)}
    if codec.width * codec.height > MAX_PIXELS:
        raise DataError(
            f"{path} has frames of {codec.width}x{codec.height}, more than {MAX_PIXELS:,} pixels; scale it down"
        )
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all  # sound is not even read
    return stream

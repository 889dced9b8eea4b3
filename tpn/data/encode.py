"""Videos written so that single frames are quick to read: H.264, close keyframes, B-frames that nothing refers to."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from tpn.data.decode import VideoFile
from tpn.data.display import UPRIGHT, Turn
from tpn.data.frames import FrameFolder

B_FRAMES = 7  # seven of eight frames are referred to by no other: reading skips those it does not need
KEPT_FORMATS = {"yuv420p", "yuvj420p"}
USUAL_RATE = Fraction(30)
SQUARE = Fraction(1)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How videos are written."""

    short_side: int
    """Frames whose shorter side is longer are shrunk to this; 0 keeps every size."""
    gop: int
    """Frames from keyframe to keyframe."""
    crf: int
    """x264's constant rate factor: quality from 0, lossless, to 51."""

    def options(self) -> dict[str, str]:
        """Of libx264: `fastdecode` has no CABAC and no loop filter; psy=0 spends bits on fidelity, not on looks."""
        structure = f"keyint={self.gop}:min-keyint={self.gop}:scenecut=0:open-gop=0"
        b_frames = f"bframes={B_FRAMES}:b-adapt=0:b-pyramid=none:psy=0"
        return {
            "preset": "medium",
            "tune": "fastdecode",
            "crf": str(self.crf),
            "threads": "1",
            "x264-params": f"{structure}:{b_frames}",
        }

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height as written: both even, as 4:2:0 has it."""
        scale = min(1.0, self.short_side / min(width, height)) if self.short_side else 1.0
        return 2 * int(width * scale / 2 + 0.5) or 2, 2 * int(height * scale / 2 + 0.5) or 2


def pictures(video: VideoFile | FrameFolder) -> Iterator[VideoFrame]:
    """All frames of a video in order, turned as it asks, colours as stored.

    Raises DataError where one does not decode, or the picture size changes.
    """
    if isinstance(video, VideoFile):
        return (turned(frame, video.turn or UPRIGHT) for frame in video.pictures())
    return (VideoFrame.from_ndarray(image, format="rgb24") for _, image in video.each(list(range(len(video)))))


def shown_aspect(video: VideoFile) -> Fraction:
    """The pixel aspect of a video's frames once they are turned."""
    video.read([0])  # which tells how
    return 1 / video.pixel_aspect if video.turn and video.turn.transposed else video.pixel_aspect


def turned(frame: VideoFrame, turn: Turn) -> VideoFrame:
    """A frame turned: in 4:2:0 each sample as it is, of other formats as RGB."""
    if turn == UPRIGHT:
        return frame
    if frame.format.name not in KEPT_FORMATS or frame.width % 2 or frame.height % 2:
        return VideoFrame.from_ndarray(np.ascontiguousarray(turn(frame.to_ndarray(format="rgb24"))), format="rgb24")
    height, width = frame.height, frame.width
    y, u, v = np.split(frame.to_ndarray().ravel(), [height * width, height * width * 5 // 4])
    y, u, v = (turn(plane) for plane in (y.reshape(height, width), *(c.reshape(height // 2, -1) for c in (u, v))))
    samples = np.concatenate([y.ravel(), u.ravel(), v.ravel()]).reshape(-1, y.shape[1])
    new = VideoFrame.from_ndarray(samples, format=frame.format.name)
    new.color_range, new.colorspace = frame.color_range, frame.colorspace
    return new


def encode(
    frames: Iterator[VideoFrame],
    path: Path,
    *,
    frame_rate: float,
    profile: Profile,
    pixel_aspect: Fraction = SQUARE,
) -> int:
    """Write frames as an MP4 file and return how many there were; sound and the times of the frames are not kept.

    Args:
        pixel_aspect: width of a pixel by its height, as the file is to say of the frames given.

    Raises:
        OSError, FFmpegError: the file cannot be written, or not like this; DataError: as `frames` does.
    """
    rate = Fraction(frame_rate).limit_denominator(1001) if 0.1 < frame_rate < 1000 else USUAL_RATE
    first = next(frames)
    count, reformatter = 0, VideoReformatter()
    colour_range = None if first.format.name in KEPT_FORMATS else ColorRange.MPEG
    with av.open(f"file:{path}", "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options=profile.options())
        describe(stream, first, profile)
        stream.codec_context.sample_aspect_ratio = aspect_after(pixel_aspect, first, stream)
        for frame in itertools.chain([first], frames):
            picture = reformatter.reformat(
                whole_bytes(frame, reformatter),
                stream.width,
                stream.height,
                stream.pix_fmt,
                interpolation=Interpolation.BICUBIC,
                dst_color_range=colour_range,
                threads=1,
            )
            picture.pict_type = PictureType.NONE  # which frames are keyframes is for the encoder to say
            picture.pts, picture.time_base = count, 1 / rate
            container.mux(stream.encode(picture))
            count += 1
        container.mux(stream.encode(None))
    return count


def whole_bytes(frame: VideoFrame, reformatter: VideoReformatter) -> VideoFrame:
    """RGB of 8 bits a channel: from fewer, FFmpeg's own way to 4:2:0 ends 3 % below white."""
    narrow = frame.format.is_rgb and any(component.bits < 8 for component in frame.format.components)
    return reformatter.reformat(frame, format="rgb24", threads=1) if narrow else frame


def aspect_after(aspect: Fraction, frame: VideoFrame, stream: VideoStream) -> Fraction:
    """The pixel aspect of frames scaled to a stream's size, which rounds to even sides: the picture's stays."""
    if aspect == SQUARE:
        return SQUARE
    return (aspect * frame.width * stream.height / (frame.height * stream.width)).limit_denominator(255)


def describe(stream: VideoStream, frame: VideoFrame, profile: Profile) -> None:
    """Give a stream the size of a profile, and the range and matrix of a frame's colours, so that they stay."""
    stream.width, stream.height = profile.size(frame.width, frame.height)
    stream.pix_fmt = frame.format.name if frame.format.name in KEPT_FORMATS else "yuv420p"
    if frame.format.name in KEPT_FORMATS:
        stream.codec_context.color_range = frame.color_range
    if not frame.format.is_rgb:
        stream.codec_context.colorspace = frame.colorspace

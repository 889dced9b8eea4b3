"""How a video asks to be shown: turned by its display matrix, which cameras write instead of turning the pixels."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

Rotation = Literal["apply", "ignore"]
UNKNOWN = range(28, 40)  # FFmpeg's kinds of data beside a frame that PyAV 18.1 has no names for: 31 is Exif
ODD_ANGLE = 0.02  # sine of an angle that is no whole quarter turn: 1 degree, as ffmpeg has it


class Turn(NamedTuple):
    """Axes exchanged, then the picture mirrored left to right and top to bottom: all quarter turns and mirrorings."""

    transposed: bool
    left_to_right: bool
    top_to_bottom: bool

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) as stored -> as shown, (W, H, 3) where transposed."""
        if self == UPRIGHT:
            return image
        if self.transposed:
            image = cv2.transpose(image)
        if self.left_to_right or self.top_to_bottom:
            both = self.left_to_right and self.top_to_bottom
            image = cv2.flip(image, -1 if both else 1 if self.left_to_right else 0)
        return image


UPRIGHT = Turn(False, False, False)


def turn_of(frame: VideoFrame, earlier: Turn | None = UPRIGHT) -> Turn | None:
    """How a frame is to be turned; None for another angle than a quarter turn.

    The matrix (a b u, c d v, x y w) shows the point (p, q) at (a p + c q + x, b p + d q + y), p to the right and q down
    (ISO 14496-12, 8.3.2).

    Args:
        earlier: the turn of the keyframe before. A raw stream may say it of keyframes alone, for what follows as well.
    """
    matrix = display_matrix(frame)  # a buffer of nine numbers
    if matrix is None:
        return UPRIGHT if frame.key_frame else earlier
    a, b, _, c, d = (int(each) for each in np.frombuffer(matrix, dtype=np.int32)[:5])
    straight, crossed = max(abs(a), abs(d)), max(abs(b), abs(c))
    if crossed <= ODD_ANGLE * straight:
        return Turn(False, a < 0, d < 0)
    if straight <= ODD_ANGLE * crossed:
        return Turn(True, c < 0, b < 0)
    return None


def display_matrix(frame: VideoFrame) -> Any:
    """The display matrix beside a frame, or None; PyAV gives nothing at all where a kind is unknown to it."""
    try:
        return frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        return without_unknown(frame).side_data.get("DISPLAYMATRIX")


def without_unknown(frame: VideoFrame) -> VideoFrame:
    """The same frame without the data beside it that PyAV does not know."""
    graph = Graph()
    graph.threads = 1
    steps = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))]
    steps += [graph.add("sidedata", f"mode=delete:type={kind}") for kind in UNKNOWN]
    graph.link_nodes(*steps, graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()

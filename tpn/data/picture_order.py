"""Whether a stream of H.264 or HEVC goes on at an open keyframe, or another one that was cut there has been appended.

The pictures after an open keyframe that are shown before it refer to those before it. At the beginning of a stream that
was cut out and appended the decoder drops some of the pictures around the keyframe, and nothing says so but the picture
order count: from keyframe to keyframe it has to grow by the pictures that are shown in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from tpn.data.pictures import Picture

STEPS = (1, 2)  # by which encoders let the count grow from picture to picture

Count = Callable[[bytes], int | None]
"""The picture order count of a picture, by its first slice."""


@dataclass
class Keyframe:
    """Its place among the pictures in decoding order, its count, and how many after it are shown before it."""

    place: int
    count: int
    restarts: bool
    leading: int = 0


def is_continuous(pictures: Iterable[tuple[Picture, bytes]], count: Count, *, bits: int) -> bool:
    """Whether the counts, of so many bits, grow from keyframe to keyframe by the pictures shown in between."""
    keyframes: list[Keyframe] = []
    for place, (picture, slice) in enumerate(pictures):
        number = count(slice) if slice else None
        if number is None:
            return False
        if picture in (Picture.CLOSED, Picture.OPEN):
            keyframes.append(Keyframe(place, number, restarts=picture is Picture.CLOSED))
        elif keyframes and (number - keyframes[-1].count) % (1 << bits) >= 1 << bits - 1:
            keyframes[-1].leading += 1
    return any(grow_by(step, keyframes, bits) for step in STEPS)


def grow_by(step: int, keyframes: list[Keyframe], bits: int) -> bool:
    for one, other in pairwise(keyframes):
        between = other.place + other.leading - one.place - one.leading
        if not other.restarts and (other.count - one.count - step * between) % (1 << bits):
            return False
    return True

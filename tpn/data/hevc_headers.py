"""What headers of HEVC say of the count that orders the pictures.

Source: ISO 23008-2, sections 7.3.2.2, 7.3.2.3, 7.3.3 and 7.3.6.1.
"""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from tpn.data.bits import Bits, unescaped

# Types of NAL units: pictures that refer to nothing before them; those and the other keyframes, BLA and CRA; sets.
IDR, KEYFRAMES, SPS, PPS = {19, 20}, set(range(16, 22)), 33, 34
HEAD = 48  # bytes of a slice or a picture parameter set in which the fields lie


class Headers(NamedTuple):
    """Of the parameter sets."""

    count_bits: int
    """Of the picture order count; 0 where they are not understood."""
    has_output_flag: bool = False
    extra_bits: int = 0


def headers_of(sets: Set[bytes]) -> Headers:
    """What all parameter sets say alike; 0 bits where they differ."""
    try:
        sequences = {sequence_says(unit) for unit in sets if type_of(unit) == SPS}
        pictures = {picture_says(unit) for unit in sets if type_of(unit) == PPS}
    except EOFError:
        return Headers(0)
    if len(sequences) != 1 or len(pictures) != 1:
        return Headers(0)
    return Headers(sequences.pop(), *pictures.pop())


def count_of(slice: bytes, headers: Headers) -> int | None:
    """The picture order count by a picture's first slice, modulo 1 << count_bits; None where it cannot be read."""
    if type_of(slice) in IDR:
        return 0
    bits = Bits(unescaped(slice[2:HEAD]))
    try:
        if not headers.count_bits or not bits.take(1):  # not the first slice
            return None
        if type_of(slice) in KEYFRAMES:
            bits.take(1)
        bits.number()  # picture parameter set
        bits.take(headers.extra_bits)
        bits.number()  # type of slice
        return None if headers.has_output_flag and not bits.take(1) else bits.take(headers.count_bits)
    except EOFError:
        return None


def type_of(unit: bytes) -> int:
    return unit[0] >> 1 & 63


def sequence_says(unit: bytes) -> int:
    """The bits of the count. Raises EOFError where they are not found."""
    bits = Bits(unescaped(unit[2 : 8 * HEAD]))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1)
    skip_profile(bits, layers)
    bits.number()  # its own number
    if bits.number() == 3 and bits.take(1):  # three separate colour planes: slices say more then
        raise EOFError
    bits.number()  # width, height
    bits.number()
    if bits.take(1):
        for _ in range(4):
            bits.number()
    bits.number()  # bit depths
    bits.number()
    return bits.number() + 4


def skip_profile(bits: Bits, layers: int) -> None:
    """Profile, tier and level, of the whole and of each temporal layer that has its own."""
    bits.take(96)
    told = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    if layers:
        bits.take(2 * (8 - layers))
    for profile, level in told:
        bits.take(88 * profile + 8 * level)


def picture_says(unit: bytes) -> tuple[bool, int]:
    """Whether slices say if they are shown, and how many bits more they have."""
    bits = Bits(unescaped(unit[2:HEAD]))
    bits.number()
    bits.number()
    bits.take(1)
    return bool(bits.take(1)), bits.take(3)

"""What headers of H.264 say: whether pictures may be single fields, and the count that orders the pictures.

Source: ISO 14496-10, sections 7.3.2.1.1, 7.3.3 and 8.2.1.
"""

from __future__ import annotations

from collections.abc import Set
from itertools import chain
from typing import NamedTuple

from tpn.data.bits import Bits, unescaped

IDR, SPS = {5}, 7  # types of NAL units: pictures that refer to nothing before them, parameter sets
SAYS_CHROMA = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}  # profiles
HEAD = 32  # bytes of a slice in which the fields lie


class Sequence(NamedTuple):
    """Of a sequence parameter set."""

    has_fields: bool
    """Whether pictures may be single fields."""
    frame_num_bits: int
    count_bits: int
    """Of the picture order count; 0 where slices have none, and the order is told in another way."""
    never_reorders: bool


UNKNOWN = Sequence(True, -1, 0, False)


def sequence_of(sets: Set[bytes]) -> Sequence:
    """What all sequence parameter sets say alike; UNKNOWN where there is none, or they differ."""
    try:
        told = {sequence_says(Bits(unescaped(unit[1:]))) for unit in sets if unit[0] & 31 == SPS}
    except EOFError:
        return UNKNOWN
    if len(told) > 1 and not any(each.has_fields for each in told):
        return UNKNOWN._replace(has_fields=False)
    return next(iter(told)) if len(told) == 1 else UNKNOWN


def sequence_says(bits: Bits) -> Sequence:
    profile = bits.take(24) >> 16
    bits.number()  # its own number
    if profile in SAYS_CHROMA:
        skip_chroma(bits)
    frame_num_bits, count_bits, kind = bits.number() + 4, 0, bits.number()
    match kind:  # how the order of pictures is told
        case 0:
            count_bits = bits.number() + 4
        case 1:
            bits.take(1)
            for _ in range(2):
                bits.number()
            for _ in range(bits.number()):
                bits.number()
    bits.number()  # frames referred to
    bits.take(1)
    bits.number()  # width, height
    bits.number()
    return Sequence(not bits.take(1), frame_num_bits, count_bits, never_reorders=kind == 2)


def skip_chroma(bits: Bits) -> None:
    """Chroma, bit depths and scaling lists. Raises EOFError for three separate colour planes: slices say more then."""
    chroma = bits.number()
    if chroma == 3 and bits.take(1):
        raise EOFError
    bits.number()
    bits.number()
    bits.take(1)
    if bits.take(1):
        for length in chain([16] * 6, [64] * (6 if chroma == 3 else 2)):
            if bits.take(1):
                skip_scaling_list(bits, length)


def skip_scaling_list(bits: Bits, length: int) -> None:
    last = following = 8
    for _ in range(length):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def is_field(slice: bytes, sequence: Sequence) -> bool:
    """Whether a slice is of one field only, or its header cannot be read."""
    if sequence.frame_num_bits < 0:
        return True
    try:
        return bool(to_field_flag(slice, sequence).take(1))
    except EOFError:
        return True


def count_of(slice: bytes, sequence: Sequence) -> int | None:
    """The picture order count of a frame by its first slice, modulo 1 << count_bits; None where it cannot be read."""
    if not sequence.count_bits:
        return None
    try:
        bits = to_field_flag(slice, sequence)
        if sequence.has_fields and bits.take(1):
            return None
        if slice[0] & 31 in IDR:
            bits.number()
        return bits.take(sequence.count_bits)
    except EOFError:
        return None


def to_field_flag(slice: bytes, sequence: Sequence) -> Bits:
    """A slice's header from behind its frame_num on."""
    bits = Bits(unescaped(slice[1:HEAD]))
    for _ in range(3):  # first macroblock, type, picture parameter set
        bits.number()
    bits.take(sequence.frame_num_bits)
    return bits

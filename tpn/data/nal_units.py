"""Packets of H.264 and HEVC: their NAL units, where decoding can start, and whether a packet is a whole picture.

Sources: ISO 14496-10 and 23008-2, sections 7.3 and 7.4; ISO 14496-15 for units that follow their length.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from itertools import chain

from av.packet import Packet

from tpn.data.bits import Bits, unescaped
from tpn.data.pictures import Picture

START_CODE = b"\0\0\1"
SMALL = 256  # bytes of a packet below which it may hold parameter sets alone
HEAD = 4096  # bytes in which the first slice of a picture is looked for

# Types of NAL units: pictures that refer to nothing before them, slices of any picture, parameter sets.
H264_IDR, H264_SLICES, H264_SETS, H264_SPS = {5}, {1, 2, 5}, {7, 8}, 7
HEVC_IDR, HEVC_SLICES, HEVC_SETS = {19, 20}, set(range(32)), {32, 33, 34}
H264_BESIDE, HEVC_BESIDE = set(range(6, 13)), set(range(32, 41))  # sets, delimiters, messages: no picture by themselves
HEVC_KEYFRAMES = set(range(16, 22))  # BLA, IDR and CRA
SAYS_CHROMA = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}  # profiles of H.264


class NalUnits:
    """`look(packet)` says what each packet of a stream is to the decoder.

    Args:
        codec: 'h264' or 'hevc'.
        extradata: the stream's parameter sets, as the container or FFmpeg's probing gives them.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        self.hevc = codec == "hevc"
        self.slices, self.set_types = (HEVC_SLICES, HEVC_SETS) if self.hevc else (H264_SLICES, H264_SETS)
        self.beside = HEVC_BESIDE if self.hevc else H264_BESIDE
        configured = extradata[:1] == b"\1" and len(extradata) > 22
        self.length_size = (extradata[21 if self.hevc else 4] & 3) + 1 if configured else 0
        sets = configured_sets(extradata, hevc=self.hevc) if configured else self.units(extradata)
        self.sets = {unit for unit in sets if self.type_of(unit) in self.set_types}
        self.may_have_fields, self.frame_num_bits = (False, 0) if self.hevc else interlacing(self.sets)
        self.is_first = True

    def look(self, packet: Packet) -> Picture:
        """What a packet is to the decoder, by the container's flag and its own first units."""
        whole = packet.is_keyframe or packet.size < SMALL or self.is_first
        if not (whole or self.may_have_fields):
            return Picture.OTHER
        data = bytes(packet) if whole else bytes(memoryview(packet)[:HEAD])
        slice, before = None, []
        for unit in self.units(data):
            if self.type_of(unit) in self.set_types and not self.is_known(unit):
                return Picture.UNCLEAR
            if self.type_of(unit) in self.slices:
                slice = unit
                break
            before.append(self.type_of(unit))
        self.is_first = False
        if slice is None and whole:  # what is neither is a picture that will not decode
            return Picture.HIDDEN if before and self.beside.issuperset(before) else Picture.OTHER
        if slice is None:
            return Picture.UNCLEAR
        if self.may_have_fields and is_field(slice, self.frame_num_bits):
            return Picture.UNCLEAR
        return self.kind(self.type_of(slice), packet.is_keyframe)

    def kind(self, type: int, key: bool) -> Picture:
        """By the type of a picture's first slice; H.264 has none for an open keyframe: there the flag says it."""
        if type in (HEVC_IDR if self.hevc else H264_IDR):
            return Picture.CLOSED
        return Picture.OPEN if key and (not self.hevc or type in HEVC_KEYFRAMES) else Picture.OTHER

    def is_known(self, unit: bytes) -> bool:
        """Whether a parameter set is one of the stream's first; from a later one on, no keyframe can be trusted."""
        if self.is_first:
            self.sets.add(unit)
            if not self.hevc:
                self.may_have_fields, self.frame_num_bits = interlacing(self.sets)
        return unit in self.sets

    def type_of(self, unit: bytes) -> int:
        return (unit[0] >> 1 & 63 if self.hevc else unit[0] & 31) if unit else -1

    def units(self, data: bytes) -> Iterator[bytes]:
        """The NAL units in a packet."""
        if not self.length_size:
            yield from split_at_start_codes(data)
            return
        at = 0
        while at + self.length_size < len(data):
            start = at + self.length_size
            at = start + int.from_bytes(data[at:start])
            yield data[start:at]


def split_at_start_codes(data: bytes) -> Iterator[bytes]:
    """The units of a byte stream; zeros at the end of one belong to the next start code."""
    at = data.find(START_CODE)
    while at >= 0:
        end = data.find(START_CODE, at + 3)
        yield data[at + 3 : end if end >= 0 else len(data)].rstrip(b"\0")
        at = end


def configured_sets(record: bytes, *, hevc: bool) -> Iterator[bytes]:
    """The parameter sets in the configuration record of an MP4 or Matroska file (avcC, hvcC)."""
    at, arrays = (23, record[22]) if hevc else (6, 2)
    for array in range(arrays):
        if hevc:
            count, at = int.from_bytes(record[at + 1 : at + 3]), at + 3
        elif array == 0:
            count = record[5] & 31
        else:
            count, at = int.from_bytes(record[at : at + 1]), at + 1
        for _ in range(count):
            start = at + 2
            at = start + int.from_bytes(record[at:start])
            yield record[start:at]


def interlacing(sets: Set[bytes]) -> tuple[bool, int]:
    """Whether pictures of H.264 may be single fields, and the bits of their frame_num.

    Where nothing is known, or sequences differ, they may be, with -1 bits.
    """
    try:
        told = {sequence_says(Bits(unescaped(unit[1:]))) for unit in sets if unit[0] & 31 == H264_SPS}
    except EOFError:
        told = set()
    if told and not any(fields for fields, _ in told):
        return False, 0
    return (True, next(iter(told))[1]) if len(told) == 1 else (True, -1)


def sequence_says(bits: Bits) -> tuple[bool, int]:
    """Of a sequence parameter set (7.3.2.1.1): whether there may be fields, and the bits of frame_num."""
    profile = bits.take(24) >> 16
    bits.number()  # its own number
    if profile in SAYS_CHROMA:
        skip_chroma(bits)
    frame_num_bits = bits.number() + 4
    match bits.number():  # how the order of pictures is told
        case 0:
            bits.number()
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
    return not bits.take(1), frame_num_bits


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


def is_field(slice: bytes, frame_num_bits: int) -> bool:
    """Whether a slice is of one field only (7.3.3), or its header cannot be read."""
    if frame_num_bits < 0:
        return True
    bits = Bits(unescaped(slice[1:32]))
    try:
        for _ in range(3):  # first macroblock, type, picture parameter set
            bits.number()
        bits.take(frame_num_bits)
        return bool(bits.take(1))
    except EOFError:
        return True

"""Packets of H.264 and HEVC: their NAL units, where decoding can start, and whether a packet is a whole picture.

Sources: ISO 14496-10 and 23008-2, sections 7.3 and 7.4; ISO 14496-15 for units that follow their length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from av.packet import Packet

from tpn.data import h264_headers, hevc_headers
from tpn.data.h264_headers import UNKNOWN, is_field, sequence_of
from tpn.data.picture_order import is_continuous
from tpn.data.pictures import Picture

START_CODE = b"\0\0\1"
SMALL = 256  # bytes of a packet below which it may hold parameter sets alone
HEAD = 4096  # bytes in which the first slice of a picture is looked for
SHORT_HEAD = 96  # bytes in which that slice and its count are found, as a rule

# Types of NAL units: slices of any picture, parameter sets.
H264_SLICES, H264_SETS = {1, 2, 5}, {7, 8}
HEVC_SLICES, HEVC_SETS = set(range(32)), {32, 33, 34}
H264_BESIDE, HEVC_BESIDE = set(range(6, 13)), set(range(32, 41))  # sets, delimiters, messages: no picture by themselves
HEVC_BLA = {16, 17, 18}
HEVC_ENDS, HEVC_END_UNITS = {36, 37}, {b"\x48\1", b"\x4a\1"}  # of a sequence, of the stream


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
        self.sequence = UNKNOWN._replace(has_fields=False) if self.hevc else sequence_of(self.sets)
        self.is_first, self.has_ended = True, False
        self.heads: list[tuple[bool, bytes]] = []
        """How each packet's first slice begins; or, where that was not looked for, False and how the packet does."""

    def look(self, packet: Packet) -> Picture:
        """What a packet is to the decoder, by the container's flag and its own first units."""
        whole = packet.is_keyframe or packet.size < SMALL or self.is_first
        view = memoryview(packet)
        if not (whole or self.sequence.has_fields):
            self.heads.append((False, bytes(view[:SHORT_HEAD])))
            return self.unless_ended(Picture.OTHER, view)
        data = bytes(view) if whole else bytes(view[:HEAD])
        slice, before = None, []
        for unit in self.units(data):
            if self.type_of(unit) in self.set_types and not self.is_known(unit):
                return Picture.UNCLEAR
            if self.type_of(unit) in self.slices:
                slice = unit
                break
            before.append(self.type_of(unit))
        is_first, self.is_first = self.is_first, False
        self.heads.append((True, slice[:SHORT_HEAD] if slice else b""))
        if slice is None and whole:  # what is neither is a picture that will not decode
            return Picture.HIDDEN if before and self.beside.issuperset(before) else Picture.OTHER
        if slice is None:
            return Picture.UNCLEAR
        if self.sequence.has_fields and is_field(slice, self.sequence):
            return Picture.UNCLEAR
        if self.hevc and not is_first and self.is_cut(slice, before):
            return Picture.UNCLEAR
        return self.unless_ended(self.kind(self.type_of(slice), packet.is_keyframe), view)

    def is_cut(self, slice: bytes, before: list[int]) -> bool:
        """Whether the decoder drops pictures of HEVC around this one: the stream ended, was cut, or says so itself."""
        type = self.type_of(slice)
        discards = type in hevc_headers.KEYFRAMES and bool(
            slice[2:3] and slice[2] & 0x40
        )  # what is not shown yet before it
        return type in HEVC_BLA or discards or not HEVC_ENDS.isdisjoint(before)

    def unless_ended(self, picture: Picture, packet: memoryview) -> Picture:
        """The picture, or unclear after the end of a sequence of HEVC; notes whether this packet is such an end."""
        if not self.hevc:
            return picture
        ended, self.has_ended = self.has_ended, bytes(packet[-2:]) in HEVC_END_UNITS
        return Picture.UNCLEAR if ended else picture

    def first_slices(self) -> Iterator[bytes]:
        """What the first slice of each packet begins with; b'' where it is not found."""
        for is_slice, head in self.heads:
            units = [head] if is_slice else self.units(head)
            yield next((unit for unit in units if self.type_of(unit) in self.slices), b"")

    def goes_on(self, pictures: Sequence[Picture]) -> bool:
        """Whether all packets, of these pictures, are of one stream, and none was appended at an open keyframe."""
        shown = (pair for pair in zip(pictures, self.first_slices(), strict=True) if pair[0] is not Picture.HIDDEN)
        if self.hevc:
            headers = hevc_headers.headers_of(self.sets)
            count = partial(hevc_headers.count_of, headers=headers)
            return is_continuous(shown, count, bits=headers.count_bits)
        if self.sequence.never_reorders:
            return True
        count = partial(h264_headers.count_of, sequence=self.sequence)
        return is_continuous(shown, count, bits=self.sequence.count_bits)

    def kind(self, type: int, key: bool) -> Picture:
        """By the type of a picture's first slice; H.264 has none for an open keyframe: there the flag says it."""
        if type in (hevc_headers.IDR if self.hevc else h264_headers.IDR):
            return Picture.CLOSED
        return Picture.OPEN if key and (not self.hevc or type in hevc_headers.KEYFRAMES) else Picture.OTHER

    def is_known(self, unit: bytes) -> bool:
        """Whether a parameter set is one of the stream's first; from a later one on, no keyframe can be trusted."""
        if self.is_first:
            self.sets.add(unit)
            if not self.hevc:
                self.sequence = sequence_of(self.sets)
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

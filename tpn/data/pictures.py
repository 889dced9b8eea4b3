"""What a packet's own bytes say of its picture, where the container's word is missing or cannot be relied on.

A container may flag every packet as a keyframe, make up the times, or hold packets that show no picture. The decoder
goes by the bitstream alone, and so does this file: it reads the few bits that tell a picture's kind, of the codecs in
which frames are worth jumping to. Sources: ISO 14496-2 and 13818-2 (MPEG-4, MPEG-2), RFC 6386 (VP8), the bitstream
specification of VP9, and how FFmpeg's decoders read msmpeg4 and WMV.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto

from av.packet import Packet

from tpn.data.bits import Bits

HEAD = 512  # bytes in which the head of a picture is looked for
VOP = b"\0\0\1\xb6"
VOL = re.compile(rb"\x00\x00\x01[\x20-\x2f].{4,}?(?=\x00\x00\x01|$)", re.DOTALL)  # the head of the video object's layer
NOT_CODED = 8  # bytes of a picture of MPEG-4 that is empty, at most
PACKED = re.compile(rb"DivX\d+(?:Build|b)\d+p")


class Picture(Enum):
    """What a packet is to the decoder."""

    CLOSED = auto()  # a keyframe: nothing after it refers to what was before
    OPEN = auto()  # a keyframe: what is shown before it may refer further back
    BETWEEN = auto()  # a B-frame of MPEG-1, 2 and 4: shown at once, while the others wait for the next of their kind
    OTHER = auto()
    HIDDEN = auto()  # decoded, never shown
    UNCLEAR = auto()  # several pictures, half of one, one that may not be shown: only decoding everything tells


Look = Callable[[Packet], Picture]

EACH_ALONE = {
    "mjpeg", "ffvhuff", "huffyuv", "utvideo", "prores", "dnxhd", "dvvideo", "v210", "magicyuv", "cfhd",
    "jpeg2000",
}  # fmt: skip
"""Codecs whose every picture is a keyframe."""


def each_alone(packet: Packet) -> Picture:
    return Picture.CLOSED


class Mpeg4:
    """`look(packet)`: one VOP each, unless XviD or DivX pack two into a packet and let an empty one follow.

    The decoder unpacks only streams that say so, by user data as DivX503b1393p; so only there a second VOP is looked
    for. An empty VOP has 8 bytes at most. Packets with either are unclear.
    """

    def __init__(self, extradata: bytes) -> None:
        self.is_packed = bool(PACKED.search(extradata))
        self.layer = VOL.search(extradata)

    def look(self, packet: Packet) -> Picture:
        if packet.is_keyframe and not self.is_packed:
            self.is_packed = bool(PACKED.search(bytes(memoryview(packet)[:HEAD])))
        data = bytes(packet) if self.is_packed else bytes(memoryview(packet)[:HEAD])
        at = data.find(VOP)
        layer = VOL.search(data, 0, max(at, 0))
        if layer is not None and self.layer is not None and layer[0] != self.layer[0]:
            return Picture.UNCLEAR  # where the size of the pictures changes, the decoder drops one
        self.layer = self.layer or layer
        if at < 0 or packet.size - at <= NOT_CODED or (self.is_packed and data.find(VOP, at + 4) >= 0):
            return Picture.UNCLEAR
        return (Picture.OPEN, Picture.OTHER, Picture.BETWEEN, Picture.OTHER)[data[at + 4] >> 6]

    @staticmethod
    def num_pictures(packet: Packet) -> int:
        """The VOPs of a packet that are not empty."""
        data = bytes(packet)
        return sum(len(part) + len(VOP) > NOT_CODED for part in data.split(VOP)[1:])


class Mpeg12:
    """`look(packet)`: one frame picture; a field is unclear, so are two pictures, and another size or shape of them."""

    def __init__(self, extradata: bytes) -> None:
        self.sequence = sequence_in(extradata)

    def look(self, packet: Packet) -> Picture:
        data = bytes(packet)
        sequence = sequence_in(data)
        if sequence and self.sequence and sequence != self.sequence:
            return Picture.UNCLEAR  # there the decoder drops a picture
        self.sequence = self.sequence or sequence
        return frame_picture(data)


def sequence_in(data: bytes) -> bytes:
    """Size, shape and rate of the pictures, and what MPEG-2 adds to them, by a sequence header; b'' without one."""
    at = data.find(b"\0\0\1\xb3")
    if at < 0:
        return b""
    extension = data.find(b"\0\0\1\xb5", at, at + HEAD)
    return data[at + 4 : at + 8] + (data[extension + 4 : extension + 10] if extension >= 0 else b"")


def frame_picture(data: bytes) -> Picture:
    """The kind of the one picture in a packet of MPEG-1 or 2; unclear if it is a field, or not the only one."""
    at = data.find(b"\0\0\1\0")
    if at < 0 or len(data) - at < 12 or data.find(b"\0\0\1\0", at + 4) >= 0:
        return Picture.UNCLEAR
    extension = data.find(b"\0\0\1\xb5", at, at + HEAD)  # MPEG-2's, whose picture_structure is 3 for a frame
    if extension >= 0 and (data[extension + 4] >> 4 != 8 or data[extension + 6] & 3 != 3):
        return Picture.UNCLEAR
    kinds = {1: Picture.OPEN, 2: Picture.OTHER, 3: Picture.BETWEEN}
    return kinds.get(data[at + 5] >> 3 & 7, Picture.UNCLEAR)


def vp8(packet: Packet) -> Picture:
    head = memoryview(packet)[0]
    if not head & 0x10:
        return Picture.HIDDEN
    return Picture.OTHER if head & 1 else Picture.CLOSED


def vp9(packet: Packet) -> Picture:
    """A superframe shows the last of its pictures; a single picture says whether it is shown."""
    data = memoryview(packet)
    head, superframe = data[0], data[-1] >> 5 == 6
    if head >> 6 != 2 or head >> 4 & 3 == 3:  # no frame, or of profile 3, whose bits lie elsewhere
        return Picture.UNCLEAR
    shows_earlier, predicted, shown = head & 8, head & 4, head & 2
    if not (shows_earlier or shown or superframe):
        return Picture.HIDDEN
    return Picture.OTHER if shows_earlier or predicted else Picture.CLOSED


def av1(packet: Packet) -> Picture:
    """A temporal unit shows exactly one frame; whether decoding can start there, the container says."""
    return Picture.CLOSED if packet.is_keyframe else Picture.OTHER


def msmpeg4(packet: Packet) -> Picture:
    return Picture.OTHER if memoryview(packet)[0] >> 6 else Picture.CLOSED


def wmv2(packet: Packet) -> Picture:
    """A predicted picture in which nothing moves shows none: one that skips its first rows or columns is unclear."""
    bits = Bits(bytes(memoryview(packet)[:4]))
    try:
        predicted, _, skips = bits.take(1), bits.take(5), bits.take(2)
        if predicted and skips >= 2 and bits.take(8) == 255:
            return Picture.UNCLEAR
    except EOFError:
        return Picture.UNCLEAR
    return Picture.OTHER if predicted else Picture.CLOSED


LOOKS: dict[str, Look] = {
    **dict.fromkeys(EACH_ALONE, each_alone),
    "vp8": vp8,
    "vp9": vp9,
    "av1": av1,
    "libdav1d": av1,
    "msmpeg4": msmpeg4,
    "msmpeg4v2": msmpeg4,
    "wmv1": msmpeg4,
    "wmv2": wmv2,
}
"""By FFmpeg's names of the decoders; H.264 and HEVC have `tpn.data.nal_units`."""
WITH_HEADERS = {"mpeg4": Mpeg4, "mpeg1video": Mpeg12, "mpeg2video": Mpeg12}
"""Those that depend on headers: made from the stream's extradata."""

"""The packets of a video file by position: indexed once, kept in memory where they are few, else read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import chain, islice

from av.bitstream import BitStreamFilterContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from tpn.data.nal_units import NalUnits
from tpn.data.opening import demuxed, open_video
from tpn.data.packets import REORDERED, Doubt, PacketIndex, Span
from tpn.data.pictures import LOOKS, WITH_HEADERS, Mpeg4
from tpn.data.wholeness import check_whole, refuse_zeros
from tpn.errors import DataError

KEPT_BYTES = 1 << 25  # of packets: a clip of seconds is kept whole; of a longer video those needed are read again

LANDINGS = 8  # packets after a seek among which one must be known: the first may be half of one

UNSEEKABLE = {"mpeg"}  # program streams: after a seek, FFmpeg 8.1 may give packets the times of their successors

Identity = tuple[int | None, int | None, int]  # of a packet: pts, dts, size


class PacketSource:
    """The packets of a file's best video stream, numbered in decoding order.

    A packet handed out carries its position as pts and dts, so that a frame's pts names the packet it came from,
    whatever times the container has or lacks.

    Raises:
        DataError: as `open_video` does, or the file is cut off.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.container, self.stream = open_video(path)
        self.is_closed = self._is_packed = False
        self.remark = ""
        """What of the file may be missing, by its header; '' for nothing."""
        try:
            self.index, self._kept, self._identities = self._take_in(self._demux())
            if self.codec.name == "mpeg4" and self.index.is_unclear:
                self._unpack()
        except BaseException:
            self.close()
            raise

    @property
    def codec(self) -> VideoCodecContext:
        """The stream's decoder."""
        return self.stream.codec_context

    @property
    def seconds(self) -> float:
        """How long the pictures that are shown last, by their packets' times; 0 where they have none."""
        known = [
            time
            for (pts, dts, _), hidden in zip(self._identities, self.index.discarded, strict=True)
            if not hidden and (time := dts if pts is None else pts) is not None
        ]
        if len(known) < 2 or self.stream.time_base is None:
            return 0.0
        return float((max(known) - min(known)) * self.stream.time_base) * len(known) / (len(known) - 1)

    def close(self) -> None:
        """Release the file, its decoder and the packets kept."""
        self.container.close()
        self._kept, self.is_closed = None, True

    def reopen(self) -> None:
        """Start anew with a decoder that has seen nothing; the packets kept stay, and all does where that fails."""
        container, stream = open_video(self.path)
        self.container.close()
        self.container, self.stream = container, stream

    def span(self, span: Span) -> Iterator[Packet]:
        """The packets of a span, for a decoder that starts at its beginning. Raises Doubt where they are others now."""
        if self._kept is not None:
            self.codec.flush_buffers()
            yield from self._kept[span.start : span.stop]
            return
        for packets in (self._from_seek(span.start), self._from_start()):
            expected = span.start
            for position, packet in packets:
                if position < expected:
                    continue
                if identity(packet) != self._identities[position]:
                    break
                yield numbered(packet, position)
                expected += 1
                if expected == span.stop:
                    return
            if expected > span.start:  # the decoder has had a part already
                break
        raise Doubt

    def all(self) -> Iterator[Packet]:
        """Every packet, for a decoder that has seen nothing. Raises DataError where they are others now."""
        self.reopen()
        if self._kept is not None:
            yield from self._kept
        else:
            for position, packet in enumerate(self._demux()):
                if [identity(packet)] != self._identities[position : position + 1]:
                    raise DataError(f"{self.path} has been changed since it was opened; open it again")
                yield numbered(packet, position)

    def _take_in(self, packets: Iterator[Packet]) -> tuple[PacketIndex, list[Packet] | None, list[Identity]]:
        """Index all packets; with them, if they are few, and how each is recognised after a seek."""
        index, size, last = index_for(self.codec), 0, None
        kept: list[Packet] | None = []
        identities: list[Identity] = []
        try:
            for packet in packets:
                index.add(packet)
                identities.append(identity(packet))
                size, last = size + packet.size, packet
                if size > KEPT_BYTES:
                    kept = None
                if kept is not None:
                    kept.append(numbered(packet, len(kept)))
        except FFmpegError as error:
            refuse_zeros(self.path)
            raise DataError(f"{self.path} cannot be read to its end ({error.strerror}); replace the file") from None
        times = [time for pts, dts, _ in identities if (time := dts if pts is None else pts) is not None]
        self.remark = check_whole(
            self.path, self.container, self.stream, num_packets=len(index), times=times, last=last
        )
        return index, kept, identities

    def _unpack(self) -> None:
        """Undo XviD's packed B-frames where that leaves one picture to a packet, which the decoder shows alike."""
        self.reopen()
        promised = sum(Mpeg4.num_pictures(packet) for packet in self._demux())
        self.reopen()
        self._is_packed = True
        index, kept, identities = self._take_in(self._demux())
        self._is_packed = not index.is_unclear and len(index) == promised  # files joined may lose one at the seam
        if self._is_packed:
            self.index, self._kept, self._identities = index, kept, identities

    def _demux(self) -> Iterator[Packet]:
        """The stream's packets from here on, without the empty ones: frames left out, or the mark of the end."""
        packets = (packet for packet in demuxed(self.container, self.stream) if packet.size)
        return unpacked(packets, self.stream) if self._is_packed else packets

    def _from_seek(self, start: int) -> Iterator[tuple[int, Packet]]:
        """Packets with their positions from `start` or earlier on; none where a seek fails or leads elsewhere."""
        if self.container.format.name in UNSEEKABLE:
            return
        try:
            self.container.seek(seek_time(self._identities[start]), stream=self.stream)
            packets = self._demux()
            for packet in islice(packets, LANDINGS):
                position = self._position_of.get(identity(packet))
                if position is not None and position <= start:
                    yield from enumerate(chain([packet], packets), position)
        except FFmpegError:
            return

    def _from_start(self) -> Iterator[tuple[int, Packet]]:
        self.reopen()
        yield from enumerate(self._demux())

    @cached_property
    def _position_of(self) -> dict[Identity, int]:
        """The positions of the packets that are like no other."""
        count = Counter(self._identities)
        return {each: position for position, each in enumerate(self._identities) if count[each] == 1}


def index_for(codec: VideoCodecContext) -> PacketIndex:
    """An index that can tell the pictures of a stream apart, where anything but decoding them does."""
    name, extradata = codec.name, codec.extradata or b""
    if name in REORDERED:
        units = NalUnits(name, extradata)
        return PacketIndex(name, units.look, goes_on=units.goes_on)
    kind = WITH_HEADERS.get(name)
    return PacketIndex(name, kind(extradata).look if kind else LOOKS.get(name))


def unpacked(packets: Iterator[Packet], stream: VideoStream) -> Iterator[Packet]:
    """Packets of one picture each, of packets that hold two and the empty ones that follow them."""
    unpack = BitStreamFilterContext("mpeg4_unpack_bframes", stream)
    for packet in packets:
        yield from unpack.filter(packet)
    yield from unpack.filter(None)


def identity(packet: Packet) -> Identity:
    return packet.pts, packet.dts, packet.size


def seek_time(packet: Identity) -> int:
    """Where a seek finds a packet."""
    pts, dts, _ = packet
    return (pts if dts is None else dts) or 0


def numbered(packet: Packet, position: int) -> Packet:
    packet.pts = packet.dts = position
    return packet

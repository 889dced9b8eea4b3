"""Where the frames of a video lie among its packets: their numbers, and the shortest runs of packets to decode."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

from av.packet import Packet

from tpn.data.pictures import Look, Picture

KEYFRAMES = {Picture.CLOSED, Picture.OPEN}
ONE_AT_A_TIME = {"mpeg4", "mpeg1video", "mpeg2video"}  # at most one picture waits, while B-frames pass it
REORDERED = {"h264", "hevc"}
FLAGGED = {"h264", "av1", "libdav1d"}  # whose keyframes the container tells, all but those of H.264 that are IDR
CHANGES = {"new_extradata", "param_change", "palette"}
"""What beside a packet says that the stream's parameters change from here on."""


class Doubt(Exception):
    """Packets or frames are not as the index has them: only decoding from the start tells the frames' numbers."""


class Span(NamedTuple):
    """Packets start .. stop-1 in decoding order: what one run of the decoder is fed.

    Only frames of the packets from `first` on count; what is decoded before them they refer to.
    """

    start: int
    stop: int
    first: int


@dataclass(frozen=True)
class Order:
    """The display order, known from the packets: `positions[n]` is that of frame n's packet in decoding order.

    With B-frames the two differ::

        position (decoding order)    0    1    2    3    4    5
        packet                       K0   P    B    K1   B    P       K: keyframe
        frame (display order)        0    2    1    4    3    5

    Decoding can start at K1 to show frame 5, but not to show frame 3: a frame displayed before the keyframe it follows
    in the file may refer to frames further back (an "open GOP"), so that one starts at K0.
    """

    positions: list[int]
    starts: list[int]
    """The position of the keyframe from which to decode frame 0, 1, 2, …"""

    def __len__(self) -> int:
        return len(self.positions)

    def spans(self, frames: list[int]) -> list[Span]:
        """The shortest runs of packets that yield these frames; runs that touch are one."""
        spans: list[Span] = []
        for frame in sorted(frames, key=self.positions.__getitem__):
            start = self.starts[frame]
            while spans and start <= spans[-1].stop:
                start = min(start, spans.pop().start)
            spans.append(Span(start, self.positions[frame] + 1, start))
        return spans


@dataclass(frozen=True)
class Groups:
    """The frames from keyframe to keyframe, whose order is the decoder's: no time that can be relied on tells it.

    All frames of a group are shown after those of the groups before it, so the group a frame is in and its place there
    are known.
    """

    bounds: list[int]
    """The position of each group's keyframe, and the number of packets."""
    starts: list[int]
    """Where to begin decoding each group."""
    shown: list[int]
    """How many frames the packets before each position show, and at the end how many all of them do."""

    def __len__(self) -> int:
        return self.shown[-1]

    def spans(self, frames: list[int]) -> list[Span]:
        """The groups in which these frames are; those that follow one another are one run."""
        firsts = [self.shown[bound] for bound in self.bounds]
        spans: list[Span] = []
        for group in sorted({bisect_right(firsts, frame) - 1 for frame in frames}):
            first, stop = self.bounds[group : group + 2]
            if spans and spans[-1].stop == first:
                spans[-1] = spans[-1]._replace(stop=stop)
            else:
                spans.append(Span(self.starts[group], stop, first))
        return spans


class PacketIndex:
    """What the packets of a stream say, taken in one after the other in decoding order.

    Args:
        codec: FFmpeg's name of the decoder.
        look: tells what a packet is to it; None where that is not known of the codec.
        goes_on: whether all packets looked at, of these pictures, are of one stream; asked where one may be appended.
    """

    def __init__(
        self, codec: str, look: Look | None, goes_on: Callable[[Sequence[Picture]], bool] = lambda _: True
    ) -> None:
        self.codec = codec
        self.look = look
        self.goes_on = goes_on
        self.pictures: list[Picture] = []
        self.times: list[int | None] = []  # when each is shown, says the container
        self.discarded: list[bool] = []  # decoded but not shown, says an edit list
        self.flags: list[bool] = []  # of keyframes, says the container

    def __len__(self) -> int:
        return len(self.times)

    @property
    def is_unclear(self) -> bool:
        """Whether the packets do not tell which frames there are."""
        return self.look is None

    def add(self, packet: Packet) -> None:
        """Take in the next packet. What changes the stream's parameters midway ends all knowledge of its pictures."""
        if self.look is not None:
            picture = self.look(packet)
            if self.pictures and changes_parameters(packet):
                picture = Picture.UNCLEAR
            self.pictures.append(picture)
            if picture is Picture.UNCLEAR:
                self.look = None
        self.times.append(packet.pts)
        self.discarded.append(packet.is_discard)
        self.flags.append(packet.is_keyframe)

    def numbering(self) -> Order | Groups | None:
        """How the frames are numbered; None where only decoding all of them tells it."""
        if self.is_unclear or not self.pictures:
            return None
        if self.codec in REORDERED and Picture.OPEN in self.pictures[1:] and not self.goes_on(self.pictures):
            return None
        if all(self.flags) and len(self) > 1 and self.codec in FLAGGED:
            self._distrust_flags()
        if self.codec in ONE_AT_A_TIME:
            return self._order(passing_order(self.pictures))
        if self.codec not in REORDERED:
            return self._order(list(range(len(self))))
        return self._order_of_times() if self._times_order() else self._groups()

    def _distrust_flags(self) -> None:
        """A container that flags every packet knows nothing of keyframes: only those are left whose bits say so."""
        self.pictures = [
            each if each is Picture.CLOSED and self.codec == "h264" else Picture.OTHER for each in self.pictures
        ]

    def _times_order(self) -> bool:
        """Whether the times order the frames as the decoder does.

        Those that only rise say nothing: they may be made up in file order. And whatever comes before a closed keyframe
        is shown before it, and whatever comes after it later, also where the times go back there.
        """
        times = [time for time in self.times if time is not None]
        rising = all(a < b for a, b in pairwise(times))
        if rising or len(set(times)) < len(self):
            return False
        latest = [times[0] - 1, *accumulate(times, max)]
        earliest = [*accumulate(reversed(times), min)][::-1]
        closed = [position for position, picture in enumerate(self.pictures) if picture is Picture.CLOSED]
        return all(latest[position] < earliest[position] == times[position] for position in closed if position)

    def _order_of_times(self) -> Order | None:
        return self._order(sorted(range(len(self)), key=self.times.__getitem__))  # pyright: ignore

    def _order(self, displayed: list[int]) -> Order | None:
        """The numbering by an order of all packets; None where a frame has no keyframe to start from."""
        rank = [0] * len(self)
        for place, position in enumerate(displayed):
            rank[position] = place
        shown = [at for at in displayed if not self.discarded[at] and self.pictures[at] is not Picture.HIDDEN]
        keyframes = [position for position, picture in enumerate(self.pictures) if picture in KEYFRAMES]
        starts = [keyframe_before(position, keyframes, rank) for position in shown]
        known = [start for start in starts if start is not None]
        return Order(shown, known) if len(known) == len(starts) else None

    def _groups(self) -> Groups | None:
        """Groups between keyframes; None where the first is none that all frames can be decoded from."""
        keyframes = [position for position, picture in enumerate(self.pictures) if picture in KEYFRAMES]
        first = next((at for at, picture in enumerate(self.pictures) if picture is not Picture.HIDDEN), 0)
        if self.pictures[first] is not Picture.CLOSED:
            return None
        bounds = [0, *(position for position in keyframes if position > first)]
        starts = [
            start if start == 0 or self.pictures[start] is Picture.CLOSED else before
            for before, start in zip([0, *bounds], bounds, strict=False)
        ]
        shows = (
            not discarded and picture is not Picture.HIDDEN
            for discarded, picture in zip(self.discarded, self.pictures, strict=True)
        )
        return Groups([*bounds, len(self)], starts, list(accumulate(shows, initial=0)))


def changes_parameters(packet: Packet) -> bool:
    """Whether something beside a packet changes the stream's parameters; PyAV 18.1 fails at what it has no name for."""
    try:
        return any(beside.data_type in CHANGES for beside in packet.iter_sidedata())
    except (IndexError, ValueError):
        return False


def passing_order(pictures: list[Picture]) -> list[int]:
    """The display order of MPEG-1, 2 and 4: a picture waits until the next of its kind, B-frames in between pass it."""
    order, waiting = [], []
    for position, picture in enumerate(pictures):
        if picture is Picture.BETWEEN:
            order.append(position)
        else:
            order += waiting
            waiting = [position]
    return order + waiting


def keyframe_before(position: int, keyframes: list[int], rank: list[int]) -> int | None:
    """The last keyframe that comes before the packet both in the file and on the screen."""
    for at in range(bisect_right(keyframes, position) - 1, -1, -1):
        if rank[keyframes[at]] <= rank[position]:
            return keyframes[at]
    return None

"""Where the frames of a video lie among its packets: their numbers, and the shortest runs of packets to decode."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from av.packet import Packet


class Span(NamedTuple):
    """Packets start .. stop-1 in decoding order, beginning at a keyframe: what one run of the decoder is fed."""

    start: int
    stop: int


class PacketIndex:
    """Where each frame of a video lies, from the time stamps and keyframe flags of its packets.

    Packets are stored in decoding order; frames are numbered in display order. With B-frames these differ::

        position (decoding order)    0    1    2    3    4    5
        packet                       K0   P    B    K1   B    P       K: keyframe
        frame (display order)        0    2    1    4    3    5

    Decoding can start at K1 to show frame 5, but not to show frame 3: a frame displayed before the keyframe it follows
    in the file may refer to frames further back (an "open GOP"), so that one starts at K0.
    """

    def __init__(self) -> None:
        self.times: list[int | None] = []  # when each packet is shown
        self.seek_times: list[int | None] = []  # where a seek finds it
        self.keyframes: list[int] = []  # positions
        self.shown: list[int] = []  # positions; after `sort`, that of frame 0, 1, 2, ... in display order
        self.starts: list[int] = []  # position of the keyframe from which to decode frame 0, 1, 2, ...
        self.cut_off = False

    def add(self, packet: Packet) -> None:
        """Take in the next packet in decoding order."""
        position = len(self.times)
        self.times.append(packet.pts)
        self.seek_times.append(packet.pts if packet.dts is None else packet.dts)
        if packet.is_keyframe:
            self.keyframes.append(position)
        if not packet.is_discard:  # an edit list discards packets that are decoded but not shown
            self.shown.append(position)
        self.cut_off = packet.is_corrupt

    def sort(self) -> bool:
        """Put the frames into display order; False if the packets do not tell it, or not where decoding can start."""
        times = [time for time in self.times if time is not None]
        if len(set(times)) < len(self.times):
            return False
        self.position_of: dict[int | None, int] = {time: position for position, time in enumerate(times)}
        self.shown.sort(key=times.__getitem__)
        starts = [self._keyframe_before(position, times) for position in self.shown]
        self.starts = [start for start in starts if start is not None]
        return len(self.starts) == len(self.shown)  # less: the file's first frames refer to what was cut off

    def _keyframe_before(self, position: int, times: list[int]) -> int | None:
        """The last keyframe that comes before the packet both in the file and on the screen."""
        for at in range(bisect_right(self.keyframes, position) - 1, -1, -1):
            if times[self.keyframes[at]] <= times[position]:
                return self.keyframes[at]
        return None

    def time_of(self, frame: int) -> int | None:
        """When a frame is shown, in the stream's units: its name inside the decoder."""
        return self.times[self.shown[frame]]

    def spans(self, frames: list[int]) -> list[Span]:
        """The shortest runs of packets that yield these frames; runs that touch are one."""
        spans: list[Span] = []
        for frame in sorted(frames, key=self.shown.__getitem__):
            start = self.starts[frame]
            while spans and start <= spans[-1].stop:
                start = min(start, spans.pop().start)
            spans.append(Span(start, self.shown[frame] + 1))
        return spans

"""Videos as other programs leave them: copied into other containers, their times, flags and boxes lost on the way."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import av
from av.packet import Packet

from tpn.data.nal_units import configured_sets

NOT_CODED = bytes([0, 0, 1, 0xB6, 0b01_0_1_0000, 0b0_1_0_01111])  # a picture of MPEG-4 that says it is none
PACKED = b"\0\0\1\xb2DivX503b1393p"  # the user data by which XviD says that it packs pictures


def packets_of(path: Path) -> tuple[av.container.InputContainer, list[Packet]]:
    container = av.open(str(path))
    return container, [packet for packet in container.demux(video=0) if packet.size]


def copy(source: Path, target: Path, change: Callable[[list[Packet]], Iterable[Packet]], **muxer: str) -> Path:
    """Mux the packets that `change` makes of the source's."""
    container, packets = packets_of(source)
    with container, av.open(str(target), "w", options={"avoid_negative_ts": "disabled", **muxer}) as new:
        stream = new.add_stream_from_template(container.streams.video[0])
        for packet in change(packets):
            packet.stream = stream
            new.mux(packet)
    return target


def frame_time(packets: list[Packet]) -> int:
    """From one frame to the next, in the stream's units."""
    return min(b - a for a, b in pairwise(sorted(packet.pts for packet in packets)))


# ------------------------------------------------------------------------------------------------------ lost on the way


def times_made_up(packets: list[Packet]) -> Iterator[Packet]:
    """As a stream copy out of AVI or a raw stream leaves them: each is shown when it is decoded."""
    start = packets[0].dts or 0
    step = frame_time(packets)
    for number, packet in enumerate(packets):
        packet.pts = packet.dts = start + number * step
        yield packet


def times_in_pairs(packets: list[Packet]) -> Iterator[Packet]:
    """Two packets at a time are shown at once: an average rate that is half the true one."""
    step = frame_time(packets)
    for number, packet in enumerate(packets):
        packet.dts = packet.dts if packet.dts is not None else (number - 2) * step
        packet.pts = max(packet.pts // (2 * step) * (2 * step), packet.dts)
        yield packet


def without(*numbers: int) -> Callable[[list[Packet]], Iterator[Packet]]:
    return lambda packets: (packet for number, packet in enumerate(packets) if number not in numbers)


def earlier(frames: int) -> Callable[[list[Packet]], Iterator[Packet]]:
    """So that an edit list hides the first frames."""

    def change(packets: list[Packet]) -> Iterator[Packet]:
        step = frame_time(packets)
        for packet in packets:
            packet.pts, packet.dts = packet.pts - frames * step, packet.dts - frames * step
            yield packet

    return change


def untouched(packets: list[Packet]) -> list[Packet]:
    return packets


def later(seconds: float) -> Callable[[list[Packet]], Iterator[Packet]]:
    def change(packets: list[Packet]) -> Iterator[Packet]:
        for packet in packets:
            ticks = round(seconds / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            yield packet

    return change


def joined(target: Path, *sources: Path) -> Path:
    """Files whose bytes follow one another, as MPEG-TS and raw streams allow it."""
    target.write_bytes(b"".join(source.read_bytes() for source in sources))
    return target


def appended(packets: list[Packet], *, first: int) -> Iterator[Packet]:
    """The first packets, then all of them: a file that was cut and another, appended without a look at the pictures."""
    step = frame_time(packets)
    contents = [(bytes(packet), packet.is_keyframe) for packet in packets]
    for number, (content, is_keyframe) in enumerate([*contents[:first], *contents]):
        packet = replaced(packets[0], content)
        packet.pts, packet.dts, packet.is_keyframe = number * step, number * step, is_keyframe
        yield packet


def rename_box(source: Path, target: Path, kind: bytes) -> Path:
    """A copy of an MP4 file in which readers step over one kind of box."""
    content = source.read_bytes()
    assert kind in content
    target.write_bytes(content.replace(kind, b"free"))
    return target


# --------------------------------------------------------------------------------------------- as old encoders wrote it


def replaced(packet: Packet, data: bytes) -> Packet:
    """Another content under the same times."""
    new = Packet(data)
    new.pts, new.dts, new.time_base, new.is_keyframe = packet.pts, packet.dts, packet.time_base, packet.is_keyframe
    return new


def b_frames_packed(packets: list[Packet]) -> Iterator[Packet]:
    """Each first B-frame behind the picture before it, in one packet; an empty picture where the last B-frame was."""
    pictures = [bytes(packet) for packet in packets]
    is_b = [data[data.find(b"\0\0\1\xb6") + 4] >> 6 == 2 for data in pictures]
    pictures[0] = PACKED + pictures[0]
    for number, packet in enumerate(packets):
        follows = number + 1 < len(pictures) and is_b[number + 1]
        if not is_b[number]:
            data = pictures[number] + (pictures[number + 1] if follows else b"")
        else:
            data = pictures[number + 1] if follows else NOT_CODED
        yield replaced(packet, data)


def sets_apart(packets: list[Packet]) -> Iterator[Packet]:
    """H.264's parameter sets in packets of their own before keyframes, as recorders of network cameras do it."""
    record = packets[0].stream.codec_context.extradata
    sets = b"".join(len(unit).to_bytes(4) + unit for unit in configured_sets(record, hevc=False))
    for packet in packets:
        key = packet.is_keyframe
        packet.pts, packet.dts = 2 * packet.pts, 2 * packet.dts
        if key:
            alone = replaced(packet, sets)
            alone.pts = alone.dts = packet.dts - 1
            alone.is_keyframe = False
            yield alone
        yield packet


def some_not_coded(packets: list[Packet]) -> Iterator[Packet]:
    """Every fifth packet twice as late, and an empty picture where it was."""
    step = frame_time(packets)
    at = 0
    for number, packet in enumerate(packets):
        if number % 5 == 4:
            empty = replaced(packet, NOT_CODED)
            empty.pts, empty.dts, empty.is_keyframe = at * step, at * step, False
            yield empty
            at += 1
        packet.pts, packet.dts = at * step, at * step
        yield packet
        at += 1

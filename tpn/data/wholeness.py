"""Whether a video file has all the data it should: not cut off, and no holes where a download never arrived."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from tpn.data.containers import promised_size
from tpn.data.opening import demuxed, open_container
from tpn.errors import DataError

BLOCK = 4096  # bytes: what a file system or a download leaves out is a multiple of it
CHUNK = 1 << 22
LONG_GAP, MANY = 0.5, 8  # seconds, and times the usual, that pictures may be apart before a hole is looked for
SLACK = 64  # bytes of headers between a packet and the next
NEVER_ZEROS = {
    "h264", "hevc", "vvc", "av1", "libdav1d", "vp8", "vp9", "mpeg4", "msmpeg4", "msmpeg4v2", "wmv1", "wmv2", "wmv3",
    "h263", "h263p", "flv", "theora", "rv10", "rv20", "rv30", "rv40",
}  # fmt: skip
"""Codecs in which no picture holds a block of zeros; others have black pictures of zeros, or fill up with them."""
UNCODED = {"rawvideo", "v210", "r210", "r10k", "avrp", "yuv4", "wrapped_avframe"}
"""Codecs in which a black picture is all zeros."""


def check_whole(
    path: str,
    container: InputContainer,
    stream: VideoStream,
    *,
    num_packets: int,
    times: Sequence[int],
    last: Packet | None,
) -> str:
    """Raise DataError for a file that is plainly incomplete; of one that may be, give a remark, else ''.

    A header may be wrong: one that promises more pictures than there are ends nothing by itself. Where blocks of zeros
    are found as well, as an unfinished download leaves them, data are missing.

    Args:
        num_packets: of the stream.
        times: theirs, as far as they are known.
        last: its last packet.
    """
    count, frames = num_packets, stream.frames
    if last is not None and last.is_corrupt:
        raise DataError(f"{path} is cut off after {count - 1}{f' of {frames}' if frames else ''} frames; copy it again")
    check_length(path, container, has_all=frames <= count if frames else container.format.name == "avi")
    lacks = f"its header promises {frames} frames, it has {count}" if frames > count else ""
    if lacks or ends_early(container, stream, times) or has_gap(stream, times) or ends_in_zeros(path, stream, last):
        refuse_zeros(path, lacks)
    return lacks


def check_length(path: str, container: InputContainer, *, has_all: bool) -> None:
    """Raise DataError for a file that is shorter than it says, unless all the frames it promises are there.

    A number of frames of 0 says in AVI that the file was never finished: of it what is there is read.
    """
    promised = promised_size(path, container.format.name.split(",")[0]) or 0
    present = Path(path).stat().st_size
    if present < promised and not has_all:
        raise DataError(f"{path} is cut off: it has {present:,} of {promised:,} bytes; copy it again")


def ends_early(container: InputContainer, stream: VideoStream, times: Sequence[int]) -> bool:
    """Whether the pictures end more than a second before the file says: sound may go on, or data are missing."""
    if not times or not container.duration or stream.time_base is None:
        return False
    duration, start = container.duration / 1e6, (container.start_time or 0) / 1e6
    end = float(max(times) * stream.time_base) - start
    return duration - end > max(1.0, 0.05 * duration)


def has_gap(stream: VideoStream, times: Sequence[int]) -> bool:
    """Whether there is no picture for much longer than usual: the camera may have paused, or data are missing."""
    steps = [b - a for a, b in pairwise(sorted(times))]
    if not steps or stream.time_base is None:
        return False
    longest = max(steps)
    return longest * stream.time_base > LONG_GAP and longest > MANY * median(steps)


def ends_in_zeros(path: str, stream: VideoStream, last: Packet | None) -> bool:
    """Whether the last packet, or the file, ends the data with nothing but zeros, and they are no pictures."""
    if stream.codec_context.name in UNCODED:
        return False
    if last is not None and not any(memoryview(last)[:SLACK]):
        return True
    with Path(path).open("rb") as file:
        file.seek(max(0, Path(path).stat().st_size - BLOCK))
        return not any(file.read())


def refuse_zeros(path: str, lacks: str = "") -> None:
    """Raise DataError if a whole block of a file is zeros, where neither sound nor a picture has them."""
    zeros = zero_blocks(path)
    if not zeros.size:
        return
    starts, stops = explained(path, header_too=not lacks)
    nearest = np.searchsorted(starts, zeros, side="right") - 1
    zeros = zeros[stops[nearest] < zeros + BLOCK]
    if zeros.size:
        raise DataError(
            f"{path} lacks data from byte {zeros[0]:,} on, where there are only zeros, as in an unfinished "
            f"download{lacks and ': '}{lacks}; copy it again"
        )


def zero_blocks(path: str) -> np.ndarray:
    """(blocks,) int64: where those that are all zeros begin."""
    found, at = [np.empty(0, dtype=np.int64)], 0
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK):
            whole = np.frombuffer(chunk, dtype=np.uint8)[: len(chunk) // BLOCK * BLOCK].reshape(-1, BLOCK)
            found.append(np.flatnonzero(~whole.any(axis=1)) * BLOCK + at)
            at += len(chunk)
    return np.concatenate(found)


def explained(path: str, *, header_too: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where zeros mean nothing: the starts and the stops of those parts of a file, in order, none touching the next.

    They are packets of other streams than the best video, pictures that may hold zeros, and, if `header_too`, what
    comes before the first packet: room that a writer has left.
    """
    parts: list[list[int]] = []
    first = None
    with open_container(path) as container:
        best = container.streams.best("video")
        for start, packet in positioned(container):
            first = start if first is None else min(first, start)
            if packet.stream is not best or may_be_zeros(packet):
                parts.append([start - SLACK, start + packet.size + SLACK])
    merged = [[-1, first if header_too and first else 0]]
    for start, stop in sorted(parts):
        if start <= merged[-1][1]:
            merged[-1][1] = max(stop, merged[-1][1])
        else:
            merged.append([start, stop])
    starts, stops = np.array(merged, dtype=np.int64).T
    return starts, stops


def positioned(container: InputContainer) -> Iterator[tuple[int, Packet]]:
    """The packets of all streams whose place in the file is known, as far as the file can be read."""
    try:
        for packet in demuxed(container, *container.streams):
            if packet.size and packet.pos is not None and packet.pos >= 0:
                yield packet.pos, packet
    except FFmpegError:
        return


def may_be_zeros(packet: Packet) -> bool:
    """Whether zeros in a picture may be as its encoder left them."""
    codec = packet.stream.codec_context
    name = codec.name if codec is not None else ""
    return name in UNCODED or (name not in NEVER_ZEROS and any(memoryview(packet)[:SLACK]))

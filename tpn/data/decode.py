"""Frames of a video file by number: exact, each needed frame decoded once, what nothing needs skipped."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from tpn.data.containers import promised_size
from tpn.data.frames import MAX_PIXELS, stack
from tpn.data.packets import PacketIndex, Span
from tpn.data.paths import kind_of
from tpn.errors import DataError

# Containers that store when each packet is shown, and codecs whose every packet shows one frame. Elsewhere (AVI, raw
# streams, VP8's hidden frames) packets tell neither the number of the frames nor their order: only decoding does.
TIMED_CONTAINERS = {"mov", "matroska", "flv"}
TIMED_CODECS = {"h264", "hevc", "vp9", "av1", "libdav1d", "mpeg4", "mjpeg"}

KEPT_PIXELS = 1 << 25  # of a file whose frames are numbered by decoding them: so many are not decoded twice (48 MiB)

# What FFmpeg may open: containers, not playlists, which would make it open what they name.
OPENING = {
    "max_pixels": str(MAX_PIXELS),
    "protocol_whitelist": "file",
    "format_whitelist": "mov,matroska,avi,flv,mpegts,mpeg,mpegvideo,h264,hevc,m4v,obu,ivf,asf,ogg,rm,mxf,dv,nut,gif",
}


class VideoFile:
    """The frames of one video file, numbered 0 .. len-1 in display order.

    They are what decoding the whole file in order gives, bit for bit, without decoding all of it. Frames come as
    stored: rotation metadata is not applied, as in the reference. Colours follow the file's tags (BT.601 without any).

    Example::

        with VideoFile("clip.mp4") as video:
            frames = video.read([0, 8, 16])  # (3, H, W, 3) uint8 RGB

    Raises:
        DataError: the file is missing, empty, damaged, cut off, or holds no video.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._reformatter = VideoReformatter()
        self._kept: list[VideoFrame] = []
        self._check_file()
        self._open()
        try:
            self._timed = self._build_index()
            self._num_frames = len(self._index.shown) if self._timed else self._count_by_decoding()
            if not self._num_frames:
                raise self._error(f"holds no frame that decodes, of at most {MAX_PIXELS:,} pixels; replace the file")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return self._num_frames

    @property
    def frame_rate(self) -> float:
        """Frames per second, on average; 0 where the file does not say."""
        return float(self._stream.average_rate or 0)

    def close(self) -> None:
        """Release the file, its decoder and the frames kept."""
        self._container.close()
        self._kept.clear()

    def read(self, indices: np.ndarray | list[int]) -> np.ndarray:
        """The frames of these numbers.

        Args:
            indices: (F,) frame numbers, each once, rising.

        Returns:
            (F, H, W, 3) uint8 RGB.

        Raises:
            DataError: a frame does not decode, or the picture size changes between the frames.
        """
        return stack(self, indices)

    def each(self, indices: np.ndarray | list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The frames of these rising numbers one by one, as `tpn.data.frames.Frames` has it; errors as of `read`."""
        wanted = [int(index) for index in indices]
        if not wanted or wanted[0] < 0 or wanted[-1] >= len(self) or wanted != sorted(set(wanted)):
            raise ValueError(f"expected rising frame numbers in 0..{len(self) - 1}, got {wanted}")
        missing = set(wanted)
        if self._timed:
            missing = yield from self._pick(self._decode_near(wanted), wanted)
        if missing:  # the decoder did not deliver what the packets promise: leave nothing out
            missing = yield from self._pick(self._decode_from_start(), wanted)
        if missing:
            raise self._error(
                f"is damaged: {len(missing)} of the {len(wanted)} frames needed do not decode "
                f"(the first is frame {min(missing)} of {len(self)}); re-encode or replace the file"
            )

    def pictures(self) -> Iterator[VideoFrame]:
        """Frames 0, 1, 2, … as the decoder gives them, colours not converted. Raises DataError where one is missing."""
        count = 0
        for number, frame in self._decode_from_start():
            if number > count:
                break
            if number == count:
                count += 1
                yield frame
        if count < len(self):
            raise self._error(
                f"is damaged: frame {count} of {len(self)} does not decode; re-encode or replace the file"
            )

    # --------------------------------------------------------------------------------------------------- decoding

    def _pick(
        self, frames: Iterator[tuple[int, VideoFrame]], wanted: list[int]
    ) -> Generator[tuple[int, np.ndarray], None, set[int]]:
        """The wanted frames as RGB, each with its number; decodes no further than the last, returns what did not come.

        One thread converts: starting others for pictures of this size costs more than the conversion.
        """
        missing, size = set(wanted), None
        for number, frame in frames:
            if number in missing:
                if size not in (None, (frame.width, frame.height)):
                    raise self._error(f"changes its picture size before frame {number}; re-encode it to one size")
                size = frame.width, frame.height
                missing.remove(number)
                yield number, self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
            if not missing:
                break
        return missing

    def _decode_near(self, wanted: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Decode from the keyframes before the wanted frames; leave out what no other frame refers to."""
        number_of = {self._index.time_of(number): number for number in wanted}
        skips = self._knows_unreferenced()
        for span in self._index.spans(wanted):
            for packet in chain(self._packets(span), [None]):  # None: hand out the frames still held back
                if packet is not None and skips:
                    self._codec.skip_frame = "DEFAULT" if packet.pts in number_of else "NONREF"
                for frame in self._decode(packet):
                    if frame.pts in number_of:
                        yield number_of[frame.pts], frame

    def _count_by_decoding(self) -> int:
        """The number of frames where only decoding tells it; all of them are kept if they are few and small."""
        count = pixels = 0
        for number, frame in self._decode_from_start():
            count, pixels = number + 1, pixels + max(frame.width * frame.height, 1 << 12)  # a tiny one has a cost, too
            self._kept.append(frame)
            if pixels > KEPT_PIXELS:
                self._kept.clear()
        return count

    def _decode_from_start(self) -> Iterator[tuple[int, VideoFrame]]:
        """Every frame in order, decoded if it is not kept: slow, and right for any file that decodes at all."""
        if self._kept:
            yield from enumerate(self._kept)
            return
        self._reopen()
        number_of = {self._index.time_of(number): number for number in range(len(self))} if self._timed else {}
        count = 0
        for packet in chain(self._demux(), [None]):
            for frame in self._decode(packet):
                yield number_of.get(frame.pts, -1) if self._timed else count, frame
                count += 1

    def _decode(self, packet: Packet | None) -> list[VideoFrame]:
        """The frames that come out once `packet` has gone in; none if it is damaged."""
        try:
            return self._codec.decode(packet)
        except FFmpegError:
            return []

    def _packets(self, span: Span) -> Iterator[Packet]:
        """The packets of a span."""
        first, packets = self._seek(span.start)
        for position, packet in enumerate(packets, first):
            if position >= span.stop:
                return
            if position >= span.start:
                yield packet

    def _seek(self, position: int) -> tuple[int, Iterator[Packet]]:
        """Packets from `position` or earlier on, and the position of the first of them.

        Where a seek fails, or lands on an unknown packet or too late, they come from the start of the file.
        """
        try:
            self._container.seek(self._index.seek_times[position] or 0, stream=self._stream)
            packets = self._demux()
            landed = next(packets)
        except (FFmpegError, StopIteration):
            pass
        else:
            first = self._index.position_of.get(landed.pts)
            if first is not None and first <= position:
                return first, chain([landed], packets)
        self._reopen()
        return 0, self._demux()

    def _demux(self) -> Iterator[Packet]:
        """The stream's packets from here on, without the empty one that marks the end."""
        return (packet for packet in self._container.demux(self._stream) if packet.size)

    def _knows_unreferenced(self) -> bool:
        """Whether what is marked as unreferenced is: in HEVC a higher temporal layer may still refer to it."""
        if self._codec.name != "hevc":
            return True
        header = self._codec.extradata or b""
        return len(header) > 21 and (header[21] >> 3) & 7 == 1  # numTemporalLayers in the hvcC record

    # ----------------------------------------------------------------------------------------- opening and checking

    def _check_file(self) -> None:
        kind = kind_of(self.path)
        if kind is None:
            raise self._error("does not exist; correct the list file or data_prefix")
        if kind != "file":
            raise self._error(f"is not a file but a {kind}; folders of frames need format 'rawframes'")
        if not Path(self.path).stat().st_size:
            raise self._error("is empty (0 bytes); replace the file, or leave it out")

    def _open(self) -> None:
        """Open the file and its decoder: one thread, since the loader's workers already fill the cores."""
        try:  # 'file:': a name like 'a:b.mp4' is not to be taken for an address
            self._container = av.open(f"file:{self.path}", options=OPENING, metadata_errors="replace")
        except PermissionError as error:
            raise self._error(f"cannot be read ({error.strerror}); change its permissions") from None
        except FFmpegError as error:
            raise self._error(
                f"is damaged, cut off or not a video ({error.strerror}); replace the file, or leave it out"
            ) from None
        stream = self._container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
            self.close()
            raise self._error("has no video stream (only sound?); replace the file, or leave it out")
        if stream.codec_context is None:
            self.close()
            raise self._error("is damaged, or of a codec that FFmpeg does not know; re-encode or replace the file")
        self._stream, self._codec = stream, stream.codec_context
        self._codec.thread_count = 1
        self._codec.options = {"max_pixels": str(MAX_PIXELS)}
        if self._codec.width * self._codec.height > MAX_PIXELS:
            size = f"{self._codec.width}x{self._codec.height}"
            self.close()
            raise self._error(f"has frames of {size}, more than {MAX_PIXELS:,} pixels; scale it down")

    def _reopen(self) -> None:
        self.close()
        self._open()

    def _build_index(self) -> bool:
        """Index all packets, which stay compressed; True if they tell the number and the order of the frames."""
        self._index = PacketIndex()
        try:
            for packet in self._demux():
                self._index.add(packet)
        except FFmpegError as error:
            raise self._error(f"cannot be read to its end ({error.strerror}); replace the file") from None
        if self._index.cut_off:
            promised = f" of {self._stream.frames}" if self._stream.frames else ""
            raise self._error(f"is cut off after {len(self._index.times) - 1}{promised} frames; copy it again")
        container = self._container.format.name.split(",")[0]
        self._check_length(container)
        return container in TIMED_CONTAINERS and self._codec.name in TIMED_CODECS and self._index.sort()

    def _check_length(self, container: str) -> None:
        """Raise DataError for a file that is shorter than it says, unless all the frames it promises are there."""
        promised, present = promised_size(self.path, container) or 0, Path(self.path).stat().st_size
        frames = self._stream.frames
        has_all = frames <= len(self._index.times) if frames else container == "avi"  # 0 in AVI: it was never finished
        if present < promised and not has_all:
            raise self._error(f"is cut off: it has {present:,} of {promised:,} bytes; copy it again")

    def _error(self, problem: str) -> DataError:
        return DataError(f"{self.path} {problem}")

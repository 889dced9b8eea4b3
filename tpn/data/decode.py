"""Frames of a video file by number: exact, each needed frame decoded once, what nothing needs skipped."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import TracebackType

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from tpn.data.colours import as_rgb, with_convertible_matrix
from tpn.data.display import UPRIGHT, Rotation, Turn, turn_of
from tpn.data.frames import MAX_PIXELS, stack
from tpn.data.packet_source import PacketSource
from tpn.data.packets import Doubt, Groups, Order
from tpn.errors import DataError

KEPT_PIXELS = 1 << 25  # of a file whose frames are numbered by decoding them: so many are not decoded twice (48 MiB)


class VideoFile:
    """The frames of one video file, numbered 0 .. len-1 in display order.

    They are what decoding the whole file in order gives, bit for bit, without decoding all of it. Colours follow the
    file's tags (BT.601 without any).

    Args:
        rotation: 'apply' turns frames as the file asks to show them (quarter turns and mirrorings), as decord, OpenCV
            and ffmpeg do; 'ignore' gives them as stored.

    Example::

        with VideoFile("clip.mp4") as video:
            frames = video.read([0, 8, 16])  # (3, H, W, 3) uint8 RGB

    Raises:
        DataError: the file is missing, empty, damaged, cut off, or holds no video.
    """

    def __init__(self, path: str | Path, *, rotation: Rotation = "apply") -> None:
        self.path = str(path)
        self.rotation = rotation
        self.turn: Turn | None = UPRIGHT
        """How the file asks to turn the frame read last; None: by an angle that is no quarter turn."""
        self._look: tuple[int, int, bool] | None = None  # width, height, and whether they are exchanged to be shown
        self._reformatter = VideoReformatter()
        self._kept: list[VideoFrame] = []
        with told(self.path):
            self._source = PacketSource(self.path)
        self._announced = self._source.codec.width, self._source.codec.height
        try:
            self._numbering = self._source.index.numbering()
            with told(self.path):
                self._num_frames = len(self._numbering) if self._numbering else self._count_by_decoding()
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
        """Frames per second, on average, by the times of the packets, since headers may be wrong; 0 if unknown."""
        announced = float(self._source.stream.average_rate or 0)
        seconds = self._source.seconds
        counted = len(self) / seconds if seconds else announced
        return announced if abs(announced - counted) < 0.01 * counted else counted

    @property
    def remark(self) -> str:
        """What of the file may be missing, by its own header; '' for nothing."""
        return self._source.remark

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel by its height; 1 where the file does not say. Frames are given as stored all the same."""
        return Fraction(self._source.stream.sample_aspect_ratio or 1)

    def close(self) -> None:
        """Release the file, its decoder and the frames kept."""
        self._source.close()
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
        if self._source.is_closed:
            raise self._error("is closed; open it again")
        with told(self.path):
            yield from self._each(wanted)

    def pictures(self) -> Iterator[VideoFrame]:
        """Frames 0, 1, 2, … as the decoder gives them, neither converted nor turned.

        `turn` is then that of the frame given last. Raises DataError where one is missing or damaged.
        """
        if self._source.is_closed:
            raise self._error("is closed; open it again")
        with told(self.path):
            yield from self._pictures()

    # --------------------------------------------------------------------------------------------------- decoding

    def _each(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """As `each`, but errors of FFmpeg and PyAV are raised as they are."""
        missing, self._look = set(wanted), None
        try:
            if isinstance(self._numbering, Order):
                missing = yield from self._pick(self._decode_near(self._numbering, wanted), wanted)
            elif self._numbering is not None:
                missing = yield from self._pick(self._decode_groups(self._numbering, wanted), wanted)
        except Doubt:
            self._numbering = None
        if missing:  # the decoder did not deliver what the packets promise: leave nothing out
            missing = yield from self._pick(self._decode_from_start(), wanted)
        if missing:
            raise self._error(
                f"is damaged: {len(missing)} of the {len(wanted)} frames needed do not decode "
                f"(the first is frame {min(missing)} of {len(self)}); re-encode or replace the file"
            )

    def _pictures(self) -> Iterator[VideoFrame]:
        """As `pictures`, but errors of FFmpeg and PyAV are raised as they are."""
        count, keyframe_turn, self._look = 0, UPRIGHT, None
        for number, frame in self._decode_from_start():
            if number > count:
                break
            if number == count:
                if frame.is_corrupt:
                    raise self._corrupt(number)
                self.turn = turn_of(frame, keyframe_turn)
                keyframe_turn = self.turn if frame.key_frame else keyframe_turn
                self._check_look(number, frame)
                count += 1
                yield frame
        if count < len(self):
            raise self._error(
                f"is damaged: frame {count} of {len(self)} does not decode; re-encode or replace the file"
            )

    def _pick(
        self, frames: Iterator[tuple[int, VideoFrame]], wanted: list[int]
    ) -> Generator[tuple[int, np.ndarray], None, set[int]]:
        """The wanted frames as RGB, with their numbers; decodes no further than the last, returns what did not come."""
        missing, keyframe_turn, is_corrupt = set(wanted), UPRIGHT, False
        for number, frame in frames:
            if frame.key_frame or number in missing:
                self.turn = turn_of(frame, keyframe_turn)
                keyframe_turn = self.turn if frame.key_frame else keyframe_turn
            is_corrupt = frame.is_corrupt or (is_corrupt and not frame.key_frame)  # what refers to it is no better
            if number in missing:
                if is_corrupt:
                    raise self._corrupt(number)
                self._check_look(number, frame)
                missing.remove(number)
                yield number, self._shown(frame)
            if not missing:
                break
        return missing

    def _shown(self, frame: VideoFrame) -> np.ndarray:
        """A frame as (H, W, 3) uint8 RGB, turned as the file asks."""
        image = as_rgb(frame, self._reformatter, self.path)
        return self.turn(image) if self.turn and self.rotation == "apply" else image

    def _decode_near(self, order: Order, wanted: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Decode from the keyframes before the wanted frames; leave out what no other frame refers to."""
        needed = {order.positions[number] for number in wanted}
        skips = self._knows_unreferenced()
        for span in order.spans(wanted):
            latest = -1
            for packet in chain(self._source.span(span), [None]):  # None: hand out the frames still held back
                if packet is not None and skips:
                    self._source.codec.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
                for frame in self._decode(packet):
                    number = self._number_of.get(frame.pts, -1)
                    if -1 < number <= latest:  # the decoder shows them in another order
                        raise Doubt
                    if self._source.codec.name == "mjpeg" and (frame.width, frame.height) != self._announced:
                        raise Doubt  # starting at a smaller picture, it takes two of them for the fields of one
                    latest = max(number, latest)
                    yield number, frame

    def _decode_groups(self, groups: Groups, wanted: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Decode the groups of the wanted frames from their keyframes on, and number the frames as they come."""
        depth = self._source.codec.reorder_depth
        for span in groups.spans(wanted):
            number = groups.shown[span.first]
            for position, packet in enumerate(chain(self._source.span(span), [None]), span.start):
                for frame in self._decode(packet):
                    if frame.pts is not None and frame.pts >= span.first:
                        yield number, frame
                        number += 1
                held = groups.shown[min(position + 1, span.stop)] - number
                if held > (depth if packet else 0):  # more than the decoder holds back: one did not decode
                    raise Doubt

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
        count, by_position = 0, isinstance(self._numbering, Order)
        for packet in chain(self._source.all(), [None]):
            for frame in self._decode(packet):
                yield self._number_of.get(frame.pts, -1) if by_position else count, frame
                count += 1

    @cached_property
    def _number_of(self) -> dict[int | None, int]:
        """The number of the frame of each packet that shows one, by its position."""
        assert isinstance(self._numbering, Order)
        return {position: number for number, position in enumerate(self._numbering.positions)}

    def _decode(self, packet: Packet | None) -> list[VideoFrame]:
        """The frames that come out once `packet` has gone in; none if it is damaged."""
        try:
            return [with_convertible_matrix(frame) for frame in self._source.codec.decode(packet)]
        except FFmpegError:
            return []

    def _knows_unreferenced(self) -> bool:
        """Whether what is marked as unreferenced is: in HEVC a higher temporal layer may still refer to it."""
        codec = self._source.codec
        if codec.name != "hevc":
            return True
        header = codec.extradata or b""
        return len(header) > 21 and (header[21] >> 3) & 7 == 1  # numTemporalLayers in the hvcC record

    def _check_look(self, number: int, frame: VideoFrame) -> None:
        """Raise DataError if a frame to be shown is of another size than those before it, or lies where they stand."""
        transposed = self.rotation == "apply" and self.turn is not None and self.turn.transposed
        look = frame.width, frame.height, transposed
        first, self._look = self._look or look, look
        if look[:2] != first[:2]:
            raise self._error(f"changes its picture size before frame {number}; re-encode it to one size")
        if look != first:
            raise self._error(
                f"turns its pictures by another angle from frame {number} on; re-encode it, or set "
                "data.rotation='ignore'"
            )

    def _corrupt(self, number: int) -> DataError:
        return self._error(
            f"is damaged or encrypted: frame {number} of {len(self)} decodes with errors; re-encode or replace the file"
        )

    def _error(self, problem: str) -> DataError:
        return DataError(f"{self.path} {problem}")


@contextmanager
def told(path: str) -> Iterator[None]:
    """Raise what FFmpeg and PyAV cannot read, in whatever way they say so, as DataError.

    PyAV's own errors are ValueError where FFmpeg gives a value, and IndexError where it gives a number, unknown to it.
    """
    try:
        yield
    except MemoryError:
        raise
    except (FFmpegError, ValueError, IndexError) as error:
        reason = error.strerror if isinstance(error, FFmpegError) else error
        raise DataError(f"{path} cannot be read ({reason}); re-encode or replace the file") from error

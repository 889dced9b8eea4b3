"""Frames by number: what a video is to the rest of the package, and the folder of images that behaves like one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from tpn.data.frame_folders import frame_numbers, numbering_fix
from tpn.data.paths import kind_of, out_of_reach
from tpn.errors import DataError

MAX_PIXELS = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])  # of a frame: more are not decoded


class Frames(Protocol):
    """A video: frames numbered 0 .. len-1."""

    @property
    def path(self) -> str | Path: ...

    def __len__(self) -> int: ...

    def each(self, indices: np.ndarray | list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The frames of these rising numbers one by one: the number, (H, W, 3) uint8 RGB, all of one size.

        So each is cut to what is needed while it is in the processor's cache. They come in any order, and one may come
        again where decoding had to be started anew: the later one counts.
        """
        ...


def stack(video: Frames, indices: np.ndarray | list[int]) -> np.ndarray:
    """The frames of these rising numbers as one array: (F, H, W, 3) uint8 RGB."""
    place = {int(index): at for at, index in enumerate(indices)}
    frames = None
    for number, image in video.each(indices):
        if frames is None:
            frames = np.empty((len(place), *image.shape), dtype=np.uint8)
        frames[place[number]] = image
    assert frames is not None
    return frames


class FrameFolder:
    """The frames of one video stored as images, numbered 0 .. len-1 whatever the first file is called.

    Args:
        path: the folder.
        num_frames: as the list file says.
        filename_tmpl: name of a frame's file, with its number to fill in: 'img_{:05}.jpg'.
        start_index: the number in the name of frame 0.

    Raises:
        DataError: on reading, a file that is missing or no image.
    """

    def __init__(self, path: str | Path, *, num_frames: int, filename_tmpl: str, start_index: int) -> None:
        self.path = Path(path)
        self.num_frames = num_frames
        self.filename_tmpl = filename_tmpl
        self.start_index = start_index

    def __enter__(self) -> FrameFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing stays open."""

    def __len__(self) -> int:
        return self.num_frames

    def read(self, indices: np.ndarray | list[int]) -> np.ndarray:
        """The frames of these numbers: (F, H, W, 3) uint8 RGB."""
        return stack(self, indices)

    def each(self, indices: np.ndarray | list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The frames of these numbers one by one, as `Frames` has it."""
        size = None
        for index in map(int, indices):
            image = self._read_one(index)
            if size not in (None, _size(image)):
                raise DataError(f"{self._file(index)} is {_size(image)}, its neighbours are {size}; resize it")
            size = _size(image)
            yield index, image

    def _file(self, index: int) -> Path:
        return self.path / self.filename_tmpl.format(index + self.start_index)

    def _read_one(self, index: int) -> np.ndarray:
        file = self._file(index)
        kind = kind_of(file)
        if kind == "out of reach":
            raise DataError(out_of_reach(file))
        try:
            data = np.fromfile(file, dtype=np.uint8) if kind == "file" else None  # a pipe never answers
        except PermissionError as error:
            raise DataError(f"{file} cannot be read ({error.strerror}); change its permissions") from None
        except OSError:
            data = None
        if data is None:
            raise self._missing(file)
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
        except cv2.error as error:
            if error.code == cv2.Error.STS_NO_MEM:
                raise MemoryError from error
            # It has more pixels than `tpn` has told OpenCV to accept.
            raise DataError(f"{file} has more than {MAX_PIXELS:,} pixels; scale the frames down") from None
        if image is None:
            raise DataError(f"{file} is not an image that can be decoded; extract the frames of this video again")
        return image

    def _missing(self, file: Path) -> DataError:
        """The error of a file that cannot be read: it names the settings that made its name, and a better one."""
        try:
            numbers = frame_numbers(self.path, self.filename_tmpl)
        except DataError as error:
            return error
        fix = numbering_fix(self.path, numbers, self.num_frames, self.filename_tmpl, self.start_index)
        return DataError(
            f"{file} cannot be read: the list file gives its folder {self.num_frames} frames, named "
            f"filename_tmpl={self.filename_tmpl!r} from start_index={self.start_index} on; "
            f"{fix or 'correct the wrong one'}"
        )


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"

"""Frames by number: what a video is to the rest of the package, and the folder of images that behaves like one."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from tpn.errors import DataError


class Frames(Protocol):
    """A video: frames numbered 0 .. len-1."""

    @property
    def path(self) -> str | Path: ...

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray | list[int]) -> np.ndarray:
        """The frames of these rising numbers: (F, H, W, 3) uint8 RGB."""
        ...


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
        images = [self._read_one(int(index)) for index in indices]
        for index, image in zip(indices, images, strict=True):
            if image.shape != images[0].shape:
                raise DataError(
                    f"{self._file(int(index))} is {_size(image)}, its neighbours are {_size(images[0])}; resize it"
                )
        return np.stack(images)

    def _file(self, index: int) -> Path:
        return self.path / self.filename_tmpl.format(index + self.start_index)

    def _read_one(self, index: int) -> np.ndarray:
        file = self._file(index)
        try:
            data = np.fromfile(file, dtype=np.uint8)
        except OSError:
            raise DataError(
                f"{file} cannot be read: the list file gives its folder {self.num_frames} frames, named "
                f"filename_tmpl={self.filename_tmpl!r} from start_index={self.start_index} on; correct the wrong one"
            ) from None
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        if image is None:
            raise DataError(f"{file} is not an image that can be decoded; extract the frames of this video again")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def count_frames(path: str | Path, *, filename_tmpl: str, start_index: int) -> int:
    """How many frames a folder has, counted from `start_index` up to the first that is missing."""
    names = {file.name for file in Path(path).iterdir()}
    numbers = range(start_index, start_index + len(names))
    return sum(1 for _ in itertools.takewhile(lambda number: filename_tmpl.format(number) in names, numbers))

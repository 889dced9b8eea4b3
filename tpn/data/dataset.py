"""A data set: the samples of a list file, each a function of (seed, epoch, index) and of nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tpn.config.settings import Config
from tpn.data import sampling
from tpn.data.annotations import Record, read_list
from tpn.data.decode import VideoFile
from tpn.data.display import Rotation
from tpn.data.frame_folders import check_first_frames
from tpn.data.frames import FrameFolder, Frames
from tpn.data.transforms import (
    Box,
    center_box,
    corner_boxes,
    multi_scale_crop_box,
    no_jitter,
    random_jitter,
    random_resized_crop_box,
    resize,
    resize_short_side,
    three_boxes,
)
from tpn.errors import DataError

RGB = tuple[float, float, float]
Split = Literal["train", "val", "test"]


class Sample(NamedTuple):
    """One video as the network is to see it, still uint8; flip and jitter are drawn here and applied on the device."""

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    views: Tensor  # (V, T, H, W, 3) uint8
    label: int  # what the views show once flipped
    flip: bool
    jitter_factors: Tensor  # (4,) float32: brightness, contrast, saturation, hue
    jitter_order: Tensor  # (4,) int64


@dataclass(frozen=True, kw_only=True)
class RandomViews:
    """Training: one view of random clips, cut by one random box."""

    clip_len: int
    frame_interval: int
    num_clips: int
    frames_per_view: int
    crop_size: int
    short_side: int | None = None
    dense_range: int | None = None
    out_of_bound: sampling.OutOfBound = "loop"
    area_range: tuple[float, float] = (0.08, 1.0)
    aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3)
    multi_scale_crop: tuple[float, ...] | None = None

    def indices(self, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        """(num_clips, clip_len) frame numbers."""
        if self.dense_range is not None:
            return sampling.dense_train_indices(
                num_frames,
                rng,
                clip_len=self.clip_len,
                frame_interval=self.frame_interval,
                num_clips=self.num_clips,
                dense_range=self.dense_range,
                out_of_bound=self.out_of_bound,
            )
        return sampling.train_indices(
            num_frames,
            rng,
            clip_len=self.clip_len,
            frame_interval=self.frame_interval,
            num_clips=self.num_clips,
            out_of_bound=self.out_of_bound,
        )

    def boxes(self, height: int, width: int, rng: np.random.Generator) -> list[Box]:
        """The one box by which all frames are cut, of frames resized to `short_side`."""
        if self.multi_scale_crop is not None:
            return [multi_scale_crop_box(height, width, rng, self.multi_scale_crop, self.crop_size)]
        return [random_resized_crop_box(height, width, rng, self.area_range, self.aspect_ratio_range)]


@dataclass(frozen=True, kw_only=True)
class FixedViews:
    """Validation, test and prediction: evenly spread clips times one, three or ten crops."""

    clip_len: int
    frame_interval: int
    num_clips: int
    frames_per_view: int
    short_side: int | None
    crop_size: int
    num_crops: Literal[1, 3, 10]
    twice_sample: bool = False
    test_clips: sampling.TestClips = "middle"
    dense_range: int | None = None
    dense_windows: int = 10
    out_of_bound: sampling.OutOfBound = "loop"

    @property
    def num_views(self) -> int:
        """V: crops x clips, where several clips of one frame form one view."""
        times = self.dense_windows if self.dense_range is not None else 2 if self.twice_sample else 1
        return self.num_crops * times * self.num_clips * self.clip_len // self.frames_per_view

    def indices(self, num_frames: int, rng: np.random.Generator | None = None) -> np.ndarray:
        """(clips, clip_len) frame numbers: num_clips, or times two (twice_sample) or the windows. Nothing is drawn."""
        if self.dense_range is not None:
            return sampling.dense_test_indices(
                num_frames,
                clip_len=self.clip_len,
                frame_interval=self.frame_interval,
                num_clips=self.num_clips,
                dense_range=self.dense_range,
                dense_windows=self.dense_windows,
                out_of_bound=self.out_of_bound,
            )
        return sampling.test_indices(
            num_frames,
            clip_len=self.clip_len,
            frame_interval=self.frame_interval,
            num_clips=self.num_clips,
            twice_sample=self.twice_sample,
            test_clips=self.test_clips,
            out_of_bound=self.out_of_bound,
        )

    def boxes(self, height: int, width: int, rng: np.random.Generator | None = None) -> list[Box]:
        """The num_crops boxes of frames resized to `short_side`; ValueError for frames smaller than the crop."""
        size = self.crop_size
        if size > min(height, width):
            raise ValueError(f"crops of {size} do not fit into its {width}x{height} frames; set data.short_side")
        if self.num_crops == 1:
            return [center_box(height, width, size)]
        if self.num_crops == 3:
            return three_boxes(height, width, size)
        return [
            box._replace(mirrored=mirrored) for box in corner_boxes(height, width, size) for mirrored in (False, True)
        ]


Views = RandomViews | FixedViews


def open_record(
    record: Record, *, filename_tmpl: str, start_index: int, rotation: Rotation = "apply"
) -> VideoFile | FrameFolder:
    """A record's frames: of its video file, or of its folder where the list gives their number.

    Raises DataError for a file that is no video; a folder is looked at when its frames are read.
    """
    if record.num_frames is None:
        return VideoFile(record.path, rotation=rotation)
    return FrameFolder(record.path, num_frames=record.num_frames, filename_tmpl=filename_tmpl, start_index=start_index)


def read_views(video: Frames, views: Views, rng: np.random.Generator | None = None) -> np.ndarray:
    """Read one video as views: each frame is decoded, resized and cut once, however many clips show it.

    Args:
        rng: what RandomViews draw from; FixedViews need none.

    Returns:
        (V, T, H, W, 3) uint8; V = num_crops x clips, crop-major: all clips of the first crop, then of the next.

    Raises:
        DataError: the video cannot be read.
    """
    rng = np.random.default_rng(rng)
    indices = views.indices(len(video), rng)  # (num_clips, clip_len)
    size = views.crop_size
    boxes: list[Box] = []
    shown = np.empty((0, 0, size, size, 3), dtype=np.uint8)
    for number, frame in video.each(np.unique(indices)):
        frame = resize_short_side(frame, views.short_side)  # (H, W, 3)
        if not boxes:
            try:
                boxes = views.boxes(frame.shape[0], frame.shape[1], rng)
            except ValueError as error:
                raise DataError(f"{video.path}: {error}") from None
            shown = np.empty((len(boxes), indices.size, size, size, 3), dtype=np.uint8)
        places = np.flatnonzero(indices == number)  # where the clips show this frame
        for crop, box in zip(shown, boxes, strict=True):
            resize(box.cut(frame), size, size, out=crop[places[0]])
            crop[places[1:]] = crop[places[0]]
    return shown.reshape(-1, views.frames_per_view, size, size, 3)


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoDataset(Dataset[Sample]):
    """The samples of a list of records.

    The key of a sample is (epoch, index). All chance comes from `default_rng([seed, epoch, index])`: a sample is the
    same whichever process makes it, and whatever was made before.
    """

    records: Sequence[Record]
    views: Views
    seed: int
    mean: RGB
    std: RGB
    flip_ratio: float = 0.0
    flip_label_map: Mapping[int, int] = field(default_factory=dict)
    color_jitter: bool = False
    jitter_order: np.ndarray | None = None
    """(4,) int64: the same order of operations for every sample; None: each draws its own."""
    filename_tmpl: str = "img_{:05}.jpg"
    start_index: int = 1
    rotation: Rotation = "apply"

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The sample of (epoch, index). Raises DataError where its video cannot be read."""
        epoch, index = key
        record, rng = self.records[index], np.random.default_rng([self.seed, epoch, index])
        with self.open(record) as video:
            views = read_views(video, self.views, rng)  # (V, T, H, W, 3) uint8
        flip = bool(rng.random() < self.flip_ratio)
        label = self.flip_label_map.get(record.label, record.label) if flip else record.label
        factors, order = random_jitter(rng) if self.color_jitter else no_jitter()
        order = order if self.jitter_order is None else self.jitter_order
        return Sample(index, torch.from_numpy(views), label, flip, torch.from_numpy(factors), torch.from_numpy(order))

    def open(self, record: Record) -> VideoFile | FrameFolder:
        """A record's frames."""
        return open_record(
            record, filename_tmpl=self.filename_tmpl, start_index=self.start_index, rotation=self.rotation
        )


def build_random_views(config: Config) -> RandomViews:
    """The clips and crops of training."""
    data = config.data
    return RandomViews(
        clip_len=data.clip_len,
        frame_interval=data.frame_interval,
        num_clips=data.num_clips,
        frames_per_view=config.frames_per_view,
        crop_size=data.crop_size,
        short_side=data.train_short_side,
        dense_range=data.dense_range,
        out_of_bound=data.out_of_bound,
        area_range=data.area_range,
        aspect_ratio_range=data.aspect_ratio_range,
        multi_scale_crop=data.multi_scale_crop,
    )


def build_fixed_views(config: Config, split: Literal["val", "test"]) -> FixedViews:
    """The clips and crops of validation or test."""
    data = config.data
    settings = data.val if split == "val" else data.test
    return FixedViews(
        clip_len=data.clip_len,
        frame_interval=data.frame_interval,
        num_clips=settings.num_clips or data.num_clips,
        frames_per_view=config.frames_per_view,
        short_side=data.short_side,
        crop_size=settings.crop_size or data.crop_size,
        num_crops=settings.num_crops,
        twice_sample=settings.twice_sample,
        test_clips=data.test_clips,
        dense_range=data.dense_range,
        dense_windows=data.dense_windows,
        out_of_bound=data.out_of_bound,
    )


def build_dataset(config: Config, split: Split, *, seed: int, labelled: bool = True) -> VideoDataset:
    """The data set of a split. Raises DataError for its list.

    labelled: whether the list ends its lines with labels, which videos whose features are wanted need not have.
    """
    data, num_classes = config.data, config.model.cls_head.num_classes
    settings = {"train": data.train, "val": data.val, "test": data.test}[split]
    max_bad = {"train": data.max_bad, "val": data.val.max_bad, "test": data.test.max_bad}[split]
    records = read_list(
        settings.ann_file,
        data_prefix=settings.data_prefix,
        format=data.format,
        num_classes=num_classes,
        labelled=labelled,
        max_missing=max_bad if data.on_error == "skip" else 0.0,
    )
    if data.format == "rawframes":
        check_first_frames(
            settings.ann_file,
            records,
            filename_tmpl=data.filename_tmpl,
            start_index=data.start_index,
            max_bad=max_bad if data.on_error == "skip" else 0.0,
        )
    train, restores = split == "train", config.compat.restores
    return VideoDataset(
        records=records,
        views=build_random_views(config) if split == "train" else build_fixed_views(config, split),
        seed=seed,
        mean=data.mean,
        std=data.std,
        flip_ratio=data.flip_ratio if train else 0.0,
        flip_label_map={} if restores("flip_without_label_map") else data.flip_label_map,
        color_jitter=data.color_jitter and (train or (split == "val" and restores("val_color_jitter"))),
        jitter_order=np.random.default_rng(seed).permutation(4) if restores("fixed_jitter_order") else None,
        filename_tmpl=data.filename_tmpl,
        start_index=data.start_index,
        rotation=data.rotation,
    )

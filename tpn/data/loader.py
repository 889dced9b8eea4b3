"""Batches: which samples each process gets, in what order, and the worker processes that make them.

An epoch is a permutation of the records that follows from (seed, epoch). It is cut into global batches, each of which
is shared out over the processes (ranks). Where an epoch stands is the number of records consumed by all ranks together,
so it can be continued from there by another number of processes or workers: every record is seen exactly once.
"""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from tpn.data.dataset import Sample, VideoDataset
from tpn.errors import DataError

Key = tuple[int, int]  # (epoch, index)


class Batch(NamedTuple):
    """Samples of one rank, stacked: the fields of Sample, and where they stand in the global batch and in the epoch."""

    index: Tensor  # (B,) int64  # pyright: ignore[reportIncompatibleMethodOverride]
    views: Tensor  # (B, V, T, H, W, 3) uint8
    label: Tensor  # (B,) int64
    flip: Tensor  # (B,) bool
    jitter_factors: Tensor  # (B, 4) float32
    jitter_order: Tensor  # (B, 4) int64
    share: float = 1.0
    """B x world_size / size of the global batch: mean losses times it, averaged over the ranks, give the true mean."""
    position: int = 0
    """Records of the epoch consumed by all ranks once this batch is: the `start` to continue from."""


class Failure(NamedTuple):
    """What a worker sends instead of a sample whose video cannot be read."""

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    message: str


# ----------------------------------------------------------------------------------------------- the order of an epoch


def epoch_order(num_records: int, *, seed: int, epoch: int) -> np.ndarray:
    """(num_records,) int64: the permutation of the records in this epoch."""
    # num_records is the index of no record, so this stream is none of the samples' streams.
    return np.random.default_rng([seed, epoch, num_records]).permutation(num_records)


def global_batches(num_records: int, *, batch_size: int, world_size: int, start: int = 0) -> list[slice]:
    """Where an epoch's order is cut, from record `start` on: batch_size * world_size records each.

    The last batch is smaller. A last batch too small to give every rank a record joins the one before it; where there
    is none before it (an epoch continued by more ranks than records remain) it is left out.
    """
    bounds = [*range(start, num_records, batch_size * world_size), num_records]
    if len(bounds) > 2 and bounds[-1] - bounds[-2] < world_size:
        del bounds[-2]
    batches = [slice(first, last) for first, last in pairwise(bounds)]
    return [batch for batch in batches if batch.stop - batch.start >= world_size]


def shares(order: np.ndarray, cuts: list[slice], *, rank: int, world_size: int) -> list[np.ndarray]:
    """The indices of this rank's batches: its contiguous part of each global batch, equal within one record."""
    return [np.array_split(order[cut], world_size)[rank] for cut in cuts]


# ------------------------------------------------------------------------------------------------------- the loaders


def raise_failure(failure: Failure) -> None:
    """The default for a video that cannot be read: the DataError it made, in the main process."""
    raise DataError(failure.message)


@dataclass(frozen=True, kw_only=True)
class TrainLoader:
    """The training batches of one rank, epoch by epoch, from worker processes that stay alive in between."""

    loader: DataLoader
    keys: list[list[Key]]  # what `loader` makes next, batch by batch
    num_records: int
    batch_size: int
    seed: int
    rank: int
    world_size: int
    on_failure: Callable[[Failure], None]

    def epoch(self, epoch: int, start: int = 0) -> tuple[int, Iterator[Batch]]:
        """The number of batches of an epoch, and the batches.

        Args:
            start: records of this epoch already consumed by all ranks together.
        """
        cuts = global_batches(self.num_records, batch_size=self.batch_size, world_size=self.world_size, start=start)
        return len(cuts), self._batches(epoch, cuts)

    def _batches(self, epoch: int, cuts: list[slice]) -> Iterator[Batch]:
        order = epoch_order(self.num_records, seed=self.seed, epoch=epoch)
        mine = shares(order, cuts, rank=self.rank, world_size=self.world_size)
        self.keys[:] = [[(epoch, index) for index in indices.tolist()] for indices in mine]
        for cut, (batch, failures) in zip(cuts, self.loader, strict=True):
            for failure in failures:
                self.on_failure(failure)
            if batch is None:  # the other ranks wait for this one's gradient
                raise DataError(f"none of the {len(failures)} videos of a batch can be read: {failures[0].message}")
            share = len(batch.label) * self.world_size / (cut.stop - cut.start)
            yield batch._replace(share=share, position=cut.stop)


@dataclass(frozen=True, kw_only=True)
class EvalLoader:
    """The evaluation batches of one rank."""

    loader: DataLoader
    on_failure: Callable[[Failure], None]

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch, failures in self.loader:
            for failure in failures:
                self.on_failure(failure)
            if batch is not None:
                yield batch


def build_train_loader(
    dataset: VideoDataset,
    *,
    batch_size: int,
    workers: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    on_failure: Callable[[Failure], None] = raise_failure,
) -> TrainLoader:
    """Batches of `batch_size` samples per rank, made by `workers` processes (0: by this one).

    `on_failure` is told of a video that cannot be read; if it returns, the batch comes without that sample.
    """
    if len(dataset) < world_size:
        raise DataError(f"{len(dataset)} training records do not go round {world_size} processes; use fewer processes")
    keys: list[list[Key]] = []
    return TrainLoader(
        loader=_data_loader(dataset, keys, workers=workers, persistent=True),
        keys=keys,
        num_records=len(dataset),
        batch_size=batch_size,
        seed=seed,
        rank=rank,
        world_size=world_size,
        on_failure=on_failure,
    )


def build_eval_loader(
    dataset: VideoDataset,
    *,
    batch_size: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
    on_failure: Callable[[Failure], None] = raise_failure,
) -> EvalLoader:
    """The samples rank, rank + world_size, ... in batches: each video once over all ranks, none padded."""
    mine = range(rank, len(dataset), world_size)
    keys = [[(0, index) for index in mine[at : at + batch_size]] for at in range(0, len(mine), batch_size)]
    return EvalLoader(loader=_data_loader(dataset, keys, workers=workers, persistent=False), on_failure=on_failure)


def to_device(batch: Batch, device: torch.device | str) -> Batch:
    """Send the pixels and labels to the device, without waiting; the rest is read on the CPU."""
    return batch._replace(
        views=batch.views.to(device, non_blocking=True), label=batch.label.to(device, non_blocking=True)
    )


# ------------------------------------------------------------------------------------------------ inside the workers


class Guarded(Dataset[Sample | Failure]):
    """A data set whose unreadable videos come as values: raised in a worker, an error arrives wrapped in tracebacks."""

    def __init__(self, dataset: VideoDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Sample | Failure:
        try:
            return self.dataset[key]
        except DataError as error:
            return Failure(key[1], str(error))


def collate(samples: Sequence[Sample | Failure]) -> tuple[Batch | None, list[Failure]]:
    """Stack the samples; None if all have failed."""
    failures = [sample for sample in samples if isinstance(sample, Failure)]
    good = [sample for sample in samples if isinstance(sample, Sample)]
    return Batch(*default_collate(good)) if good else None, failures


def start_worker(worker: int, *, ending: ctypes.c_bool) -> None:
    """One thread per worker, deaf to signals to the whole process group: they are for the main process to answer.

    SIGTERM is obeyed once the main process is `ending`, since that is how Python then ends its children.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0) if ending.value else None)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def usable_workers(workers: int) -> int:
    """As many of these workers as this process has CPUs: more would only wait for each other. Samples stay the same."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(workers, cpus)


def _data_loader(dataset: VideoDataset, keys: list[list[Key]], *, workers: int, persistent: bool) -> DataLoader:
    """Torch's loader over batches of keys, in their order. `keys` may be refilled between two iterations."""
    workers = usable_workers(workers)
    ending = multiprocessing.RawValue(ctypes.c_bool, False)
    atexit.register(setattr, ending, "value", True)
    return DataLoader(
        Guarded(dataset),
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # its own: starting an epoch must not draw from the global one
        persistent_workers=persistent and workers > 0,
        worker_init_fn=partial(start_worker, ending=ending),
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )

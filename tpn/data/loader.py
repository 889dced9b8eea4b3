"""Batches: which samples each process gets, and in what order.

An epoch is a permutation of the records that follows from (seed, epoch). It is cut into global batches, each of which
is shared out over the processes (ranks). Where an epoch stands is the number of records consumed by all ranks together,
so it can be continued from there by another number of processes or workers: every record is seen exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from tpn.data.ahead import one_ahead
from tpn.data.dataset import VideoDataset
from tpn.data.workers import Batch, Failure, Key, Workers
from tpn.errors import DataError

CPU = torch.device("cpu")

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

    workers: Workers
    device: torch.device
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
        return len(cuts), one_ahead(self._batches(epoch, cuts), self.device)

    def smallest_batch(self, start: int = 0) -> int:
        """The fewest videos that a rank gets in a step of an epoch, continued after `start` records."""
        cuts = global_batches(self.num_records, batch_size=self.batch_size, world_size=self.world_size, start=start)
        return min(((cut.stop - cut.start) // self.world_size for cut in cuts), default=self.batch_size)

    def _batches(self, epoch: int, cuts: list[slice]) -> Iterator[Batch]:
        order = epoch_order(self.num_records, seed=self.seed, epoch=epoch)
        mine = shares(order, cuts, rank=self.rank, world_size=self.world_size)
        keys = [[(epoch, index) for index in indices.tolist()] for indices in mine]
        for cut, (batch, failures) in zip(cuts, self.workers.batches(keys), strict=True):
            for failure in failures:
                self.on_failure(failure)
            if batch is None:  # the other ranks wait for this one's gradient
                raise DataError(f"no video of a batch can be read, nor one in its place: {failures[0].message}")
            share = len(batch.label) * self.world_size / (cut.stop - cut.start)
            yield batch._replace(share=share, position=cut.stop)


@dataclass(frozen=True, kw_only=True)
class EvalLoader:
    """The evaluation batches of one rank."""

    workers: Workers
    device: torch.device
    keys: list[list[Key]]
    on_failure: Callable[[Failure], None]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Batch]:
        return one_ahead(self._batches(), self.device)

    def _batches(self) -> Iterator[Batch]:
        for batch, failures in self.workers.batches(self.keys):
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
    device: torch.device = CPU,
    read_timeout: float | None = None,
    on_failure: Callable[[Failure], None] = raise_failure,
) -> TrainLoader:
    """Batches of `batch_size` samples per rank, made by `workers` processes (0: by this one).

    Args:
        device: that the batches are to be on.
        read_timeout: seconds after which a video counts as one that cannot be read; None: it may take any time.
        on_failure: is told of a video that cannot be read. If it returns, another video takes its place, which follows
            from (seed, epoch, index) and from which videos can be read: no worker, rank or resume changes it.
    """
    if len(dataset) < world_size:
        raise DataError(f"{len(dataset)} training records do not go round {world_size} processes; use fewer processes")
    return TrainLoader(
        workers=Workers(dataset, workers=workers, substitutes=True, read_timeout=read_timeout),
        device=device,
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
    device: torch.device = CPU,
    read_timeout: float | None = None,
    on_failure: Callable[[Failure], None] = raise_failure,
) -> EvalLoader:
    """The samples rank, rank + world_size, ... in batches: each video once over all ranks, none padded.

    `on_failure` is told of a video that cannot be read; if it returns, the batch comes without it.
    """
    mine = range(rank, len(dataset), world_size)
    keys = [[(0, index) for index in mine[at : at + batch_size]] for at in range(0, len(mine), batch_size)]
    return EvalLoader(
        workers=Workers(dataset, workers=workers, substitutes=False, read_timeout=read_timeout),
        device=device,
        keys=keys,
        on_failure=on_failure,
    )

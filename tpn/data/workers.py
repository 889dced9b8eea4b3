"""Worker processes that make the samples of batches: guarded, limited in time, and replaced when one dies."""

from __future__ import annotations

import atexit
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from threading import Thread, current_thread, main_thread
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from tpn.data.dataset import Sample, VideoDataset
from tpn.errors import DataError

Key = tuple[int, int]  # (epoch, index)
IDLE = -1  # what a worker reads when it reads nothing
SUBSTITUTES = 10  # videos tried in the place of one that cannot be read
FATAL_DEATHS = 2  # of workers that were reading the same video: the first may have been an accident
T = TypeVar("T")
logger = logging.getLogger("tpn")


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
    """A video that cannot be read, and why."""

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    path: str
    message: str


Made = tuple[Sample | None, list[Failure]]


class Guarded(Dataset[Made]):
    """A data set whose unreadable videos come as values: raised in a worker, an error arrives wrapped in tracebacks.

    Args:
        workers: how many processes read.
        substitutes: whether another video takes the place of one that cannot be read. Which one follows from (seed,
            epoch, index) alone, and which view of it is shown as well.
        read_timeout: seconds that reading one video may take; None: any.
    """

    def __init__(self, dataset: VideoDataset, *, workers: int, substitutes: bool, read_timeout: float | None) -> None:
        self.dataset = dataset
        self.substitutes = substitutes
        self.read_timeout = read_timeout
        self.reading = multiprocessing.RawArray(ctypes.c_int64, [IDLE] * workers)
        """The index that each worker is reading, so that a worker's death can be laid at its door."""
        self.fatal: dict[int, str] = {}
        """Videos that workers have died of, and what is said of them: no worker is to open them again."""

    def __getitem__(self, key: Key) -> Made:
        epoch, index = key
        failures: list[Failure] = []
        for place in [index, *self.substitutes_of(key)]:
            try:
                return self.read((epoch, place)), failures
            except (DataError, MemoryError) as error:
                path = self.dataset.records[place].path
                failures.append(Failure(place, path, str(error) or f"{path} does not fit into memory"))
        return None, failures

    def substitutes_of(self, key: Key) -> list[int]:
        """The videos to try in the place of this one, in order."""
        if not self.substitutes:
            return []
        epoch, index = key
        drawn = np.random.default_rng([self.dataset.seed, epoch, index, 1]).integers(
            len(self.dataset), size=SUBSTITUTES
        )
        return [other for other in dict.fromkeys(drawn.tolist()) if other != index]

    def read(self, key: Key) -> Sample:
        """The sample, in time. A worker that is late is ended, by the only means that ends any code it may be in."""
        index = key[1]
        if index in self.fatal:
            raise DataError(self.fatal[index])
        worker = get_worker_info()
        if worker is None:
            return within(self.read_timeout, partial(self.dataset.__getitem__, key), self.dataset.records[index].path)
        self.reading[worker.id] = index
        set_alarm(self.read_timeout)
        try:
            return self.dataset[key]
        finally:
            set_alarm(None)
            self.reading[worker.id] = IDLE


class Workers:
    """Batches of a data set's samples by key, made by processes that live on between two calls (0: by this one).

    A worker that dies is replaced, and the batches lost with it are made again: samples do not depend on who makes
    them. A video that workers die of, or are late with, twice is one that cannot be read.
    """

    def __init__(self, dataset: VideoDataset, *, workers: int, substitutes: bool, read_timeout: float | None) -> None:
        workers = usable_workers(workers)
        self.guarded = Guarded(dataset, workers=workers, substitutes=substitutes, read_timeout=read_timeout)
        self.keys: list[list[Key]] = []  # what `loader` makes next
        self.iterator: Any = None
        self.deaths: Counter[int] = Counter()
        ending = multiprocessing.RawValue(ctypes.c_bool, False)
        atexit.register(setattr, ending, "value", True)
        self.loader = DataLoader(
            self.guarded,
            batch_sampler=self.keys,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its own: starting an epoch must not draw from the global one
            persistent_workers=workers > 0,
            worker_init_fn=partial(start_worker, ending=ending),
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        )

    def batches(self, keys: Sequence[list[Key]]) -> Iterator[tuple[Batch | None, list[Failure]]]:
        """For each list of keys the batch of what can be read of it, None if nothing can, and what cannot."""
        made = 0
        while made < len(keys):
            self.keys[:] = keys[made:]
            try:
                with self.alert():
                    self.iterator = iter(self.loader)
                while made < len(keys):
                    with self.alert():
                        batch = next(self.iterator)
                    made += 1
                    self.deaths[IDLE] = 0
                    yield batch
            except (RuntimeError, OSError, EOFError) as error:
                self.bury_the_dead(error)

    @property
    def processes(self) -> list[BaseProcess]:
        return getattr(self.iterator, "_workers", [])

    @contextmanager
    def alert(self) -> Iterator[None]:
        """Raise an error if a worker dies, now or while this process waits for it; outside the main thread in 5 s.

        Torch's own handler of that signal raises its error wherever the process may be: in the middle of a step.
        """
        if current_thread() is not main_thread() or not hasattr(signal, "SIGCHLD"):
            yield
            return

        def look(*_: object) -> None:
            if any(process.exitcode is not None for process in self.processes):
                raise ChildProcessError("a data worker has died")

        outside = signal.signal(signal.SIGCHLD, look)
        try:
            look()
            yield
        finally:
            signal.signal(signal.SIGCHLD, outside or signal.SIG_DFL)

    def bury_the_dead(self, error: Exception) -> None:
        """After an error of the loader: note what the dead workers were reading; the next ones start anew.

        Raises the error again if no worker is dead, and DataError if workers die whatever they do.
        """
        processes = self.processes
        if not processes or not wait([process.sentinel for process in processes], timeout=1):
            raise error
        self.iterator = self.loader._iterator = None
        for number, process in enumerate(processes):
            if process.exitcode:
                self.blame(self.guarded.reading[number], exit_words(process.exitcode))
            self.guarded.reading[number] = IDLE

    def blame(self, index: int, how: str) -> None:
        self.deaths[index] += 1
        path = "" if index == IDLE else self.guarded.dataset.records[index].path
        if self.deaths[index] < FATAL_DEATHS:
            when = f"while it read {path}" if path else "between two videos"
            logger.warning(f"a data worker {how} {when}; what it made is made again")
        elif index == IDLE:
            raise DataError(f"data workers end before they have read anything: the last one {how}; use fewer workers")
        elif how == exit_words(-signal.SIGALRM):
            self.guarded.fatal[index] = late(path, self.guarded.read_timeout)
        else:
            self.guarded.fatal[index] = (
                f"{path} ends the process that reads it: it {how}; re-encode or replace the file"
            )


def usable_workers(workers: int) -> int:
    """As many of these workers as this process has CPUs: more would only wait for each other. Samples stay the same."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(workers, cpus)


# ------------------------------------------------------------------------------------------------ inside the workers


def collate(made: Sequence[Made]) -> tuple[Batch | None, list[Failure]]:
    """Stack the samples; None if there is none."""
    samples = [sample for sample, _ in made if sample is not None]
    failures = [failure for _, failed in made for failure in failed]
    return Batch(*default_collate(samples)) if samples else None, failures


def start_worker(worker: int, *, ending: ctypes.c_bool) -> None:
    """One thread per worker, deaf to signals to the whole process group: they are for the main process to answer.

    SIGTERM is obeyed once the main process is `ending`, since that is how Python then ends its children.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0) if ending.value else None)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


# ------------------------------------------------------------------------------------------------------ limits in time


def set_alarm(seconds: float | None) -> None:
    """Send this process SIGALRM after so many seconds; None: never. (Windows has no such signal, hence no limit.)"""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds or 0)


def within(seconds: float | None, read: Callable[[], T], path: str) -> T:
    """read(), or DataError if it takes longer: it is then left behind in a thread of its own."""
    if seconds is None:
        return read()
    outcome: Future[T] = Future()
    Thread(target=settle, args=(outcome, read), daemon=True).start()
    try:
        return outcome.result(timeout=seconds)
    except TimeoutError:
        raise DataError(late(path, seconds)) from None


def settle(outcome: Future[T], read: Callable[[], T]) -> None:
    try:
        outcome.set_result(read())
    except BaseException as error:  # for the thread that waits
        outcome.set_exception(error)


def late(path: str, seconds: float | None) -> str:
    return f"{path} cannot be read within {seconds:g} s; replace the file, or raise data.read_timeout"


def exit_words(exitcode: int) -> str:
    if exitcode >= 0:
        return f"ended with status {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")

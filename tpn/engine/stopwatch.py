"""The training and the test as they are, and the making of a video, with the time each phase takes."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from itertools import cycle, islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Literal

import cv2
import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from tpn.config import Config
from tpn.data.annotations import Record
from tpn.data.dataset import VideoDataset, build_dataset
from tpn.data.decode import VideoFile
from tpn.data.frames import FrameFolder
from tpn.data.loader import TrainLoader, epoch_order
from tpn.data.paths import kind_of
from tpn.data.workers import Batch, Guarded, collate
from tpn.engine.bad_videos import BadVideos
from tpn.engine.distributed import World
from tpn.engine.evaluate import Scorer, load_scorer, score_dataset
from tpn.engine.setup import start_run
from tpn.engine.train import train_epoch
from tpn.errors import DataError

Mode = Literal["train", "test"]

# The phases of a step of training, or of a video of the test, in the process that runs the network.
WAIT, PREPARE, FORWARD = "wait for input", "flip, jitter, normalise", "forward"
BACKWARD, OPTIMIZER, REST = "loss, backward", "optimizer", "metrics, log"
NORMALISE, AVERAGE = "normalise", "average the views"
# The phases of making one video's views, in a worker.
DISK, DECODE, RESIZE, COLLATE = "read from disk", "decode", "resize, crop", "collate"

TRAIN_PHASES = (WAIT, PREPARE, FORWARD, BACKWARD, OPTIMIZER, REST)
TEST_PHASES = (WAIT, NORMALISE, FORWARD, AVERAGE)
VIDEO_PHASES = (DISK, DECODE, RESIZE, COLLATE)

SAMPLED_VIDEOS = 8

Mark = tuple[str, "float | torch.cuda.Event"]


class Stopwatch:
    """Which phase a process is in, from mark to mark; a lap is a step, or a video.

    On CUDA the marks are events on the device's own timeline: nothing waits for the clock, and waiting for input is
    counted as long as the device has nothing to do.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.laps: list[list[Mark]] = []
        self.lap: list[Mark] = []

    def begin(self, phase: str) -> None:
        """A new lap, which begins with this phase; one that has not ended is forgotten."""
        self.lap = []
        self.enter(phase)

    def enter(self, phase: str) -> None:
        """Leave the current phase for this one."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.lap.append((phase, event))
        else:
            self.lap.append((phase, time.perf_counter()))

    def end(self) -> None:
        """The lap is complete."""
        self.enter("")
        self.laps.append(self.lap)

    def times(self, phases: tuple[str, ...], *, skip: int = 0) -> dict[str, float]:
        """The mean ms of each phase over the laps, without the first `skip`."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        laps = self.laps[skip:]
        totals = dict.fromkeys(phases, 0.0)
        for lap in laps:
            for (phase, start), (_, stop) in pairwise(lap):
                totals[phase] += milliseconds(start, stop)
        return {phase: total / len(laps) for phase, total in totals.items()}


def milliseconds(start: "float | torch.cuda.Event", stop: "float | torch.cuda.Event") -> float:
    if isinstance(start, torch.cuda.Event) and isinstance(stop, torch.cuda.Event):
        return start.elapsed_time(stop)
    assert isinstance(start, float) and isinstance(stop, float)
    return (stop - start) * 1e3


# ------------------------------------------------------------------------------------------------------------ training


@dataclass(frozen=True, kw_only=True)
class TimedLoader(TrainLoader):
    """The loader of a run that tells a clock when a batch is waited for, and ends after some steps."""

    clock: Stopwatch
    steps: int

    def epoch(self, epoch: int, start: int = 0) -> tuple[int, Iterator[Batch]]:
        steps, batches = super().epoch(epoch, start)
        steps = min(steps, self.steps - len(self.clock.laps))
        return steps, self._timed(islice(batches, steps))

    def _timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        self.clock.begin(WAIT)
        for batch in batches:
            self.clock.enter(PREPARE)
            yield batch
            self.clock.end()
            self.clock.begin(WAIT)


def train_times(
    config: Config, *, config_file: Path, steps: int, device: torch.device, console: Console
) -> dict[str, float]:
    """Mean ms of the phases of a step, by running the training itself in a folder that is deleted afterwards."""
    clock, warm_up = Stopwatch(device), warm_up_laps(device)
    unsaved = config.checkpoint_config.model_copy(update={"every": None})
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = start_run(
            config.model_copy(update={"checkpoint_config": unsaved}),
            config_file=config_file,
            work_dir=Path(folder),
            world=World(rank=0, size=1, device=device),
            console=Console(file=StringIO()),
            validate=False,
            seed=0,
            deterministic=False,
            autoscale_lr=False,
            resume_from=None,
            skip_nonfinite=warm_up + steps,  # of random weights
        )
        run.console = console  # of the progress bar
        run.loader = TimedLoader(**vars(run.loader), clock=clock, steps=warm_up + steps)
        run.network.register_forward_pre_hook(lambda network, inputs: clock.enter(FORWARD))
        run.network.register_forward_hook(lambda network, inputs, outputs: clock.enter(BACKWARD))
        run.state.optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: clock.enter(OPTIMIZER))
        run.state.optimizer.register_step_post_hook(lambda optimizer, args, kwargs: clock.enter(REST))
        while len(clock.laps) < warm_up + steps:  # a list shorter than that is gone through again
            train_epoch(run)
            run.state.epoch, run.state.position = run.state.epoch + 1, 0
        run.close()
    return clock.times(TRAIN_PHASES, skip=warm_up)


def warm_up_laps(device: torch.device) -> int:
    """Laps that do not count: in them workers start, memory is allocated and kernels are chosen."""
    return 5 if device.type == "cuda" else 1


# ---------------------------------------------------------------------------------------------------------------- test


@dataclass(frozen=True, kw_only=True)
class TimedScorer(Scorer):
    """A scorer that tells a clock what it does."""

    clock: Stopwatch

    def __call__(self, views: Tensor) -> Tensor:
        self.clock.enter(NORMALISE)
        scores = super().__call__(views)
        self.clock.end()
        self.clock.begin(WAIT)
        return scores

    def logits(self, views: Tensor) -> Tensor:
        self.clock.enter(NORMALISE)
        logits = super().logits(views)
        self.clock.enter(AVERAGE)
        return logits


def test_times(config: Config, *, videos: int, device: torch.device, console: Console) -> dict[str, float]:
    """Mean ms of the phases of a video, by running the test itself on some videos of its list."""
    clock, warm_up = Stopwatch(device), warm_up_laps(device)
    dataset = build_dataset(config, "test", seed=0)
    dataset = dataclasses.replace(dataset, records=list(islice(cycle(dataset.records), warm_up + videos)))
    checkpoint = None if config.load_from is None else Path(config.load_from)
    scorer = TimedScorer(**vars(load_scorer(config, checkpoint, device)), clock=clock)
    scorer.model.register_forward_pre_hook(lambda network, inputs: clock.enter(FORWARD))
    clock.begin(WAIT)
    score_dataset(
        scorer,
        dataset,
        batch_size=1,
        workers=config.data.workers_per_gpu,
        read_timeout=config.data.read_timeout,
        bad=BadVideos(config, "test", dataset.records),
        world=World(rank=0, size=1, device=device),
        console=console,
        title="test",
    )
    return clock.times(TEST_PHASES, skip=warm_up)


# ------------------------------------------------------------------------------------------------------ inside a worker


class TimedFrames:
    """A video that tells a clock when its frames are read from the disk and decoded; what follows is resizing."""

    def __init__(self, video: VideoFile | FrameFolder, clock: Stopwatch) -> None:
        self.video, self.clock, self.path = video, clock, video.path

    def __enter__(self) -> "TimedFrames":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.video.__exit__(kind, error, trace)

    def __len__(self) -> int:
        return len(self.video)

    def each(self, indices: np.ndarray | list[int]) -> Iterator[tuple[int, np.ndarray]]:
        if isinstance(self.video, FrameFolder):
            self.clock.enter(DISK)
            for index in indices:
                read_bytes(self.video.path / self.video.filename_tmpl.format(index + self.video.start_index))
        self.clock.enter(DECODE)
        for number, image in self.video.each(indices):
            self.clock.enter(RESIZE)
            yield number, image
            self.clock.enter(DECODE)
        self.clock.enter(RESIZE)


@dataclass(frozen=True, kw_only=True, eq=False)
class TimedDataset(VideoDataset):
    """A data set that tells a clock what it does. It reads a file's bytes first, so that decoding finds them cached."""

    clock: Stopwatch

    def open(self, record: Record) -> TimedFrames:  # pyright: ignore[reportIncompatibleMethodOverride]
        if record.num_frames is None:
            read_bytes(Path(record.path))
        self.clock.enter(DECODE)
        return TimedFrames(super().open(record), self.clock)


def read_bytes(path: Path) -> None:
    """Bring a file into memory; one that cannot be read is complained of by whoever decodes it."""
    with suppress(OSError):
        if kind_of(path) == "file":
            path.read_bytes()


def video_times(config: Config, mode: Mode) -> dict[str, float]:
    """Mean ms of making the views of a video: of some that the measured steps have not shown, if there are so many.

    Raises DataError where none of them can be read.
    """
    dataset = build_dataset(config, mode, seed=0)
    order = epoch_order(len(dataset), seed=0, epoch=0) if mode == "train" else np.arange(len(dataset))
    clock, threads = Stopwatch(torch.device("cpu")), cv2.getNumThreads()
    timed = Guarded(TimedDataset(**vars(dataset), clock=clock), workers=0, substitutes=False, read_timeout=None)
    failures = []
    cv2.setNumThreads(0)  # as in a worker
    for index in order[-SAMPLED_VIDEOS:].tolist():
        clock.begin(DISK)
        sample, failed = timed[0, index]
        clock.enter(COLLATE)
        if sample is None:
            failures += [failure.message for failure in failed]
        else:
            collate([(sample, [])])
            clock.end()
    cv2.setNumThreads(threads)
    if not clock.laps:
        raise DataError(failures[0])
    return clock.times(VIDEO_PHASES)

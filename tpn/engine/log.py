"""A run's diary: the text log and the .log.json that MMAction2's tools read, TensorBoard, and the means they report."""

import json
import math
import platform
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import av
import cv2
import numpy as np
import torch
from rich.console import Console

import tpn
from tpn.data.workers import usable_workers
from tpn.engine.distributed import World, summed
from tpn.engine.progress import print_line
from tpn.errors import UserError
from tpn.names import as_utf8

TRAIN_ORDER = ("memory", "data_time", "loss_aux", "top1_acc", "top5_acc", "loss_cls", "loss", "grad_norm")
"""The order in which MMAction2 logs the values of a TPN training step; others follow, and `time` is the last."""
WAITING_SHARE = 0.2  # of a step's time, from which on waiting for videos is remarked on
RANKS = {name: rank for rank, name in enumerate(TRAIN_ORDER)}


class RunLog:
    """Writes `<timestamp>.log` (text), `<timestamp>.log.json` (one JSON object per line) and `tf_logs/` in work_dir.

    Formats, key orders and roundings are MMAction2 0.24.1's, which its `tools/analysis/analyze_logs.py` reads. Only the
    logger's name in the text line is ours, 'tpn' where MMAction2 has 'mmaction': readers parse the JSON, not the text.
    A line is on its way to the disk before the call returns, so a killed run loses none. A disk that is full costs the
    lines but not the run. With `enabled` off (every rank but 0) nothing is opened or written.
    """

    def __init__(
        self,
        work_dir: Path,
        timestamp: str,
        *,
        tensorboard: bool = False,
        enabled: bool = True,
        console: Console | None = None,
    ) -> None:
        """`console`, where there is one, shows the text lines too: above a live bar of its own, or as plain lines.

        Raises UserError where work_dir cannot be written to or TensorBoard is missing.
        """
        self.enabled, self.console, self.has_warned = enabled, console, False
        self.text_path, self.json_path = work_dir / f"{timestamp}.log", work_dir / f"{timestamp}.log.json"
        self.iters_per_epoch = 1
        self.paths = (self.text_path, self.json_path)
        self.open_events = events_opener(work_dir / "tf_logs") if tensorboard and enabled else None
        self.events: Any = None
        if not enabled:
            return
        try:
            work_dir.mkdir(parents=True, exist_ok=True)
            self.text_file, self.json_file = open_for_lines(self.text_path), open_for_lines(self.json_path)
        except OSError as error:
            raise UserError(f"{work_dir}: the run's logs cannot be written here ({error.strerror})") from error

    def info(self, text: str) -> None:
        """A dated line in the text log, or a block whose first line is dated."""
        self.tell("INFO", text)

    def warning(self, text: str) -> None:
        """A line that nobody should miss."""
        self.tell("WARNING", text)

    def tell(self, level: str, text: str) -> None:
        """A line of the text log, of the level that Python's logging has."""
        line = self.note(level, text)
        if line and self.console is not None:
            print_line(line, self.console)

    def note(self, level: str, text: str) -> str:
        """A line of the text log alone: the terminal is told of it by other means. Returns the line."""
        if not self.enabled:
            return ""
        now = datetime.now()
        line = f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d} - tpn - {level} - {text}"
        self.append(self.text_file, line)
        return line

    def meta(self, facts: Mapping[str, Any]) -> None:
        """The facts of the run, to be the first line of the JSON log: env_info, seed, config_name, work_dir."""
        if self.enabled:
            self.append(self.json_file, json.dumps(dict(facts), default=str))

    def train(
        self, *, epoch: int, iter: int, iters_per_epoch: int, lr: float, eta_seconds: float, values: Mapping[str, float]
    ) -> None:
        """One line about the last steps. epoch and iter count from 1; time and data_time in seconds, memory in MiB.

        `values` holds time and data_time, memory where there is a GPU, and the means of losses and accuracies.
        """
        values = dict(sorted(values.items(), key=lambda item: (item[0] == "time", RANKS.get(item[0], len(RANKS)))))
        eta = timedelta(seconds=int(eta_seconds))
        timing = f"eta: {eta}, time: {values['time']:.3f}, data_time: {values['data_time']:.3f}"
        others = as_text({name: value for name, value in values.items() if name not in ("time", "data_time")})
        self.info(f"Epoch [{epoch}][{iter}/{iters_per_epoch}]\tlr: {lr:.3e}, {timing}, {others}")
        self.record("train", epoch, iter, lr, values)
        self.plot((epoch - 1) * iters_per_epoch + iter, "train", values | {"lr": lr})
        self.iters_per_epoch = iters_per_epoch

    def val(self, *, epoch: int, iter: int, lr: float, values: Mapping[str, float]) -> None:
        """One line about a validation after `epoch`; iter is the number of its batches."""
        self.info(f"Epoch(val) [{epoch}][{iter}]\t{as_text(values)}")
        self.record("val", epoch, iter, lr, values)
        self.plot(epoch * self.iters_per_epoch, "val", values)

    def close(self) -> None:
        if not self.enabled:
            return
        for file in (self.text_file, self.json_file):
            with suppress(OSError):  # a full disk has been reported when it came
                file.close()
        if self.events is not None:
            self.events.close()

    def record(self, mode: str, epoch: int, iter: int, lr: float, values: Mapping[str, float]) -> None:
        """A line of the JSON log."""
        if self.enabled:
            row = {"mode": mode, "epoch": epoch, "iter": iter, "lr": lr, **values}
            rounded = {name: round(value, 5) if isinstance(value, float) else value for name, value in row.items()}
            self.append(self.json_file, json.dumps(rounded))

    def plot(self, step: int, mode: str, values: Mapping[str, float]) -> None:
        """Points of TensorBoard's curves; step counts from the start of training."""
        if self.open_events is not None:
            self.events = self.events or self.open_events()
            for name, value in values.items():
                self.events.add_scalar(f"{mode}/{name}", value, step)

    def append(self, file: BinaryIO, line: str) -> None:
        try:
            file.write(as_utf8(line) + b"\n")
            file.flush()
        except OSError as error:  # what could not be flushed stays in the buffer and goes out with a later line
            if not self.has_warned:
                self.has_warned = True
                warning = f"warning: {self.text_path.parent}: log lines cannot be written ({error.strerror})"
                print_line(warning, self.console or Console(stderr=True))


def open_for_lines(path: Path) -> BinaryIO:
    """The file, open at its end; what a killed run left of a line is ended, so that the next line stands alone."""
    file = path.open("a+b")
    if file.tell():
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def events_opener(folder: Path) -> Callable[[], Any]:
    """What makes TensorBoard's writer, once there is a point to write; the package, which is optional, is there now."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("log_config.tensorboard needs TensorBoard: pip install tpn[tensorboard]") from error
    return lambda: SummaryWriter(str(folder))


def as_text(values: Mapping[str, float]) -> str:
    return ", ".join(
        f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}" for name, value in values.items()
    )


class RecentMeans:
    """The mean of each value over the last `interval` steps, weighted by samples.

    Tensors are kept as they are and read in `means` alone, so that updating does not wait for the GPU.
    """

    def __init__(self, interval: int) -> None:
        self.steps: deque[dict[str, list[tuple[Any, float]]]] = deque(maxlen=interval)

    def begin_step(self) -> None:
        self.steps.append(defaultdict(list))

    def update(self, values: Mapping[str, float | torch.Tensor], num_samples: float = 1) -> None:
        """Add to the step that has begun, once or for each part of its batch."""
        for name, value in values.items():
            self.steps[-1][name].append((value.detach() if isinstance(value, torch.Tensor) else value, num_samples))

    def forget_step(self) -> None:
        """Leave the last step out of the means."""
        self.steps.pop()

    def means(self, world: World) -> dict[str, float]:
        """The means over the samples of all processes, whose shares of a batch may differ in size."""
        names = [*self.steps[-1]]
        totals, weights = summed(self.sums(names), world).sum(dim=0).T.cpu()
        return dict(zip(names, (totals / weights).tolist(), strict=True))

    def sums(self, names: Sequence[str]) -> torch.Tensor:
        """(steps, names, 2) float64: each step's sum of samples x value, and of samples."""
        sums = [
            [
                (sum(float(value) * weight for value, weight in step[name]), sum(weight for _, weight in step[name]))
                for name in names
            ]
            for step in self.steps
        ]
        return torch.tensor(sums, dtype=torch.float64)

    def window(self, world: World) -> dict[str, torch.Tensor]:
        """What `means` would be of: (steps, 2) for each value, over all processes; for a checkpoint."""
        if not self.steps:
            return {}
        names = [*self.steps[-1]]
        return dict(zip(names, summed(self.sums(names), world).unbind(dim=1), strict=True))

    def restore(self, window: Mapping[str, torch.Tensor], world: World) -> None:
        """Go on from a `window`; the main process stands for all that made it, whatever their number was."""
        for step in range(len(next(iter(window.values()), ()))):
            self.begin_step()
            for name, sums in window.items():
                total, weight = sums[step].tolist()
                self.update({name: total / weight}, weight if world.is_main else 0.0)


def waiting_remark(workers: int, *, waiting: float, total: float) -> str | None:
    """What to do where a step (`total` seconds) waits for its videos (`waiting`) too long; None where it does not."""
    if waiting < WAITING_SHARE * total:
        return None
    said = f"input-bound: {waiting / total:.0%} of the time is waiting for videos to be read and decoded; "
    usable = usable_workers(workers)
    computing = max(total - waiting, 1e-9)
    wanted = max(math.ceil(max(workers, 1) * total / computing), workers + 1)
    possible = usable_workers(wanted)
    if possible > usable:
        return f"{said}try data.workers_per_gpu={possible}"
    return f"{said}all CPUs of this process are at it: make the videos cheaper to decode (`tpn data pack`)"


def environment_info() -> str:
    """What the run runs on, one `name: value` per line."""
    facts = {
        "tpn": tpn.__version__,
        "Python": sys.version.split()[0],
        "Platform": platform.platform(),
        "PyTorch": torch.__version__,
        "CUDA": torch.version.cuda or "not in this build of PyTorch",
        "cuDNN": torch.backends.cudnn.version() or "none",
        "GPU": ", ".join(map(torch.cuda.get_device_name, range(torch.cuda.device_count()))) or "none",
        "CPU threads": torch.get_num_threads(),
        "NumPy": np.__version__,
        "PyAV": f"{av.__version__} (FFmpeg {av.ffmpeg_version_info})",
        "OpenCV": cv2.__version__,
    }
    return "\n".join(f"{name}: {value}" for name, value in facts.items())

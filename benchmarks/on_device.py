"""What the measurements on one GPU share: precisions, contenders with their memory, tables that are written at once."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from timing import Run, interleave_with_peaks, machine, precision_of, report, share_of_peak, timed

from tpn.config import Config
from tpn.engine.evaluate import DTYPES
from tpn.engine.out_of_memory import is_out_of_memory
from tpn.memory import peak_resident
from tpn.peak import Peak

Work = Callable[[], object]
TYPES = {"tf32": torch.float32, **DTYPES}

# The smallest of everything, for --quick.
CLIPS = "data.test.num_clips"
SMALL = {"data.short_side": 64, "data.crop_size": 64, "data.test.crop_size": 64, CLIPS: 1, "data.test.num_crops": 1}
NARROW = {"model.backbone.depth": 14, "model.backbone.base_channels": 16}


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Products of float32 numbers as they are, or in 'tf32' with their factors rounded, on CUDA."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def precisions(device: torch.device) -> list[str]:
    """Those worth measuring there."""
    return ["float32", "tf32", "bfloat16", "float16"] if device.type == "cuda" else ["float32", "bfloat16"]


def baselines(device: torch.device) -> dict[str, str]:
    """The reference's precisions by the contender's name: float32, and automatic mixed precision."""
    exact, half = (["float32", "tf32"], "float16") if device.type == "cuda" else (["float32"], "bfloat16")
    return {f"Conv3d, {name}": name for name in exact} | {f"Conv3d, AMP, {half}": half}


def in_precision(config: Config, precision: str) -> Config:
    """The settings of a run in it; TF32 is float32 to them."""
    return config.model_copy(update={"dtype": "float32" if precision == "tf32" else precision})


@dataclass
class PeakIn(Peak):
    """The peak of a precision that is more than a type: TF32."""

    precision: str = "float32"

    def measure(self) -> None:
        with products_in(self.precision):
            super().measure()


def peaks_of(device: torch.device) -> dict[str, Peak]:
    return {name: PeakIn(TYPES[name], device, precision=name) for name in precisions(device)}


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else machine()


class Tables:
    """The tables of a script, written to its file one by one, so that a run cut off loses only what it was doing."""

    def __init__(self, out: Path | None, device: torch.device, *, seconds: float) -> None:
        self.out, self.device, self.rows, self.left_out = out, device, [], []
        self.deadline = time.monotonic() + seconds
        self.write()

    def is_late(self, what: str) -> bool:
        """Whether the time is over; `what` is then noted as not measured."""
        late = time.monotonic() > self.deadline
        if late:
            self.left_out.append(what)
            self.write()
        return late

    def compare(
        self,
        title: str,
        builds: Mapping[str, Callable[[], Work]],
        *,
        rounds: int,
        flops: float,
        unit: str,
        amount: float,
    ) -> None:
        """Measure contenders in turns, beside the peaks, and add the table: ratios are to the first that runs.

        Args:
            builds: makes each contender's work; its name ends with its precision.
            flops: of one work.
            unit, amount: what one work does, as "clips/s" and 16.
        """
        runs, memory = self.prepared(builds)
        if not runs:
            return
        peaks = peaks_of(self.device)
        seconds = interleave_with_peaks(runs, peaks, flops=flops, rounds=rounds)
        record = report(
            f"{title}, {device_name(self.device)}",
            seconds,
            columns={
                unit: lambda name, median: f"{amount / median:.2f}",
                "TFLOP/s": lambda name, median: f"{flops / median / 1e12:.3g}",
                "of peak": lambda name, median: share_of_peak(name, flops / median, peaks),
                "MiB": lambda name, median: str(memory[name]),
            },
            out=None,
        )
        self.rows += [{"table": title, **row} for row in record["rows"]]
        self.rows.append({"table": title, "peaks, TFLOP/s": {name: peak.best / 1e12 for name, peak in peaks.items()}})
        self.write()

    def prepared(self, builds: Mapping[str, Callable[[], Work]]) -> tuple[dict[str, Run], dict[str, int]]:
        """Works warmed up, as runs that end when the device is done; the MiB that each has held besides the others."""
        runs, memory = {}, {}
        for name, build in builds.items():
            before = 0
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(self.device)
                before = torch.cuda.memory_allocated(self.device)
            try:
                work = finished(within(build(), name), self.device)
                for _ in range(3 if self.device.type == "cuda" else 1):  # kernels are chosen, graphs recorded
                    work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self.left_out.append(f"{name}: out of memory")
                continue
            memory[name] = used_memory(self.device, before)
            runs[name] = timed(work)
        return runs, memory

    def write(self) -> None:
        if self.out is not None:
            record: dict[str, Any] = {"date": str(date.today()), "device": device_name(self.device)}
            record |= {"machine": machine(), "rows": self.rows, "left out": self.left_out}
            self.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def within(work: Work, name: str) -> Work:
    """The work, its products in the precision that the contender's name ends with."""

    def run() -> None:
        with products_in(precision_of(name)):
            work()

    return run


def finished(work: Work, device: torch.device) -> Work:
    """The work until the device has done it."""

    def run() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def used_memory(device: torch.device, before: int) -> int:
    """MiB at most since the peak was reset, without what was held before; of the whole process on a CPU."""
    return (torch.cuda.max_memory_allocated(device) - before) >> 20 if device.type == "cuda" else peak_resident()

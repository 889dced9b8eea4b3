"""Interleaved timing, a table of ratios against the first row, and a JSON record: what every benchmark shares."""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from tpn.peak import Peak

FILE_WIDTH = 150  # columns of a table that goes into a file

Run = Callable[[], float]
"""Does the work once and returns the seconds it took."""


def timed(work: Callable[[], Any]) -> Run:
    """A run that calls `work` and measures it."""

    def run() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return run


def interleave(runs: Mapping[str, Run], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of every contender, A B C A B C …: a machine's moods fall on all alike. Round one does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for index in range(rounds + 1):
        for name, run in runs.items():
            taken = run()
            if index:
                seconds[name].append(taken)
    return seconds


def interleave_with_peaks(
    runs: Mapping[str, Run], peaks: Mapping[str, Peak], *, flops: float, rounds: int
) -> dict[str, list[float]]:
    """As `interleave`, with large products among the contenders: afterwards `peaks` hold the most that was reached.

    A contender's name ends with the precision that it computes in, which is the key of its peak. It counts for the
    peak itself, so that no share of it exceeds 100 %.

    Args:
        flops: of every contender's work.
    """
    products = {f"large products in {precision}": timed(peak.measure) for precision, peak in peaks.items()}
    seconds = interleave({**runs, **products}, rounds=rounds)
    for name in products:
        del seconds[name]
    for name, values in seconds.items():
        if precision_of(name) in peaks:
            peaks[precision_of(name)].seen(flops / min(values))
    return seconds


def precision_of(name: str) -> str:
    """'OpenVINO, bfloat16' -> 'bfloat16'."""
    return name.rpartition(", ")[2]


def share_of_peak(name: str, flops_per_second: float, peaks: Mapping[str, Peak]) -> str:
    """In per cent of the peak of the contender's precision; '–' where that has none."""
    peak = peaks.get(precision_of(name))
    return "–" if peak is None else f"{flops_per_second / peak.best:.0%}"


def report(
    title: str,
    seconds: Mapping[str, list[float]],
    *,
    columns: Mapping[str, Callable[[str, float], str]],
    out: Path | None,
) -> dict[str, Any]:
    """Print medians, their ratio to the first row and the given columns of (name, median); write all of it to `out`."""
    baseline = statistics.median(next(iter(seconds.values())))
    table = Table(title=f"{title}\n{machine()}", title_justify="left")
    for heading in ["", "median", "min", "ratio", *columns]:
        table.add_column(heading, justify="right" if heading else "left")
    rows = []
    for name, values in seconds.items():
        median = statistics.median(values)
        extra = {heading: column(name, median) for heading, column in columns.items()}
        table.add_row(
            name, f"{median * 1e3:.1f} ms", f"{min(values) * 1e3:.1f} ms", f"{baseline / median:.2f}x", *extra.values()
        )
        rows.append({"name": name, "median_s": median, "min_s": min(values), "ratio": baseline / median, **extra})
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH).print(table)
    record = {"title": title, "date": str(date.today()), "machine": machine(), "rows": rows}
    if out is not None:
        out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def machine() -> str:
    """The processor, the threads and the versions a figure depends on."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    return f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def write_tables(records: Sequence[Mapping[str, Any]], out: Path | None) -> None:
    """Write the rows of several tables to one file; each row names its table."""
    if out is not None:
        rows = [{"table": record["title"], **row} for record in records for row in record["rows"]]
        record = {"date": str(date.today()), "machine": machine(), "rows": rows}
        out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

"""Everything that has to be seen on a machine with a GPU, stage by stage: called by gpu_check.sh.

A stage is a process with a time limit of its own; one that fails or is late stops no other, and what it has measured by
then is in its file. At the end there is a table, and a list of what this machine cannot show.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
ROOT = HERE.parent
WIDTH = 140
PATIENCE_ON_CPU = 4  # times the limits of a GPU: the sizes are small, but other jobs may be at work


@dataclass
class Stage:
    """What is run, for how long at most, and where it leaves what it found."""

    name: str
    command: list[str]
    limit: float  # seconds
    file: Path
    figures: Callable[[Path], str]
    result: str = "not run"
    seconds: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest sizes: does it all run?")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="folder for logs and figures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    stages = stages_of(options)
    for stage in stages:
        print(f"\n== {stage.name}: {' '.join(stage.command[1:])} (at most {stage.limit:.0f} s)", flush=True)
        run(stage, options.out, options.device)
        (options.out / "summary.json").write_text(json.dumps([summary(each) for each in stages], indent=1) + "\n")
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(table(stages))
    unseen = not_shown(options.device)
    if unseen:
        console.print("\nnot shown on this machine:", *(f"- {each}" for each in unseen), sep="\n", markup=False)
    sys.exit(any(stage.result != "passed" for stage in stages))


def stages_of(options: argparse.Namespace) -> list[Stage]:
    """The most valuable first: time on such a machine is short, and a run may be cut off."""
    flags = ["--device", options.device, *(["--quick"] if options.quick else [])]
    out, cuda = options.out.resolve(), options.device == "cuda"
    patience = 1 if cuda else PATIENCE_ON_CPU

    def script(name: str, limit: float, figures: Callable[[Path], str], *more: str, file: str | None = None) -> Stage:
        path = out / f"{file or name}.json"
        command = [sys.executable, str(HERE / f"gpu_{name}.py"), *flags, "--out", str(path), *more]
        return Stage(file or name, command, limit * patience, path, figures)

    def tests(name: str, limit: float, which: str) -> Stage:
        command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--durations", "10", "-k", which]
        command += ["--junitxml", str(out / f"{name}.xml")]
        command += ["-m", "gpu", str(ROOT / "tests")] if cuda else ["-m", "slow", str(ROOT / "tests/gpu")]
        return Stage(name, command, limit * patience, out / f"{name}.xml", test_figures)

    compiled = [
        script("inference", 60, table_figures, "--compiled", file="compiled"),
        tests("tests_compiled", 40, "compiled"),
    ]
    return [
        script("environment", 30, environment_figures),
        tests("tests", 100, f"not compiled{' and not slowonly_256' if options.quick else ''}"),
        script("inference", 85, table_figures, "--seconds", "60"),
        script("training", 70, table_figures, "--seconds", "45"),
        script("files", 95, file_figures, "--picture", str(out / "profile.png"), "--seconds", "40"),
        *(compiled if cuda else []),
    ]


def run(stage: Stage, out: Path, device: str) -> None:
    """Run a stage, showing what it prints and keeping it; ends all its processes when it is late."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    if device == "cuda":
        environment["REQUIRE_GPU"] = "1"
    started = time.monotonic()
    with (out / f"{stage.name}.log").open("w") as log:
        process = subprocess.Popen(
            stage.command, cwd=HERE, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(timeout=stage.limit)
            stage.result = "passed" if status == 0 else f"failed ({status})"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            stage.result = f"late ({stage.limit:.0f} s)"
    stage.seconds = time.monotonic() - started
    print((out / f"{stage.name}.log").read_text(errors="replace")[-4000:], flush=True)


def summary(stage: Stage) -> dict[str, Any]:
    figures = ""
    if stage.result != "not run" and stage.file.exists():
        try:
            figures = stage.figures(stage.file)
        except (ValueError, KeyError) as error:  # a stage that was ended may have written a part
            figures = f"unreadable: {error!r}"
    return {"stage": stage.name, "result": stage.result, "seconds": round(stage.seconds, 1), "figures": figures}


def table(stages: list[Stage]) -> Table:
    shown = Table(title=f"{sum(stage.seconds for stage in stages):.0f} s in all", title_justify="left")
    for heading in ("stage", "result", "seconds", "key figures"):
        shown.add_column(heading, justify="right" if heading == "seconds" else "left")
    for row in map(summary, stages):
        shown.add_row(row["stage"], row["result"], f"{row['seconds']:.0f}", row["figures"])
    return shown


# ---------------------------------------------------------------------------------------------------------- key figures


def environment_figures(file: Path) -> str:
    record = json.loads(file.read_text())
    peaks = ", ".join(f"{name} {peak:g}" for name, peak in record["peaks, TFLOP/s"].items())
    copies = ", ".join(f"{name} {rate:g}" for name, rate in record["copies, GB/s"].items())
    return f"{record['device']}; TFLOP/s: {peaks}; GB/s: {copies}"


def test_figures(file: Path) -> str:
    """Of pytest's JUnit file, whose first element counts."""
    counts = dict(re.findall(r'(tests|failures|errors|skipped)="(\d+)"', file.read_text()[:2000]))
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def table_figures(file: Path) -> str:
    """The best row of each table, and how it compares with the first."""
    record = json.loads(file.read_text())
    best: dict[str, dict[str, Any]] = {}
    for row in record["rows"]:
        if "ratio" in row and row["ratio"] > best.get(row["table"], {"ratio": 0})["ratio"]:
            best[row["table"]] = row
    told = [
        f"{name.partition(': ')[2]}: {row['name']} {rate_of(row)}, {row['ratio']:.2f}x" for name, row in best.items()
    ]
    return "; ".join(told + [f"left out: {each}" for each in record["left out"]])


def rate_of(row: dict[str, Any]) -> str:
    return next(f"{value} {key}" for key, value in row.items() if key.endswith("/s") and key != "TFLOP/s")


def file_figures(file: Path) -> str:
    record = json.loads(file.read_text())
    training = record["training"]
    told = [f"{key} {training[key]}" for key in ("clips/s", "input wait", "GPU busy, nvidia-smi")]
    return "; ".join([*told, f"loader: {record.get('loader, clips/s by workers')}"])


def not_shown(device: str) -> list[str]:
    """What only CUDA can show: the tests that have no rehearsal, and what the stages leave out on a CPU."""
    if device == "cuda":
        return []
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", str(ROOT / "tests")]
    gpu, cpu = (
        subprocess.run([*command, "-m", mark], cwd=ROOT, capture_output=True, text=True).stdout
        for mark in ("gpu", "slow")
    )
    rehearsed = set(re.findall(r"::(\w+)\[cpu", cpu))
    tests = sorted(set(re.findall(r"::(\w+)", gpu)) - rehearsed)
    return [
        "the speed of any GPU: TF32 and float16, CUDA graphs and compiled kernels, how busy a GPU is",
        *(f"test: {name.removeprefix('test_').replace('_', ' ')}" for name in tests),
    ]


if __name__ == "__main__":
    main()

"""From video files to weights and scores on one GPU: how busy it is, how long it waits, how many workers feed it.

python benchmarks/gpu_files.py --out files.json --picture profile.png
python benchmarks/gpu_files.py --quick --device cpu          # does it run?

Ten-second H.264 clips of 340 x 256 are made first. Then `tpn train` runs on them until it is told to stop, `tpn test`
scores some of them, the loader alone is timed with several numbers of workers, and `tpn profile` draws where a step's
time goes.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from on_device import NARROW, SMALL
from peers import SLOWONLY
from videos import write_videos

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.data.dataset import build_dataset
from tpn.data.loader import build_train_loader

BATCH, BATCHES_TIMED = 32, 24
TPN = [sys.executable, "-c", "from tpn.cli import main; main()"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="how long to train")
    parser.add_argument("--videos", type=int, default=256)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="few videos, a small network: does it run?")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--picture", type=Path, help="PNG file for the profile")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.videos = 8, 8
    out = Figures(options.out)
    cpus = len(os.sched_getaffinity(0))
    with TemporaryDirectory() as folder:
        recipe = written(Path(folder), options, workers=cpus)
        changes = {**SMALL, **NARROW} if options.quick else {}
        flags = ["--device", options.device, *(["--cfg-options"] if changes else [])]
        flags += [f"{key}={value}" for key, value in changes.items()]
        out.add("training", training(recipe, Path(folder) / "run", flags, seconds=options.seconds))
        out.add("test", test(recipe, Path(folder), flags, videos=min(32, options.videos)))
        out.add("loader, clips/s by workers", {
            str(workers): loader_rate(recipe, workers, quick=options.quick)
            for workers in (1, 2, 4, 8, 16, 32) if workers <= cpus
        })  # fmt: skip
        picture = options.picture or Path(folder) / "profile.png"
        out.add("profile", profile(recipe, flags, picture, steps=2 if options.quick else 20))


class Figures:
    """What was measured, written to its file at once."""

    def __init__(self, out: Path | None) -> None:
        self.out, self.record = out, {}

    def add(self, name: str, value: object) -> None:
        self.record[name] = value
        print(f"{name}: {json.dumps(value)}", flush=True)
        if self.out is not None:
            self.out.write_text(json.dumps(self.record, indent=1) + "\n", encoding="utf-8")


def written(folder: Path, options: argparse.Namespace, *, workers: int) -> Path:
    """The videos, made by all CPUs, their list, and a recipe of the published network that reads them."""
    with ProcessPoolExecutor(workers) as pool:
        made = [pool.submit(write_videos, folder, number=1, seconds=10, first=n) for n in range(options.videos)]
        names = [name for each in made for name in each.result()]
    (folder / "list.txt").write_text("".join(f"{name} {n % 400}\n" for n, name in enumerate(names)))
    (folder / "few.txt").write_text("".join(f"{name} 0\n" for name in names[:32]))
    lists = {"ann_file": str(folder / "list.txt"), "data_prefix": str(folder)}
    settings = {"format": "videos", "videos_per_gpu": 2 if options.quick else BATCH, "workers_per_gpu": workers}
    path = folder / "recipe.py"
    path.write_text(
        f"_base_ = {str(find_recipe(SLOWONLY))!r}\n"
        f"data = dict(**{settings!r}, train={lists!r}, val={lists!r}, "
        f"test={lists | {'ann_file': str(folder / 'few.txt')}!r})\n"
        "log_config = dict(interval=1)\n"
        "total_epochs = 10000\n"
        "dtype = 'bfloat16'\n"
        "model = dict(backbone=dict(pretrained=None))\n"
    )
    return path


def training(recipe: Path, work_dir: Path, flags: list[str], *, seconds: float) -> dict[str, Any]:
    """`tpn train` for so long from its first step on, stopped as a user stops it."""
    command = [*TPN, "train", recipe, "--work-dir", work_dir, "--seed", 0, *flags]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    sampler = subprocess.Popen(
        ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "500"],
        stdout=subprocess.PIPE, text=True,
    ) if "cuda" in flags else None  # fmt: skip
    assert process.stdout is not None
    started, lines = 0.0, []
    for line in process.stdout:
        lines.append(line)
        started = started or ("Epoch [" in line) * time.monotonic()
        if started and time.monotonic() > started + seconds:
            process.send_signal(signal.SIGTERM)
            break
    lines += process.communicate()[0].splitlines(keepends=True)
    rows = [json.loads(line) for path in work_dir.glob("*.log.json") for line in path.read_text().splitlines()]
    steps = [row for row in rows if row.get("mode") == "train"][5:]  # the first few begin workers and choose kernels
    if not steps:
        raise SystemExit("".join(lines[-20:]))
    times, waits = [row["time"] for row in steps], [row["data_time"] for row in steps]
    busy = []
    if sampler is not None:
        sampler.terminate()
        busy = [int(line) for line in sampler.communicate()[0].split()][-int(2 * seconds) :]
    batch = load_config(recipe).data.videos_per_gpu
    return {
        "steps": len(steps),
        "clips/s": round(batch * len(steps) / sum(times), 2),
        "input wait": round(sum(waits) / sum(times), 4),
        "GPU busy, nvidia-smi": round(statistics.mean(busy) / 100, 3) if busy else None,
        "memory, MiB": max((row.get("memory", 0) for row in steps), default=0),
        "said at its end": lines[-1].strip(),
    }


def test(recipe: Path, folder: Path, flags: list[str], *, videos: int) -> dict[str, Any]:
    """`tpn test` as a whole process, start and end included."""
    checkpoint = folder / "run" / "latest.pth"
    command = [*TPN, "test", recipe, checkpoint, "--out", folder / "scores.json", *flags]
    started = time.monotonic()
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return {"videos": videos, "seconds, whole process": round(time.monotonic() - started, 2)}


def loader_rate(recipe: Path, workers: int, *, quick: bool) -> float:
    """Clips a second that so many workers make, nothing else at work."""
    config = load_config(recipe)
    batches = 3 if quick else BATCHES_TIMED
    loader = build_train_loader(build_dataset(config, "train", seed=0), batch_size=8, workers=workers, seed=0)
    count, epoch, started = 0, 0, 0.0
    while count <= batches:
        for batch in loader.epoch(epoch)[1]:
            started = started or time.perf_counter()  # the first batch, when workers begin, does not count
            count += 1
            if count > batches:
                return round(batches * len(batch.label) / (time.perf_counter() - started), 1)
        epoch += 1
    raise AssertionError


def profile(recipe: Path, flags: list[str], picture: Path, *, steps: int) -> dict[str, str]:
    """What `tpn profile` says of a step of training, phase by phase, in ms; its picture is drawn."""
    command = [*TPN, "profile", recipe, "--steps", steps, "--out", picture, *flags]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    advice = [line for line in done.stdout.splitlines() if "-bound" in line]
    names = [name for name, _, _ in rows]
    step = rows[: names.index("sum") + 1]  # a second table is of a video in a worker
    return {name: ms for name, ms, _ in step} | {"advice": " ".join(advice)}


if __name__ == "__main__":
    main()

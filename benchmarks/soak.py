"""A training of two processes, hit by a random fault every minute: does it end where an undisturbed one does?

python benchmarks/soak.py                 # 30 minutes of faults, after the undisturbed run
python benchmarks/soak.py --minutes 3

The faults come from outside: a process or a data worker is killed, the whole is asked to stop and started again, a
process is stopped so that it hangs. Memory and open files are watched on the way.
"""

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/faults"))
from jobs import ROOT, Job, digest_of, pids_of

from tpn.data.sprites import make_sprites

RECIPE = """
model = dict(backbone=dict(type="ResNet3dSlowOnly", depth=14, base_channels=8, stem_pool=False),
             cls_head=dict(num_classes=6))
_root = {root!r}
data = dict(format="videos", clip_len=8, frame_interval=8, short_side=32, crop_size=32, videos_per_gpu=2,
            workers_per_gpu=1, train=dict(ann_file=f"{{_root}}/train.txt", data_prefix=_root),
            val=dict(ann_file=f"{{_root}}/val.txt", data_prefix=_root),
            test=dict(ann_file=f"{{_root}}/val.txt", data_prefix=_root))
optimizer = dict(lr=0.05, lr_batch_size=4, weight_decay=0.0001, max_grad_norm=20)
lr_config = dict(policy="cosine")
total_epochs = {epochs}
evaluation = dict(interval=1)
log_config = dict(interval=10)
checkpoint_config = dict(every=30, max_keep_ckpts=2)
"""
VIDEOS, PRODUCTIVE = 240, 0.6  # videos of an epoch; the share of the time with faults that is left for training
WARM_UP = 12  # seconds of a process in which it still grows
UNDER_WAY = r"Epoch \["


@dataclass
class Watch:
    """What the training processes hold, sampled every second: per process, from its first minute to its last."""

    rss: dict[int, list[float]] = field(default_factory=dict)
    files: dict[int, list[int]] = field(default_factory=dict)

    def look(self, job: Job) -> None:
        for pid in job.ranks().values():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                opened = len([*Path(f"/proc/{pid}/fd").iterdir()])
            except OSError:
                continue
            if match := re.search(r"VmRSS:\s+(\d+)", status):
                self.rss.setdefault(pid, []).append(int(match[1]) / 1024)
                self.files.setdefault(pid, []).append(opened)

    def growth(self, samples: dict[int, list[float]] | dict[int, list[int]]) -> tuple[float, float]:
        """(first, last): medians of the first and the last third of all that was seen after the warm-up, in order."""
        settled = [value for values in samples.values() for value in values[WARM_UP:]]
        third = max(1, len(settled) // 3)
        return statistics.median(settled[:third]), statistics.median(settled[-third:])


class Soak:
    """One training and its folder, started as often as it takes."""

    def __init__(self, recipe: Path, work_dir: Path) -> None:
        self.recipe, self.work_dir = recipe, work_dir
        self.watch = Watch()
        self.starts = 0

    def start(self) -> Job:
        self.starts += 1
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["--max-restarts", "1000", "tools/train.py", str(self.recipe), "--work-dir", str(self.work_dir)]
        command += ["--device", "cpu", "--seed", "0", "--deterministic", "--validate", "--auto-resume"]
        mark = uuid.uuid4().hex
        env = {**os.environ, "TPN_TEST": mark, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return Job([*command, "--dist-timeout", "10"], env, mark)

    def seconds_of(self, faults: Iterator[str], pause: float) -> tuple[float, Counter[str]]:
        """Run to the end; after each pause in which the training is under way, the next fault."""
        job, began, counts = self.start(), time.monotonic(), Counter()
        due, told = began + pause, 0
        try:
            while True:
                time.sleep(1)
                if job.process.poll() is not None:
                    if job.end() == 0:
                        return time.monotonic() - began, counts
                    assert "all of it saved in" in job.text, job.text[-5000:]  # stopped on demand
                    job, told = self.start(), 0
                self.watch.look(job)
                if time.monotonic() >= due and any(re.search(UNDER_WAY, line) for line in job.lines[told:]):
                    fault = next(faults)
                    counts[fault] += inflict(fault, job)
                    due, told = time.monotonic() + pause, len(job.lines)
        finally:
            for pid in pids_of(job.mark):
                os.kill(pid, signal.SIGKILL)


def inflict(fault: str, job: Job) -> bool:
    """Whether it could be: a run may just have ended."""
    try:
        if fault == "stopped on demand":
            os.kill(job.process.pid, signal.SIGTERM)
        elif fault == "data worker killed":
            os.kill(random.choice(job.workers_of(random.choice(list(job.ranks().values())))), signal.SIGKILL)
        else:
            job.kill(random.randrange(2), signal.SIGSTOP if fault == "process hangs" else signal.SIGKILL)
    except (OSError, KeyError, IndexError):
        return False
    return True


def random_faults(seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    while True:
        yield rng.choice(["process killed", "data worker killed", "stopped on demand", "process hangs"])


def prepare(folder: Path) -> None:
    """Videos, and a list that shows them often enough for an epoch of a few seconds."""
    make_sprites(folder, num_train=24, num_val=8, num_test=1, seed=0, workers=2, progress=None)
    lines = (folder / "train.txt").read_text().splitlines(keepends=True)
    (folder / "train.txt").write_text("".join((lines * VIDEOS)[:VIDEOS]))


def undisturbed(folder: Path, name: str, epochs: int) -> tuple[Soak, float]:
    """A run without faults, and the seconds it took."""
    recipe = folder / "soak.py"
    recipe.write_text(RECIPE.format(root=str(folder), epochs=epochs))
    soak = Soak(recipe, folder / name)
    seconds, _ = soak.seconds_of(iter(()), float("inf"))
    return soak, seconds


def epochs_of(folder: Path, minutes: float) -> int:
    """How many fit into so many minutes with faults: by the logged steps of a trial, validation and saving left out."""
    trial, _ = undisturbed(folder, "trial", 2)
    (path,) = trial.work_dir.glob("*.log.json")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    seconds = statistics.mean(row["time"] for row in rows if row.get("mode") == "train") * VIDEOS / 4
    return max(3, round(minutes * 60 * PRODUCTIVE / seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="of faults, about")
    parser.add_argument("--epochs", type=int, help="of the training, where a trial is not to tell how many fit")
    parser.add_argument("--every", type=float, default=60, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--quick", action="store_true", help="three epochs, a fault every eight seconds")
    parser.add_argument("--out", type=Path, help="write the rows to this JSON file")
    arguments = parser.parse_args()
    minutes, pause = (0.1, 8) if arguments.quick else (arguments.minutes, arguments.every)
    random.seed(arguments.seed)
    with TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        epochs = arguments.epochs or epochs_of(folder, minutes)
        print(f"{epochs} epochs of {VIDEOS // 4} steps; the undisturbed run first", flush=True)
        calm, calm_seconds = undisturbed(folder, "calm", epochs)
        soak = Soak(calm.recipe, folder / "soak")
        seconds, counts = soak.seconds_of(random_faults(arguments.seed), pause)
        is_equal = digest_of(soak.work_dir) == digest_of(calm.work_dir)
        stale = [path.name for path in soak.work_dir.glob(".*.tmp")]
    rows = [row("undisturbed", calm, calm_seconds, Counter()), row("with faults", soak, seconds, counts)]
    rows[1] |= {"ends at D": is_equal, "left behind": stale}
    for values in rows:
        print("\n" + "\n".join(f"{key:28} {value}" for key, value in values.items()))
    if arguments.out:
        arguments.out.write_text(json.dumps({"rows": rows, "machine": machine()}, indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if is_equal and not stale else 1)


def row(name: str, soak: Soak, seconds: float, counts: Counter[str]) -> dict[str, object]:
    values: dict[str, object] = {"name": name, "minutes": round(seconds / 60, 1), "faults": sum(counts.values())}
    values |= dict(counts)
    values["starts by hand"] = soak.starts
    if any(len(samples) > WARM_UP for samples in soak.watch.rss.values()):
        first, last = soak.watch.growth(soak.watch.rss)
        values["MiB, first and last third"] = f"{first:.0f}, {last:.0f} ({last / first - 1:+.1%})"
        values["files, first and last third"] = "{:.0f}, {:.0f}".format(*soak.watch.growth(soak.watch.files))
    return values


def machine() -> str:
    import torch

    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    return f"{names[0] if names else 'unknown'}, {os.cpu_count()} CPUs; torch {torch.__version__}; {commit.strip()}"


if __name__ == "__main__":
    main()

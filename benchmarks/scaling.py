"""How the cost grows: with data workers and processes, and with the length, number and size of views.

python benchmarks/scaling.py                                 # every axis of SlowOnly-TPN 8x8
python benchmarks/scaling.py --axes sizes lengths
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from peers import SLOWONLY
from rich.console import Console
from timing import Run, interleave, report, timed, write_tables
from tpn_worker import overrides, trainer
from videos import write_videos

from tpn.config import Config, load_config
from tpn.config.recipes import find_recipe
from tpn.data.dataset import build_dataset
from tpn.data.loader import build_train_loader
from tpn.engine.distributed import joined_world
from tpn.engine.evaluate import build_scorer
from tpn.models.recognizer import build_recognizer

CPU = torch.device("cpu")


def main() -> None:
    options = arguments()
    if options.process is not None:
        train_in_this_process(options.process)
        return
    with TemporaryDirectory() as folder:
        tables = [AXES[axis](options, Path(folder)) for axis in options.axes]
    write_tables(tables, options.out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=SLOWONLY, help="name of a recipe in configs/recognition/tpn")
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--size", type=int, default=256, help="side of a view where another axis is measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="two small points an axis and one round: does it run?")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--process", type=Path, help=argparse.SUPPRESS)  # a job, for what torchrun starts
    options = parser.parse_args()
    if options.quick:
        options.size, options.rounds = 64, 1
    return options


# ------------------------------------------------------------------------------------------------- the size of the work


def sizes(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    points = (48, 64) if options.quick else (112, 160, 224, 256, 320)
    runs = {str(size): scoring(recipe(options), views=1, size=size) for size in points}
    return grown("side of a view, pixels", interleave(runs, rounds=options.rounds), views=dict.fromkeys(runs, 1))


def lengths(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    points = (8, 16) if options.quick else (8, 16, 32)
    runs = {
        str(length): scoring(
            recipe(options, {"data.clip_len": length, "model.neck.temporal_scales": (length, length)}),
            views=1,
            size=options.size,
        )
        for length in points
    }
    return grown("frames of a view", interleave(runs, rounds=options.rounds), views=dict.fromkeys(runs, 1))


def views(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    points = (1, 3) if options.quick else (1, 3, 10, 30)
    runs = {str(number): scoring(recipe(options), views=number, size=options.size) for number in points}
    return grown("views of a video", interleave(runs, rounds=options.rounds), views={name: int(name) for name in runs})


def scoring(config: Config, *, views: int, size: int) -> Run:
    """The scores of one video, from its views in memory."""
    scorer = build_scorer(build_recognizer(config.model), config, CPU)
    shape = (1, views, config.frames_per_view, size, size, 3)
    return timed(partial(scorer, torch.randint(0, 256, shape, dtype=torch.uint8)))


def recipe(options: argparse.Namespace, changes: Mapping[str, object] = {}) -> Config:
    return load_config(
        find_recipe(options.recipe), {"model.backbone.pretrained": None, "dtype": options.dtype, **changes}
    )


# ------------------------------------------------------------------------------------------------ the number of workers


def workers(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    points = (0, 1) if options.quick else (0, 1, 2)
    clips = 4 if options.quick else 32
    runs = {str(number): loading(options, folder, workers=number, clips=clips) for number in points}
    return shared_out("data workers", interleave(runs, rounds=options.rounds), clips=dict.fromkeys(runs, clips))


def loading(options: argparse.Namespace, folder: Path, *, workers: int, clips: int) -> Run:
    """An epoch of training clips from video files, by workers that are up already; nothing is computed with them."""
    config = load_config(find_recipe(options.recipe), overrides(job(options, folder, workers=workers, clips=clips)))
    loader = build_train_loader(build_dataset(config, "train", seed=0), batch_size=4, workers=workers, seed=0)
    epochs = iter(range(10**9))
    return timed(lambda: sum(len(batch.label) for batch in loader.epoch(next(epochs))[1]))


def processes(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Training of one thread a process. torchrun ends its processes, so rounds are epochs within one start."""
    clips = {name: int(name) * (2 if options.quick else 6) for name in ("1", "2")}
    seconds = {name: train_in_processes(options, folder, int(name), clips[name]) for name in clips}
    return shared_out("processes of one thread", seconds, clips=clips)


def train_in_processes(options: argparse.Namespace, folder: Path, number: int, clips: int) -> list[float]:
    path = folder / f"job_{number}.json"
    path.write_text(json.dumps(job(options, folder / str(number), workers=0, clips=clips)), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
    subprocess.run([*command, __file__, "--process", str(path)], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    return json.loads(path.with_suffix(".seconds").read_text(encoding="utf-8"))


def train_in_this_process(path: Path) -> None:
    """What torchrun starts: epochs of training from files, the first of which does not count."""
    torch.set_num_threads(1)
    asked = json.loads(path.read_text(encoding="utf-8"))
    with joined_world("cpu") as world:
        epoch = timed(trainer(asked, world))
        seconds = [epoch() for _ in range(asked["rounds"] + 1)][1:]
        if world.is_main:
            path.with_suffix(".seconds").write_text(json.dumps(seconds), encoding="utf-8")


def job(options: argparse.Namespace, folder: Path, *, workers: int, clips: int) -> dict[str, Any]:
    """What `tpn_worker.overrides` reads: training on as many lines of a list of videos made in the folder."""
    folder.mkdir(exist_ok=True)
    names = write_videos(folder, number=2, seconds=2 if options.quick else 10)
    ann_file = folder / f"{clips}.txt"
    ann_file.write_text("".join(f"{names[index % 2]} 0\n" for index in range(clips)), encoding="utf-8")
    return {
        "recipe": options.recipe,
        "dtype": options.dtype,
        "folder": str(folder),
        "ann_file": str(ann_file),
        "data_prefix": str(folder),
        "size": options.size,
        "train_size": options.size * 7 // 8,
        "num_clips": 1,
        "num_crops": 1,
        "batch": 2,
        "workers": workers,
        "rounds": options.rounds,
    }


# ----------------------------------------------------------------------------------------------------------- the tables


def grown(axis: str, seconds: Mapping[str, list[float]], *, views: Mapping[str, int]) -> dict[str, Any]:
    """Print ms a view at each point, and the power of the axis with which the cost of a run grows."""
    columns = {"ms a view": lambda name, median: f"{1e3 * median / views[name]:.1f}"}
    record = report(axis, seconds, columns=columns, out=None)
    points = np.log([(float(row["name"]), row["median_s"]) for row in record["rows"]])
    exponent = float(np.polyfit(*points.T, deg=1)[0])
    Console().print(f"cost grows with the power {exponent:.2f} of it\n")
    return with_field(record, "exponent", dict.fromkeys(seconds, exponent))


def shared_out(axis: str, seconds: Mapping[str, list[float]], *, clips: Mapping[str, int]) -> dict[str, Any]:
    """Print ms a clip at each point, and its speed as a share of that of as many times a single one."""
    cost = {name: statistics.median(values) / clips[name] for name, values in seconds.items()}  # seconds a clip
    efficiency = {name: cost["1"] / cost[name] / max(1, int(name)) for name in cost}
    columns = {
        "ms a clip": lambda name, median: f"{1e3 * cost[name]:.1f}",
        "efficiency": lambda name, median: f"{efficiency[name]:.0%}",
    }
    return with_field(report(axis, seconds, columns=columns, out=None), "efficiency", efficiency)


def with_field(record: dict[str, Any], field: str, values: Mapping[str, float]) -> dict[str, Any]:
    return record | {"rows": [{**row, field: values[row["name"]]} for row in record["rows"]]}


AXES = {"sizes": sizes, "lengths": lengths, "views": views, "workers": workers, "processes": processes}


if __name__ == "__main__":
    main()

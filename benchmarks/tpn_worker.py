"""Runs our own test or training from video files, in its own process, on command (worker.py): see end_to_end.py."""

import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is imported

import torch
from rich.console import Console
from worker import serve

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.data.dataset import build_dataset
from tpn.engine.bad_videos import BadVideos
from tpn.engine.distributed import World
from tpn.engine.evaluate import build_scorer, score_dataset
from tpn.engine.setup import start_run
from tpn.engine.train import train_epoch
from tpn.memory import keep_freed_memory
from tpn.models.recognizer import build_recognizer

CPU = torch.device("cpu")
ALONE = World(rank=0, size=1, device=CPU)
SILENT = Console(file=StringIO())


def prepare(job: dict) -> Callable[[], object]:
    keep_freed_memory()  # as the command does
    torch.set_num_threads(job["threads"])
    return tester(job) if job["mode"] == "test" else trainer(job, ALONE)


def overrides(job: dict) -> dict[str, object]:
    """What the job changes in the recipe."""
    changes: dict[str, object] = {
        "model.backbone.pretrained": None,
        "dtype": job["dtype"],
        "data.format": "videos",
        "data.short_side": job["size"],
        "data.crop_size": job["train_size"],
        "data.videos_per_gpu": job["batch"],
        "data.workers_per_gpu": job["workers"],
        "data.test.crop_size": job["size"],
        "data.test.num_clips": job["num_clips"],
        "data.test.num_crops": job["num_crops"],
    }
    for split in ("train", "val", "test"):
        changes |= {f"data.{split}.ann_file": job["ann_file"], f"data.{split}.data_prefix": job["data_prefix"]}
    return changes


def tester(job: dict) -> Callable[[], object]:
    """The test of the whole list, as `tpn test` runs it."""
    config = load_config(find_recipe(job["recipe"]), overrides(job))
    dataset = build_dataset(config, "test", seed=0)
    scorer = build_scorer(build_recognizer(config.model), config, CPU)
    return lambda: score_dataset(
        scorer,
        dataset,
        batch_size=1,
        workers=config.data.workers_per_gpu,
        read_timeout=config.data.read_timeout,
        bad=BadVideos(config, "test", dataset.records),
        world=ALONE,
        console=SILENT,
        title="test",
    )


def trainer(job: dict, world: World) -> Callable[[], None]:
    """An epoch over the list, as `tpn train` runs it."""
    recipe = find_recipe(job["recipe"])
    run = start_run(
        load_config(recipe, overrides(job)),
        config_file=recipe,
        work_dir=Path(job["folder"]) / f"run_{job['dtype']}",
        world=world,
        console=SILENT,
        validate=False,
        seed=0,
        deterministic=False,
        autoscale_lr=True,
        resume_from=None,
    )

    def epoch() -> None:
        train_epoch(run)
        run.state.epoch, run.state.position = run.state.epoch + 1, 0

    return epoch


if __name__ == "__main__":
    serve(prepare)

"""The main job on a small data set it makes itself: train, validate, test, predict, in minutes on two CPU cores."""

import dataclasses
import os
import shlex
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from tpn.compat.checkpoints import load_checkpoint
from tpn.config import Config, load_config
from tpn.config.recipes import find_recipe
from tpn.data.dataset import FixedViews, VideoDataset, build_dataset
from tpn.data.sprites import CLASSES, make_sprites
from tpn.engine.bad_videos import BadVideos
from tpn.engine.distributed import World
from tpn.engine.evaluate import Scorer, build_scorer, score_dataset
from tpn.engine.folder import make_folder
from tpn.engine.progress import ProgressBar, print_line
from tpn.engine.setup import start_run
from tpn.engine.train import train
from tpn.metrics import top_k_accuracy
from tpn.models.recognizer import build_recognizer
from tpn.predict import predict

RECIPE = "tpn_tsn_r14_8x8x1_10e_temposprites_rgb"
VIDEOS = {"num_train": 960, "num_val": 120, "num_test": 240}


def run_demo(work_dir: Path, *, epochs: int | None, device: torch.device, console: Console) -> None:
    """Make the videos, train, test on ordered and on shuffled frames, predict one video; all of it in work_dir."""
    world = World(rank=0, size=1, device=device)
    make_folder(work_dir)
    print_line(f"1/4  Making {sum(VIDEOS.values())} mp4 videos of 6 classes in {work_dir / 'temposprites'}", console)
    make_videos(work_dir / "temposprites", console)
    config = demo_config(work_dir, epochs)

    print_line(f"\n2/4  Training {RECIPE} for {config.total_epochs} epochs", console)
    run = start_run(
        config,
        config_file=find_recipe(RECIPE),
        work_dir=work_dir,
        world=world,
        console=console,
        validate=True,
        seed=0,
        deterministic=False,
        autoscale_lr=False,
        resume_from=None,
    )
    train(run)
    best = Path(run.state.hook_msgs["best_ckpt"])

    print_line(f"\n3/4  Testing {best.name} on {VIDEOS['num_test']} new videos", console)
    model = build_recognizer(config.model)
    load_checkpoint(model, best)
    scorer = build_scorer(model.to(device), config, device)
    test_set = build_dataset(config, "test", seed=0)
    ordered = accuracy(scorer, test_set, config, world, console, "frames in order")
    shuffled = accuracy(scorer, with_shuffled_frames(test_set), config, world, console, "frames shuffled")
    print_line(f"top-1 accuracy, frames in order   {ordered:6.1%}", console)
    print_line(f"top-1 accuracy, frames shuffled   {shuffled:6.1%}", console)
    print_line(f"ceiling of a network that cannot see order {0.5:6.1%}", console)

    video, label = Path(test_set.records[0].path), test_set.records[0].label
    names = list(CLASSES)
    print_line(f"\n4/4  Predicting {video.name}, a video of '{names[label]}'", console)
    predict(scorer, config, video, names=names, out=work_dir / "prediction.png", console=console)
    print_line(
        f"\nEverything is in {work_dir}: {best.name}, latest.pth, curves.png, prediction.png, logs, config", console
    )
    labels = work_dir / "temposprites" / "labels.txt"
    command = ["tpn", "predict", f"{work_dir / RECIPE}.py", best, test_set.records[1].path, "--labels", labels]
    print_line(f"Next: {shlex.join(map(str, command))}", console)
    print_line("Your own videos: docs/en/getting-started.md, 我自己的视频: docs/zh-CN/getting-started.md", console)


def make_videos(folder: Path, console: Console) -> None:
    with ProgressBar(sum(VIDEOS.values()), console=console, description="videos", unit="video") as bar:
        make_sprites(
            folder,
            **VIDEOS,
            seed=0,
            workers=os.cpu_count() or 1,
            progress=lambda done: bar.advance(done - bar.completed),
        )


def demo_config(work_dir: Path, epochs: int | None) -> Config:
    """The demo's recipe, with its data under work_dir."""
    folder = work_dir / "temposprites"
    overrides: dict[str, object] = {"total_epochs": epochs} if epochs else {}
    for split in ("train", "val", "test"):
        overrides[f"data.{split}.ann_file"] = str(folder / f"{split}.txt")
        overrides[f"data.{split}.data_prefix"] = str(folder)
    return load_config(find_recipe(RECIPE), overrides)


def accuracy(
    scorer: Scorer, dataset: VideoDataset, config: Config, world: World, console: Console, title: str
) -> float:
    """Top-1 accuracy over all views, after a line that says which."""
    print_line(f"{title}:", console)
    scores = score_dataset(
        scorer,
        dataset,
        batch_size=config.data.videos_per_gpu,
        workers=config.data.workers_per_gpu,
        read_timeout=config.data.read_timeout,
        bad=BadVideos(config, "test", dataset.records),
        world=world,
        console=console,
        title=title,
    )
    assert scores is not None  # there is one process
    return top_k_accuracy(scores, np.array([record.label for record in dataset.records]), ks=(1,))[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShuffledViews(FixedViews):
    """Test views whose frames come in random order."""

    def indices(self, num_frames: int, rng: np.random.Generator | None = None) -> np.ndarray:
        return np.random.default_rng(rng).permuted(super().indices(num_frames), axis=1)


def with_shuffled_frames(dataset: VideoDataset) -> VideoDataset:
    assert isinstance(dataset.views, FixedViews)
    return dataclasses.replace(dataset, views=ShuffledViews(**dataclasses.asdict(dataset.views)))

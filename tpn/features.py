"""One vector per video: what the last layer of the network sees, averaged over the views of the test."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from torch import nn

from tpn.config import Config
from tpn.data.dataset import build_dataset, build_fixed_views
from tpn.engine.bad_videos import BadVideos
from tpn.engine.distributed import World
from tpn.engine.evaluate import load_scorer, score_dataset
from tpn.engine.progress import print_line
from tpn.engine.results import check_results_path, write_meta, write_results
from tpn.engine.test import describe


def extract_features(
    config: Config,
    checkpoint: Path,
    *,
    video_list: Path | None,
    video_root: Path | None,
    out: Path,
    world: World,
    console: Console,
) -> None:
    """Write the features of videos in the layout of scores: one row of the network's width per video, in list order.

    A feature is the output of neck or backbone, averaged over time, space and views: 2048 values for ResNet-50.

    Args:
        video_list: a video a line without a label (`path`, or `folder num_frames` where the recipe reads frames);
            None: the recipe's test list, with its labels.
        video_root: folder the paths start from; None: the recipe's.
    Raises:
        UserError: before any video is read, where `out`, the list or the checkpoint cannot be used.
        DataError: more videos cannot be read than `data.test.max_bad` allows; all of them are named.
    """
    config = with_videos(config, video_list, video_root)
    dataset = build_dataset(config, "test", seed=0, labelled=video_list is None)
    if world.is_main:
        check_results_path(out)
    scorer = replace(load_scorer(config, checkpoint, world.device), average_clips="score")
    scorer.model.cls_head.register_module("fc_cls", nn.Identity())  # so that the scores are what the last layer sees
    bad = BadVideos(config, "test", dataset.records)
    features = score_dataset(
        scorer,
        dataset,
        batch_size=1,
        workers=config.data.workers_per_gpu,
        read_timeout=config.data.read_timeout,
        bad=bad,
        world=world,
        console=console,
        title="features",
    )
    if features is None:  # not the main process
        return
    print_line(f"\nwriting results to {out}", console)
    write_results(out, features)
    num_views = build_fixed_views(config, "test").num_views
    facts = describe(config, checkpoint, records=dataset.records, num_views=num_views, failures=bad.listed())
    write_meta(out, facts | {"average_clips": "mean of the features"})


def with_videos(config: Config, video_list: Path | None, video_root: Path | None) -> Config:
    """The config with another list and folder of test videos."""
    changes = {"ann_file": video_list, "data_prefix": video_root}
    test = config.data.test.model_copy(update={key: str(path) for key, path in changes.items() if path is not None})
    return config.model_copy(update={"data": config.data.model_copy(update={"test": test})})

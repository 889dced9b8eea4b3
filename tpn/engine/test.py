"""The test: every video of the test list scored once, metrics printed, result files written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from rich.console import Console

import tpn
from tpn.config import Config
from tpn.data.annotations import Record, list_hash, name_in_list
from tpn.data.dataset import build_dataset, build_fixed_views
from tpn.engine.bad_videos import BadVideos
from tpn.engine.distributed import World, shared
from tpn.engine.evaluate import load_scorer, score_dataset
from tpn.engine.progress import print_line
from tpn.engine.remarks import data_remarks
from tpn.engine.results import check_results_path, write_meta, write_results
from tpn.engine.setup import Run
from tpn.metrics import Metric, evaluate_scores, metric_lines


def test(
    config: Config,
    checkpoint: Path,
    *,
    metrics: Sequence[Metric],
    ks: Sequence[int] | None = None,
    out: Path | None,
    compile: bool = False,
    reference_lines: bool = False,
    world: World,
    console: Console,
) -> dict[str, float]:
    """Score the test videos; print each metric as `name: value` and return them, write the scores.

    Args:
        ks: of top_k_accuracy; None: as `evaluate_scores` has it.
        reference_lines: print them before that in the words of MMAction2's evaluation, as its tools/test.py does.
    Raises:
        UserError: before any scoring, where `out`, the list or the checkpoint cannot be used, or nothing can `compile`.
        DataError: more videos cannot be read than `data.test.max_bad` allows; all of them are named.
    """
    dataset = build_dataset(config, "test", seed=0)
    if out is not None and world.is_main:
        check_results_path(out)
    scorer = load_scorer(config, checkpoint, world.device, compile=compile)
    for remark in data_remarks(config, dataset) if world.is_main else []:
        print_line(remark, console)
    bad = BadVideos(config, "test", dataset.records)
    scores = score_dataset(
        scorer,
        dataset,
        batch_size=1,
        workers=config.data.workers_per_gpu,
        read_timeout=config.data.read_timeout,
        bad=bad,
        world=world,
        console=console,
        title="test",
    )
    if scores is None:  # not the main process
        return {}
    if out is not None:
        print_line(f"\nwriting results to {out}", console)
        write_results(out, scores)
        write_meta(
            out,
            describe(
                config,
                checkpoint,
                records=dataset.records,
                num_views=build_fixed_views(config, "test").num_views,
                failures=bad.listed(),
            ),
        )
    labels = np.array([record.label for record in dataset.records])
    values = evaluate_scores(scores, labels, metrics, ks=ks)
    evaluation = metric_lines(metrics, values) if reference_lines else []
    for line in [*evaluation, *(f"{key}: {value:.4f}" for key, value in values.items())]:
        print_line(line, console)
    return values


def test_after_training(run: Run, *, last: bool, best: bool) -> None:
    """Test the last or the best checkpoint of a finished run, the file that its log names, wherever it lies.

    The scores go to last_pred.pkl and best_pred.pkl in the run's folder.
    """
    best_file = shared(run.state.hook_msgs.get("best_ckpt"), run.world)  # so all wait until the last one is written
    checkpoints = {"last": run.state.hook_msgs["last_ckpt"]} if last else {}
    if best and best_file is None:
        print_line("--test-best: there is no best checkpoint, which --validate keeps", run.console)
    elif best:
        checkpoints["best"] = best_file
    for name, file in checkpoints.items():
        if run.world.is_main:
            print_line(f"Testing results of the {name} checkpoint, {file}", run.console)
        test(
            run.config,
            Path(file),
            metrics=run.config.evaluation.metrics,
            out=run.work_dir / f"{name}_pred.pkl",
            world=run.world,
            console=run.console,
        )


def describe(
    config: Config,
    checkpoint: Path,
    *,
    records: Sequence[Record],
    num_views: int,
    failures: Mapping[str, str],
) -> dict[str, Any]:
    """What the scores depend on: the decoder is part of the result, and so are the videos that cannot be read."""
    data = config.data
    decoder = (
        f"PyAV {av.__version__} (FFmpeg {av.ffmpeg_version_info})"
        if data.format == "videos"
        else f"OpenCV {cv2.__version__} imread"
    )
    return {
        "tpn_version": tpn.__version__,
        "checkpoint": str(checkpoint),
        "ann_file": data.test.ann_file,
        "ann_file_sha256": list_hash(data.test.ann_file),
        "num_videos": len(records),
        "num_failures": len(failures),
        "views_per_video": num_views,
        "average_clips": config.evaluation.average_clips,
        "decoder": decoder,
        "resizer": f"OpenCV {cv2.__version__} bilinear",
        "short_side": data.short_side,
        "crop_size": data.test.crop_size or data.crop_size,
        "dtype": config.dtype,
        "torch_version": torch.__version__,
        "failures": dict(failures),
        "videos": [name_in_list(record, data.test.data_prefix) for record in records],
    }

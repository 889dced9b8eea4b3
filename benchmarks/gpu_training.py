"""Training steps on one GPU: batches of 8, 16 and 32 clips in every precision, beside the reference's own layout.

python benchmarks/gpu_training.py
python benchmarks/gpu_training.py --quick --device cpu       # does it run?

Clips are on the device already. A step is forward, backward (counted as twice the forward), clipping and update. With
accumulation a step takes its clips in four parts; `with_cp` computes each block's activations again for the backward.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from on_device import NARROW, SMALL, Tables, Work, baselines, in_precision, precisions
from peers import SLOWONLY
from reference_layout import reference_layout
from train_worker import trainer

from tpn.config import Config, load_config
from tpn.config.recipes import find_recipe
from tpn.engine.distributed import choose_device
from tpn.flops import count_flops
from tpn.models.recognizer import build_recognizer

PARTS = 4  # of a step with accumulation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=SLOWONLY, help="name of a recipe in configs/recognition/tpn")
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[8, 16, 32], help="clips in one step; a table for each"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no further table after so long")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="few small clips and one round: does it run?")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    device, rounds, batches = choose_device(options.device, 0), options.rounds, options.batches
    overrides: dict[str, object] = {"model.backbone.pretrained": None}
    if options.quick:
        rounds, batches = 1, [4]
        overrides |= {**SMALL, **NARROW}
    config = load_config(find_recipe(options.recipe), overrides)
    tables = Tables(options.out, device, seconds=options.seconds)
    for batch in sorted(batches, reverse=True):
        title = f"{options.recipe}: a training step of {batch} clips"
        if tables.is_late(title):
            continue
        size = config.data.crop_size
        clips = torch.randn(batch, 3, config.frames_per_view, size, size, device=device)
        clips = clips.contiguous(memory_format=torch.channels_last_3d)
        with torch.device("meta"):
            flops = 3 * 2 * count_flops(build_recognizer(config.model), tuple(clips.shape))
        builds = {**references(config, clips), **ours(config, clips)}
        if batch == max(batches):
            builds |= savers(config, clips)
        tables.compare(title, builds, rounds=rounds, flops=flops, unit="clips/s", amount=batch)


def references(config: Config, clips: torch.Tensor) -> dict[str, Callable[[], Work]]:
    return {
        name: partial(baseline, config, clips.contiguous(), precision)
        for name, precision in baselines(clips.device).items()
    }


def baseline(config: Config, clips: torch.Tensor, precision: str) -> Work:
    step = trainer(in_precision(config, precision), clips)

    def work() -> None:
        with reference_layout():
            step()

    return work


def ours(config: Config, clips: torch.Tensor) -> dict[str, Callable[[], Work]]:
    return {f"tpn, {name}": partial(trainer, in_precision(config, name), clips) for name in precisions(clips.device)}


def savers(config: Config, clips: torch.Tensor) -> dict[str, Callable[[], Work]]:
    """What saves memory, in bfloat16."""
    config = in_precision(config, "bfloat16")
    backbone = config.model.backbone.model_copy(update={"with_cp": True})
    again = config.model_copy(update={"model": config.model.model_copy(update={"backbone": backbone})})
    return {
        "tpn, accumulation, bfloat16": partial(trainer, config, clips, parts=PARTS),
        "tpn, with_cp, bfloat16": partial(trainer, again, clips),
    }


if __name__ == "__main__":
    main()

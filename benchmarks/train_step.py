"""One optimisation step on a batch of clips: time and peak memory, beside MMAction2 where it is at hand.

python benchmarks/train_step.py                                  # SlowOnly-TPN 8x8 at 224 x 224, two videos
python benchmarks/train_step.py --batches 1 2 4 8                # a table for each batch size
MMACTION2_PYTHON=…/bin/python python benchmarks/train_step.py    # with the reference as the first row

Every contender is a process of its own; they take turns. `peak MiB` is the largest resident memory of that process,
Python and libraries included. `activations MiB` is what of it a step needs besides: peak, less the memory of the
process with its network built, less the gradients and momenta (twice the weights' bytes) that every contender keeps.
"""

import argparse
from pathlib import Path

import torch
from peers import SLOWONLY, Contender, mmaction2, ours
from timing import interleave, report, write_tables

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.flops import count_flops
from tpn.models.recognizer import build_recognizer

OURS = {
    "tpn, float32": {"dtype": "float32"},
    "tpn, bfloat16": {"dtype": "bfloat16"},
    "tpn, float32, with_cp": {"dtype": "float32", "with_cp": True},
    "tpn, bfloat16, with_cp": {"dtype": "bfloat16", "with_cp": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=SLOWONLY, help="name of a recipe in configs/recognition/tpn")
    parser.add_argument("--size", type=int, default=224, help="height and width of a clip")
    parser.add_argument("--batches", type=int, nargs="+", default=[2], help="clips in one step; a table for each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="also time torch.compile (minutes to start)")
    parser.add_argument("--quick", action="store_true", help="a small size and one round: does it run?")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    size, rounds, batches = (64, 1, [1]) if options.quick else (options.size, options.rounds, options.batches)
    records = [compare(options.recipe, batch, size, rounds=rounds, with_compile=options.compile) for batch in batches]
    write_tables(records, options.out)


def compare(recipe: str, batch: int, size: int, *, rounds: int, with_compile: bool) -> dict:
    """One table."""
    config = load_config(find_recipe(recipe), {"model.backbone.pretrained": None})
    with torch.device("meta"):
        model = build_recognizer(config.model)
    shape = (batch, 3, config.frames_per_view, size, size)
    flops = 3 * 2 * count_flops(model, shape)  # the backward pass takes twice the forward's; no auxiliary head
    kept = 2 * sum(parameter.numel() * 4 for parameter in model.parameters()) >> 20
    runs = contenders(recipe, shape, with_compile=with_compile)
    try:
        seconds = interleave(runs, rounds=rounds)
    finally:
        for contender in runs.values():
            contender.end()
    peak = {name: contender.peak_mib for name, contender in runs.items()}
    activations = {name: max(1, contender.peak_mib - contender.first_mib - kept) for name, contender in runs.items()}
    first = next(iter(runs))
    return report(
        f"{recipe}, one step: {batch} x {config.frames_per_view} x {size} x {size}, about {flops / 1e9:.0f} GFLOP",
        seconds,
        columns={
            "clips/s": lambda name, median: f"{batch / median:.2f}",
            "GFLOP/s": lambda name, median: f"{flops / median / 1e9:.0f}",
            "peak MiB": lambda name, _: f"{peak[name]} ({peak[name] / peak[first]:.2f}x)",
            "activations MiB": lambda name, _: f"{activations[name]} ({activations[name] / activations[first]:.2f}x)",
        },
        out=None,
    )


def contenders(recipe: str, shape: tuple[int, ...], *, with_compile: bool) -> dict[str, Contender]:
    """The reference first where it is at hand, then ours."""
    job = {"recipe": recipe, "shape": shape, "with_cp": False, "compile": False}
    compiled = {"tpn, float32, compiled": {"dtype": "float32", "compile": True}} if with_compile else {}
    return {
        **mmaction2("mmaction2_worker.py", {**job, "shape": train_shape(shape, recipe), "mode": "train"}),
        **{name: ours("train_worker.py", {**job, **choice}) for name, choice in {**OURS, **compiled}.items()},
    }


def train_shape(shape: tuple[int, ...], recipe: str) -> tuple[int, ...]:
    """The batch as MMAction2 lays it out in training: (B, 1, 3, T, H, W), or (B, T, 3, H, W) for TSM."""
    batch, channels, t, h, w = shape
    return (batch, t, channels, h, w) if "_tsm_" in recipe else (batch, 1, channels, t, h, w)


if __name__ == "__main__":
    main()

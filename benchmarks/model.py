"""Inference of one network on one view: our paths side by side, and beside MMAction2 where it is at hand.

python benchmarks/model.py                                   # SlowOnly-TPN 8x8 at 256 x 256
python benchmarks/model.py --recipe tpn_tsm_r50_1x1x8_150e_sthv1_rgb
MMACTION2_PYTHON=…/bin/python python benchmarks/model.py     # with the reference as the first row
"""

import argparse
from pathlib import Path

import torch
from peers import mmaction2
from timing import Run, interleave, matmul_peak, report, timed

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.flops import count_flops
from tpn.models.optimize import optimize
from tpn.models.recognizer import Recognizer, build_recognizer

SLOWONLY = "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=SLOWONLY, help="name of a recipe in configs/recognition/tpn")
    parser.add_argument("--size", type=int, default=256, help="height and width of a view")
    parser.add_argument("--views", type=int, default=1, help="views in one forward pass")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="also time torch.compile (minutes to start)")
    parser.add_argument("--quick", action="store_true", help="a small size and one round: does it run?")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    size, rounds = (64, 1) if options.quick else (options.size, options.rounds)

    config = load_config(find_recipe(options.recipe), {"model.backbone.pretrained": None})
    model = build_recognizer(config.model).eval()
    clips = torch.randn(options.views, 3, config.frames_per_view, size, size)
    runs = contenders(model, clips, with_compile=options.compile)
    peer = mmaction2(options.recipe, shape=reference_shape(clips, options.recipe), mode="test")
    runs = {"MMAction2 0.24.1": peer, **runs} if peer else runs

    flops = 2 * count_flops(model, tuple(clips.shape))
    peak = matmul_peak(torch.float32, size=512 if options.quick else 2048)
    report(
        f"{options.recipe}, {flops / 1e9:.1f} GFLOP: {options.views} x {config.frames_per_view} x {size} x {size}",
        interleave(runs, rounds=rounds),
        columns={
            "views/s": lambda name, median: f"{options.views / median:.2f}",
            "GFLOP/s": lambda name, median: f"{flops / median / 1e9:.0f}",
            "of fp32 peak": lambda name, median: f"{flops / median / peak:.0%}",
        },
        out=options.out,
    )


@torch.inference_mode()
def contenders(model: Recognizer, clips: torch.Tensor, *, with_compile: bool) -> dict[str, Run]:
    """Our ways to the logits."""
    half = clips.bfloat16()
    optimized, optimized_half = optimize(model), optimize(model, dtype=torch.bfloat16)
    works = {
        "plain, float32": (model, clips),
        "optimized, float32": (optimized, clips),
        "optimized, bfloat16": (optimized_half, half),
    }
    if with_compile:
        works["compiled, float32"] = (torch.compile(model), clips)
    return {name: timed(inference(network, x)) for name, (network, x) in works.items()}


def inference(network: torch.nn.Module, clips: torch.Tensor):
    def run() -> None:
        with torch.inference_mode():
            network(clips)

    return run


def reference_shape(clips: torch.Tensor, recipe: str) -> tuple[int, ...]:
    """The same input as MMAction2 lays it out: (1, views, 3, T, H, W), or (1, views * T, 3, H, W) for TSM."""
    views, channels, t, h, w = clips.shape
    return (1, views * t, channels, h, w) if "_tsm_" in recipe else (1, views, channels, t, h, w)


if __name__ == "__main__":
    main()

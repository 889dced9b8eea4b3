"""Inference of one network on one view: our paths side by side, and beside MMAction2, ONNX Runtime and OpenVINO.

python benchmarks/model.py                                   # SlowOnly-TPN 8x8 at 256 x 256
python benchmarks/model.py --recipe tpn_tsm_r50_1x1x8_150e_sthv1_rgb
MMACTION2_PYTHON=…/bin/python python benchmarks/model.py     # with the reference as the first row
ONNX_PYTHON=…/bin/python python benchmarks/model.py          # with the exported network in other engines

Each row names the precision that it computes in: OpenVINO's own choice would be bfloat16 on a processor that has it.
`of peak` is the share of the most that anything reached in that precision in the run, large products among them.
"""

import argparse
from pathlib import Path

import torch
from peers import SLOWONLY, Contender, graph_engines, mmaction2, ours
from timing import interleave_with_peaks, report, share_of_peak

from tpn.config import Config, load_config
from tpn.config.recipes import find_recipe
from tpn.flops import count_flops
from tpn.models.recognizer import build_recognizer
from tpn.peak import Peak

WAYS = {
    "plain, float32": ("plain", "float32"),
    "optimized, float32": ("optimized", "float32"),
    "optimized, bfloat16": ("optimized", "bfloat16"),
}
COMPILED = {"compiled, float32": ("compiled", "float32"), "compiled, bfloat16": ("compiled", "bfloat16")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=SLOWONLY, help="name of a recipe in configs/recognition/tpn")
    parser.add_argument("--size", type=int, default=256, help="height and width of a view")
    parser.add_argument("--views", type=int, default=1, help="views in one forward pass")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="also time torch.compile (a minute to start)")
    parser.add_argument("--quick", action="store_true", help="a small size and one round: does it run?")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    size, rounds = (64, 1) if options.quick else (options.size, options.rounds)

    config = load_config(find_recipe(options.recipe), {"model.backbone.pretrained": None})
    shape = (options.views, 3, config.frames_per_view, size, size)
    cpu = torch.device("cpu")
    flops = flops_of(config, shape)
    peaks = {dtype: Peak(getattr(torch, dtype), cpu) for dtype in ("float32", "bfloat16")}
    runs = contenders(options.recipe, shape, with_compile=options.compile)
    seconds = interleave_with_peaks(runs, peaks, flops=flops, rounds=rounds)
    report(
        f"{options.recipe}, {flops / 1e9:.1f} GFLOP: {' x '.join(map(str, shape))}; the most reached is "
        + ", ".join(f"{peak.best / 1e9:.0f} GFLOP/s in {dtype}" for dtype, peak in peaks.items()),
        seconds,
        columns={
            "views/s": lambda name, median: f"{options.views / median:.2f}",
            "GFLOP/s": lambda name, median: f"{flops / median / 1e9:.0f}",
            "of peak": lambda name, median: share_of_peak(name, flops / median, peaks),
            "peak MiB": lambda name, median: str(runs[name].peak_mib),
        },
        out=options.out,
    )
    for contender in runs.values():
        contender.end()


def contenders(recipe: str, shape: tuple[int, ...], *, with_compile: bool) -> dict[str, Contender]:
    """The reference first where it is at hand, then ours, then other engines."""
    job = {"recipe": recipe, "shape": shape}
    ways = {**WAYS, **(COMPILED if with_compile else {})}
    return {
        **mmaction2("mmaction2_worker.py", {**job, "shape": reference_shape(shape, recipe), "mode": "test"}),
        **{name: ours("network_worker.py", {**job, "way": way, "dtype": dtype}) for name, (way, dtype) in ways.items()},
        **graph_engines(job),
    }


def flops_of(config: Config, shape: tuple[int, ...]) -> int:
    with torch.device("meta"):
        model = build_recognizer(config.model)
    return 2 * count_flops(model, shape)


def reference_shape(shape: tuple[int, ...], recipe: str) -> tuple[int, ...]:
    """The same input as MMAction2 lays it out: (1, views, 3, T, H, W), or (1, views * T, 3, H, W) for TSM."""
    views, channels, t, h, w = shape
    return (1, views * t, channels, h, w) if "_tsm_" in recipe else (1, views, channels, t, h, w)


if __name__ == "__main__":
    main()

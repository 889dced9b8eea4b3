"""One GPU: videos a second of the test's views, clips a second of a training step, memory, share of the dense peak.

python benchmarks/gpu.py                                     # SlowOnly-TPN 8x8: 30 views of 256 x 256
python benchmarks/gpu.py --recipe tpn_tsm_r50_1x1x8_150e_sthv1_rgb --batch 32
python benchmarks/gpu.py --quick --device cpu                # does it run?
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from peers import SLOWONLY
from timing import Run, interleave, report, timed, write_tables
from train_worker import trainer

from tpn.benchmark import flops_per_view, peak_memory, random_views
from tpn.config import Config, load_config
from tpn.config.recipes import find_recipe
from tpn.engine.distributed import choose_device
from tpn.engine.evaluate import build_scorer
from tpn.models.recognizer import build_recognizer
from tpn.peak import measured_peak

DENSE_PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""FLOP/s in bfloat16 without sparsity, of the SXM boards, as published; other devices are measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=SLOWONLY, help="name of a recipe in configs/recognition/tpn")
    parser.add_argument("--batch", type=int, default=16, help="clips in a training step")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="few small views and one round: does it run?")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    device, batch, rounds = choose_device(options.device, 0), options.batch, options.rounds
    small = {"data.crop_size": 64, "data.test.crop_size": 64, "data.test.num_clips": 1, "data.test.num_crops": 1}
    config = load_config(
        find_recipe(options.recipe), {"model.backbone.pretrained": None, **(small if options.quick else {})}
    )
    if options.quick:
        batch, rounds = 2, 1

    peak = next((peak for name, peak in DENSE_PEAK.items() if name in device_name(device)), None)
    peak = peak or measured_peak(torch.bfloat16, device)
    tests, memory = measured(testers(config, device, compiled=not options.quick), device)
    steps, step_memory = measured(trainers(config, device, batch=batch), device)
    test_flops = flops_per_view(config) * random_views(config, device).shape[1]
    share = f"share of {peak / 1e12:.4g} TFLOP/s"
    records = [
        report(
            f"{options.recipe}: the test of a video on {device_name(device)}",
            interleave(tests, rounds=rounds),
            columns={
                "videos/s": lambda name, median: f"{1 / median:.2f}",
                share: lambda name, median: f"{test_flops / median / peak:.1%}",
                "MiB": lambda name, median: str(memory[name]),
            },
            out=None,
        ),
        report(
            f"{options.recipe}: a training step of {batch} clips",
            interleave(steps, rounds=rounds),
            columns={
                "clips/s": lambda name, median: f"{batch / median:.1f}",
                "MiB": lambda name, median: str(step_memory[name]),
            },
            out=None,
        ),
    ]
    write_tables(records, options.out)


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def measured(works: dict[str, Callable[[], None]], device: torch.device) -> tuple[dict[str, Run], dict[str, int]]:
    """Runs that end when the device is done, each warmed up; and the most memory each held, in MiB."""
    memory = {}
    for name, work in works.items():
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        for _ in range(3):  # CUDA graphs are recorded in the second
            work()
        memory[name] = peak_memory(device)
    return {name: timed(synchronised(work, device)) for name, work in works.items()}, memory


def synchronised(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    def run() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def testers(config: Config, device: torch.device, *, compiled: bool) -> dict[str, Callable[[], None]]:
    """The test of a video whose views are on the device: eager, and compiled with CUDA graphs."""
    views = random_views(config, device)
    model = build_recognizer(config.model, pretrained=False).to(device)
    dtypes = ["float32", "bfloat16"] + (["float16"] if device.type == "cuda" else [])
    works = {}
    for dtype in dtypes:
        for compile in [False, True] if compiled else [False]:
            scorer = build_scorer(model, config.model_copy(update={"dtype": dtype}), device, compile=compile)
            name = f"{dtype}{' (TF32)' if (dtype, device.type) == ('float32', 'cuda') else ''}"
            works[f"{name}, {'compiled, graphs' if compile else 'eager'}"] = lambda scorer=scorer: scorer(views)
    return works


def trainers(config: Config, device: torch.device, *, batch: int) -> dict[str, Callable[[], None]]:
    """Forward, backward and update, as the training loop does them, on clips that are on the device."""
    size = config.data.crop_size
    clips = torch.randn(batch, 3, config.frames_per_view, size, size, device=device)
    dtypes = ("float32", "bfloat16")
    return {dtype: trainer(config.model_copy(update={"dtype": dtype}), clips) for dtype in dtypes}


if __name__ == "__main__":
    main()

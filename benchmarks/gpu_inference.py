"""Inference on one GPU: the test's views of one video and of eight at once, in every precision and form.

python benchmarks/gpu_inference.py                           # both published networks
python benchmarks/gpu_inference.py --compiled                # torch.compile with CUDA graphs: minutes to start
python benchmarks/gpu_inference.py --quick --device cpu      # does it run?

The first rows are the baseline: the reference's own layout (Conv3d on N, C, T, H, W), given clips that are normalised
already. Ours begin with the uint8 views of the loader and end with scores on the CPU. All ours are channels-last;
"plain" is the network as it is trained, "for inference" that of `tpn.optimize`.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from on_device import CLIPS, NARROW, SMALL, TYPES, Tables, Work, baselines, in_precision, precisions
from peers import PUBLISHED
from reference_layout import reference_layout

from tpn.benchmark import flops_per_view, random_views
from tpn.config import Config, load_config
from tpn.config.recipes import find_recipe
from tpn.data.augment import normalize
from tpn.engine.distributed import choose_device
from tpn.engine.evaluate import build_scorer
from tpn.models.recognizer import Recognizer, build_recognizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=PUBLISHED, help="names of recipes in configs/recognition/tpn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no further table after so long")
    parser.add_argument("--compiled", action="store_true", help="compiled code in place of the other forms")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="few small views and one round: does it run?")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    device, rounds = choose_device(options.device, 0), 1 if options.quick else options.rounds
    tables = Tables(options.out, device, seconds=options.seconds)
    for recipe in options.recipes:
        overrides = {"model.backbone.pretrained": None, **({**SMALL, **NARROW} if options.quick else {})}
        if "_tsm_" in recipe:  # a clip of which is one frame
            overrides.pop(CLIPS, None)
        config = load_config(find_recipe(recipe), overrides)
        model = build_recognizer(config.model).to(device).eval()
        for videos in (1,) if options.compiled else (1, 2) if options.quick else (1, 8):
            views = random_views(config, device).expand(videos, *[-1] * 5).contiguous()  # (videos, V, T, H, W, 3)
            title = f"{recipe}: {views.shape[1]} views of {videos} video{'s' if videos > 1 else ''}"
            if tables.is_late(title):
                continue
            contenders = compiled if options.compiled else forms
            tables.compare(
                f"{title}{', compiled' if options.compiled else ''}",
                {**references(model, config, views), **contenders(model, config, views)},
                rounds=rounds,
                flops=flops_per_view(config) * views.shape[0] * views.shape[1],
                unit="videos/s",
                amount=videos,
            )


def references(model: Recognizer, config: Config, views: torch.Tensor) -> dict[str, Callable[[], Work]]:
    return {
        name: partial(baseline, model, config, views, TYPES[precision])
        for name, precision in baselines(views.device).items()
    }


def baseline(model: Recognizer, config: Config, views: torch.Tensor, dtype: torch.dtype) -> Work:
    clips = normalize(views.flatten(0, 1), mean=config.data.mean, std=config.data.std).contiguous()

    @torch.inference_mode()
    def work() -> None:
        with reference_layout(), torch.autocast(views.device.type, dtype, enabled=dtype != torch.float32):
            model(clips).float().softmax(dim=1).unflatten(0, views.shape[:2]).mean(dim=1).cpu()

    return work


def forms(model: Recognizer, config: Config, views: torch.Tensor) -> dict[str, Callable[[], Work]]:
    return {
        f"{form}, {name}": partial(build, model, config, views, name)
        for name in precisions(views.device)
        for form, build in {"plain": plain, "for inference": for_inference}.items()
    }


def compiled(model: Recognizer, config: Config, views: torch.Tensor) -> dict[str, Callable[[], Work]]:
    return {
        f"compiled, {name}": partial(for_inference, model, config, views, name, compile=True)
        for name in ("bfloat16", "tf32" if views.device.type == "cuda" else "float32")
    }


def plain(model: Recognizer, config: Config, views: torch.Tensor, precision: str) -> Work:
    dtype = TYPES[precision]

    @torch.inference_mode()
    def work() -> None:
        clips = normalize(views.flatten(0, 1), mean=config.data.mean, std=config.data.std)
        with torch.autocast(views.device.type, dtype, enabled=dtype != torch.float32):
            model(clips).float().softmax(dim=1).unflatten(0, views.shape[:2]).mean(dim=1).cpu()

    return work


def for_inference(
    model: Recognizer, config: Config, views: torch.Tensor, precision: str, *, compile: bool = False
) -> Work:
    scorer = build_scorer(model, in_precision(config, precision), views.device, compile=compile)
    return lambda: scorer(views)


if __name__ == "__main__":
    main()

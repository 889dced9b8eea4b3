"""Inference speed as MMAction2 defines it: one device, one video at a time, its test views, the network alone."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from tpn.config import Config
from tpn.data.dataset import build_fixed_views
from tpn.engine.evaluate import Scorer, load_scorer, precision
from tpn.engine.progress import print_line
from tpn.flops import count_flops
from tpn.memory import peak_resident
from tpn.models.recognizer import build_recognizer
from tpn.peak import Peak


@dataclass(frozen=True)
class Speed:
    """What a benchmark measured."""

    videos: int
    seconds: float
    views_per_video: int
    peak_memory: int
    """MiB: allocated on the GPU, or resident on the CPU (the whole process)."""

    @property
    def videos_per_second(self) -> float:
        return self.videos / self.seconds

    @property
    def views_per_second(self) -> float:
        return self.videos_per_second * self.views_per_video


def run_benchmark(
    config: Config,
    *,
    checkpoint: Path | None,
    num_videos: int | None,
    warm_up: int | None,
    log_interval: int,
    compile: bool = False,
    device: torch.device,
    console: Console,
) -> Speed:
    """Build the network, time it, print what came out. None for a count: as MMAction2 on a GPU, fewer on a CPU."""
    cuda = device.type == "cuda"
    scorer = load_scorer(config, checkpoint, device, compile=compile)
    peak = Peak(scorer.dtype, device)
    peak.measure()
    speed = benchmark(
        scorer,
        config,
        num_videos=num_videos or (200 if cuda else 5),
        warm_up=(5 if cuda else 1) if warm_up is None else warm_up,
        log_interval=log_interval,
        console=console,
    )
    name = torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} threads"
    flops = speed.views_per_second * flops_per_view(config)
    peak.measure()
    peak.seen(flops)
    print_line(f"Overall fps: {speed.videos_per_second:.3g} video / s", console)
    print_line(
        f"{speed.views_per_video} views a video, {speed.views_per_second:.3g} views / s, "
        f"{flops / 1e9:.3g} GFLOP/s: {flops / peak.best:.0%} of the {peak.best / 1e9:.3g} this machine reached\n"
        f"{precision(config, device)}{', compiled' if compile else ''}, peak memory {speed.peak_memory} MiB, on {name}",
        console,
    )
    return speed


def benchmark(
    scorer: Scorer, config: Config, *, num_videos: int, warm_up: int, log_interval: int, console: Console
) -> Speed:
    """Time the network on random test views of `num_videos` videos, each counted once, after `warm_up` uncounted ones.

    A video's views start as uint8 on the device and end as its averaged scores on the CPU; nothing is read or decoded.
    """
    views = random_views(config, scorer.device)  # (1, V, T, H, W, 3)
    for _ in range(warm_up):
        scorer(views)
    if scorer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(scorer.device)
    seconds = 0.0
    for done in range(1, num_videos + 1):
        started = time.perf_counter()
        scorer(views)  # ends with a copy to the CPU, so the device is done too
        seconds += time.perf_counter() - started
        if done % log_interval == 0:
            print_line(f"Done video [{done:<3}/ {num_videos}], fps: {done / seconds:.3g} video / s", console)
    return Speed(num_videos, seconds, views.shape[1], peak_memory(scorer.device))


def random_views(config: Config, device: torch.device) -> Tensor:
    """The views of one test video, (1, V, T, H, W, 3) uint8, of noise."""
    views = build_fixed_views(config, "test")
    shape = (1, views.num_views, views.frames_per_view, views.crop_size, views.crop_size, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, device=device)


def flops_per_view(config: Config) -> int:
    """Two for each multiply-add of the published counting."""
    views = build_fixed_views(config, "test")
    with torch.device("meta"):
        model = build_recognizer(config.model, pretrained=False)
    return 2 * count_flops(model, (1, 3, config.frames_per_view, views.crop_size, views.crop_size))


def peak_memory(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) >> 20 if device.type == "cuda" else peak_resident()

"""Inference speed as MMAction2 defines it: one device, one video at a time, its test views, the network alone."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from tpn.compat.checkpoints import load_checkpoint
from tpn.config import Config
from tpn.data.dataset import build_fixed_views
from tpn.engine.evaluate import build_scorer
from tpn.engine.progress import print_line
from tpn.models.recognizer import Recognizer, build_recognizer


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


def run_benchmark(
    config: Config,
    *,
    checkpoint: Path | None,
    num_videos: int | None,
    warm_up: int | None,
    log_interval: int,
    device: torch.device,
    console: Console,
) -> Speed:
    """Build the network, time it, print what came out. None for a count: as MMAction2 on a GPU, fewer on a CPU."""
    cuda = device.type == "cuda"
    model = build_recognizer(config.model, pretrained=False)
    if checkpoint is not None:
        load_checkpoint(model, checkpoint)
    speed = benchmark(
        model,
        config,
        num_videos=num_videos or (200 if cuda else 5),
        warm_up=(5 if cuda else 1) if warm_up is None else warm_up,
        log_interval=log_interval,
        device=device,
        console=console,
    )
    name = torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} threads"
    print_line(f"Overall fps: {speed.videos_per_second:.3g} video / s", console)
    print_line(
        f"{speed.views_per_video} views a video, {speed.videos_per_second * speed.views_per_video:.3g} views / s, "
        f"{config.dtype}, peak memory {speed.peak_memory} MiB, on {name}",
        console,
    )
    return speed


def benchmark(
    model: Recognizer,
    config: Config,
    *,
    num_videos: int,
    warm_up: int,
    log_interval: int,
    device: torch.device,
    console: Console,
) -> Speed:
    """Time the network on random test views of `num_videos` videos, each counted once, after `warm_up` uncounted ones.

    A video's views start as uint8 on the device and end as its averaged scores on the CPU; nothing is read or decoded.
    """
    scorer = build_scorer(model.to(device), config, device)
    views = random_views(config, device)  # (1, V, T, H, W, 3)
    for _ in range(warm_up):
        scorer(views)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = 0.0
    for done in range(1, num_videos + 1):
        started = time.perf_counter()
        scorer(views)  # ends with a copy to the CPU, so the device is done too
        seconds += time.perf_counter() - started
        if done % log_interval == 0:
            print_line(f"Done video [{done:<3}/ {num_videos}], fps: {done / seconds:.3g} video / s", console)
    return Speed(num_videos, seconds, views.shape[1], peak_memory(device))


def random_views(config: Config, device: torch.device) -> Tensor:
    """The views of one test video, (1, V, T, H, W, 3) uint8, of noise."""
    views = build_fixed_views(config, "test")
    shape = (1, views.num_views, views.frames_per_view, views.crop_size, views.crop_size, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, device=device)


def peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)  # bytes on macOS, KiB elsewhere

"""Where the time of a training or a test goes, and what to change: a table, a picture and a sentence."""

import dataclasses
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from tpn.config import Config
from tpn.data.workers import usable_workers
from tpn.engine.log import WAITING_SHARE
from tpn.engine.progress import print_line
from tpn.engine.results import check_output_path
from tpn.engine.setup import step_videos
from tpn.engine.stopwatch import (
    BACKWARD,
    COLLATE,
    DECODE,
    DISK,
    FORWARD,
    OPTIMIZER,
    RESIZE,
    WAIT,
    Mode,
    test_times,
    train_times,
    video_times,
)
from tpn.report import draw_profile


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What was measured: means in ms."""

    mode: Mode
    config: Config
    device: torch.device
    laps: int
    """Steps of training, or videos of the test."""
    step: dict[str, float]
    """The phases of one step of training, or of one video of the test."""
    video: dict[str, float]
    """The phases of making the views of one video, in one worker on a machine that does nothing else."""
    bfloat16: float | None = None
    """One step (or video) with dtype=bfloat16, where the network is the bottleneck and runs in float32."""

    @property
    def total(self) -> float:
        return sum(self.step.values())

    @property
    def is_input_bound(self) -> bool:
        return self.step[WAIT] >= WAITING_SHARE * self.total

    @property
    def unit(self) -> str:
        return "step" if self.mode == "train" else "video"

    @property
    def videos(self) -> int:
        """Videos of one step."""
        return step_videos(self.config) if self.mode == "train" else 1

    @property
    def workers(self) -> int:
        return usable_workers(self.config.data.workers_per_gpu)


def run_profile(
    config: Config, *, config_file: Path, checkpoint: Path | None, mode: Mode, steps: int | None, out: Path,
    device: torch.device, console: Console,
) -> Profile:  # fmt: skip
    """Measure a training or a test on this machine; print a table and what to change, and draw them to `out`.

    Args:
        checkpoint: weights; they do not change the time. None: random ones.
        steps: steps of training or videos of the test to measure. None: 20 on a GPU, 5 on a CPU.
    Raises:
        UserError: data, checkpoint or picture cannot be used.
    """
    check_output_path(out, suffixes=[".png"], what="pictures")
    steps = steps or (20 if device.type == "cuda" else 5)
    config = with_weights(config, checkpoint)
    profile = measure(config, config_file=config_file, mode=mode, steps=steps, device=device, console=console)
    subtitle, verdict = describe(profile), advice(profile)
    groups = {f"One {profile.unit}": profile.step, "One video made by one worker": profile.video}
    print_line(subtitle, console)
    for name, phases in groups.items():
        console.print(table(name, phases))
    print_line(f"\n{verdict}", console)
    draw_profile(f"{config_file.stem}: {mode}", subtitle, groups, verdict, out)
    print_line(f"\nDrawn to {out}", console)
    return profile


def with_weights(config: Config, checkpoint: Path | None) -> Config:
    """The config with these weights, or random ones, instead of those training would begin with."""
    backbone = config.model.backbone.model_copy(update={"pretrained": None})
    model = config.model.model_copy(update={"backbone": backbone})
    return config.model_copy(update={"model": model, "load_from": None if checkpoint is None else str(checkpoint)})


def measure(
    config: Config, *, config_file: Path, mode: Mode, steps: int, device: torch.device, console: Console
) -> Profile:
    """The times of a training or a test, without printing them; with bfloat16, too, where that may be faster."""

    def times(config: Config, steps: int) -> dict[str, float]:
        if mode == "train":
            return train_times(config, config_file=config_file, steps=steps, device=device, console=console)
        return test_times(config, videos=steps, device=device, console=console)

    step = times(config, steps)
    profile = Profile(mode=mode, config=config, device=device, laps=steps, step=step, video=video_times(config, mode))
    if profile.is_input_bound or config.dtype != "float32":
        return profile
    bfloat16 = times(config.model_copy(update={"dtype": "bfloat16"}), max(2, steps // 2))
    return dataclasses.replace(profile, bfloat16=sum(bfloat16.values()))


def describe(profile: Profile) -> str:
    """What was measured, in a line."""
    cuda = profile.device.type == "cuda"
    name = torch.cuda.get_device_name(profile.device) if cuda else f"CPU, {counted(torch.get_num_threads(), 'thread')}"
    laps = counted(profile.laps, profile.unit)
    each = f"{laps} of {counted(profile.videos, 'video')}" if profile.mode == "train" else laps
    return f"mean of {each}, {counted(profile.workers, 'worker')}, {profile.config.dtype}, {name}"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def table(title: str, phases: dict[str, float]) -> Table:
    """Phases with their ms and shares, and their sum."""
    total = sum(phases.values())
    result = Table(title=title, title_justify="left", show_footer=True)
    result.add_column("", footer="sum")
    result.add_column("ms", footer=f"{total:.1f}", justify="right")
    result.add_column("share", footer="100 %", justify="right")
    for phase, ms in phases.items():
        result.add_row(phase, f"{ms:.1f}", per_cent(ms / total))
    return result


def per_cent(share: float) -> str:
    return f"{100 * share:.0f} %"


def advice(profile: Profile) -> str:
    """What bounds the speed, and what to change."""
    waiting = profile.step[WAIT] / profile.total
    if profile.is_input_bound:
        return f"Input-bound: {per_cent(waiting)} of a {profile.unit} waits for videos; {input_advice(profile)}."
    network = sum(profile.step.get(phase, 0) for phase in (FORWARD, BACKWARD, OPTIMIZER)) / profile.total
    return (
        f"Compute-bound: the network takes {per_cent(network)} of a {profile.unit}, waiting for videos "
        f"{per_cent(waiting)}; {compute_advice(profile)}."
    )


def input_advice(profile: Profile) -> str:
    """More workers where there are CPUs for them, and what makes a video cheaper."""
    video = sum(profile.video.values())
    costly = max(profile.video, key=profile.video.__getitem__)
    cheaper = CHEAPER[costly] if profile.config.data.format == "videos" else CHEAPER_FRAMES[costly]
    share = f"{costly} is {per_cent(profile.video[costly] / video)} of making one"
    cpus = usable_workers(sys.maxsize)
    computing = profile.total - profile.step[WAIT]
    enough = min(cpus, max(profile.workers + 1, math.ceil(profile.videos * video / computing)))
    if profile.workers < enough:
        return f"{share}: try data.workers_per_gpu={enough}, or {cheaper}"
    return f"{share}, and there are as many workers as CPUs ({cpus}): {cheaper}"


CHEAPER = {
    DISK: "keep the videos on a faster disk",
    DECODE: "re-encode the videos once with `tpn data pack`",
    RESIZE: "re-encode the videos once, smaller, with `tpn data pack`",
    COLLATE: "use fewer views or frames",
}
"""By the costliest phase of making a video."""
CHEAPER_FRAMES = {
    **CHEAPER,
    DECODE: "store the frames with a shorter side of 256 pixels",
    RESIZE: "store the frames with a shorter side of 256 pixels",
}


def compute_advice(profile: Profile) -> str:
    """bfloat16 where it was measured to be faster; what else costs time beside the network."""
    if profile.bfloat16 is None:
        return f"{profile.config.dtype} is in use already, what remains is the network's size (`tpn flops`)"
    times = profile.total / profile.bfloat16
    if times > 1.1:
        return f"try --dtype bfloat16: a {profile.unit} measured {times:.1f} times as fast here"
    return (
        f"with --dtype bfloat16 a {profile.unit} measured {times:.1f} times as fast here, so float32 is right; what "
        "remains is the network's size (`tpn flops`)"
    )

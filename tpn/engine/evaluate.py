"""From views of a video to its scores: one path for validation, test, prediction and benchmark."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from tpn.compat.checkpoints import load_checkpoint
from tpn.config import Config
from tpn.data.augment import color_jitter, normalize
from tpn.data.dataset import VideoDataset
from tpn.data.loader import build_eval_loader
from tpn.engine.bad_videos import BadVideos
from tpn.engine.distributed import World, gathered
from tpn.engine.out_of_memory import memory_for
from tpn.engine.progress import ProgressBar, print_line
from tpn.models.optimize import compile_network, optimize
from tpn.models.recognizer import Recognizer, build_recognizer
from tpn.words import counted

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Bytes of activations per portion of views. On a CPU the time of a view changes by 4 % at most from portions of 1 view
# to those of 10 (benchmarks/RESULTS.md), so this is little: one or two views of 8 x 256 x 256.
CPU_BUDGET = 1 << 28
CUDA_SHARE = 0.6  # of the GPU memory that is free for activations
SMALLER_VIEWS = "end what else uses it, lower data.test.crop_size, or set dtype=bfloat16"


@dataclass(frozen=True)
class Scorer:
    """A recognizer in its inference form, with everything that decides its scores for given views."""

    model: Recognizer
    """As `optimize` makes it, of `dtype` and on `device`."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    average_clips: str
    """'prob' averages the views after the softmax, 'score' averages logits."""
    dtype: torch.dtype
    device: torch.device

    @torch.inference_mode()
    def __call__(self, views: Tensor) -> Tensor:
        """Views (B, V, T, H, W, 3) uint8 -> scores (B, num_classes) float32 on the CPU."""
        b, v = views.shape[:2]
        flat = views.flatten(0, 1)  # (B*V, T, H, W, 3)
        portions = flat.split(self.views_per_portion(flat.shape))
        n, *size, _ = portions[0].shape
        what = f"{counted(n, 'view')} of {' x '.join(map(str, size))}"
        with memory_for(what, self.device, remedy=SMALLER_VIEWS):
            logits = torch.cat([self.logits(portion) for portion in portions])
        scores = logits.softmax(dim=1) if self.average_clips == "prob" else logits
        return scores.reshape(b, v, -1).mean(dim=1).cpu()

    def logits(self, views: Tensor) -> Tensor:
        """(n, T, H, W, 3) uint8 -> (n, num_classes) float32."""
        clips = normalize(views.to(self.device, non_blocking=True), mean=self.mean, std=self.std)  # (n, 3, T, H, W)
        return self.model(clips.to(self.dtype)).to(torch.float32, copy=True)  # CUDA graphs write over their output

    def views_per_portion(self, shape: torch.Size) -> int:
        """How many of the views (n, T, H, W, 3) run at once; it changes the speed, and on a CPU no bit of the scores.

        All portions are equal: compiled code and CUDA graphs are made for one shape.
        """
        n, t, h, w, _ = shape
        stem_channels = self.model.backbone.base_channels
        # Four tensors of the stem's output: no later stage holds more at once.
        bytes_per_view = 4 * stem_channels * t * ((h + 1) // 2) * ((w + 1) // 2) * self.dtype.itemsize
        largest = max(1, int(self.memory_budget() // bytes_per_view))
        return max(size for size in range(1, n + 1) if n % size == 0 and size <= largest)

    def memory_budget(self) -> float:
        """Bytes for activations: on a GPU a share of what is free, or was and is held for reuse."""
        if self.device.type != "cuda":
            return CPU_BUDGET
        reusable = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return (torch.cuda.mem_get_info(self.device)[0] + reusable) * CUDA_SHARE


def build_scorer(model: Recognizer, config: Config, device: torch.device, *, compile: bool = False) -> Scorer:
    """A scorer of the model as it is now: what is trained later does not change its scores.

    Args:
        model: on the device.
        compile: by torch.compile, when the first views come: minutes.
    Raises:
        UserError: there is no compiler.
    """
    dtype = DTYPES[config.dtype]
    optimized = optimize(model, dtype=dtype)
    if compile:
        compile_network(optimized, device)
    return Scorer(
        model=optimized,
        mean=config.data.mean,
        std=config.data.std,
        average_clips=config.evaluation.average_clips,
        dtype=dtype,
        device=device,
    )


def precision(config: Config, device: torch.device) -> str:
    """The type of numbers the network computes in; float32 on a GPU may mean the 10-bit fractions of TF32."""
    tf32 = config.dtype == "float32" and device.type == "cuda" and torch.backends.cudnn.allow_tf32
    return "float32 (TF32 products)" if tf32 else config.dtype


def load_scorer(config: Config, checkpoint: Path | None, device: torch.device, *, compile: bool = False) -> Scorer:
    """A scorer of the weights in a checkpoint file; of random ones without.

    Raises:
        UserError: the checkpoint cannot be used, or there is no compiler.
    """
    model = build_recognizer(config.model, pretrained=False)
    if checkpoint is not None:
        load_checkpoint(model, checkpoint)
    return build_scorer(model.to(device), config, device, compile=compile)


def score_dataset(
    scorer: Scorer,
    dataset: VideoDataset,
    *,
    batch_size: int,
    workers: int,
    read_timeout: float | None,
    bad: BadVideos,
    world: World,
    console: Console,
    title: str,
    tell: Callable[[str], None] | None = None,
) -> np.ndarray | None:
    """Score every video of a data set exactly once, over all processes.

    Args:
        read_timeout: seconds that reading a video may take before it counts as bad; None: any.
        bad: receives the videos that cannot be read. Where they are no more than it allows, their scores are NaN.
        tell: receives the error of each, on the main process; None: it is printed.
    Returns:
        (len(dataset), num_classes) float32 in list order on the main process, None elsewhere.
    Raises:
        DataError: too many videos cannot be read; all of them are named.
    """
    loader = build_eval_loader(
        dataset,
        batch_size=batch_size,
        workers=workers,
        rank=world.rank,
        world_size=world.size,
        device=scorer.device,
        read_timeout=read_timeout,
        on_failure=bad.note,
    )
    scores: dict[int, np.ndarray] = {}
    with ProgressBar(len(dataset), console=console, description=title, enabled=world.is_main) as bar:
        for batch in loader:
            if bad.are_too_many:  # there will be no result: only look for more of them
                continue
            rows = scorer(color_jitter(batch.views, batch.jitter_factors, batch.jitter_order))
            scores.update(zip(batch.index.tolist(), rows.numpy(), strict=True))
            bar.advance(min(len(rows) * world.size, len(dataset) - bar.completed))
        parts = gathered(scores, world)  # inside the bar: the other processes may take longer
    for error in bad.share(world):
        tell(error) if tell is not None else print_line(f"bad video, counts as wrong: {error}", console)
    return None if parts is None else in_list_order(parts, len(dataset), unread=bad.found)


def in_list_order(parts: list[dict[int, np.ndarray]], num_videos: int, *, unread: Collection[int] = ()) -> np.ndarray:
    """The processes' scores as one array, NaN for what is `unread`; every other video must be there exactly once."""
    indices = sorted([*unread, *(index for part in parts for index in part)])
    assert indices == list(range(num_videos)), "a video was scored twice or not at all"
    scores = {index: row for part in parts for index, row in part.items()}
    missing = np.full_like(next(iter(scores.values())), np.nan)
    return np.stack([scores.get(index, missing) for index in range(num_videos)])

"""From views of a video to its scores: one path for validation, test, prediction and benchmark."""

from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from tpn.config import Config
from tpn.data.augment import color_jitter, normalize
from tpn.data.dataset import VideoDataset
from tpn.data.loader import build_eval_loader
from tpn.engine.distributed import World, gathered
from tpn.engine.progress import ProgressBar
from tpn.models.optimize import optimize
from tpn.models.recognizer import Recognizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CPU_BUDGET = 1 << 30  # bytes of activations per chunk of views
CUDA_SHARE = 0.6  # of the GPU memory free when the first chunk starts


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
        logits = torch.cat([self.logits(chunk) for chunk in flat.split(self.views_per_chunk(flat.shape))])
        scores = logits.softmax(dim=1) if self.average_clips == "prob" else logits
        return scores.reshape(b, v, -1).mean(dim=1).cpu()

    def logits(self, views: Tensor) -> Tensor:
        """(n, T, H, W, 3) uint8 -> (n, num_classes) float32."""
        clips = normalize(views.to(self.device, non_blocking=True), mean=self.mean, std=self.std)  # (n, 3, T, H, W)
        return self.model(clips.to(self.dtype)).float()

    def views_per_chunk(self, shape: torch.Size) -> int:
        """How many views (n, T, H, W, 3) fit into memory at once; it changes the speed, not the scores."""
        _, t, h, w, _ = shape
        stem_channels = self.model.backbone.base_channels
        # Four tensors of the stem's output: no later stage holds more at once.
        bytes_per_view = 4 * stem_channels * t * (h // 2) * (w // 2) * 4
        cuda = self.device.type == "cuda"
        budget = torch.cuda.mem_get_info(self.device)[0] * CUDA_SHARE if cuda else CPU_BUDGET
        return max(1, int(budget // bytes_per_view))


def build_scorer(model: Recognizer, config: Config, device: torch.device) -> Scorer:
    """A scorer of the model as it is now: what is trained later does not change its scores."""
    dtype = DTYPES[config.dtype]
    return Scorer(
        model=optimize(model, dtype=dtype),
        mean=config.data.mean,
        std=config.data.std,
        average_clips=config.evaluation.average_clips,
        dtype=dtype,
        device=device,
    )


def score_dataset(
    scorer: Scorer,
    dataset: VideoDataset,
    *,
    batch_size: int,
    workers: int,
    world: World,
    console: Console,
    title: str,
) -> np.ndarray | None:
    """Score every video of a data set exactly once, over all processes.

    Returns:
        (len(dataset), num_classes) float32 in list order on the main process, None elsewhere.
    Raises:
        DataError: a video cannot be read; named.
    """
    loader = build_eval_loader(dataset, batch_size=batch_size, workers=workers, rank=world.rank, world_size=world.size)
    scores: dict[int, np.ndarray] = {}
    with ProgressBar(len(dataset), console=console, description=title, enabled=world.is_main) as bar:
        for batch in loader:
            rows = scorer(color_jitter(batch.views, batch.jitter_factors, batch.jitter_order))
            scores.update(zip(batch.index.tolist(), rows.numpy(), strict=True))
            bar.advance(min(len(rows) * world.size, len(dataset) - bar.completed))
        parts = gathered(scores, world)  # inside the bar: the other processes may take longer
    return None if parts is None else in_list_order(parts, len(dataset))


def in_list_order(parts: list[dict[int, np.ndarray]], num_videos: int) -> np.ndarray:
    """The processes' scores as one array; every video must be there exactly once."""
    indices = sorted(index for part in parts for index in part)
    assert indices == list(range(num_videos)), "a video was scored twice or not at all"
    scores = {index: row for part in parts for index, row in part.items()}
    return np.stack([scores[index] for index in range(num_videos)])

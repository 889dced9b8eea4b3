"""Norms and the batches they will see: one value per channel has no variance, so such a training is refused."""

import torch

from tpn.config import Config
from tpn.data.loader import TrainLoader
from tpn.errors import UserError
from tpn.models.recognizer import build_recognizer
from tpn.words import counted


def check_norms(config: Config, loader: TrainLoader, position: int) -> None:
    """Raise UserError where a part of a step, the epoch's last one included, leaves a norm one value per channel.

    Args:
        position: videos of the epoch under way that have been seen, where a run is resumed.
    """
    parts = config.optimizer.accumulation_steps
    sizes = {loader.smallest_batch(position), loader.smallest_batch(0)}
    smallest = min(size // min(parts, size) for size in sizes)
    if smallest > 1 or trains(config, smallest):  # two videos give every norm two values
        return
    data = config.data
    raise UserError(
        f"data.crop_size={data.crop_size}: a step on one video of that size leaves a batch norm one value per channel, "
        f"which has no variance, and with {loader.num_records} training videos, data.videos_per_gpu="
        f"{data.videos_per_gpu}, optimizer.accumulation_steps={parts} and {counted(loader.world_size, 'process')} "
        "such a step comes; set a larger data.crop_size, a data.videos_per_gpu of 2 or more that leaves no single "
        "video over, or leave a video out of the list"
    )


def trains(config: Config, size: int) -> bool:
    """Whether PyTorch trains the network, whose shapes alone are computed, on `size` clips."""
    with torch.device("meta"), torch.no_grad():
        model = build_recognizer(config.model, pretrained=False).train()
        clips = torch.empty(size, 3, config.frames_per_view, config.data.crop_size, config.data.crop_size)
        try:
            model(clips)
        except ValueError:  # "Expected more than 1 value per channel when training"
            return False
    return True

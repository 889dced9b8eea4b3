"""Parameters and multiply-adds of a network, counted as MMAction2's get_flops.py counts them, without running it."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tpn.config.settings import Config
from tpn.errors import UserError
from tpn.models.heads import Head
from tpn.models.layers import ConvModule, TemporalShift
from tpn.models.pyramid import Downsample, LevelReduction, TemporalModulation
from tpn.models.recognizer import Recognizer
from tpn.models.resnet import ResNet

MAX_VALUES = 10**12  # of the clips; far above, PyTorch cannot count them


def count_parameters(model: nn.Module) -> int:
    """All of them; with TPN the auxiliary head's too, which only training uses."""
    return sum(parameter.numel() for parameter in model.parameters())


def clips_shape(shape: Sequence[int], config: Config) -> tuple[int, int, int, int, int]:
    """(N, 3, T, H, W) of a --shape: one or two numbers are a frame's size, four T 3 H W, five N 3 T H W.

    Raises UserError for what is none of them, and for clips that the network cannot be shown.
    """
    match shape:
        case [size]:
            clips = 1, 3, config.frames_per_view, size, size
        case [height, width]:
            clips = 1, 3, config.frames_per_view, height, width
        case [time, 3, height, width]:
            clips = 1, 3, time, height, width
        case [batch, 3, time, height, width]:
            clips = batch, 3, time, height, width
        case _:
            raise UserError(f"{_flag(shape)}: expected H W, T 3 H W, or N 3 T H W")
    check_clips(clips, config, _flag(shape))
    return clips


def check_clips(clips: tuple[int, int, int, int, int], config: Config, flag: str) -> None:
    backbone = config.model.backbone
    stride = 32 if backbone.stem_pool else 16  # of the last stage
    if min(clips[3:]) < stride:
        raise UserError(
            f"{flag}: frames of {clips[3]} x {clips[4]} pixels are less than one pixel of the network's last stage, "
            f"{stride} x {stride}; give height and width in pixels, as --shape {config.data.crop_size}"
        )
    if backbone.type == "ResNetTSM" and clips[2] % backbone.num_segments:
        raise UserError(f"{flag}: views of this recipe have {backbone.num_segments} frames, not {clips[2]}; correct T")
    if math.prod(clips) > MAX_VALUES:
        raise UserError(f"{flag}: more than {MAX_VALUES:,} values; give smaller frames, or fewer")


def _flag(shape: Sequence[int]) -> str:
    return f"--shape {' '.join(map(str, shape))}"


def count_flops(model: Recognizer, shape: tuple[int, ...]) -> int:
    """Multiply-adds of one forward pass in eval mode, so without the auxiliary head.

    As the published figures do, this counts a multiply-add of a convolution or a linear layer once, batch normalisation
    two an element, a ReLU one, pooling one an element of its input, interpolation one an element of its output; bias,
    addition, concatenation and shift are free.

    Args:
        shape: of the clips, (N, 3, T, H, W): (1, 3, 8, 256, 256) for the published figures.
    """
    # That tool does not see the average pool of a TPN head over a 2-D backbone: it is made while the network runs.
    unseen = (Head,) if model.neck is not None and model.backbone.get_parameter("conv1.conv.weight").dim() == 4 else ()
    tensors = [*model.parameters(), *model.buffers()]
    shapes = copy.deepcopy(model, memo={id(tensor): tensor.to("meta") for tensor in tensors}).eval()
    total = 0

    def add(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        total += FLOPS[type(module)](module, args[0], output)

    for module in shapes.modules():
        if type(module) in FLOPS and not isinstance(module, unseen):
            module.register_forward_hook(add)
    with torch.no_grad():
        shapes(torch.empty(shape, device="meta"))
    return total


def conv_module_flops(module: ConvModule, _x: Tensor, y: Tensor) -> int:
    conv = module.conv.net if isinstance(module.conv, TemporalShift) else module.conv
    return y.numel() * (conv.weight[0].numel() + 2 * (module.bn is not None) + module.activation)


def stem_pool_flops(module: ResNet, x: Tensor, _features: list[Tensor]) -> int:
    n, _, t, h, w = x.shape
    return n * module.base_channels * t * -(-h // 2) * -(-w // 2) if module.stem_pool else 0


def temporal_pool_flops(module: TemporalModulation, x: Tensor, y: Tensor) -> int:
    return x[:, 0].numel() * y.shape[1]


FLOPS: dict[type[nn.Module], Callable[[Any, Any, Any], int]] = {
    ConvModule: conv_module_flops,
    ResNet: stem_pool_flops,
    TemporalModulation: temporal_pool_flops,
    Downsample: lambda _, x, y: 2 * x.numel(),  # its pool, and the top-down flow's interpolation to the same size
    LevelReduction: lambda _, x, y: x.numel(),
    Head: lambda _, x, y: x.numel(),
    nn.Linear: lambda module, x, y: module.in_features * y.numel(),
}

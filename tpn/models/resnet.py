"""The backbones: bottleneck ResNets that see time through 3x1x1 kernels (SlowOnly) or through channel shift (TSM).

N batch · C channels · T time · H, W space
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tpn.models.layers import (
    ConvModule,
    SpatialConv,
    TemporalConv,
    TemporalShift,
    in_sequence,
    spatial_max_pool,
)

STAGE_BLOCKS = {14: (1, 1, 1, 1), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # blocks of layer1 … layer4
EXPANSION = 4
FirstConv = SpatialConv | TemporalConv | TemporalShift


class Bottleneck(nn.Module):
    """1x1 (or 3x1x1) reduces, 3x3 looks around, 1x1 expands; the stride is in the 3x3 ('pytorch style')."""

    def __init__(
        self, conv1: FirstConv, *, in_channels: int, channels: int, stride: int, weight_dims: int, with_cp: bool
    ) -> None:
        super().__init__()
        self.with_cp, out_channels = with_cp, channels * EXPANSION

        def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> SpatialConv:
            return SpatialConv(inputs, outputs, kernel, stride=stride, weight_dims=weight_dims)

        self.conv1 = ConvModule(conv1, norm=channels)
        self.conv2 = ConvModule(conv(channels, channels, 3, stride), norm=channels)
        self.conv3 = ConvModule(conv(channels, out_channels, 1), norm=out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = ConvModule(
                conv(in_channels, out_channels, 1, stride), norm=out_channels, activation=False
            )

    def forward(self, x: Tensor) -> Tensor:  # (N, C, T, H, W)
        if self.with_cp and self.training and torch.is_grad_enabled():
            return checkpoint(self.block, x, use_reentrant=False, preserve_rng_state=False, context_fn=self.passes)
        return self.block(x)

    def passes(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        """Around the forward pass, and around its repetition in the backward pass."""
        return nullcontext(), frozen_statistics(self)

    def block(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return in_sequence([self.conv1, self.conv2, self.conv3], x, identity)


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Norms as in training, but what they see leaves their running statistics as they are, to the last bit."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d) and norm.training]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, batches in kept:
            norm.momentum, norm.num_batches_tracked = momentum, batches


class ResNet(nn.Module):
    """Stem and four stages; `reduce(stage, block, in_channels, channels)` makes the first convolution of each block."""

    def __init__(
        self,
        *,
        depth: int,
        base_channels: int,
        stem_pool: bool,
        norm_eval: bool,
        with_cp: bool,
        num_levels: int,
        weight_dims: int,
        reduce: Callable[[int, int, int, int], FirstConv],
    ) -> None:
        super().__init__()
        self.base_channels, self.stem_pool = base_channels, stem_pool
        self.norm_eval, self.num_levels = norm_eval, num_levels
        stem = SpatialConv(3, base_channels, 7, stride=2, weight_dims=weight_dims)
        self.conv1 = ConvModule(stem, norm=base_channels)
        in_channels = base_channels
        for stage, num_blocks in enumerate(STAGE_BLOCKS[depth]):
            channels = base_channels * 2**stage
            blocks = nn.Sequential()
            for block in range(num_blocks):
                blocks.append(
                    Bottleneck(
                        reduce(stage, block, in_channels, channels),
                        in_channels=in_channels,
                        channels=channels,
                        stride=2 if stage > 0 and block == 0 else 1,
                        weight_dims=weight_dims,
                        with_cp=with_cp,
                    )
                )
                in_channels = channels * EXPANSION
            setattr(self, f"layer{stage + 1}", blocks)
        self.out_channels = [base_channels * 2**stage * EXPANSION for stage in range(4)][-num_levels:]

    def forward(self, clips: Tensor) -> list[Tensor]:
        """(N, 3, T, H, W) -> the features of the last `num_levels` stages, finest first, each (N, C, T, H', W')."""
        x = self.conv1(clips)  # (N, 64, T, H/2, W/2)
        if self.stem_pool:
            x = spatial_max_pool(x)  # (N, 64, T, H/4, W/4)
        features = []
        for stage in self.stages():
            x = stage(x)
            features.append(x)
        return features[-self.num_levels :]

    def stages(self) -> list[nn.Module]:
        return [self.get_submodule(f"layer{stage}") for stage in (1, 2, 3, 4)]

    def train(self, mode: bool = True) -> "ResNet":
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


def slow_only(
    *,
    depth: int,
    base_channels: int,
    stem_pool: bool,
    norm_eval: bool,
    with_cp: bool,
    num_levels: int,
    inflate: tuple[bool, bool, bool, bool],
) -> ResNet:
    """SlowFast's slow pathway: 3x1x1 kernels in the blocks of the inflated stages, T kept throughout."""

    def reduce(stage: int, block: int, in_channels: int, channels: int) -> FirstConv:
        return TemporalConv(in_channels, channels) if inflate[stage] else SpatialConv(in_channels, channels, 1)

    return ResNet(
        depth=depth,
        base_channels=base_channels,
        stem_pool=stem_pool,
        norm_eval=norm_eval,
        with_cp=with_cp,
        num_levels=num_levels,
        weight_dims=5,
        reduce=reduce,
    )


def tsm(
    *,
    depth: int,
    base_channels: int,
    stem_pool: bool,
    norm_eval: bool,
    with_cp: bool,
    num_levels: int,
    num_segments: int,
    shift_div: int,
    shift_downsample: bool,
) -> ResNet:
    """2-D ResNet with temporal shift before the first convolution of its blocks ('blockres').

    With `shift_downsample`, before the convolution on the shortcuts too; their names then carry `.net`, so that
    weights of one kind do not load into the other.
    """
    # The reference shifts every second block once layer3 has 23 blocks or more (ResNet-101).
    every = 2 if STAGE_BLOCKS[depth][2] >= 23 else 1

    def reduce(stage: int, block: int, in_channels: int, channels: int) -> FirstConv:
        conv = SpatialConv(in_channels, channels, 1, weight_dims=4)
        shifted = block % every == 0
        return TemporalShift(conv, num_segments=num_segments, shift_div=shift_div) if shifted else conv

    resnet = ResNet(
        depth=depth,
        base_channels=base_channels,
        stem_pool=stem_pool,
        norm_eval=norm_eval,
        with_cp=with_cp,
        num_levels=num_levels,
        weight_dims=4,
        reduce=reduce,
    )
    if shift_downsample:
        for block in resnet.modules():
            shortcut = block.downsample if isinstance(block, Bottleneck) else None
            if shortcut is not None and isinstance(shortcut.conv, SpatialConv):
                shortcut.conv = TemporalShift(shortcut.conv, num_segments=num_segments, shift_div=shift_div)
    return resnet

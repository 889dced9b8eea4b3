"""The Temporal Pyramid Network (Yang et al., CVPR 2020, section 3): a feature-level pyramid of visual tempos.

Each level is one depth of the backbone, made equal in space and semantics (spatial modulation), then sampled at its own
rate in time (temporal modulation). Information flows from coarse to fine tempo and back, and all levels are fused.

N batch · C channels · T time · H, W space; levels are ordered from the finest tempo to the coarsest
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from tpn.models.layers import ConvModule, SpatialConv, TemporalConv, global_average_pool, temporal_max_pool

GROUPS = 32  # of the temporal modulation and of the level fusion's 1x1x1 convolutions


class SpatialModulation(nn.Module):
    """Section 3.2: strided 3x3 convolutions bring every level to the top level's width and spatial size."""

    def __init__(self, in_channels: list[int]) -> None:
        super().__init__()
        self.spatial_modulation = nn.ModuleList()
        for channels in in_channels:
            steps = range(int(math.log2(in_channels[-1] // channels)))  # none for the top level
            convs = [SpatialConv(channels * 2**i, channels * 2 ** (i + 1), 3, stride=2) for i in steps]
            self.spatial_modulation.append(
                nn.Sequential(*(ConvModule(conv, norm=conv.weight.shape[0]) for conv in convs))
            )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [modulate(x) for modulate, x in zip(self.spatial_modulation, features, strict=True)]


class TemporalModulation(nn.Module):
    """Section 3.2: a grouped 3x1x1 convolution, then max pooling that sets the level's tempo."""

    def __init__(self, in_channels: int, out_channels: int, *, scale: int) -> None:
        super().__init__()
        self.conv = ConvModule(TemporalConv(in_channels, out_channels, groups=GROUPS), norm=None, activation=False)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return temporal_max_pool(self.conv(x), self.scale)


class Downsample(nn.Module):
    """The step of the bottom-up flow: a 3x1x1 convolution, then max pooling to the next level's T."""

    def __init__(self, channels: int, *, scale: int) -> None:
        super().__init__()
        self.conv = ConvModule(TemporalConv(channels, channels), norm=None, activation=False)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return temporal_max_pool(self.conv(x), self.scale)


class LevelReduction(nn.Module):
    """Max pooling to the coarsest level's T, then a grouped 1x1x1 convolution."""

    def __init__(self, channels: int, *, scale: int) -> None:
        super().__init__()
        self.conv = ConvModule(SpatialConv(channels, channels, 1, groups=GROUPS), norm=channels)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(temporal_max_pool(x, self.scale))


class LevelFusion(nn.Module):
    """Section 3.3: the levels of one flow, brought to the coarsest T, concatenated and mixed."""

    def __init__(self, channels: int, out_channels: int, *, scales: list[int]) -> None:
        super().__init__()
        self.downsamples = nn.ModuleList(LevelReduction(channels, scale=scale) for scale in scales)
        self.fusion_conv = ConvModule(SpatialConv(channels * len(scales), out_channels, 1), norm=out_channels)

    def forward(self, levels: list[Tensor]) -> Tensor:
        return self.fusion_conv(torch.cat([reduce(x) for reduce, x in zip(self.downsamples, levels, strict=True)], 1))


class AuxHead(nn.Module):
    """Section 3.3: a classifier on the backbone's last but one stage, for stronger supervision; training only."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = ConvModule(SpatialConv(in_channels, in_channels * 2, 3, stride=2), norm=in_channels * 2)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(in_channels * 2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> auxiliary logits (N, num_classes)."""
        return self.fc(self.dropout(global_average_pool(self.conv(x))))


class TPN(nn.Module):
    """The neck. `temporal_scales` gives each level's temporal pooling; every other scale and width follows.

    Args:
        in_channels: channels of the backbone's features, finest tempo first, e.g. [1024, 2048].
        temporal_scales: one per level, e.g. (8, 8) as published for ResNet-50, (4, 8) for ResNet-101.
        flow_type: 'cascade' starts the bottom-up flow from the top-down result, 'parallel' from the levels.
        num_classes: of the auxiliary head; None builds none.
    """

    def __init__(
        self,
        *,
        in_channels: list[int],
        temporal_scales: tuple[int, ...],
        flow_type: str,
        num_classes: int | None,
    ) -> None:
        super().__init__()
        width, channels = in_channels[-1], in_channels[-1] // 2
        steps = [coarse // fine for fine, coarse in pairwise(temporal_scales)]
        to_coarsest = [temporal_scales[-1] // scale for scale in temporal_scales]

        self.flow_type, self.steps, self.out_channels = flow_type, steps, width
        self.spatial_modulation = SpatialModulation(in_channels)
        self.temporal_modulation_ops = nn.ModuleList(
            TemporalModulation(width, channels, scale=scale) for scale in temporal_scales
        )
        self.downsample_ops = nn.ModuleList(Downsample(channels, scale=step) for step in steps)
        self.level_fusion_1 = LevelFusion(channels, width, scales=to_coarsest)  # of the top-down flow
        self.level_fusion_2 = LevelFusion(channels, width, scales=to_coarsest)  # of the bottom-up flow
        self.pyramid_fusion = ConvModule(SpatialConv(width * 2, width, 1), norm=width)
        self.aux_head = AuxHead(in_channels[-2], num_classes) if num_classes else None

    def forward(self, features: list[Tensor]) -> Tensor:
        """Backbone features, each (N, C_i, T, H_i, W_i) -> (N, C, T', H, W): T' is T at the coarsest tempo."""
        levels = self.temporal_modulation(self.spatial_modulation(features))
        top_down = self.add_top_down(levels)
        bottom_up = self.add_bottom_up(top_down if self.flow_type == "cascade" else levels)
        return self.pyramid_fusion(torch.cat([self.level_fusion_1(top_down), self.level_fusion_2(bottom_up)], dim=1))

    def temporal_modulation(self, features: list[Tensor]) -> list[Tensor]:
        return [modulate(x) for modulate, x in zip(self.temporal_modulation_ops, features, strict=True)]

    def add_top_down(self, levels: list[Tensor]) -> list[Tensor]:
        """Each level gains the coarser one, repeated in time to its own T (nearest)."""
        levels = list(levels)
        for i in reversed(range(len(levels) - 1)):
            t = levels[i].shape[2]
            levels[i] = levels[i] + levels[i + 1].repeat_interleave(self.steps[i], dim=2)[:, :, :t]
        return levels

    def add_bottom_up(self, levels: list[Tensor]) -> list[Tensor]:
        """Each level gains the finer one, convolved and pooled to its own T."""
        levels = list(levels)
        for i, downsample in enumerate(self.downsample_ops):
            levels[i + 1] = levels[i + 1] + downsample(levels[i])
        return levels

"""Convolution, pooling and temporal shift with time folded into the batch: no Conv3d kernel ever runs.

Every kernel of these networks is (1, k, k) or (k, 1, 1). Activations are (N, C, T, H, W) in the memory order
N, T, H, W, C (`torch.channels_last_3d`). The same memory is, without a copy,
    folded time    (N*T, C, H, W)   channels last, for spatial kernels
    folded space   (N, C, T, H*W)   channels last, for temporal kernels
so each convolution is a channels-last conv2d, the best tuned path on CPU and GPU, and computes the same function.

N batch · C channels · T time · H, W space
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpn.models.folding import fold_space, fold_time, unfold_space, unfold_time
from tpn.models.kernels import Chain, Link


class SpatialConv(nn.Module):
    """A (1, k, k) convolution on folded time. Its weight keeps the published shape: 5-D, or 4-D in a 2-D backbone."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        weight_dims: int = 5,
    ) -> None:
        super().__init__()
        shape = (out_channels, in_channels // groups, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape if weight_dims == 4 else (*shape[:2], 1, *shape[2:])))
        self.stride, self.padding, self.groups = stride, kernel_size // 2, groups

    def kernel(self) -> Tensor:
        """The weight as conv2d takes it, (O, I, k, k)."""
        return self.weight if self.weight.dim() == 4 else self.weight.squeeze(2)

    def forward(self, x: Tensor) -> Tensor:  # (N*T, C, H, W)
        return F.conv2d(x, self.kernel(), stride=self.stride, padding=self.padding, groups=self.groups)


class TemporalConv(nn.Module):
    """A (3, 1, 1) convolution on folded space."""

    def __init__(self, in_channels: int, out_channels: int, *, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, 3, 1, 1))
        self.groups = groups

    def kernel(self) -> Tensor:
        """The weight as conv2d takes it, (O, I, 3, 1)."""
        return self.weight.squeeze(4)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, T, H*W)
        return F.conv2d(x, self.kernel(), padding=(1, 0), groups=self.groups)


class TemporalShift(nn.Module):
    """TSM (Lin et al., ICCV 2019): 1/shift_div of the channels look one frame ahead, as many one frame back."""

    def __init__(self, net: SpatialConv, *, num_segments: int, shift_div: int) -> None:
        super().__init__()
        self.net = net
        self.num_segments, self.shift_div = num_segments, shift_div

    def forward(self, x: Tensor) -> Tensor:  # (N*T, C, H, W)
        return self.net(self.shift(x))

    def shift(self, x: Tensor, *, back: bool = False) -> Tensor:
        """(N*T, C, H, W) -> the same, channels moved in time; `back` moves them the other way, as gradients move."""
        nt, c, h, w = x.shape
        frames = x.permute(0, 2, 3, 1).reshape(-1, self.num_segments, h, w, c)  # (N, T, H, W, C)
        fold = c // self.shift_div
        shifted = torch.zeros_like(frames)
        ahead, behind = slice(fold), slice(fold, 2 * fold)
        if back:
            ahead, behind = behind, ahead
        shifted[:, :-1, ..., ahead] = frames[:, 1:, ..., ahead]  # the next frame
        shifted[:, 1:, ..., behind] = frames[:, :-1, ..., behind]  # the frame before
        shifted[..., 2 * fold :] = frames[..., 2 * fold :]
        return shifted.reshape(nt, h, w, c).permute(0, 3, 1, 2)


class ConvModule(nn.Module):
    """Convolution, batch norm, residual, ReLU, on (N, C, T, H, W); all but the convolution can be left out."""

    def __init__(
        self, conv: SpatialConv | TemporalConv | TemporalShift, *, norm: int | None, activation: bool = True
    ) -> None:
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm2d(norm) if norm else None  # over every axis but C, so the folded view serves
        self.activation = activation

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T, H', W'); `residual`, of the output's shape, is added before the ReLU."""
        if trains_on_cpu(self, x):
            return train_chain([self], x, residual)
        t, h, w = x.shape[2:]
        if isinstance(self.conv, TemporalConv):
            return unfold_space(self.folded(fold_space(x), None if residual is None else fold_space(residual)), h, w)
        return unfold_time(self.folded(fold_time(x), None if residual is None else fold_time(residual)), t)

    def folded(self, x: Tensor, residual: Tensor | None) -> Tensor:
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        if residual is not None:
            x = x + residual
        return x.relu_() if self.activation else x

    def unshifted(self) -> SpatialConv | TemporalConv:
        """The convolution itself, without the shift that may stand before it."""
        return self.conv.net if isinstance(self.conv, TemporalShift) else self.conv

    def link(self) -> Link:
        """How this module computes, without its parameters: for the forms of it that training and inference have."""
        conv = self.unshifted()
        return Link(
            temporal=isinstance(conv, TemporalConv),
            stride=1 if isinstance(conv, TemporalConv) else conv.stride,
            padding=(1, 0) if isinstance(conv, TemporalConv) else (conv.padding, conv.padding),
            groups=conv.groups,
            shift=self.conv.shift if isinstance(self.conv, TemporalShift) else None,
            norm=self.bn,
            relu=self.activation,
        )

    def chain_parameters(self) -> list[Tensor | None]:
        """Weight, norm's weight, norm's bias: what travels beside the link."""
        norm = [None, None] if self.bn is None else [self.bn.weight, self.bn.bias]
        return [self.unshifted().weight, *norm]


def in_sequence(modules: list[ConvModule], x: Tensor, residual: Tensor) -> Tensor:
    """One after the other, the residual into the last: (N, C, T, H, W) -> (N, C', T, H', W')."""
    if trains_on_cpu(modules[0], x):
        return train_chain(modules, x, residual)
    for module in modules[:-1]:
        x = module(x)
    return modules[-1](x, residual)


def trains_on_cpu(module: nn.Module, x: Tensor) -> bool:
    """Whether the hand-written gradients of kernels.py apply; elsewhere autograd makes them."""
    return module.training and x.device.type == "cpu" and not torch.compiler.is_compiling()


def train_chain(modules: list[ConvModule], x: Tensor, residual: Tensor | None) -> Tensor:
    """The modules one after the other as a `Chain`; under autocast in its type."""
    parameters = [parameter for module in modules for parameter in module.chain_parameters()]
    shortcut = residual is x
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    return Chain.apply([m.link() for m in modules], shortcut, x, None if shortcut else residual, *parameters)


def temporal_max_pool(x: Tensor, scale: int) -> Tensor:
    """(N, C, T, H, W) -> (N, C, ceil(T / scale), H, W)."""
    if scale == 1:
        return x
    h, w = x.shape[3:]
    return unfold_space(F.max_pool2d(fold_space(x), (scale, 1), ceil_mode=True), h, w)


def spatial_max_pool(x: Tensor) -> Tensor:
    """The ResNet stem's pooling: (N, C, T, H, W) -> (N, C, T, H/2, W/2)."""
    return unfold_time(F.max_pool2d(fold_time(x), kernel_size=3, stride=2, padding=1), x.shape[2])


def global_average_pool(x: Tensor) -> Tensor:
    """(N, C, T, H, W) -> (N, C)."""
    return x.mean(dim=(2, 3, 4))

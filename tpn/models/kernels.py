"""Training on a CPU, its gradients written by hand: what autograd would keep is made again, slow kernels are replaced.

Autograd keeps two tensors per convolution with norm and ReLU: the convolution's output z, which the norm's gradient
needs, and the ReLU's output y, which the next convolution's weight gradient needs. `Chain` keeps z alone, or neither
where making it again is cheap, and frees each as soon as it has been used. Same function, same gradients.

N batch · C channels · T time · H, W space; z before the norm, y after the ReLU
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tpn.models.folding import fold_space, fold_time, unfold_space, unfold_time
from tpn.models.statistics import batch_statistics

aten = torch.ops.aten
WIDE = 512
"""Input channels from which the weight gradient of a strided 3x3 is faster as a matrix product."""


@dataclass(frozen=True)
class Link:
    """One convolution of a chain, with the norm and the ReLU after it; the parameters travel beside it.

    `shift(x, back=False)` moves channels in time before the convolution; with back=True it is its own transpose.
    """

    temporal: bool
    stride: int
    padding: tuple[int, int]
    groups: int
    shift: Callable[..., Tensor] | None
    norm: nn.BatchNorm2d | None
    relu: bool

    def fold(self, x: Tensor) -> Tensor:
        return fold_space(x) if self.temporal else fold_time(x)

    def unfold(self, x: Tensor, like: Tensor) -> Tensor:
        """Back to five axes, with the T (and where it is folded, the H and W) of `like`."""
        return unfold_space(x, *like.shape[3:]) if self.temporal else unfold_time(x, like.shape[2])

    def kernel(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """The weight as conv2d takes it, (O, I, k, l)."""
        return (weight if weight.dim() == 4 else weight.squeeze(4 if self.temporal else 2)).to(dtype)

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """(N, C, T, H, W) -> z (N, C', T, H', W')."""
        folded = self.fold(x) if self.shift is None else self.shift(self.fold(x))
        kernel = self.kernel(weight, x.dtype)
        return self.unfold(F.conv2d(folded, kernel, None, self.stride, self.padding, 1, self.groups), x)

    def expands(self, weight: Tensor) -> bool:
        """Whether z is large and cheap to make again: that of a 1x1 convolution to more channels."""
        return weight[0, 0].numel() == 1 and weight.shape[0] > weight.shape[1] * self.groups


def normalize(link: Link, z: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The norm's output, and the mean and the inverse deviation it used; updates the running statistics."""
    norm, folded = link.norm, link.fold(z)
    assert norm is not None and norm.running_mean is not None and norm.running_var is not None
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    if norm.training:
        mean, variance = batch_statistics(folded)
        track(norm, mean, variance, count=folded.numel() // folded.shape[1])
    y = aten.native_batch_norm(folded, weight, bias, mean, variance, False, 0.0, norm.eps)[0]
    return link.unfold(y, z), mean, torch.rsqrt(variance + norm.eps)


def track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, *, count: int) -> None:
    """Move the running statistics towards those of a batch, of `count` values a channel, as PyTorch's norm does.

    Raises ValueError, as that does, for a single value, which has no variance.
    """
    if count == 1:
        raise ValueError("a batch norm has one value per channel, which has no variance: use larger or more clips")
    assert norm.running_mean is not None and norm.running_var is not None
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    momentum = norm.momentum or 0.0
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance * (count / (count - 1)), momentum)


def activate_again(link: Link, z: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """y from z and the statistics of the forward pass: one sweep over memory."""
    assert link.norm is not None
    eps = link.norm.eps
    y = aten.native_batch_norm(link.fold(z), weight, bias, mean, inverse.pow(-2) - eps, False, 0.0, eps)[0]
    return link.unfold(y.relu_() if link.relu else y, z)


def norm_gradients(
    link: Link, dy: Tensor, z: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of z, of the norm's weight and of its bias."""
    norm = link.norm
    assert norm is not None
    dz, d_weight, d_bias = aten.native_batch_norm_backward(
        link.fold(dy), link.fold(z), weight, norm.running_mean, norm.running_var, mean, inverse, norm.training,
        norm.eps, [True, True, True],
    )  # fmt: skip
    return link.unfold(dz, z), d_weight, d_bias


def convolution_gradients(
    link: Link, dz: Tensor, x: Tensor, weight: Tensor, *, input_wanted: bool
) -> tuple[Tensor | None, Tensor]:
    """Of the input (N, C, T, H, W) and of the weight, in its own shape and type."""
    dz, folded, kernel = link.fold(dz), link.fold(x), link.kernel(weight, x.dtype)
    folded = folded if link.shift is None else link.shift(folded)
    d_weight = weight_gradient(link, dz, folded, kernel).to(weight.dtype).view_as(weight)
    if not input_wanted:
        return None, d_weight
    dx = convolution_backward(link, dz, folded, kernel, wanted=[True, False, False])[0]
    dx = dx if link.shift is None else link.shift(dx, back=True)
    return link.unfold(dx, x), d_weight


def weight_gradient(link: Link, dz: Tensor, x: Tensor, kernel: Tensor) -> Tensor:
    """Of the folded convolution. oneDNN's own kernel is slow for two kinds; both are plain matrix products.

    3x1x1 in float32: one product per tap over the frames that tap sees, 60 -> 28 ms (1024 to 256 channels, two views).
    Strided 3x3 with many channels: the patches of x, laid out once, times dz: 340 -> 200 ms, in bfloat16 215 -> 90 ms.
    """
    if link.groups == 1 and link.temporal and kernel.dtype == torch.float32:
        return temporal_weight_gradient(dz, x)
    if link.groups == 1 and link.stride == 2 and kernel.shape[1] >= WIDE and kernel.shape[2] == 3:
        return (dz.permute(0, 2, 3, 1).flatten(0, 2).t() @ patches(x)).view_as(kernel)
    return convolution_backward(link, dz, x, kernel, wanted=[False, True, False])[1]


def temporal_weight_gradient(dz: Tensor, x: Tensor) -> Tensor:
    """(O, I, 3, 1) from dz (N, O, T, P) and x (N, I, T, P)."""
    dz, x = dz.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)  # (N, T, P, C)
    t = x.shape[1]
    taps = []
    for tap in range(3):
        first, end = max(0, 1 - tap), min(t, t + 1 - tap)  # the outputs for which this tap is inside the clip
        seen = x[:, first + tap - 1 : end + tap - 1]
        taps.append(dz[:, first:end].flatten(0, 2).t() @ seen.flatten(0, 2))
    return torch.stack(taps, dim=2).unsqueeze(3)


def patches(x: Tensor) -> Tensor:
    """What a 3x3 kernel of stride 2 and padding 1 sees: (N, I, H, W) -> (N*h*w, I*9), in the order of the weight."""
    h, w = -(-x.shape[2] // 2), -(-x.shape[3] // 2)
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    taps = [padded[:, i : i + 2 * h - 1 : 2, j : j + 2 * w - 1 : 2] for i in range(3) for j in range(3)]
    return torch.stack(taps, dim=-1).flatten(3).flatten(0, 2)


def convolution_backward(link: Link, dz: Tensor, x: Tensor, kernel: Tensor, *, wanted: list[bool]) -> list[Tensor]:
    """PyTorch's own gradients of (input, weight, bias), the wanted ones."""
    stride, padding = [link.stride] * 2, list(link.padding)
    return aten.convolution_backward(dz, x, kernel, None, stride, padding, [1, 1], False, [0, 0], link.groups, wanted)


class Chain(torch.autograd.Function):
    """Convolution, norm and ReLU, one after the other; before the last ReLU a residual is added.

    Keeps the input, the output (which the next chain keeps as its input anyway) and every z, but not the last one where
    it is cheap to make again: of a bottleneck, by count of elements, half of what autograd keeps.
    """

    @staticmethod
    def forward(
        ctx: Any, links: list[Link], shortcut: bool, x: Tensor, residual: Tensor | None, *parameters: Tensor
    ) -> Tensor:
        """`shortcut`: the residual is x itself. `parameters`: weight, norm's weight, norm's bias of every link."""
        kept: list[Tensor | None] = []
        y, last = x, len(links) - 1
        for i, link in enumerate(links):
            weight, *affine = parameters[3 * i : 3 * i + 3]
            z = link.convolve(y, weight)
            if link.norm is None:
                y, statistics = z, (None, None, None)
            else:
                y, mean, inverse = normalize(link, z, *affine)
                statistics = (None if i == last and link.expands(weight) else z, mean, inverse)
            kept += statistics
            if i == last and (shortcut or residual is not None):
                y = y.add_(x if residual is None else residual)
            y = y.relu_() if link.relu else y
        ctx.save_for_backward(x, y if links[-1].relu else None, *kept, *parameters)
        ctx.links, ctx.shortcut, ctx.has_residual = links, shortcut, residual is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] (the decorator)
        links, (x, output, *saved) = ctx.links, ctx.saved_tensors
        kept, parameters = saved[: 3 * len(links)], saved[3 * len(links) :]
        gradients: list[Tensor | None] = [None] * len(parameters)
        dy: Any = grads[0].contiguous(memory_format=torch.channels_last_3d)  # None in the end, where x wants none
        y, d_residual = output, None
        for i in reversed(range(len(links))):
            link, (z, mean, inverse) = links[i], kept[3 * i : 3 * i + 3]
            weight, *affine = parameters[3 * i : 3 * i + 3]
            own = i < len(links) - 1  # the caller's gradient is not ours to overwrite
            if link.relu:
                dy = aten.threshold_backward.grad_input(dy, y, 0, grad_input=dy if own else torch.empty_like(dy))
            if not own and (ctx.shortcut or ctx.has_residual):
                d_residual = dy
            y = x if i == 0 else activate_again(links[i - 1], *kept[3 * i - 3 : 3 * i], *parameters[3 * i - 2 : 3 * i])
            if link.norm is not None:
                z = link.convolve(y, weight) if z is None else z
                dy, *gradients[3 * i + 1 : 3 * i + 3] = norm_gradients(link, dy, z, affine[0], mean, inverse)
            dy, gradients[3 * i] = convolution_gradients(
                link, dy, y, weight, input_wanted=i > 0 or ctx.needs_input_grad[2]
            )
        if ctx.shortcut and dy is not None:
            dy = dy.add_(d_residual)
        return None, None, dy, d_residual if ctx.has_residual else None, *gradients

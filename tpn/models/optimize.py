"""The inference form of a recognizer: norms folded into convolutions, ReLU and residual fused, weights pre-packed."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpn.models.layers import (
    ConvModule,
    TemporalConv,
    TemporalShift,
    fold_space,
    fold_time,
    unfold_space,
    unfold_time,
)
from tpn.models.recognizer import Recognizer


def optimize(model: Recognizer, *, dtype: torch.dtype = torch.float32) -> Recognizer:
    """A copy of a recognizer that computes the same function faster and can only infer.

    Args:
        model: on the device it is to run on. It stays as it is; what is trained later does not reach the copy.
        dtype: of weights and activations: the copy takes clips of this type and gives logits of it.
    Returns:
        a recognizer in eval mode whose float32 logits equal the model's within rounding (1e-5 relative).
    """
    # Convolutions come into the copy fused, never twice: deepcopy takes what its memo has.
    fused = {id(module): FusedConvModule(module, dtype) for module in model.modules() if isinstance(module, ConvModule)}
    return copy.deepcopy(model, dict(fused)).to(dtype).eval()


class FusedConvModule(nn.Module):
    """A ConvModule for inference: one call for convolution, norm, residual and ReLU."""

    def __init__(self, module: ConvModule, dtype: torch.dtype) -> None:
        super().__init__()
        conv = module.conv
        self.shift = conv.shift if isinstance(conv, TemporalShift) else None
        conv = conv.net if isinstance(conv, TemporalShift) else conv
        self.temporal, self.groups = isinstance(conv, TemporalConv), conv.groups
        self.stride = (1, 1) if isinstance(conv, TemporalConv) else (conv.stride, conv.stride)
        self.padding = (1, 0) if isinstance(conv, TemporalConv) else (conv.padding, conv.padding)
        self.activation = module.activation
        weight, bias = folded_norm(conv.kernel(), module.bn)
        self.weight = nn.Parameter(weight.to(dtype, memory_format=torch.channels_last), requires_grad=False)
        self.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
        self.packed: Tensor | None = None

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """As ConvModule.forward."""
        t, h, w = x.shape[2:]
        if self.temporal:
            return unfold_space(self.folded(fold_space(x), None if residual is None else fold_space(residual)), h, w)
        return unfold_time(self.folded(fold_time(x), None if residual is None else fold_time(residual)), t)

    def folded(self, x: Tensor, residual: Tensor | None) -> Tensor:
        if self.shift is not None:
            x = self.shift(x)
        if x.device.type == "cpu" and torch.backends.mkldnn.is_available():
            return self.onednn(x, residual)
        x = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)
        if residual is not None:
            x = x.add_(residual)
        return x.relu_() if self.activation else x

    def onednn(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """oneDNN's fused convolution, the operator that torch.compile's frozen graphs call on a CPU."""
        ops, shape = torch.ops.mkldnn, (self.padding, self.stride, (1, 1), self.groups)
        if self.packed is None:  # the best layout depends on the input's size, known only now
            self.packed = ops._reorder_convolution_weight(self.weight, *shape, list(x.shape))
        relu = "relu" if self.activation else "none"
        if residual is None:
            return ops._convolution_pointwise(x, self.packed, self.bias, *shape, relu, [], "")
        return ops._convolution_pointwise.binary(
            x, residual, self.packed, self.bias, *shape, "add", 1.0, relu if self.activation else None, [], None
        )


def folded_norm(weight: Tensor, bn: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """Weight (O, I, k, l) and bias (O,) of the convolution that equals convolution and norm; computed in float64."""
    weight = weight.detach().double()
    if bn is None:
        return weight, weight.new_zeros(len(weight))
    assert bn.running_mean is not None and bn.running_var is not None
    scale = bn.weight.detach().double() / torch.sqrt(bn.running_var.double() + bn.eps)
    return weight * scale[:, None, None, None], bn.bias.detach().double() - bn.running_mean.double() * scale

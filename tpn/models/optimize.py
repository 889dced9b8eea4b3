"""The inference form of a recognizer: norms folded into convolutions, ReLU and residual fused, weights pre-packed."""

import copy
import os
import shutil
import sys
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpn.errors import UserError
from tpn.models.folding import fold_space, fold_time, unfold_space, unfold_time
from tpn.models.layers import ConvModule
from tpn.models.recognizer import Recognizer


def optimize(model: Recognizer, *, dtype: torch.dtype = torch.float32) -> Recognizer:
    """A copy of a recognizer that computes the same function faster and can only infer.

    Args:
        model: on the device it is to run on. It stays as it is; what is trained later does not reach the copy.
        dtype: of weights and activations: the copy takes clips of any floating type and gives logits of this one.
    Returns:
        a recognizer in eval mode whose float32 logits equal the model's within rounding (1e-5 relative).
    """
    # Convolutions come into the copy fused, never twice: deepcopy takes what its memo has. Training's head is left out.
    memo: dict[int, nn.Module | None] = {}
    if model.neck is not None and model.neck.aux_head is not None:
        memo[id(model.neck.aux_head)] = None
    for name, module in model.named_modules():
        if isinstance(module, ConvModule) and "aux_head" not in name:
            memo[id(module)] = FusedConvModule(module, dtype)
    memo[id(model.cls_head.fc_cls)] = LinearByRow(model.cls_head.fc_cls)
    return copy.deepcopy(model, memo).to(dtype).eval()


def compile_network(model: Recognizer, device: torch.device) -> None:
    """Let torch.compile make the code of an inference form, in one piece, for the shape of the first clips alone.

    On CUDA the kernels are chosen by measuring them and run as CUDA graphs; on a CPU the weights are frozen into the
    code.

    Raises:
        UserError: there is no C++ compiler, which this needs on a CPU.
    """
    if device.type == "cuda":
        model.compile(mode="max-autotune", fullgraph=True, dynamic=False)
        return
    check_compiler()
    model.compile(options={"freezing": True}, fullgraph=True, dynamic=False)


def compile_training(model: Recognizer, device: torch.device) -> nn.Module:
    """The recognizer, whose training steps torch.compile makes the code of, in one piece, when the first batch comes.

    Weights are shared with `model`. On a CPU autograd's gradients take the place of those written by hand.

    Raises:
        UserError: there is no C++ compiler, which this needs on a CPU.
    """
    if device.type == "cpu":
        check_compiler()
    return cast(nn.Module, torch.compile(model, fullgraph=True, dynamic=False))


def check_compiler() -> None:
    """Raise UserError where the C++ compiler that torch.compile calls on a CPU is missing."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise UserError(
            f"--compile: the C++ compiler {compiler} is not there; install it, name another in the environment "
            "variable CXX, or leave out --compile"
        )


class LinearByRow(nn.Module):
    """A linear layer that gives a row the same bits whatever rows are beside it.

    On a CPU a matrix product rounds by the number of its rows; convolutions and pooling do not depend on it.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().clone(), requires_grad=False)
        self.bias = nn.Parameter(linear.bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:  # (N, C) -> (N, num_classes)
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.linear(x, self.weight, self.bias)
        return torch.cat([F.linear(row, self.weight, self.bias) for row in x.split(1)])


class FusedConvModule(nn.Module):
    """A ConvModule for inference: one call for convolution, norm, residual and ReLU."""

    def __init__(self, module: ConvModule, dtype: torch.dtype) -> None:
        super().__init__()
        link = module.link()
        self.shift, self.temporal, self.groups, self.activation = link.shift, link.temporal, link.groups, link.relu
        self.stride, self.padding = (link.stride, link.stride), link.padding
        weight, bias = folded_norm(module.unshifted().kernel(), module.bn)
        self.weight = nn.Parameter(weight.to(dtype, memory_format=torch.channels_last), requires_grad=False)
        self.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
        self.packed: Tensor | None = None  # takes the place of the weight once oneDNN runs

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """As ConvModule.forward, but the output is written over `residual`: a shortcut, which nothing else needs."""
        t, h, w = x.shape[2:]
        if self.temporal:
            return unfold_space(self.folded(fold_space(x), None if residual is None else fold_space(residual)), h, w)
        return unfold_time(self.folded(fold_time(x), None if residual is None else fold_time(residual)), t)

    def folded(self, x: Tensor, residual: Tensor | None) -> Tensor:
        if self.shift is not None:
            x = self.shift(x)
        if self.packed is not None or onednn_runs(x):
            return self.onednn(x, residual)
        assert self.weight is not None
        x = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)
        if residual is not None:
            x = residual.add_(x)
        return x.relu_() if self.activation else x

    def onednn(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """oneDNN's fused convolution, the operator that torch.compile's frozen graphs call on a CPU."""
        ops, shape = torch.ops.mkldnn, (self.padding, self.stride, (1, 1), self.groups)
        if self.packed is None:  # the best layout depends on the input's size, known only now; it serves others too
            self.packed = ops._reorder_convolution_weight(self.weight, *shape, list(x.shape))
            self.weight = None
        relu = "relu" if self.activation else "none"
        if residual is None:
            return ops._convolution_pointwise(x, self.packed, self.bias, *shape, relu, [], "")
        return ops._convolution_pointwise_.binary(
            residual, x, self.packed, self.bias, *shape, "add", 1.0, relu if self.activation else None, [], None
        )


def onednn_runs(x: Tensor) -> bool:
    """Whether oneDNN has this processor's instructions for the input's type. Compiled code calls it by itself."""
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if x.dtype == torch.float32:
        return True
    ops = torch.ops.mkldnn
    return ops._is_mkldnn_bf16_supported() if x.dtype == torch.bfloat16 else ops._is_mkldnn_fp16_supported()


def folded_norm(weight: Tensor, bn: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """Weight (O, I, k, l) and bias (O,) of the convolution that equals convolution and norm; factors in float64."""
    weight = weight.detach()
    if bn is None:
        return weight, weight.new_zeros(len(weight))
    assert bn.running_mean is not None and bn.running_var is not None
    scale = bn.weight.detach().double() / torch.sqrt(bn.running_var.double() + bn.eps)
    bias = bn.bias.detach().double() - bn.running_mean.double() * scale
    return weight * scale.to(weight.dtype)[:, None, None, None], bias

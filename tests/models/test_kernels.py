"""The gradients written by hand are those of autograd, and activation checkpointing changes nothing but memory."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tpn.models.layers as layers
from tpn.config.settings import Head, Model, Neck, SlowOnlyBackbone, TSMBackbone
from tpn.models.folding import fold_time
from tpn.models.kernels import patches, temporal_weight_gradient
from tpn.models.layers import ConvModule, SpatialConv, TemporalConv, TemporalShift
from tpn.models.recognizer import Recognizer, build_recognizer

TINY = {"depth": 14, "base_channels": 8}
BACKBONES = {
    "SlowOnly": SlowOnlyBackbone(type="ResNet3dSlowOnly", **TINY),
    "SlowOnly, norms frozen": SlowOnlyBackbone(type="ResNet3dSlowOnly", norm_eval=True, **TINY),
    "TSM": TSMBackbone(type="ResNetTSM", shift_downsample=True, **TINY),
}


def build(backbone, *, with_cp: bool = False, dtype: torch.dtype = torch.float64) -> Recognizer:
    torch.manual_seed(0)
    backbone = backbone.model_copy(update={"with_cp": with_cp})
    model = build_recognizer(Model(backbone=backbone, neck=Neck(), cls_head=Head(num_classes=5)))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # the zeros it starts from hide a branch
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model.to(dtype).train()


def step(model: Recognizer, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """Everything a step leaves: both logits, the gradients of all parameters and of the input, the buffers."""
    clips = torch.randn(2, 3, 8, 48, 40, generator=torch.Generator().manual_seed(1), dtype=dtype, requires_grad=True)
    torch.manual_seed(2)  # of dropout
    logits, aux_logits = model(clips)
    (logits.square().sum() + aux_logits.square().sum()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"logits": logits, "aux": aux_logits, "clips": clips.grad, **gradients, **dict(model.named_buffers())}


def by_autograd(monkeypatch) -> None:
    monkeypatch.setattr(layers, "trains_on_cpu", lambda *_: False)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_gradient_is_autograds_in_float64(name, monkeypatch):
    ours = step(build(BACKBONES[name]))
    by_autograd(monkeypatch)
    torch.testing.assert_close(ours, step(build(BACKBONES[name])), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("hand_written", [True, False])
@pytest.mark.parametrize("name", BACKBONES)
def test_checkpointing_changes_no_bit_of_gradients_and_statistics(name, hand_written, monkeypatch):
    if not hand_written:
        by_autograd(monkeypatch)
    ours, theirs = step(build(BACKBONES[name], with_cp=True)), step(build(BACKBONES[name]))
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def test_two_runs_are_bitwise_equal():
    first, second = (step(build(BACKBONES["SlowOnly"], dtype=torch.float32), torch.float32) for _ in range(2))
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("activation", [True, False])
@pytest.mark.parametrize("norm", [None, 24])
@pytest.mark.parametrize(
    "conv",
    [
        lambda g: SpatialConv(8, 24, 1, groups=g),
        lambda g: SpatialConv(8, 24, 3, stride=2, groups=g),
        lambda g: TemporalConv(8, 24, groups=g),
        lambda g: TemporalShift(SpatialConv(8, 24, 1, groups=g, weight_dims=4), num_segments=5, shift_div=4),
    ],
    ids=["1x1 that expands", "strided 3x3", "3x1x1", "shifted"],
)
def test_each_kind_of_convolution_passes_the_numerical_check(conv, norm, activation, groups):
    torch.manual_seed(0)
    module = ConvModule(conv(groups), norm=norm, activation=activation).double().train()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(1, 8, 5, 4, 3, dtype=torch.float64, requires_grad=True)
    residual = torch.randn_like(module(x)).requires_grad_()
    assert torch.autograd.gradcheck(module, (x, residual), fast_mode=True)
    assert torch.autograd.gradcheck(lambda *_: module(x, residual), tuple(module.parameters()), fast_mode=True)


@pytest.mark.parametrize("size", [(7, 9), (8, 6), (1, 2)])
def test_products_with_patches_are_the_strided_weight_gradient(size):
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    kernel = torch.randn(6, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    y = F.conv2d(x, kernel, stride=2, padding=1)
    dz = torch.randn_like(y)
    ours = (dz.permute(0, 2, 3, 1).flatten(0, 2).t() @ patches(x)).view_as(kernel)
    torch.testing.assert_close(ours, torch.autograd.grad(y, kernel, dz)[0])


@pytest.mark.parametrize("frames", [1, 2, 8])
def test_products_per_tap_are_the_temporal_weight_gradient(frames):
    x = torch.randn(2, 4, frames, 6, dtype=torch.float64)
    kernel = torch.randn(5, 4, 3, 1, dtype=torch.float64, requires_grad=True)
    y = F.conv2d(x, kernel, padding=(1, 0))
    dz = torch.randn_like(y)
    torch.testing.assert_close(temporal_weight_gradient(dz, x), torch.autograd.grad(y, kernel, dz)[0])


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("graded", [True, False], ids=["trained", "without gradients"])
def test_running_statistics_are_within_1e6_of_float64(graded, dtype, num_threads):
    """803,000 values of each channel, as the stem has at 8 clips of 8 frames and half of 224 x 224."""
    torch.manual_seed(0)
    module = ConvModule(SpatialConv(8, 8, 1), norm=8).train()
    nn.init.eye_(module.conv.weight.data.view(8, 8))
    module.bn.momentum = 1.0
    clips = (torch.randn(8, 8, 112, 112, 8) * torch.rand(8) + torch.randn(8)).to(dtype).permute(0, 4, 1, 2, 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    with torch.set_grad_enabled(graded), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        y = module(clips)
    torch.set_num_threads(threads)
    var, mean = torch.var_mean(clips.double(), dim=(0, 2, 3, 4))
    torch.testing.assert_close(module.bn.running_var.double(), var, rtol=1e-6, atol=0)
    torch.testing.assert_close(module.bn.running_mean.double(), mean, rtol=1e-6, atol=1e-7)
    expected = ((clips - mean.view(8, 1, 1, 1)) / (var.view(8, 1, 1, 1) + module.bn.eps).sqrt()).relu()
    torch.testing.assert_close(y.double(), expected, rtol=1e-5 if dtype == torch.float32 else 8e-3, atol=1e-5)


def test_a_norm_tracks_what_pytorchs_does_step_by_step():
    torch.manual_seed(0)
    module, norm = ConvModule(SpatialConv(4, 6, 3), norm=6).double().train(), nn.BatchNorm2d(6).double()
    nn.init.normal_(module.conv.weight)
    for _ in range(3):
        x = torch.randn(2, 4, 3, 5, 5, dtype=torch.float64)
        module(x)
        norm(module.conv(fold_time(x)))
    torch.testing.assert_close(dict(module.bn.named_buffers()), dict(norm.named_buffers()), rtol=1e-12, atol=1e-14)


def without_dropout(model: Recognizer) -> Recognizer:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def distance(step: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Of all gradients of the parameters, relative."""
    pairs = [(step[key].double(), other[key].double()) for key in other if key.endswith(("weight", "bias"))]
    off = sum((ours - theirs).square().sum().item() for ours, theirs in pairs)
    return (off / sum(theirs.square().sum().item() for _, theirs in pairs)) ** 0.5


def test_bfloat16_gradients_are_as_good_as_autocasts(monkeypatch):
    """As near to float32's: among themselves they differ, since one bit of bfloat16 moves many a ReLU."""
    exact = step(without_dropout(build(BACKBONES["SlowOnly"], dtype=torch.float32)), torch.float32)
    steps = []
    for _ in ("ours", "autograd"):
        model = without_dropout(build(BACKBONES["SlowOnly"], dtype=torch.float32))
        model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)  # as the engine has it: forward only
        steps.append(step(model, torch.float32))
        by_autograd(monkeypatch)
    ours, theirs = steps
    assert ours["backbone.layer1.0.conv1.conv.weight"].dtype == torch.float32
    assert distance(ours, exact) < 1.05 * distance(theirs, exact)

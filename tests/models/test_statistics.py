"""Batch norm's statistics in channels-last memory are those of float64, at any number of values and of threads."""

import pytest
import torch
from torch import nn

from tpn.models.layers import ConvModule, SpatialConv
from tpn.models.statistics import batch_statistics

SHAPES = [
    (64, 64, 112, 112),
    (64, 256, 28, 28),
    (8, 2048, 7, 7),
    (13, 24, 29, 31),
    (1, 8, 1021, 1),
    (2, 16, 1, 1),
    (3, 5, 7, 11),
]


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def activations(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """As after a ReLU: not negative, their mean far from zero."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).add_(1).relu_()
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype, accuracy", [(torch.float32, 3e-7), (torch.bfloat16, 2e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_they_are_those_of_float64(shape, dtype, accuracy, threads):
    x = activations(shape, dtype)
    variance, mean = torch.var_mean(x.double(), dim=(0, 2, 3), correction=0)
    ours = batch_statistics(x)
    assert ours[0].dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(ours[0].double(), mean, rtol=accuracy, atol=0)
    torch.testing.assert_close(ours[1].double(), variance, rtol=accuracy, atol=0)


def test_running_variances_at_the_size_of_training_are_exact_to_a_millionth(threads):
    """The stem of eight clips of 8 x 224 x 224, where PyTorch's own norm is off by 1e-4 and more."""
    norm = ConvModule(SpatialConv(3, 64, 1), norm=64).train()
    nn.init.normal_(norm.conv.weight)
    clips = torch.rand(8, 3, 8, 112, 112, generator=torch.Generator().manual_seed(1))
    clips = clips.contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        values = norm.conv(clips.transpose(1, 2).flatten(0, 1)).double()
    norm(clips.requires_grad_())
    expected = 0.9 + 0.1 * values.var(dim=(0, 2, 3))
    torch.testing.assert_close(norm.bn.running_var.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(norm.bn.running_mean.double(), 0.1 * values.mean(dim=(0, 2, 3)), rtol=1e-6, atol=1e-8)


def test_norms_in_evaluation_keep_their_statistics():
    norm = ConvModule(SpatialConv(3, 4, 1), norm=4).eval()
    norm(torch.rand(2, 3, 2, 8, 8).requires_grad_())
    assert torch.equal(norm.bn.running_var, torch.ones(4))

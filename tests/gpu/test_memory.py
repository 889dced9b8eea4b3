"""GPU memory: views in portions that fit into what is free, and copies that run beside the kernels."""

import copy

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tests.reference import relative
from tpn.data.ahead import one_ahead
from tpn.data.workers import Batch
from tpn.engine.evaluate import build_scorer

pytestmark = pytest.mark.gpu
SLOWONLY = "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb"
ROOM = 3 << 30  # bytes


def test_the_views_of_a_long_test_fit_into_what_little_memory_is_free(build, filled):
    """Thirty views of 8 x 256 x 256 want some 4 GiB at once in float32."""
    _, config = build(SLOWONLY)
    device = torch.device("cuda")
    scorer = build_scorer(copy.deepcopy(filled(SLOWONLY, 1)).to(device), config, device)
    views = torch.randint(0, 256, (1, 30, 8, 256, 256, 3), dtype=torch.uint8, device=device)
    expected = torch.stack([scorer(view[None, None])[0] for view in views[0]]).mean(0)
    torch.cuda.empty_cache()
    ballast = torch.empty(torch.cuda.mem_get_info()[0] - ROOM, dtype=torch.uint8, device=device)
    assert scorer.views_per_portion(views[0].shape) < 30
    scores = scorer(views)[0]
    del ballast
    assert relative(scores, expected) <= 1e-5


def test_the_next_batch_is_copied_while_kernels_run():
    """Seen in the profile: the copy of a batch lies within the time of kernels of the batch before."""
    device = torch.device("cuda")
    fields = [torch.zeros(8, 4) for _ in range(3)]
    batches = [
        Batch(torch.arange(8), torch.full((8, 1, 8, 256, 256, 3), number, dtype=torch.uint8).pin_memory(),
              torch.full((8,), number).pin_memory(), *fields)
        for number in range(6)
    ]  # fmt: skip
    product = torch.randn(8192, 8192, device=device)
    sums = []
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as record:
        for batch in one_ahead(iter(batches), device):
            sums.append((batch.views.float().mean(), batch.label.float().mean()))
            for _ in range(3):
                product @ product
        torch.cuda.synchronize()
    assert [(views.item(), label.item()) for views, label in sums] == [(number, number) for number in range(6)]
    events = [event for event in record.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    copies = [event.time_range for event in events if "HtoD" in event.name]
    kernels = [event.time_range for event in events if "Mem" not in event.name]
    beside = [copy for copy in copies if any(kernel.start < copy.start and copy.end < kernel.end for kernel in kernels)]
    assert len(beside) >= 4, (len(copies), len(kernels))

"""What a run says about itself at its start is what it turns out to be."""

import re

import pytest
import torch
from torch.profiler import profile

from tpn.config import load_config
from tpn.engine.evaluate import DTYPES
from tpn.engine.summary import kept_for_backward
from tpn.models.recognizer import build_recognizer


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.neck": None},
        {"data.crop_size": 48},
        {"model.backbone.with_cp": True},
        {"model.backbone.type": "ResNetTSM", "model.backbone.num_segments": 8},
    ],
    ids=str,
)
def test_the_activations_told_are_those_that_the_allocator_gave_out(changes, dtype, recipe, single_thread):
    """To two per cent: all that a real forward pass has allocated and not freed while its result is there."""
    config = load_config(recipe, {"data.short_side": 48, **changes})
    model = build_recognizer(config.model).train()
    shape = (4, 3, 8, config.data.crop_size, config.data.crop_size)
    told = kept_for_backward(model, shape, dtype=DTYPES[dtype])
    with profile(profile_memory=True) as measured, torch.autocast("cpu", DTYPES[dtype], enabled=dtype != "float32"):
        clips = torch.rand(shape).contiguous(memory_format=torch.channels_last_3d)
        result = model(clips)
        del clips
    allocated = sum(event.self_cpu_memory_usage for event in measured.key_averages())
    assert told == pytest.approx(allocated, rel=0.02)
    del result


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_activations_told_are_those_that_the_gpu_holds(dtype, recipe):
    """To ten per cent: its allocator rounds up, and cuDNN's norms keep some room of their own."""
    model = build_recognizer(load_config(recipe).model).cuda().train()
    told = kept_for_backward(model, (16, 3, 8, 128, 128), dtype=dtype)
    before = torch.cuda.memory_allocated()
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        result = model(torch.rand((16, 3, 8, 128, 128), device="cuda").contiguous(memory_format=torch.channels_last_3d))
    assert told == pytest.approx(torch.cuda.memory_allocated() - before, rel=0.1)
    del result


def test_telling_the_activations_takes_no_memory(recipe):
    """Those of a batch that no machine could hold: a kernel that ran after all would ask for them."""
    model = build_recognizer(load_config(recipe).model)
    small, large = (kept_for_backward(model, (4, 3, 8, side, side), dtype=torch.float32) for side in (64, 1 << 16))
    assert large > 1 << 43
    assert large == pytest.approx(small * (1 << 20), rel=0.05)


def test_telling_the_activations_changes_nothing(recipe):
    config = load_config(recipe)
    model = build_recognizer(config.model)
    before, draws = {name: tensor.clone() for name, tensor in model.state_dict().items()}, torch.get_rng_state()
    kept_for_backward(model, (4, 3, 8, 32, 32), dtype=torch.float32)
    assert torch.equal(torch.get_rng_state(), draws)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_log_tells_the_memory_of_weights_and_activations(trained, text_log):
    (line,) = [line for line in text_log(trained) if line.startswith("Memory: ")]
    assert re.search(r"\d MiB of activations that the forward pass of 4 videos keeps", line)

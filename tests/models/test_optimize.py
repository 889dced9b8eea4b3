"""The inference form computes the same function."""

import re
import shutil

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tpn.config.settings import Head, Model, Neck, SlowOnlyBackbone, TSMBackbone
from tpn.errors import UserError
from tpn.models.layers import ConvModule
from tpn.models.optimize import compile_network, optimize
from tpn.models.recognizer import build_recognizer

BACKBONES = {
    "SlowOnly": SlowOnlyBackbone(type="ResNet3dSlowOnly", depth=14, base_channels=8),
    "TSM": TSMBackbone(type="ResNetTSM", depth=14, base_channels=8),
}
NECKS = {
    "cascade": Neck(),
    "parallel": Neck(flow_type="parallel"),
    "two tempos": Neck(temporal_scales=(4, 8)),
    "none": None,
}


def trained(backbone: str, neck: str = "cascade") -> torch.nn.Module:
    """A recognizer whose norms have statistics, as training leaves them."""
    torch.manual_seed(0)
    model = build_recognizer(Model(backbone=BACKBONES[backbone], neck=NECKS[neck], cls_head=Head(num_classes=5)))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours.float() - theirs).norm() / theirs.norm()).item()


@torch.inference_mode()
@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_optimized_logits_equal_the_models(backbone, neck):
    model = trained(backbone, neck)
    optimized = optimize(model)
    for shape in [(2, 3, 8, 64, 64), (1, 3, 8, 96, 64)]:  # weights packed for one size serve another
        clips = torch.randn(shape)
        assert relative(optimized(clips), model(clips)) <= 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("backbone", BACKBONES)
def test_bfloat16_is_close(backbone):
    model, clips = trained(backbone), torch.randn(2, 3, 8, 64, 64)
    logits = optimize(model, dtype=torch.bfloat16)(clips.bfloat16())
    assert logits.dtype == torch.bfloat16
    assert relative(logits, model(clips)) <= 2e-2


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("clips", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_clips_of_any_floating_type_are_taken(dtype, clips):
    model = optimize(trained("SlowOnly"), dtype=dtype)
    given = torch.randn(1, 3, 8, 48, 48).to(clips)
    assert torch.equal(model(given), model(given.to(dtype)))
    with pytest.raises(TypeError, match=r"normalised RGB of a floating type, got torch.uint8"):
        model(torch.zeros(1, 3, 8, 48, 48, dtype=torch.uint8))


@torch.inference_mode()
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_logits_do_not_depend_on_what_else_is_in_the_batch(backbone, dtype, threads):
    """To the last bit, also where the weights were packed for a batch of another size."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    clips = torch.randn(7, 3, 8, 80, 80)
    alone, together = (optimize(trained(backbone), dtype=dtype) for _ in range(2))
    expected = torch.cat([alone(clip) for clip in clips.split(1)])
    for size in (7, 3, 2):
        assert torch.equal(torch.cat([together(part) for part in clips.split(size)]), expected)
    torch.set_num_threads(before)


def test_the_model_itself_stays_as_it_was():
    model = trained("SlowOnly")
    state = {key: value.clone() for key, value in model.state_dict().items()}
    optimized = optimize(model.train())
    assert model.training and not optimized.training
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(isinstance(module, ConvModule) for module in optimized.modules())
    assert not any(parameter.requires_grad for name, parameter in optimized.named_parameters() if "fc" not in name)


def test_the_auxiliary_head_stays_out():
    assert optimize(trained("SlowOnly")).neck.aux_head is None


def test_compile_without_a_compiler_says_what_to_do(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"no-such-compiler is not there; install it, .* or leave out --compile"):
        compile_network(optimize(trained("TSM")), torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")
@torch.inference_mode()
def test_compiled_logits_equal_the_models():
    model, clips = trained("SlowOnly"), torch.randn(1, 3, 8, 64, 64)
    optimized = optimize(model)
    compile_network(optimized, torch.device("cpu"))
    assert relative(optimized(clips), model(clips)) <= 1e-5


# ------------------------------------------------------------------------------------- no three-dimensional convolution


def assert_two_dimensional(work, device: str) -> None:
    """A profile of `work` has convolutions, and none of them on five dimensions."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with profile(activities=activities, record_shapes=True) as record:
        work()
    convolutions = [event for event in record.events() if "conv" in event.name.lower()]
    inputs = {len(shape) for event in convolutions for shape in event.input_shapes}
    assert 4 in inputs and 5 not in inputs
    assert not [event.name for event in record.events() if re.search(r"conv\w*3d|ndhwc|ncdhw", event.name.lower())]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_no_path_runs_a_three_dimensional_convolution(backbone, device):
    model, clips = trained(backbone).to(device), torch.randn(2, 3, 8, 64, 64, device=device)
    optimized = optimize(model, dtype=torch.bfloat16)
    with torch.inference_mode():
        assert_two_dimensional(lambda: model(clips), device)
        assert_two_dimensional(lambda: optimized(clips.bfloat16()), device)
    model.train()
    assert_two_dimensional(lambda: sum(logits.sum() for logits in model(clips)).backward(), device)

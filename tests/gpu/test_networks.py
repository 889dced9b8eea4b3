"""The published networks on this device compute what the reference computes, in every form and precision."""

import copy

import pytest
import torch

from tests.reference import TEST_CASES, as_clips, relative, video_scores
from tpn.config import load_config
from tpn.models.optimize import compile_network, optimize
from tpn.models.recognizer import build_recognizer

BOUNDS = {"float32": 1e-5, "tf32": 5e-3, "float16": 5e-3, "bfloat16": 4e-2}
"""Relative error of the scores: TF32 and float16 keep 11 bits of a factor, bfloat16 8."""
ON_CPU = ("float32", "bfloat16")


@pytest.mark.parametrize("form", ["plain", "for inference"])
@pytest.mark.parametrize("name", TEST_CASES)
def test_scores_match_the_reference_in_every_precision(name, form, device, parity, seeded, filled, on_device):
    [spec] = [spec for spec in parity("model.json") if spec["name"] == name]
    expected = torch.from_numpy(parity("model.npz")[name])
    model = copy.deepcopy(filled(spec["config"], spec["salt"])).to(device)
    clips = as_clips(seeded.clip(spec["input"], spec["seed"])).to(device)
    errors = {}
    for kind in BOUNDS if device.type == "cuda" else ON_CPU:
        dtype = on_device.TYPES[kind]
        network = model if form == "plain" else optimize(model, dtype=dtype)
        with (
            torch.inference_mode(),
            on_device.products_in(kind),
            torch.autocast(device.type, dtype, enabled=dtype.itemsize < 4),
        ):
            logits = network(clips).float().cpu()
        scores = video_scores(logits, spec)
        errors[kind] = relative(scores, expected)
        assert scores.argmax(1).tolist() == expected.argmax(1).tolist()
    assert all(error <= BOUNDS[kind] for kind, error in errors.items()), errors


@pytest.mark.parametrize("name", ["tpn_slowonly_r50_8x8x1_150e_kinetics_rgb", "tpn_tsm_r50_1x1x8_150e_sthv1_rgb"])
@torch.inference_mode()
def test_the_inference_form_and_its_graph_compute_the_same(name, device, filled):
    """Eager, for inference, and on CUDA recorded as a graph and played again with other clips."""
    model = copy.deepcopy(filled(name, 1)).to(device)
    network, (recorded, other) = optimize(model), torch.randn(2, 2, 3, 8, 64, 64, device=device)
    expected = model(other)
    assert relative(network(other), expected) <= 1e-5
    if device.type != "cuda":
        return
    clips = recorded.clone()
    with torch.cuda.stream(torch.cuda.Stream()):
        network(clips)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = network(clips)
    clips.copy_(other)
    graph.replay()
    assert relative(logits, expected) <= 1e-5


@pytest.mark.gpu
@torch.inference_mode()
def test_compiled_code_computes_the_same(recipe):
    model = build_recognizer(load_config(recipe).model).cuda().eval()
    compiled, clips = optimize(model), torch.randn(2, 3, 8, 64, 64, device="cuda")
    compile_network(compiled, torch.device("cuda"))
    assert relative(compiled(clips), model(clips)) <= 1e-5

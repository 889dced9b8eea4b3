"""The authors' weights, loaded by their names, give the authors' logits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tpn.compat.authors import from_authors
from tpn.errors import CheckpointError
from tpn.models.weights import load_weights
from tpn.zoo import read_zoo

AUTHORS = "decisionforce/TPN"
RECIPES = {parity.case: model.recipe for model in read_zoo() for parity in model.parity if parity.reference == AUTHORS}
PUBLISHED = {
    "kinetics400/tpn/r50f8s8": "tpn_imagenet_pretrained_slowonly_r50_8x8x1_150e_kinetics_rgb",
    "kinetics400/tpn/r101f8s8": "tpn_imagenet_pretrained_slowonly_r101_8x8x1_150e_kinetics_rgb",
    "kinetics400/baseline/r50f8s8": "baselines/slowonly_imagenet_pretrained_r50_8x8x1_150e_kinetics_rgb",
    "sthv2/tsm_tpn": "tpn_tsm_inplace_r50_1x1x8_150e_sthv2_rgb",
    "sthv1/tsm_baseline": "baselines/tsm_inplace_r50_1x1x8_150e_sthv1_rgb",
}
# authors_logits.npz: made as parity/authors.npz was (their code, weights drawn with salt 30), for longer clips and the
# last baseline; one clip of 224 x 224 pixels each, of the seed here.
LONGER = {
    "r50_16x4": 36,
    "baseline_r50_16x4": 37,
    "r50_32x2": 38,
    "baseline_r50_32x2": 39,
    "baseline_r101_8x8": 40,
    "r101_16x4": 41,
    "baseline_r101_16x4": 42,
    "r101_32x2": 43,
    "baseline_r101_32x2": 44,
}


def as_clips(x: torch.Tensor) -> torch.Tensor:
    """The authors' input, (B, views, 3, T, H, W) or (B, T, 3, H, W) for TSM -> (N, 3, T, H, W)."""
    return x.flatten(0, 1) if x.dim() == 6 else x.transpose(1, 2)


def relative_error(model, shapes, case, expected, seeded) -> float:
    """How far the network's logits are from the authors', with weights drawn and loaded by the authors' names."""
    theirs = {key: seeded.tensor_for(key, shape, case["salt"]) for key, shape in shapes.items()}
    load_weights(model, from_authors(theirs), Path(case["name"]))
    with torch.inference_mode():
        logits = model.eval()(as_clips(seeded.clip(case["input"], case["seed"]))).mean(0, keepdim=True)
    expected = torch.from_numpy(expected)
    return ((logits - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", ["r50_8x8", "r101_8x8", "baseline_r50_8x8", "sthv2_tsm_tpn", "sthv2_tsm_baseline"])
def test_logits_equal_the_authors(name, build, seeded, parity):
    case = next(case for case in parity("authors.json") if case["name"] == name)
    names = parity("authors_state_dict.json")
    shapes = names.get(case["config"]) or names[case["config"].replace("sthv2", "sthv1")]
    model, _ = build(RECIPES[name])
    assert relative_error(model, shapes, case, parity("authors.npz")[name], seeded) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", LONGER)
def test_logits_of_longer_clips_equal_the_authors(name, build, seeded, parity):
    model, config = build(RECIPES[name])
    shapes = parity("authors_state_dict.json")[f"kinetics400/tpn/r{config.model.backbone.depth}f8s8"]
    if config.model.neck is None:
        shapes = {key: shape for key, shape in shapes.items() if not key.startswith("necks.")}
    case = {"name": name, "salt": 30, "seed": LONGER[name], "input": (1, 1, 3, config.data.clip_len, 224, 224)}
    expected = np.load(Path(__file__).with_name("authors_logits.npz"))[name]
    assert relative_error(model, shapes, case, expected, seeded) <= 1e-5


@pytest.mark.parametrize("config", PUBLISHED)
def test_every_published_name_is_ours_after_translation(config, build, parity):
    shapes = parity("authors_state_dict.json")[config]
    model, _ = build(PUBLISHED[config])
    translated = from_authors({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    assert {key: value.shape for key, value in translated.items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }


def test_their_tsm_is_not_taken_for_mmaction2s(build, parity):
    shapes = parity("authors_state_dict.json")["sthv2/tsm_tpn"]
    model, _ = build("tpn_tsm_r50_1x1x8_150e_sthv1_rgb")
    theirs = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    with pytest.raises(CheckpointError, match=r"also shifts what the shortcuts see .*shift_downsample=True"):
        load_weights(model, from_authors(theirs), Path("theirs.pth"))


def test_their_second_fusion_is_our_first():
    tensor = torch.empty(1)
    assert list(from_authors({"necks.level_fusion_op2.ops.0.norm.bias": tensor})) == [
        "neck.level_fusion_1.downsamples.0.conv.bn.bias"
    ]

"""Multiply-adds are counted as the published figures were."""

import pytest
import torch

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.flops import count_flops, count_parameters
from tpn.models.recognizer import build_recognizer

PUBLISHED = {  # MMAction2 0.24.1's metafiles: parameters, multiply-adds of a view of 8 x 256 x 256
    "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb": (91_498_336, 66_014_576_640),
    "tpn_tsm_r50_1x1x8_150e_sthv1_rgb": (82_445_724, 54_202_822_656),
    "baselines/slowonly_imagenet_pretrained_r50_8x8x1_150e_kinetics_rgb": (32_454_096, 54_860_480_512),
    "baselines/slowonly_imagenet_pretrained_r101_8x8x1_150e_kinetics_rgb": (60_359_120, 112_063_447_040),
}


def network(recipe: str, **overrides):
    config = load_config(find_recipe(recipe), overrides)
    with torch.device("meta"):
        return build_recognizer(config.model, pretrained=False)


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_counts_equal_the_published_ones_exactly(recipe):
    model = network(recipe)
    assert (count_parameters(model), count_flops(model, (1, 3, 8, 256, 256))) == PUBLISHED[recipe]


def test_tsm_without_tpn_differs_from_the_published_count_by_the_head_alone():
    """The reference classifies each of the 8 frames, then averages; ours averages first, which is the same."""
    model = network("baselines/tsm_inplace_r50_1x1x8_150e_sthv1_rgb")
    assert count_parameters(model) == 23_864_558
    assert count_flops(model, (1, 3, 8, 224, 224)) + 7 * 2048 * 174 == 32_961_859_584


def test_the_count_is_of_the_clips_and_leaves_the_model_as_it_was():
    config = load_config(find_recipe("tpn_tsn_r14_8x8x1_10e_temposprites_rgb"))
    model = build_recognizer(config.model).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    one, two = (count_flops(model, (n, 3, 8, 32, 32)) for n in (1, 2))
    assert two == 2 * one
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_hand_counted_network():
    """One level fewer things to count: no stem pool, no TPN, 1x1 pixels of output."""
    model = network(
        "tpn_tsn_r14_8x8x1_10e_temposprites_rgb", **{"model.neck": None, "model.backbone.inflate": (0, 0, 0, 0)}
    )
    convs = 0
    for name, parameter in model.named_parameters():
        if name.endswith("conv.weight"):
            stage = 0 if "layer" not in name else int(name.split("layer")[1][0]) - 1
            side = 8 // 2 ** (stage - (name.endswith("conv1.conv.weight") and stage > 0))  # the stride is in conv2
            outputs = 2 * side * side  # T = 2
            channels = parameter.shape[0]
            activation = ".conv3." in name or "downsample" not in name
            convs += outputs * channels * (parameter[0].numel() + 2 + activation)
    head = 256 * 2 + 256 * 6
    assert count_flops(model, (1, 3, 2, 16, 16)) == convs + head


def test_the_default_shape_is_in_the_help(tpn):
    assert "Default: 340 256" in " ".join(tpn("flops", "--help").out.replace("│", " ").split())

"""Settings that contradict each other are refused when a recipe is read, all at once, and the fixes told work."""

import re
from pathlib import Path

import pytest

from tpn.config import load_config, parse_overrides
from tpn.config.recipes import find_recipe
from tpn.errors import ConfigError

SLOW_ONLY = "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb"
TSM = "tpn_tsm_r50_1x1x8_150e_sthv1_rgb"
DEMO = "tpn_tsn_r14_8x8x1_10e_temposprites_rgb"


def refusal(recipe: str, *options: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_config(find_recipe(recipe), parse_overrides(options))
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    ("recipe", "options", "sentence"),
    [
        (SLOW_ONLY, ["data.test.crop_size=512"], "data.test.crop_size = 512 does not fit into frames of "
         "data.short_side = 256; set data.short_side=512 or more, or data.test.crop_size=256 or less"),
        (SLOW_ONLY, ["data.val.crop_size=300"], "data.val.crop_size = 300 does not fit into frames of "
         "data.short_side = 256; set data.short_side=300 or more, or data.val.crop_size=256 or less"),
        (SLOW_ONLY, ["data.crop_size=320"], "data.crop_size = 320 does not fit into frames of "
         "data.short_side = 256; set data.short_side=320 or more, or data.crop_size=256 or less"),
        (SLOW_ONLY, ["data.clip_len=8", "data.num_clips=2"],
         "data.clip_len x data.num_clips must be the 8 frames of one view in training, got 8 x 2"),
        (TSM, ["data.test.num_clips=12"], "data.test.num_clips x data.clip_len is 12 frames, "
         "which do not fill views of 8 frames; make it a multiple of 8"),
        (TSM, ["data.test_clips=spread"], "data.test.twice_sample = True has no meaning with "
         "data.test_clips='spread'; set data.test.twice_sample=False"),
        (TSM, ["data.dense_range=64"], "data.test.twice_sample = True has no meaning with "
         "data.dense_range; set data.test.twice_sample=False"),
        (SLOW_ONLY, ["data.area_range=[0.5,0.1]"],
         "data.area_range = (0.5, 0.1) has its ends exchanged; set data.area_range=(0.1, 0.5)"),
        (SLOW_ONLY, ["data.aspect_ratio_range=[2,1]"],
         "data.aspect_ratio_range = (2.0, 1.0) has its ends exchanged; set data.aspect_ratio_range=(1.0, 2.0)"),
        (SLOW_ONLY, ["optimizer.momentum=0"],
         "optimizer.nesterov = True needs optimizer.momentum above 0; set optimizer.nesterov=False"),
        (DEMO, ["model.backbone.base_channels=3"],
         "model.backbone.base_channels = 3 gives the pyramid an odd width; set it to 4, or model.neck=None"),
        (DEMO, ["model.backbone.pretrained=imagenet"], "model.backbone.pretrained = 'imagenet' has weights for depth "
         "50 and 101 with base_channels 64, not for depth 14 with 8; set model.backbone.pretrained=None"),
    ],
)  # fmt: skip
def test_a_contradiction_is_told_with_its_fix(recipe, options, sentence):
    [line] = refusal(recipe, *options)
    assert line.endswith(f": {sentence}")
    fixes = re.findall(r"(?:set|or) ([a-z_.]+=[^=]*?)(?= or (?:more|less)|, or |$)", sentence)
    for fix in fixes:
        load_config(find_recipe(recipe), parse_overrides([*options, fix]))


def test_all_contradictions_are_told_at_once_each_where_it_is_written():
    lines = refusal(SLOW_ONLY, "data.test.crop_size=512", "optimizer.momentum=0", "data.val.crop_size=400")
    keys = ["optimizer.nesterov", "data.val.crop_size", "data.test.crop_size"]
    assert [line.split()[1] for line in lines if line.startswith("--cfg-options: ")][-2:] == keys[1:]
    assert len(lines) == len(keys) and f" {keys[0]} = True" in lines[0]


def test_an_inherited_map_of_labels_is_dropped_as_the_error_says(tmp_path):
    path = tmp_path / "mine.py"
    text = f"_base_ = {str(find_recipe(TSM))!r}\nmodel = dict(cls_head=dict(num_classes=3))\n"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    [line] = str(error.value).splitlines()
    place, _, sentence = line.partition(": ")
    assert re.fullmatch(rf".*{TSM}\.py:\d+", place)
    assert "names label 66, but model.cls_head.num_classes = 3 has labels 0..2 only" in sentence
    fix = re.search(r"data=dict\(.*?\)\)", sentence)
    assert fix
    path.write_text(f"{text}{fix[0]}\n")
    assert load_config(path).data.flip_label_map == {}
    path.write_text(f'{text}data = dict(flip_label_map={{"_delete_": True, 0: 1, 1: 0}})\n')
    assert load_config(path).data.flip_label_map == {0: 1, 1: 0}


@pytest.mark.parametrize("command", [["train"], ["test", "no.pth", "--eval", "top_k_accuracy"], ["config"], ["flops"]])
def test_every_command_refuses_before_it_begins(tpn, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    name, *arguments = command
    outcome = tpn(name, find_recipe(SLOW_ONLY), *arguments, "--cfg-options", "data.test.crop_size=512")
    assert outcome.code == 2
    assert "data.test.crop_size = 512 does not fit into frames of data.short_side = 256" in outcome.err
    assert not list(Path.cwd().iterdir())

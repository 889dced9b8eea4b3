"""Every recipe under configs/ loads, says what it is, and survives being dumped and read back."""

import ast
from pathlib import Path

import pytest

from tpn.config import dump_config, load_config

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "configs").rglob("*.py"))
KINETICS = "tpn_imagenet_pretrained_slowonly_r50_8x8x1_150e_kinetics_rgb.py"
SCRATCH = "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb.py"
STHV1 = "tpn_tsm_r50_1x1x8_150e_sthv1_rgb.py"


def recipe(name: str):
    return load_config(ROOT / "configs" / "recognition" / "tpn" / name)


def test_the_published_names_are_there():
    assert {KINETICS, SCRATCH, STHV1} <= {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_and_its_dump_reads_back_equal(path, tmp_path):
    config = load_config(path)
    (tmp_path / "dumped.py").write_text(dump_config(config))
    assert load_config(tmp_path / "dumped.py") == config


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_opens_with_how_to_run_it(path):
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert str(path.relative_to(ROOT)) in docstring


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_has_a_row_in_the_model_zoo(path):
    zoo = ROOT / "configs" / "recognition" / "tpn"
    assert f"]({path.relative_to(zoo).as_posix()})" in (zoo / "README.md").read_text()


def test_the_kinetics_recipe_is_the_published_one():
    config = recipe(KINETICS)
    data, optimizer = config.data, config.optimizer
    assert (data.clip_len, data.frame_interval, data.num_clips) == (8, 8, 1)
    assert (data.test.num_clips, data.test.num_crops, data.test.crop_size) == (10, 3, 256)
    assert (data.val.num_clips, data.val.num_crops, data.val.crop_size) == (None, 1, None)
    assert (optimizer.lr, optimizer.weight_decay, optimizer.max_grad_norm) == (0.01, 1e-4, 40)
    assert (config.model.cls_head.num_classes, config.frames_per_view) == (400, 8)


def test_from_scratch_differs_in_pretraining_only():
    config = recipe(KINETICS).model_dump()
    config["model"]["backbone"]["pretrained"] = None
    assert recipe(SCRATCH).model_dump() == config


def test_the_something_something_recipe_fixes_names_and_mirrored_labels():
    config = recipe(STHV1)
    assert config.data.filename_tmpl.format(1) == "00001.jpg"
    assert all(config.data.flip_label_map[other] == label for label, other in config.data.flip_label_map.items())
    assert (config.data.test.twice_sample, config.data.test.num_crops, config.data.test.crop_size) == (True, 3, 256)
    assert (config.optimizer.weight_decay, config.optimizer.max_grad_norm) == (5e-4, 20)
    assert (config.model.cls_head.num_classes, config.frames_per_view) == (174, 8)

"""The model zoo says what is true: of the recipes, of the networks they build, of the files it names."""

import json
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.flops import count_flops, count_parameters
from tpn.models.recognizer import build_recognizer
from tpn.models.weights import HUB, IMAGENET_FILES
from tpn.zoo import count_views, list_zoo, read_imagenet, read_zoo, zoo_markdown

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs/recognition/tpn"
ZOO = {model.recipe: model for model in read_zoo()}


def recipe(name: str):
    return load_config(find_recipe(name))


def test_every_recipe_is_in_the_zoo_once():
    recipes = {path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.py")}
    assert recipes == ZOO.keys()
    assert len(read_zoo()) == len(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_a_recipe_builds_and_is_as_large_as_the_zoo_says(name):
    config = recipe(name)
    with torch.device("meta"):
        network = build_recognizer(config.model, pretrained=False)
    flops = [count_flops(network, (1, 3, config.frames_per_view, side, side)) for side in (224, 256)]
    assert (count_parameters(network), *flops) == (ZOO[name].parameters, ZOO[name].flops_224, ZOO[name].flops_256)


@pytest.mark.parametrize("name", ZOO)
def test_a_recipe_quotes_the_first_published_figure(name):
    text = find_recipe(name).read_text()
    for figure in ZOO[name].published[:1]:
        assert f"Published: {figure.top1} % top-1" in text
        assert figure.top5 is None or f"{figure.top5} % top-5" in text
        clips, crops = count_views(recipe(name))
        assert f"{clips} clips x {crops} crops" in text
        assert ("mirrored too" in text) == figure.mirrored


def test_the_published_checkpoints_are_named_with_their_hashes():
    names = {figure.sha8: figure.checkpoint for model in ZOO.values() for figure in model.published if figure.sha8}
    assert {"c568e7ad", "44362b55", "c28ed83f", "97d0835d", "fed3f4c1", "940a3615"} == names.keys()
    assert all(re.fullmatch(rf"tpn[\w-]+[-_]{sha8}\.pth", name) for sha8, name in names.items())


def test_the_addresses_of_the_imagenet_weights_are_those_of_the_files_that_are_looked_for():
    assert {file.depth: file.url for file in read_imagenet()} == {
        depth: HUB + name for depth, name in IMAGENET_FILES.items()
    }


def test_the_measured_parity_is_within_tolerance():
    errors = [parity.relative_error for model in ZOO.values() for parity in model.parity]
    assert errors
    assert all(0 < error <= 1e-5 for error in errors)


def test_the_readme_shows_the_zoo():
    assert zoo_markdown(read_zoo()) in (CONFIGS / "README.md").read_text()


def test_the_zoo_prints_as_text_and_as_json(capsys):
    list_zoo(as_json=False, markdown=False, console=Console(width=60))
    out = capsys.readouterr().out
    addresses = [figure.url for model in ZOO.values() for figure in model.published] + [
        file.url for file in read_imagenet()
    ]
    assert not [address for address in addresses if address and address not in out]
    list_zoo(as_json=True, markdown=False, console=Console(width=60))
    models = {model["recipe"]: model for model in json.loads(capsys.readouterr().out)}
    first = models["tpn_slowonly_r50_8x8x1_150e_kinetics_rgb"]
    assert (first["clips"], first["crops"], first["parameters"]) == (10, 3, 91_498_336)
    assert first["published"][0]["top1"] == 73.58
    assert first["published"][0]["sha8"] == "c568e7ad"


# ------------------------------------------------------------------------------------------ what the recipes train with


def test_the_lower_level_has_twice_the_tempo_in_resnet_101_alone():
    scales = {
        (config.model.backbone.depth, config.data.clip_len): config.model.neck.temporal_scales
        for config in map(recipe, ZOO)
        if config.model.neck and config.model.backbone.type == "ResNet3dSlowOnly" and config.model.backbone.depth > 14
    }
    assert scales == {(50, t): (t, t) for t in (8, 16, 32)} | {(101, t): (t // 2, t) for t in (8, 16, 32)}


@pytest.mark.parametrize("name", [name for name in ZOO if name.startswith("baselines/")])
def test_a_baseline_differs_from_its_tpn_in_the_neck_alone(name):
    with_tpn = recipe(
        f"tpn_{Path(name).name}".replace("tpn_slowonly_imagenet_pretrained", "tpn_imagenet_pretrained_slowonly")
    )
    expected = with_tpn.model_dump()
    expected["model"]["neck"] = None
    assert recipe(name).model_dump() == expected


@pytest.mark.parametrize("version", [1, 2])
def test_mirrored_labels_are_those_whose_names_swap_left_and_right(version, shared):
    names = (shared / f"labels/sthv{version}.txt").read_text().splitlines()
    swap = {"left": "right", "right": "left"}
    mirrored = [re.sub(r"\b(left|right)\b", lambda word: swap[word[0]], name) for name in names]
    pairs = {i: names.index(other) for i, other in enumerate(mirrored) if other != names[i] and other in names}
    assert len(pairs) == 6
    recipes = [recipe(name) for name in ZOO if name.endswith(f"sthv{version}_rgb")]
    assert [config.data.flip_label_map for config in recipes] == [pairs] * len(recipes)
    assert all(config.model.cls_head.num_classes == len(names) for config in recipes)

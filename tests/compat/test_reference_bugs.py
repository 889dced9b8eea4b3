"""The reference's bugs are mended by default; `compat` restores each of them, one by one or all at once."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.config.settings import Compat, Head, Model, Neck, SlowOnlyBackbone, TSMBackbone
from tpn.data.dataset import build_dataset
from tpn.data.transforms import NO_JITTER
from tpn.engine.bad_videos import BadVideos
from tpn.engine.distributed import World
from tpn.engine.evaluate import build_scorer, score_dataset
from tpn.engine.validation import reference_classifier
from tpn.models.recognizer import build_recognizer

BUGS = [name for name in Compat.model_fields if name != "reference_bugs"]


@pytest.fixture
def dataset(recipe):
    """dataset(split, **switches of compat), of the tiny videos."""

    def build(split: str, *, seed: int = 0, **switches: bool):
        overrides = {f"compat.{name}": value for name, value in switches.items()} | {
            "data.flip_label_map": {0: 1, 1: 0}
        }
        return build_dataset(load_config(recipe, overrides), split, seed=seed)

    return build


@pytest.mark.parametrize("bug", BUGS)
def test_a_switch_of_its_own_outweighs_the_common_one(bug):
    assert not Compat().restores(bug)
    assert Compat(reference_bugs=True).restores(bug)
    assert Compat(**{bug: True}).restores(bug)
    assert not Compat(reference_bugs=True, **{bug: False}).restores(bug)


def jitters(dataset) -> np.ndarray:
    return np.stack([dataset[0, index].jitter_factors.numpy() for index in range(3)])


def test_validation_is_not_jittered_unless_wanted(dataset):
    assert (jitters(dataset("val")) == NO_JITTER).all()
    assert (jitters(dataset("test", reference_bugs=True)) == NO_JITTER).all()
    assert (jitters(dataset("val", val_color_jitter=True)) != NO_JITTER).any(axis=1).all()


def test_jittered_validation_has_other_scores(recipe):
    scores = {}
    for jitter in (False, True):
        config = load_config(recipe, {"compat.val_color_jitter": jitter})
        torch.manual_seed(0)
        device, videos = torch.device("cpu"), build_dataset(config, "val", seed=0)
        scores[jitter] = score_dataset(
            build_scorer(build_recognizer(config.model), config, device), videos,
            batch_size=2, workers=0, read_timeout=None, bad=BadVideos(config, "val", videos.records),
            world=World(rank=0, size=1, device=device), console=Console(quiet=True), title="",
        )  # fmt: skip
    assert not np.allclose(scores[False], scores[True])


def test_the_jitters_order_is_drawn_per_sample_unless_wanted_once(dataset):
    def orders(data) -> set[tuple[int, ...]]:
        return {tuple(data[epoch, index].jitter_order.tolist()) for epoch in range(2) for index in range(5)}

    assert len(orders(dataset("train"))) > 3
    once = [orders(dataset("train", seed=seed, fixed_jitter_order=True)) for seed in range(4)]
    assert [len(order) for order in once] == [1, 1, 1, 1] and len(set.union(*once)) > 1


def test_a_mirrored_video_changes_its_label_unless_wanted(dataset):
    for restored in (False, True):
        data = dataset("train", flip_without_label_map=restored)
        samples = [data[epoch, index] for epoch in range(3) for index in range(len(data))]
        mirrored = [sample for sample in samples if sample.flip and data.records[sample.index].label < 2]
        assert mirrored
        assert all((sample.label == data.records[sample.index].label) is restored for sample in mirrored)


# --------------------------------------------------------------------------------------------------- stale classifier


def classifiers(run) -> list[torch.Tensor]:
    """The classifier of two validations, with a step of training between them."""
    seen = []
    for _ in range(2):
        with reference_classifier(run):
            seen.append(run.state.model.cls_head.fc_cls.bias.detach().clone())
        with torch.no_grad():
            run.state.model.cls_head.fc_cls.bias += 1
    return seen


@pytest.mark.parametrize(
    ("backbone", "neck", "switches", "stale"),
    [
        ("ResNetTSM", True, {}, False),
        ("ResNetTSM", True, {"reference_bugs": True}, True),
        ("ResNetTSM", True, {"stale_classifier": True}, True),
        ("ResNetTSM", False, {"reference_bugs": True}, False),
        ("ResNet3dSlowOnly", True, {"reference_bugs": True}, False),
        ("ResNet3dSlowOnly", True, {"stale_classifier": True}, True),
    ],
)
def test_validation_uses_the_current_classifier_unless_wanted(backbone, neck, switches, stale):
    kind = TSMBackbone if backbone == "ResNetTSM" else SlowOnlyBackbone
    settings = Model(
        backbone=kind(type=backbone, depth=14, base_channels=8),
        neck=Neck() if neck else None,
        cls_head=Head(num_classes=5),
    )
    run = SimpleNamespace(
        config=SimpleNamespace(model=settings, compat=Compat(**switches)),
        state=SimpleNamespace(model=build_recognizer(settings), first_classifier=None),
    )
    first, second = classifiers(run)
    assert torch.equal(first, second) is stale
    assert torch.equal(run.state.model.cls_head.fc_cls.bias, first + 2)  # training goes on with its own


# --------------------------------------------------------------------------- what a translated config says of the bugs


@pytest.mark.parametrize(
    ("name", "restored"),
    [
        ("tpn/tpn_kinetics.py", {"val_color_jitter", "fixed_jitter_order"}),
        ("tpn/tpn_sthv1.py", {"fixed_jitter_order", "flip_without_label_map", "stale_classifier"}),
        ("v1/tpn_kinetics.py", {"fixed_jitter_order"}),
    ],
)
def test_restoring_all_bugs_restores_those_that_the_file_had(mmaction2, name, restored):
    assert not any(map(mmaction2.load(name).compat.restores, BUGS))
    compat = mmaction2.load(name, "compat.reference_bugs=True").compat
    assert {bug for bug in BUGS if compat.restores(bug)} == restored


def test_the_something_something_recipe_never_jittered_its_validation():
    recipe = find_recipe("tpn_tsm_r50_1x1x8_150e_sthv1_rgb")
    assert not load_config(recipe, {"compat.reference_bugs": True}).compat.restores("val_color_jitter")


def test_what_is_restored_is_not_told_as_mended(mmaction2):
    assert len(mmaction2.read("tpn/tpn_sthv1.py").summary().splitlines()) == 3
    assert len(mmaction2.read("tpn/tpn_sthv1.py", "compat.reference_bugs=True").summary().splitlines()) == 1

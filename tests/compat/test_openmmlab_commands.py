"""The commands take an MMAction2 config as they take the recipe that means the same."""

import json

import pytest
import torch

from tpn.compat import load_config
from tpn.config import load_config as load_recipe
from tpn.models.recognizer import build_recognizer

MEANING = ("model.neck=None", "model.cls_head.dropout_ratio=0.5", "lr_config=dict(policy='step', step=[1])",
           "optimizer.lr_batch_size=32", "data.test.num_clips=2", "data.flip_ratio=0.5", "total_epochs=2")  # fmt: skip


@pytest.fixture
def foreign(mmaction2, sprites):
    """What the tiny recipe is without its pyramid, said in MMAction2 0.x's words."""
    base = "tpn/tpn_kinetics.py"
    mmaction2.show_videos(base, f"{sprites}/train.txt", sprites)
    mmaction2.change(base, ("(224, 224)", "(32, 32)"), ("(-1, 256)", "(-1, 32)"), ("crop_size=224", "crop_size=32"),
                     ("'ThreeCrop', crop_size=256", "'CenterCrop', crop_size=32"), ("num_clips=10", "num_clips=2"),
                     ("crop_size=32), dict(type='ColorJitter'),", "crop_size=32),"))  # fmt: skip
    path = mmaction2.folder / "tpn/slowonly_sprites.py"
    path.write_text(f"""
_base_ = ['./tpn_kinetics.py']
model = dict(
    backbone=dict(depth=14, base_channels=8, pretrained=None, with_pool1=False, out_indices=(3,)),
    neck=None,
    cls_head=dict(_delete_=True, type='I3DHead', in_channels=256, num_classes=6, dropout_ratio=0.5))
data = dict(
    videos_per_gpu=4, workers_per_gpu=0,
    val=dict(ann_file='{sprites}/val.txt'), test=dict(ann_file='{sprites}/val.txt'))
optimizer = dict(lr=0.05)
optimizer_config = dict(grad_clip=dict(max_norm=20))
lr_config = dict(step=[1])
total_epochs = 2
evaluation = dict(interval=1)
log_config = dict(interval=1)
""")
    return path


@pytest.fixture
def meaning(sprites):
    """The options that make the tiny recipe say the same."""
    return [*MEANING, f"data.test.ann_file={sprites}/val.txt"]


def test_the_test_gives_the_same_scores(tpn, foreign, recipe, meaning, tmp_path):
    torch.manual_seed(0)
    model = build_recognizer(load_config(foreign).model)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "weights.pth")
    scores = []
    for config, options in ((foreign, []), (recipe, ["--cfg-options", *meaning])):
        outcome = tpn("test", config, tmp_path / "weights.pth", "--out", tmp_path / "scores.json", *options)
        assert outcome.code == 0, outcome.err
        scores.append(json.loads((tmp_path / "scores.json").read_text()))
    assert len(scores[0]) == 7 and scores[0] == scores[1]


def test_the_training_takes_the_same_steps(tpn, foreign, recipe, meaning, tmp_path):
    weights = []
    for config, options in ((foreign, []), (recipe, ["--cfg-options", *meaning])):
        work_dir = tmp_path / config.stem
        outcome = tpn("train", config, "--work-dir", work_dir, "--validate", "--seed", 0, "--deterministic", *options)
        assert outcome.code == 0, outcome.err
        weights.append(torch.load(work_dir / "epoch_2.pth", weights_only=True)["state_dict"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0] | weights[1])
    assert load_recipe(tmp_path / foreign.stem / foreign.name) == load_config(foreign)  # the run folder has a recipe


def test_a_key_that_cannot_be_honoured_stops_the_command_before_it_begins(tpn, foreign, tmp_path):
    option = "data.train.pipeline.3.type=RandomRescale"
    outcome = tpn("train", foreign, "--work-dir", tmp_path / "run", "--cfg-options", option)
    assert outcome.code == 2 and not (tmp_path / "run").exists()
    assert "--cfg-options: data.train.pipeline.3.type: 'RandomRescale' is not supported" in outcome.err

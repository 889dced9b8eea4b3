"""clip_feature_extraction.py writes one vector per video: what the classifier sees, averaged over the views."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tpn.config import load_config
from tpn.data.dataset import build_dataset
from tpn.engine.evaluate import build_scorer
from tpn.engine.results import read_results
from tpn.models.recognizer import build_recognizer

SCRIPT = "misc/clip_feature_extraction.py"


@pytest.fixture(scope="module")
def checkpoint(recipe, tmp_path_factory) -> Path:
    """Random weights for the tiny recipe."""
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.manual_seed(0)
    torch.save({"state_dict": build_recognizer(load_config(recipe).model).state_dict()}, path)
    return path


@pytest.fixture
def video_list(tmp_path) -> Path:
    path = tmp_path / "videos.txt"
    path.write_text("videos/test/00004.mp4\nvideos/val/00001.mp4\nvideos/test/00000.mp4\n")
    return path


def test_features_are_the_last_layers_input(tool, recipe, checkpoint, video_list, sprites, tmp_path, single_thread):
    arguments = ["--video-list", video_list, "--video-root", sprites, "--out", tmp_path / "f.pkl"]
    outcome = tool(SCRIPT, recipe, checkpoint, *arguments)
    assert outcome.out == f"\nwriting results to {tmp_path}/f.pkl\n"
    features = read_results(tmp_path / "f.pkl")
    assert features.shape == (3, 256)

    config = load_config(recipe)
    model = build_recognizer(config.model)
    model.load_state_dict(torch.load(checkpoint)["state_dict"])
    views = torch.stack([build_dataset(config, "test", seed=0)[0, index].views for index in (4, 0)])
    scorer = build_scorer(model, config.model_copy(), torch.device("cpu"))
    seen = []
    scorer.model.cls_head.fc_cls.register_forward_hook(lambda layer, inputs, logits: seen.append(inputs[0]))
    scorer(views)
    expected = torch.cat(seen).reshape(2, 2, 256).mean(dim=1)  # two videos of two views
    np.testing.assert_allclose(features[[0, 2]], expected.numpy(), rtol=1e-4, atol=1e-6)


def test_features_are_written_as_mmaction2_writes_results(tool, recipe, checkpoint, video_list, sprites, tmp_path):
    arguments = ["--video-list", video_list, "--video-root", sprites]
    for name in ("f.pkl", "f.json"):
        assert tool(SCRIPT, recipe, checkpoint, *arguments, "--out", tmp_path / name).code == 0
    rows = pickle.loads((tmp_path / "f.pkl").read_bytes())
    assert isinstance(rows, list) and rows[0].dtype == np.float32 and rows[0].shape == (256,)
    np.testing.assert_array_equal(np.array(json.loads((tmp_path / "f.json").read_text()), np.float32), np.stack(rows))
    assert json.loads((tmp_path / "f.pkl.meta.json").read_text())["ann_file"] == str(video_list)
    assert not list(tmp_path.glob("fake_anno*"))


def test_test_list_of_the_recipe_is_the_default(tool, recipe, checkpoint, tmp_path):
    options = ["--cfg-options", "data.test.num_clips=1"]
    assert tool(SCRIPT, recipe, checkpoint, "--out", tmp_path / "f.pkl", *options).code == 0
    assert read_results(tmp_path / "f.pkl").shape == (67, 256)


def test_flags_of_mmaction2_are_understood(tool, recipe, checkpoint, video_list, sprites, tmp_path):
    outcome = tool(SCRIPT, recipe, checkpoint, "--video-list", video_list, "--video-root", sprites,
                   "--out", tmp_path / "f.pkl", "--fuse-conv-bn", "--gpu-collect", "--tmpdir", tmp_path / "t",
                   "--launcher", "none", "--local_rank", 0)  # fmt: skip
    assert outcome.code == 0
    assert [line.split(":")[1] for line in outcome.err.splitlines()] == [
        " --fuse-conv-bn has no effect",
        " --gpu-collect has no effect",
        " --tmpdir has no effect",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "f.txt"], "results are written as"),
        (["--out", "f.pkl", "--video-list", "gone.txt"], "gone.txt cannot be read"),
        (["--out", "f.pkl", "--launcher", "slurm"], "SLURM_PROCID is not set; start the processes with srun"),
    ],
)
def test_mistakes_are_named_before_any_work(tool, recipe, checkpoint, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    outcome = tool(SCRIPT, recipe, checkpoint, *arguments)
    assert outcome.code == 2
    assert message in outcome.err

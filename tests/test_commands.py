"""The commands printed on MMAction2's TPN page run to the letter, on a data set laid out as its recipes say."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
NAME = "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb"

TRAIN = """\
python tools/train.py configs/recognition/tpn/tpn_slowonly_r50_8x8x1_150e_kinetics_rgb.py \\
    --work-dir work_dirs/tpn_slowonly_r50_8x8x1_150e_kinetics_rgb --validate --seed 0 --deterministic
"""
TEST = """\
python tools/test.py configs/recognition/tpn/tpn_slowonly_r50_8x8x1_150e_kinetics_rgb.py \\
    checkpoints/SOME_CHECKPOINT.pth --eval top_k_accuracy mean_class_accuracy \\
    --out result.json --average-clips prob
"""

# What the copy of the recipe adds. The page's commands leave the length of training to the recipe.
SHORT = "\ntotal_epochs = 1\ndata = dict(videos_per_gpu=2, workers_per_gpu=1)\nlog_config = dict(interval=1)\n"
NARROW = "\nmodel = dict(backbone=dict(pretrained=None, depth=14, base_channels=8))\n"


def lay_out_kinetics(folder: Path, *, videos: dict[str, list[tuple[str, int]]], num_frames: int) -> None:
    """data/kinetics400 as MMAction2's tools leave it: img_00001.jpg and on, and lists of `folder num_frames label`."""
    rng = np.random.default_rng(0)
    for split, entries in videos.items():
        lines = [f"{name} {num_frames} {label}\n" for name, label in entries]
        (folder / "data/kinetics400").mkdir(parents=True, exist_ok=True)
        (folder / f"data/kinetics400/kinetics400_{split}_list_rawframes.txt").write_text("".join(lines))
        for name, _ in entries:
            frames = folder / f"data/kinetics400/rawframes_{split}" / name
            frames.mkdir(parents=True)
            for number in range(1, num_frames + 1):
                picture = cv2.resize(rng.integers(256, size=(6, 8, 3), dtype=np.uint8), (80, 60))
                cv2.imwrite(str(frames / f"img_{number:05}.jpg"), picture)


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A folder with configs/, tools/ and data/; the recipe of the page is short, and otherwise as published."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    with (tmp_path / f"configs/recognition/tpn/{NAME}.py").open("a") as recipe:
        recipe.write(SHORT)
    train = [("abseiling/3E7Jib8Yq5M_000118_000128", 0), ("zumba/jDAC1S9eqzY_000085_000095", 399)]
    val = [("abseiling/0347ZoDXyP0_000095_000105", 0), ("zumba/-3Uv-TQuPhI_000017_000027", 399)]
    lay_out_kinetics(tmp_path, videos={"train": train, "val": val}, num_frames=20)
    return tmp_path


def check_published_commands(shell, checkout: Path) -> None:
    """Train, then test what was trained."""
    outcome = shell(TRAIN, folder=checkout)
    assert outcome.code == 0, outcome.err
    run = checkout / "work_dirs" / NAME
    assert {"epoch_1.pth", "latest.pth", f"{NAME}.py", "curves.png"} <= {path.name for path in run.iterdir()}
    assert re.search(r"Epoch \[1\]\[1/1\]\tlr: 1\.000e-02, .*loss_aux: .*loss_cls: .*grad_norm: ", outcome.out)
    assert re.search(r"Epoch\(val\) \[1\]\[1\]\ttop1_acc: .*, top5_acc: .*, mean_class_accuracy: ", outcome.out)

    (checkout / "checkpoints").mkdir()
    (run / "epoch_1.pth").rename(checkout / "checkpoints/SOME_CHECKPOINT.pth")
    outcome = shell(TEST, folder=checkout)
    assert outcome.code == 0, outcome.err
    check_result(checkout / "result.json", outcome.out)


def check_result(path: Path, printed: str) -> None:
    scores = json.loads(path.read_text())
    assert np.shape(scores) == (2, 400)  # a list with a row of class probabilities per video
    np.testing.assert_allclose(np.sum(scores, axis=1), 1, rtol=1e-4)
    assert json.loads(path.with_name("result.json.meta.json").read_text())["views_per_video"] == 30
    number = r"([01]\.\d{4})"
    lines = rf"""
writing results to result\.json

Evaluating top_k_accuracy \.\.\.

top1_acc\t{number}
top5_acc\t{number}

Evaluating mean_class_accuracy \.\.\.

mean_acc\t{number}
top1_acc: {number}
top5_acc: {number}
mean_class_accuracy: {number}
"""
    match = re.search(lines, printed)
    assert match, printed
    top1, top5, mean, *again = map(float, match.groups())
    assert again == [top1, top5, mean]
    labels = [0, 399]
    assert top1 == np.mean(np.argmax(scores, axis=1) == labels)


def test_published_commands_run_to_the_letter(shell, checkout):
    """With the recipe's network made narrow; everything else is the recipe's."""
    with (checkout / f"configs/recognition/tpn/{NAME}.py").open("a") as recipe:
        recipe.write(NARROW)
    check_published_commands(shell, checkout)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_published_commands_run_to_the_letter_with_the_published_network(shell, checkout):
    check_published_commands(shell, checkout)
    state_dict = torch.load(checkout / "checkpoints/SOME_CHECKPOINT.pth", weights_only=True)["state_dict"]
    trainable = [value.numel() for name, value in state_dict.items() if name.endswith(("weight", "bias"))]
    assert sum(trainable) == 91_498_336  # MMAction2's metafile

"""What is told of few classes, one frame, one network for another list; and every figure of a test told once."""

import json
import re
from pathlib import Path

import av
import numpy as np
import pytest

from tpn.metrics import evaluate_scores, telling_ks


@pytest.fixture(scope="module")
def three(sprites, tmp_path_factory) -> list[str]:
    """Options that make the tiny recipe one of three classes."""
    folder = tmp_path_factory.mktemp("three")
    options = ["model.cls_head.num_classes=3", "total_epochs=1"]
    for split in ("train", "val", "test"):
        lines = (sprites / f"{split}.txt").read_text().splitlines()
        (folder / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines if int(line.split()[-1]) < 3))
        options.append(f"data.{split}.ann_file={folder}/{split}.txt")
    return options


@pytest.fixture(scope="module")
def run(tpn, recipe, three, tmp_path_factory):
    """Its training and the test of its last checkpoint: the folder, and what was printed."""
    folder = tmp_path_factory.mktemp("run")
    outcome = tpn(
        "train", recipe, "--work-dir", folder, "--validate", "--test-last", "--seed", 0, "--cfg-options", *three
    )
    assert outcome.code == 0, outcome.err
    return folder, outcome.out


def test_no_log_and_no_test_of_three_classes_has_a_top_5(run):
    folder, printed = run
    rows = [json.loads(line) for line in max(folder.glob("*.log.json")).read_text().splitlines()[1:]]
    assert {row["mode"] for row in rows} == {"train", "val"}
    assert all("top1_acc" in row for row in rows)
    assert not [row for row in rows if "top5_acc" in row]
    assert "top1_acc: " in printed and "top5" not in printed


def test_saved_scores_of_three_classes_have_no_top_5_unless_asked_for(run, recipe, three, tpn, tmp_path):
    results, options = run[0] / "last_pred.pkl", ["--cfg-options", *three]
    asked = ["evaluate", recipe, results, "--eval", "top_k_accuracy"]
    assert re.fullmatch(r"top1_acc: [01]\.\d{4}\n", tpn(*asked, *options).out)
    assert "top5_acc: 1.0000\n" in tpn(*asked, "--eval-options", "topk=(1,5)", *options).out
    ann_file = Path(next(option for option in three if "data.test" in option).split("=")[1])
    fused = tpn("fuse", "--scores", results, "--coefficients", 1, "--datalist", ann_file).out
    assert [line.split(":")[0] for line in fused.splitlines()] == ["Mean Class Accuracy", "Top 1 Accuracy"]


def test_the_heading_of_a_prediction_counts_its_lines(run, recipe, three, sprites, tpn):
    video = sprites / "videos/test/00000.mp4"
    lines = tpn("predict", recipe, run[0] / "epoch_1.pth", video, "--cfg-options", *three).out.splitlines()
    assert lines[0] == "The top-3 labels with corresponding scores are:"
    assert len(lines) == 4


@pytest.mark.parametrize("num_classes", [2, 5, 6, 400])
def test_top_5_is_told_where_there_are_more_classes(num_classes):
    scores, labels = np.eye(num_classes), np.arange(num_classes)
    told = evaluate_scores(scores, labels, ["top_k_accuracy"])
    assert list(told) == (["top1_acc", "top5_acc"] if num_classes > 5 else ["top1_acc"])
    assert [f"top{k}_acc" for k in telling_ks(num_classes)] == list(told)


def test_each_figure_is_printed_once_and_under_one_name(recipe, trained, tpn, sprites, tmp_path):
    """Twice, and the mean under two names, only where MMAction2's own scripts are called."""
    command = ["--eval", "top_k_accuracy", "mean_class_accuracy"]
    few = ["--cfg-options", f"data.test.ann_file={sprites}/val.txt"]
    tested = tpn("test", recipe, trained / "latest.pth", "--out", tmp_path / "r.pkl", *command, *few).out
    evaluated = tpn("evaluate", recipe, tmp_path / "r.pkl", *command, *few).out
    figures = [line for line in tested.splitlines() if "acc" in line]
    assert [line.split(": ")[0] for line in figures] == ["top1_acc", "top5_acc", "mean_class_accuracy"]
    assert evaluated.splitlines() == figures


def test_a_network_of_400_classes_on_a_list_of_six_is_remarked_on(recipe, tpn, tmp_path):
    options = ["--cfg-options", "model.cls_head.num_classes=400", "total_epochs=1"]
    outcome = tpn("train", recipe, "--work-dir", tmp_path / "run", *options)
    told = (
        "the network has 400 classes, but the highest label of the list is 5: if the list has all classes there are, "
        "set model.cls_head.num_classes=6"
    )
    assert outcome.code == 0 and told in outcome.out
    outcome = tpn("test", recipe, tmp_path / "run/epoch_1.pth", "--eval", "top_k_accuracy", *options)
    assert outcome.code == 0 and told in outcome.out


def test_a_video_of_one_frame_is_remarked_on(recipe, trained, sprites, tpn, tmp_path):
    with av.open(str(tmp_path / "one.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 90, dtype=np.uint8))
        container.mux([*stream.encode(frame), *stream.encode()])
    predicted = tpn("predict", recipe, trained / "latest.pth", tmp_path / "one.mp4")
    told = f"warning: {tmp_path}/one.mp4 has a single frame, which every clip repeats: there is no motion in it"
    assert predicted.code == 0 and predicted.out.splitlines()[0] == told
    (tmp_path / "list.txt").write_text(f"{tmp_path}/one.mp4 0\n{sprites}/videos/val/00000.mp4 5\n")
    few = ["--cfg-options", f"data.test.ann_file={tmp_path}/list.txt", "data.test.data_prefix="]
    tested = tpn("test", recipe, trained / "latest.pth", "--eval", "top_k_accuracy", *few)
    assert "of 2 videos looked at, 1 with a single frame, which every clip of them repeats" in tested.out

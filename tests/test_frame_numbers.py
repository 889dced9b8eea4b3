"""Folders whose frames are numbered from 0, or with a gap: every command that reads them names what to set."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

FRAMES = np.random.default_rng(0).integers(256, size=(20, 32, 32, 3), dtype=np.uint8)
FIX = "its frames begin with img_00000.jpg: set data.start_index=0"


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """Folders of 20 frames each: one numbered from 0, one from 1, one from 1 that lacks the fifth."""
    root = tmp_path_factory.mktemp("frames")
    for name, first in {"zero": 0, "one": 1, "gap": 1}.items():
        (root / name).mkdir()
        for number, image in enumerate(FRAMES, first):
            cv2.imwrite(str(root / name / f"img_{number:05}.jpg"), image)
    (root / "gap/img_00005.jpg").unlink()
    return root


@pytest.fixture
def options(frames, tmp_path):
    """options("zero 20 0", …) are those that make a list of these lines the data of all splits."""

    def make(*lines: str, prefix: Path = frames) -> list[object]:
        path = tmp_path / "list.txt"
        path.write_text("".join(f"{line}\n" for line in lines))
        splits = [
            f"data.{split}.{key}={value}"
            for split in ("train", "val", "test")
            for key, value in {"ann_file": path, "data_prefix": prefix}.items()
        ]
        return ["--cfg-options", "data.format=rawframes", *splits]

    return make


@pytest.mark.parametrize(("folder", "words"), [
    ("gap", "gap lacks img_00005.jpg; extract the frames again"),
    ("zero", "zero: its first frame is img_00000.jpg, not img_00001.jpg: set data.start_index=0"),
])  # fmt: skip
def test_prediction_does_not_take_a_part_of_a_folder_for_the_video(tpn, recipe, trained, frames, folder, words):
    outcome = tpn("predict", recipe, trained / "epoch_1.pth", frames / folder)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {frames}/{words}")
    assert "scores" not in outcome.out


def test_prediction_of_a_whole_folder_does_not_depend_on_its_first_number(tpn, recipe, trained, frames):
    one = tpn("predict", recipe, trained / "epoch_1.pth", frames / "one")
    zero = tpn("predict", recipe, trained / "epoch_1.pth", frames / "zero", "--cfg-options", "data.start_index=0")
    assert one.code == zero.code == 0, one.err
    assert one.out.replace("/one ", "/zero ") == zero.out


@pytest.mark.parametrize(
    ("rule", "told"), [("loop", "begins the video again"), ("repeat_last", "repeats its last frame")]
)
def test_a_clip_longer_than_its_video_is_said_and_drawn(tpn, recipe, trained, frames, tmp_path, rule, told):
    predict = [
        "predict",
        recipe,
        trained / "epoch_1.pth",
        frames / "one",
        "--out",
        tmp_path / "one.png",
        "--cfg-options",
    ]
    assert "warning" not in tpn(*predict, "data.frame_interval=2").out  # 20 frames, a clip spans 15
    height = cv2.imread(str(tmp_path / "one.png")).shape[0]
    outcome = tpn(*predict, "data.frame_interval=3", f"data.out_of_bound={rule}")
    said = f"warning: {frames}/one has 20 frames and a clip spans 22: every clip {told}"
    assert outcome.out.splitlines()[0] == said
    assert cv2.imread(str(tmp_path / "one.png")).shape[0] > height  # there is a line more


def test_a_validation_folder_whose_last_image_is_empty_ends_a_training_before_its_first_step(
    tpn, recipe, frames, options, tmp_path
):
    shutil.copytree(frames / "one", tmp_path / "cut")
    (tmp_path / "cut/img_00020.jpg").write_bytes(b"")
    (tmp_path / "val.txt").write_text(f"{frames}/one 20 0\n{tmp_path}/cut 20 1\n")
    settings = [*options("one 20 0", "one 20 1"), f"data.val.ann_file={tmp_path}/val.txt", "data.val.data_prefix="]
    outcome = tpn("train", recipe, "--work-dir", tmp_path / "run", "--validate", *settings)
    assert outcome.code == 2
    assert f"\n{tmp_path}/cut/img_00020.jpg is not an image that can be decoded" in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_folder_named_otherwise_says_how(tpn, recipe, trained, frames):
    template = ["--cfg-options", "data.format=rawframes", "data.filename_tmpl=frame{:03}.jpg"]
    outcome = tpn("predict", recipe, trained / "epoch_1.pth", frames / "one", *template)
    assert outcome.code == 2
    assert "there is no frame frame001.jpg in this folder, its first file is img_00001.jpg; name a" in outcome.err


@pytest.mark.parametrize("command", ["train", "test", "check"])
def test_a_list_of_folders_numbered_from_zero_is_not_read_one_frame_late(
    tpn, recipe, trained, frames, options, tmp_path, command
):
    arguments = {
        "train": ["train", recipe, "--work-dir", tmp_path / "run"],
        "test": ["test", recipe, trained / "epoch_1.pth", "--eval", "top_k_accuracy"],
        "check": ["check", recipe, "--output-file", tmp_path / "bad.txt"],
    }[command]
    outcome = tpn(*arguments, *options("zero 20 0", "zero 20 1"))
    assert outcome.code == (1 if command == "check" else 2)
    assert f"{frames}/zero lacks img_00020.jpg; {FIX}" in outcome.out + outcome.err


@pytest.mark.parametrize("command", ["train", "test", "check"])
def test_a_frame_before_the_first_that_is_read_is_said(tpn, recipe, trained, frames, options, tmp_path, command):
    arguments = {
        "train": ["train", recipe, "--work-dir", tmp_path / "run"],
        "test": ["test", recipe, trained / "epoch_1.pth", "--eval", "top_k_accuracy"],
        "check": ["check", recipe, "--output-file", tmp_path / "bad.txt"],
    }[command]
    outcome = tpn(*arguments, *options("zero 19 0", "one 20 1"), *["total_epochs=1"] * (command == "train"))
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("1 of 2 folders looked at hold img_00000.jpg") == 1
    assert outcome.out.count("if it is their first frame, set data.start_index=0") == 1

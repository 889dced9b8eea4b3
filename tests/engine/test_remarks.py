"""Classes that mirroring turns into one another are named before a training, unless the recipe knows them."""

from pathlib import Path

import pytest

from tpn.config import load_config
from tpn.data.annotations import Record
from tpn.engine.remarks import classes_remark, is_directional, mirror_remark, mirrored, single_remark


@pytest.fixture
def config(recipe, tmp_path):
    """config(names, **settings) is the tiny recipe's with these classes, named beside its training list."""

    def make(*names: str, **settings: object):
        (tmp_path / "labels.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        changes = {f"data.{key}": value for key, value in settings.items()}
        base = {"data.train.ann_file": str(tmp_path / "train.txt"), "model.cls_head.num_classes": len(names)}
        return load_config(recipe, base | changes)

    return make


def test_folders_of_one_frame_are_counted_and_one_is_named():
    assert single_remark([Record("a", 0, 1), Record("b", 0, 8), Record("c", 0, 1)]) == (
        "2 of 3 folders have a single frame (a), which every clip of them repeats"
    )
    assert single_remark([Record("a", 0, 2), Record("b.mp4", 0, None)]) == ""


@pytest.mark.parametrize(("num_classes", "is_told"), [(3, False), (5, False), (6, True), (400, True)])
def test_a_list_of_labels_in_the_lower_half_of_the_classes_is_remarked_on(num_classes, is_told):
    assert bool(classes_remark([0, 1, 2, 1], num_classes=num_classes)) == is_told


def test_mirrored_classes_are_named_with_the_map_that_exchanges_them(config):
    assert mirror_remark(config("jump", "turn_left", "turn_right", "Left hook"), {}) == (
        "videos are mirrored (data.flip_ratio=0.5) and keep their labels, but to these classes left and right matter, "
        "as their names say: 1 turn_left, 2 turn_right, 3 Left hook; set data.flip_label_map={1: 2, 2: 1}, or "
        "data.flip_ratio=0"
    )


def test_classes_that_the_map_exchanges_are_not_named(config):
    names = ("move left", "move right", "rotate clockwise", "rotate counter-clockwise")
    assert mirror_remark(config(*names), {0: 1, 1: 0, 2: 3, 3: 2}) == ""
    assert "2 rotate clockwise, 3 rotate counter-clockwise; set data.flip_ratio=0" in mirror_remark(
        config(*names), {0: 1, 1: 0}
    )


def test_nothing_is_said_where_nothing_is_mirrored_or_no_class_has_a_side(config):
    assert mirror_remark(config("left", "right", flip_ratio=0), {}) == ""
    assert mirror_remark(config("bright", "leftover", "copyright", "shrink"), {}) == ""


def test_names_of_another_list_or_none_are_left_alone(config):
    settings = config("left", "right")
    labels = Path(settings.data.train.ann_file).with_name("labels.txt")
    labels.write_text("left\nright\nup\n")
    assert mirror_remark(settings, {}) == ""
    labels.write_bytes(b"\xff\nleft\n")
    assert mirror_remark(settings, {}) == ""
    labels.unlink()
    assert mirror_remark(settings, {}) == ""


@pytest.mark.parametrize(("name", "other"), [
    ("TurnLeft", "TurnRight"), ("turn-right", "turn-left"), ("Moving [something] from left to right",
    "Moving [something] from right to left"), ("向左转", "向右转"), ("SLIDE LEFT", "SLIDE RIGHT"),
])  # fmt: skip
def test_sides_are_recognised_however_a_class_is_written(name, other):
    assert is_directional(name)
    assert mirrored(name) == other


def test_a_training_begins_with_the_line_and_a_map_as_it_says_silences_it(tpn, recipe, sprites, tmp_path, text_log):
    folder = tmp_path / "lists"
    folder.mkdir()
    for name in ("train.txt", "labels.txt"):
        (folder / name).write_text((sprites / name).read_text())
    command = [
        "train",
        recipe,
        "--seed",
        0,
        "--cfg-options",
        f"data.train.ann_file={folder}/train.txt",
        "total_epochs=1",
    ]
    assert tpn(*command, "--work-dir", tmp_path / "a").code == 0
    [line] = [line for line in text_log(tmp_path / "a") if "are mirrored" in line]
    assert "0 move left, 1 move right, 2 rotate clockwise, 3 rotate counter-clockwise; " in line
    assert "set data.flip_label_map={0: 1, 1: 0}, or data.flip_ratio=0" in line
    outcome = tpn(*command, "data.flip_label_map={0: 1, 1: 0, 2: 3, 3: 2}", "--work-dir", tmp_path / "b")
    assert outcome.code == 0, outcome.err
    assert "are mirrored" not in outcome.out

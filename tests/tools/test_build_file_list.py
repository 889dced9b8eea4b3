"""build_file_list.py writes lists at MMAction2's places, which training reads back."""

import json
import random
import re
from pathlib import Path

import pytest

from tpn.data.annotations import read_list

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "data/build_file_list.py"


@pytest.fixture
def sthv1(tmp_path, monkeypatch) -> None:
    """data/sthv1 with annotations of 10 training videos, of which the last is not there, 1 to 9 frames each."""
    monkeypatch.chdir(tmp_path)
    folder = Path("data/sthv1/annotations")
    folder.mkdir(parents=True)
    (folder / "something-something-v1-labels.csv").write_text("Holding\nTearing\n")
    names = [f"{i};{'Holding' if i % 3 else 'Tearing'}" for i in range(1, 11)]
    (folder / "something-something-v1-train.csv").write_text("\n".join(names))
    for i in range(1, 10):
        frames = Path(f"data/sthv1/rawframes/{i}")
        frames.mkdir(parents=True)
        for number in range(1, i + 1):
            (frames / f"{number:05}.jpg").touch()


LINES = [f"{i} {i} {0 if i % 3 else 1}" for i in range(1, 10)]
LIST = Path("data/sthv1/sthv1_train_list_rawframes.txt")


def test_mmaction2s_command_for_sthv1_writes_its_list(tool, sthv1):
    outcome = tool(SCRIPT, "sthv1", "data/sthv1/rawframes/", "--rgb-prefix", "0", "--num-split", 1, "--level", 1,
                   "--subset", "train", "--format", "rawframes")  # fmt: skip
    assert LIST.read_text().splitlines() == LINES
    assert outcome == (
        0,
        f"{LIST}: 9 videos, 2 classes\n1 of 10 videos are not in data/sthv1/rawframes, the first is 10\n",
        "",
    )
    assert len(read_list(LIST, data_prefix="data/sthv1/rawframes", format="rawframes", num_classes=2)) == 9


def test_shuffled_list_is_that_of_the_seed(tool, sthv1):
    arguments = [SCRIPT, "sthv1", "data/sthv1/rawframes", "--rgb-prefix", "0", "--level", "1"]
    assert tool(*arguments, "--shuffle", "--seed", 7).out.startswith("Set random seed to 7\n")
    expected = LINES.copy()
    random.seed(7)  # as MMAction2 does
    random.shuffle(expected)
    assert LIST.read_text().splitlines() == expected != LINES


def test_json_list_is_read_back_as_the_text_list(tool, sthv1):
    arguments = [SCRIPT, "sthv1", "data/sthv1/rawframes", "--rgb-prefix", "0", "--level", "1"]
    tool(*arguments)
    tool(*arguments, "--output-format", "json", "--out-root-path", "elsewhere/")
    path = Path("elsewhere/sthv1/sthv1_train_list_rawframes.json")
    assert json.loads(path.read_text())[2] == {"frame_dir": "3", "total_frames": 3, "label": [1]}
    options = {"data_prefix": "data/sthv1/rawframes", "format": "rawframes", "num_classes": 2}
    assert read_list(path, **options) == read_list(LIST, **options)


def test_prefix_that_no_frame_has_writes_no_list(tool, sthv1):
    outcome = tool(SCRIPT, "sthv1", "data/sthv1/rawframes", "--level", 1)
    assert outcome.code == 2
    assert "data/sthv1/rawframes/1 holds no frame whose name begins with 'img_'" in outcome.err
    assert not LIST.exists()


def test_kinetics_videos_are_found_in_folders_with_spaces(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("data/kinetics400/annotations")
    folder.mkdir(parents=True)
    for split in ("train", "val"):
        text = "label,youtube_id,time_start,time_end,split\nair drumming,xyz,1,11,x\n"
        (folder / f"kinetics_{split}.csv").write_text(text)
    video = Path("data/kinetics400/videos_val/air drumming/xyz_000001_000011.mp4")
    video.parent.mkdir(parents=True)
    video.touch()
    tool(SCRIPT, "kinetics400", "data/kinetics400/videos_val/", "--level", 2, "--format", "videos", "--num-split", 1,
         "--subset", "val", "--shuffle")  # fmt: skip
    path = Path("data/kinetics400/kinetics400_val_list_videos.txt")
    assert path.read_text() == "air drumming/xyz_000001_000011.mp4 0\n"
    [record] = read_list(path, data_prefix="data/kinetics400/videos_val", format="videos", num_classes=1)
    assert Path(record.path) == video


def test_own_videos_keep_their_labels_from_list_to_list(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("train/jump/1.mp4", "train/run/2.mp4", "train/swim/3.mp4", "val/swim/4.mp4", "odd/fly/5.mp4"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    for subset in ("train", "val"):
        assert tool(SCRIPT, "folders", subset, "--format", "videos", "--subset", subset).code == 0
    assert Path("data/folders/labels.txt").read_text() == "jump\nrun\nswim\n"
    assert Path("data/folders/folders_train_list_videos.txt").read_text() == "jump/1.mp4 0\nrun/2.mp4 1\nswim/3.mp4 2\n"
    assert Path("data/folders/folders_val_list_videos.txt").read_text() == "swim/4.mp4 2\n"
    outcome = tool(SCRIPT, "folders", "odd", "--format", "videos")
    assert outcome.code == 2
    assert "the folder fly is not among the 3 classes of data/folders/labels.txt" in outcome.err


@pytest.fixture
def own_videos(tmp_path, monkeypatch) -> None:
    """data/mine/videos with five videos of each of two classes, and data/mine/train and val with one of each."""
    monkeypatch.chdir(tmp_path)
    for label in ("move left", "move right"):
        for name in (
            *(f"videos/{label}/{number}.mp4" for number in range(5)),
            f"train/{label}/x y.mp4",
            f"val/{label}/z.avi",
        ):
            path = Path("data/mine", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def test_the_guides_commands_for_own_videos_do_what_it_says(tpn, own_videos):
    page = (ROOT / "docs/en/data.md").read_text()
    section = page.partition("## List files from a folder per class")[2]
    (split, *apart) = re.findall(r"^tpn (build-list .*)$", section, re.MULTILINE)
    assert tpn(*split.split()).out == re.findall(r"```text\n(.*?)```", section, re.DOTALL)[0]
    folder, options = Path("data/folders"), {"format": "videos", "num_classes": 2}
    for subset, count in {"train": 8, "val": 2}.items():
        records = read_list(folder / f"folders_{subset}_list_videos.txt", data_prefix="data/mine/videos", **options)
        assert [record.label for record in records] == [0] * (count // 2) + [1] * (count // 2)
    assert len(apart) == 2
    assert [tpn(*command.split()).code for command in apart] == [0, 0]
    for subset in ("train", "val"):
        prefix = f"data/mine/{subset}"
        assert len(read_list(folder / f"folders_{subset}_list_videos.txt", data_prefix=prefix, **options)) == 2


def test_a_split_follows_from_the_names_and_takes_its_share_of_each_class(tool, own_videos):
    def lists() -> list[list[str]]:
        return [
            Path(f"data/folders/folders_{subset}_list_videos.txt").read_text().splitlines()
            for subset in ("train", "val")
        ]

    command = [SCRIPT, "folders", "data/mine/videos", "--format", "videos", "--val-share"]
    assert tool(*command, 0.4).code == 0
    train, val = once = lists()
    assert sorted(train + val) == [f"move {way}/{n}.mp4 {label}" for label, way in enumerate(["left", "right"])
                                   for n in range(5)]  # fmt: skip
    assert [line.split()[-1] for line in val] == ["0", "0", "1", "1"]
    tool(*command, 0.4, "--shuffle", "--seed", 3)
    assert [sorted(part) for part in lists()] == once
    tool(*command, 0.2)
    assert set(lists()[1]) < set(val)


def test_own_videos_as_they_are_on_a_disk(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        ".ipynb_checkpoints/1.mp4",
        "high jump/1.MTS",
        "high jump/1.mp4",
        "high jump/a.txt",
        "run/2.m2ts",
        "x/",
    ):
        path = Path("videos", name)
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    assert tool(SCRIPT, "folders", "videos", "--format", "videos", "--val-share", 0.5).out.splitlines() == [
        "data/folders/folders_train_list_videos.txt: 2 videos, 2 classes",
        "data/folders/folders_val_list_videos.txt: 1 video, 1 class",
        "data/folders/labels.txt: 2 classes, numbered by line: 0 high jump, 1 run",
        "the val list has no video of 1 class: 1 run",
        "left out, hidden: .ipynb_checkpoints",
        "left out, nothing in it: x",
        "left out, no video to list: 1 .txt (the first is high jump/a.txt)",
    ]
    assert Path("data/folders/labels.txt").read_text() == "high jump\nrun\n"
    assert "run/2.m2ts 1\n" in Path("data/folders/folders_train_list_videos.txt").read_text()


def test_a_list_that_fails_leaves_no_class_names(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("frames/run/1").mkdir(parents=True)
    assert tool(SCRIPT, "folders", "frames").code == 2
    assert not Path("data/folders/labels.txt").exists()


def test_frames_numbered_from_zero_are_told(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        path = Path(f"frames/run/1/img_{number:05}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    outcome = tool(SCRIPT, "folders", "frames")
    assert outcome.out.splitlines()[-1] == "the frames are numbered from 0: set data.start_index=0"
    assert Path("data/folders/folders_train_list_rawframes.txt").read_text() == "run/1 5 0\n"


def test_videos_where_folders_of_frames_are_asked_for_are_named_with_the_flag(tool, own_videos):
    outcome = tool(SCRIPT, "folders", "data/mine/videos")
    assert outcome.code == 2
    assert "is a video, no folder of frames: add --format videos" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sthv1", "data/sthv1/rawframes", "--val-share", "0.2"], "--val-share divides the training list of folders"),
        (["folders", "x", "--subset", "val", "--val-share", "0.2"], "--val-share divides the training list of folders"),
        (["ucf101", "x"], "kinetics400"),
        (["sthv1", "data/sthv1/rawframes", "--num-split", "3"], "--num-split 3: sthv1 has one split"),
        (["sthv1", "gone"], "there is no folder gone"),
        (
            ["sthv1", "data/sthv1/rawframes", "--level", "1", "--subset", "val"],
            "something-something-v1-validation.csv cannot",
        ),
        (["folders", "data/sthv1/rawframes", "--level", "1"], "folders are the classes"),
    ],
)
def test_mistakes_are_named(tool, sthv1, arguments, message, capfd):
    outcome = tool(SCRIPT, *arguments)
    assert outcome.code == 2
    assert message in outcome.err + outcome.out + "".join(capfd.readouterr())


def test_flags_without_effect_warn(tool, sthv1):
    outcome = tool(SCRIPT, "sthv1", "data/sthv1/rawframes", "--rgb-prefix", "0", "--level", 1, "--flow-x-prefix", "x_",
                   "--seed", 3)  # fmt: skip
    assert outcome.code == 0
    assert [line.split(": ")[1] for line in outcome.err.splitlines()] == [
        "--flow-x-prefix has no effect",
        "--seed has no effect without --shuffle",
    ]

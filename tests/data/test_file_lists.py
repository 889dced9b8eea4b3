"""List files are made from the data sets' own annotations, with MMAction2's names, labels and counts."""

import json
from pathlib import Path

import pytest

from tpn.data.annotations import Record
from tpn.data.file_lists import (
    Annotation,
    by_annotated_name,
    class_names_of,
    label_by_folder,
    list_records,
    read_annotations,
    split_records,
    to_json,
    to_text,
)
from tpn.errors import DataError

HEADER = "label,youtube_id,time_start,time_end,split\n"


@pytest.fixture
def write(tmp_path):
    """write({path: text, …}) makes files under a folder and gives the folder."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def message(function, *arguments, **options) -> str:
    with pytest.raises(DataError) as caught:
        function(*arguments, **options)
    return str(caught.value)


# ----------------------------------------------------------------------------------------------------------- Kinetics


@pytest.fixture
def kinetics(write) -> Path:
    return write({
        "kinetics_train.csv": HEADER + "zumba,aaaaaaaaaaa,3,13,train\n"
        + '"petting animal (not cat)",b-_bbbbbbbb,118,128,train\n' + "abseiling,c,0.0,10.0,train\n",
        "kinetics_val.csv": HEADER + "zumba,dd,1000000,1000010,val\n",
        "kinetics_test.csv": "youtube_id,time_start,time_end,split\nee,1,11,test\n",
    })  # fmt: skip


def test_kinetics_classes_are_numbered_in_the_alphabetical_order_of_the_training_set(kinetics):
    assert read_annotations("kinetics400", kinetics, "train", level=2) == [
        Annotation("zumba/aaaaaaaaaaa_000003_000013", 2),
        Annotation("petting_animal_(not_cat)/b-_bbbbbbbb_000118_000128", 1),
        Annotation("abseiling/c_000000_000010", 0),
    ]
    assert read_annotations("kinetics600", kinetics, "val", level=1) == [Annotation("dd_1000000_1000010", 2)]


def test_kinetics_test_videos_have_no_label(kinetics):
    assert read_annotations("kinetics700", kinetics, "test", level=2) == [Annotation("ee_000001_000011", -1)]


def test_every_wrong_line_of_kinetics_is_named(kinetics):
    (kinetics / "kinetics_val.csv").write_text(
        HEADER + "zumba,d,1,x,val\nzumba,d,1\nskiing,d,1,2,val\nzumba,d,1,2,val\n"
    )
    lines = message(read_annotations, "kinetics400", kinetics, "val", level=2).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{kinetics}/kinetics_val.csv:{n}" for n in (2, 3, 4)]
    assert "'skiing' is not a class of kinetics_train.csv" in lines[2]


def test_file_that_is_not_kinetics_is_named(kinetics):
    (kinetics / "kinetics_train.csv").write_text("a,b\n1,2\n")
    assert "kinetics_train.csv: its first line names no column label, youtube_id, time_start, time_end" in message(
        read_annotations, "kinetics400", kinetics, "train", level=2
    )


def test_missing_annotations_are_named(tmp_path):
    assert f"{tmp_path}/kinetics_train.csv cannot be read (No such file" in message(
        read_annotations, "kinetics400", tmp_path, "train", level=2
    )


# ------------------------------------------------------------------------------------------------ Something-Something


@pytest.fixture
def sthv1(write) -> Path:
    prefix = "something-something-v1"
    return write({
        f"{prefix}-labels.csv": "Holding something\nMoving something, then \"letting\" it go\nTearing something\n",
        f"{prefix}-train.csv": "100218;Tearing something\n24413;Moving something, then \"letting\" it go\n",
        f"{prefix}-validation.csv": "78687;Holding something\n",
        f"{prefix}-test.csv": "1420\n91348\n",
    })  # fmt: skip


@pytest.mark.parametrize("level", [1, 2])
def test_sthv1_class_ids_are_line_numbers(sthv1, level):
    assert read_annotations("sthv1", sthv1, "train", level=level) == [Annotation("100218", 2), Annotation("24413", 1)]
    assert read_annotations("sthv1", sthv1, "val", level=level) == [Annotation("78687", 0)]
    assert read_annotations("sthv1", sthv1, "test", level=level) == [Annotation("1420", -1), Annotation("91348", -1)]


def test_unknown_class_of_sthv1_is_named(sthv1):
    with (sthv1 / "something-something-v1-train.csv").open("a") as file:
        file.write("\n7;Eating something\n")
    assert "-train.csv:4: 'Eating something' is not a class of something-something-v1-labels.csv" in message(
        read_annotations, "sthv1", sthv1, "train", level=1
    )


@pytest.fixture
def sthv2(write) -> Path:
    prefix = "something-something-v2"
    return write({
        f"{prefix}-labels.json": json.dumps({"Holding something": "0", "Putting something on something": "1"}),
        f"{prefix}-train.json": json.dumps([
            {"id": "78687", "label": "putting a cup on a table", "template": "Putting [something] on [something]"},
        ]),
        f"{prefix}-validation.json": json.dumps([{"id": "7", "template": "Holding [something]"}]),
        f"{prefix}-test.json": json.dumps([{"id": "1420"}]),
    })  # fmt: skip


def test_sthv2_class_ids_are_those_of_the_template(sthv2):
    assert read_annotations("sthv2", sthv2, "train", level=1) == [Annotation("78687", 1)]
    assert read_annotations("sthv2", sthv2, "val", level=1) == [Annotation("7", 0)]
    assert read_annotations("sthv2", sthv2, "test", level=1) == [Annotation("1420", -1)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"id": "1"}]', "-train.json:1: a record has id and template"),
        ("[7]", "-train.json:1: a record has id and template, got 7"),
        ('[{"id": 1, "template": "Eating"}]', "'Eating' is not a class of something-something-v2-labels.json"),
        ("{}", "holds a JSON dict, not a list"),
        ("[", "is not JSON"),
    ],
)
def test_wrong_records_of_sthv2_are_named(sthv2, content, expected):
    (sthv2 / "something-something-v2-train.json").write_text(content)
    assert expected in message(read_annotations, "sthv2", sthv2, "train", level=1)


# ------------------------------------------------------------------------------------------ what of it is on the disk


def test_videos_are_named_by_class_and_stem():
    paths = ["a b/1.mp4", "a b/2.MKV", "c/3.webm"]
    assert by_annotated_name(paths, format="videos", by_class=True) == dict(
        zip(["a_b/1", "a_b/2", "c/3"], paths, strict=True)
    )
    assert list(by_annotated_name(paths, format="videos", by_class=False)) == ["1", "2", "3"]
    assert list(by_annotated_name(["a b/x.y"], format="rawframes", by_class=True)) == ["a_b/x.y"]


def test_two_videos_of_one_name_are_refused():
    assert "a/1.mp4 and a/1.webm are both called a/1" in message(
        by_annotated_name, ["a/1.mp4", "a/1.webm"], format="videos", by_class=True
    )


@pytest.fixture
def frames(write) -> Path:
    """Folders 7, 8, 9 with three, two and no frames called 0…, among them optical flow."""
    return write({f"7/0000{i}.jpg": "" for i in (1, 2, 3)} | {"7/flow_x_00001.jpg": ""}
                 | {"8/00001.jpg": "", "8/00002.jpg": "", "9/img_00001.jpg": ""})  # fmt: skip


def records_of(source: Path, *annotations: Annotation, rgb_prefix: str = "0") -> list[Record]:
    found = {name: name for name in ("7", "8", "9")}
    return list_records(annotations, found, source, format="rawframes", rgb_prefix=rgb_prefix).records


def test_frames_of_the_prefix_are_counted_and_missing_videos_left_out(frames):
    records = records_of(frames, Annotation("8", 1), Annotation("6", 3), Annotation("7", 0))
    assert records == [Record("8", 1, 2), Record("7", 0, 3)]


def test_folder_without_a_matching_frame_is_an_error_and_no_broken_line(frames):
    text = message(records_of, frames, Annotation("7", 0), Annotation("9", 2))
    assert f"{frames}/9 holds no frame whose name begins with '0'" in text
    assert "--rgb-prefix" in text
    assert f"{frames}/7 " not in text
    assert records_of(frames, Annotation("7", 0)) == [Record("7", 0, 3)], "9 is not asked for"


def test_no_video_at_all_is_an_error(frames):
    assert "holds none of the 1 annotated videos: there is '7', they are called like 'a/7'" in message(
        records_of, frames, Annotation("a/7", 0)
    )


def test_class_folders_are_labels_in_the_order_of_the_names():
    paths = ["run/1.mp4", "a b/2.mp4"]
    assert class_names_of(paths) == ["a b", "run"]
    assert label_by_folder(paths, ["run", "jump", "a b"]) == [Annotation("run/1.mp4", 0), Annotation("a b/2.mp4", 2)]
    assert "the folder run is not among the 1 class" in message(label_by_folder, paths, ["a b"])


def test_class_names_of_earlier_lists_which_had_no_spaces_still_fit():
    assert label_by_folder(["a b/2.mp4"], ["run", "a_b"]) == [Annotation("a b/2.mp4", 1)]
    assert [label for _, label in label_by_folder(["a b/1.mp4", "a_b/2.mp4"], ["a b", "a_b"])] == [0, 1]
    assert "the folder a b is not a_b" in message(label_by_folder, ["a b/1.mp4", "a_b/2.mp4"], ["a_b", "run"])


@pytest.mark.parametrize(
    ("count", "share", "in_val"), [(1, 0.9, 0), (2, 0.9, 1), (3, 0.5, 2), (5, 0.2, 1), (2, 0.2, 0)]
)
def test_the_last_video_of_a_class_stays_in_training(count, share, in_val):
    records = [Record(f"{label}/{n}.mp4", label, None) for label in range(3) for n in range(count)]
    train, val = split_records(records, share)
    assert [sum(record.label == label for record in val) for label in range(3)] == [in_val] * 3
    assert sorted(record.path for record in train + val) == [record.path for record in records]


def test_lists_are_written_as_mmaction2_reads_them():
    videos, folders = [Record("a b/1.mp4", 3, None)], [Record("x", 1, 42), Record("y", 0, 7)]
    assert to_text(videos) == "a b/1.mp4 3\n"
    assert to_text(folders) == "x 42 1\ny 7 0\n"
    assert json.loads(to_json(videos)) == [{"filename": "a b/1.mp4", "label": [3]}]
    assert json.loads(to_json(folders)) == [
        {"frame_dir": "x", "total_frames": 42, "label": [1]},
        {"frame_dir": "y", "total_frames": 7, "label": [0]},
    ]

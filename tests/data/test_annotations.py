"""List files: what they may look like, and that every mistake in one is named."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from tpn.data.annotations import Record, list_hash, read_labels, read_list
from tpn.errors import DataError


@pytest.fixture
def write(tmp_path):
    """Write a list file, and the videos and folders it should find."""

    def write(text: str | bytes, *, files: tuple[str, ...] = (), folders: tuple[str, ...] = ()) -> Path:
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        for name in folders:
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
        path = tmp_path / "list.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def read(path: Path, **changes):
    return read_list(path, **{"data_prefix": path.parent, "format": "videos", "num_classes": 10, **changes})


def message(path: Path, **changes) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **changes)
    return str(caught.value)


def test_video_lines_are_path_and_label(write, tmp_path):
    path = write("a/1.mp4 3\nb/2.mp4\t0\n", files=("a/1.mp4", "b/2.mp4"))
    assert read(path) == [Record(str(tmp_path / "a/1.mp4"), 3, None), Record(str(tmp_path / "b/2.mp4"), 0, None)]


def test_rawframes_lines_are_folder_frames_and_label(write, tmp_path):
    path = write("a/1 120 3\n", folders=("a/1",))
    assert read(path, format="rawframes") == [Record(str(tmp_path / "a/1"), 3, 120)]


def test_names_may_hold_spaces(write, tmp_path):
    path = write("my video 7.mp4 3\n", files=("my video 7.mp4",))
    assert read(path)[0].path == str(tmp_path / "my video 7.mp4")
    path = write("my clip 7 120 3\n", folders=("my clip 7",))
    assert read(path, format="rawframes")[0] == Record(str(tmp_path / "my clip 7"), 3, 120)


def test_absolute_paths_ignore_data_prefix(write, tmp_path):
    path = write(f"{tmp_path}/1.mp4 0\n", files=("1.mp4",))
    assert read(path, data_prefix=tmp_path)[0].path == f"{tmp_path}/1.mp4"
    assert read(path, data_prefix="")[0].path == f"{tmp_path}/1.mp4"


@pytest.mark.parametrize("name", ["../1.mp4", "a/../../1.mp4", "/etc/passwd", "../{root}x/1.mp4", ".."])
def test_no_path_leads_out_of_data_prefix(write, tmp_path, name):
    path = write(f"{name.format(root=tmp_path.name)} 0\n", files=("1.mp4",))
    for prefix in (tmp_path, Path("/") / tmp_path.relative_to("/")):
        assert "leads out of data_prefix" in message(path, data_prefix=prefix, check_files=False)


def test_dots_within_data_prefix_and_links_out_of_it_are_the_owners(write, tmp_path, monkeypatch):
    (tmp_path / "root").mkdir()
    path = write("a/../1.mp4 0\nlink/1.mp4 0\n..mp4 0\n", files=("1.mp4", "root/1.mp4", "root/a/x", "root/..mp4"))
    (tmp_path / "root/link").symlink_to(tmp_path)
    assert len(read(path, data_prefix=tmp_path / "root")) == 3
    monkeypatch.chdir(tmp_path)
    assert len(read(path, data_prefix="root")) == 3
    assert "leads out of data_prefix root" in message(write("../1.mp4 0"), data_prefix="root")


def test_blank_lines_byte_order_mark_and_windows_line_ends_are_no_matter(write):
    path = write(b"\xef\xbb\xbf1.mp4 3\r\n\r\n2.mp4 4\r\n\n", files=("1.mp4", "2.mp4"))
    assert [record.label for record in read(path)] == [3, 4]


@pytest.mark.parametrize(
    "line, format, words",
    [
        ("1.mp4", "videos", ["`path label`", "'1.mp4'"]),
        ("1.mp4 three", "videos", ["`path label`", "'1.mp4 three'"]),
        ("1.mp4 10", "videos", ["label 10", "0..9", "num_classes"]),
        ("1.mp4 -1", "videos", ["label -1", "0..9"]),
        ("clip 3", "rawframes", ["`folder num_frames label`", "'clip 3'"]),
        ("clip 0 3", "rawframes", ["'clip'", "0 frames"]),
        ("clip 1.5 3", "rawframes", ["`folder num_frames label`"]),
    ],
)
def test_a_wrong_line_is_named_with_file_line_and_value(write, line, format, words):
    path = write(f"\n{line}\n")
    text = message(path, format=format)
    for word in [f"{path}:2:", *words]:
        assert word in text


def test_lines_of_any_length_are_named_in_brief(write):
    for line in ["a" * 10_000_000, "a " * 5_000_000, "1 " * 5_000_000, "a" * 10_000_000 + " 0", "1" * 10_000_000]:
        for format in ("videos", "rawframes"):
            text = message(write(line), format=format)
            assert "list.txt:1:" in text
            assert len(text) < 1000


@pytest.mark.parametrize("line", ["a\0.mp4 0", "\0 0", "a.mp4 9999999999999999999999", f"a.mp4 {'9' * 9999}"])
def test_lines_no_file_can_be_of_are_named(write, line):
    assert "list.txt:1:" in message(write(line))
    assert len(message(write(line))) < 1000


def test_more_frames_than_a_video_can_have_are_named(write):
    path = write("a 99999999999999999999999 0\n", folders=("a",))
    assert "list.txt:1: 'a' has 99999999999999999999999 frames" in message(path, format="rawframes")


@pytest.mark.timeout(20)
def test_a_list_that_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    assert "pipe.txt is a pipe or a device" in message(tmp_path / "pipe.txt")
    assert "/dev/zero is a pipe or a device" in message(Path("/dev/zero"), data_prefix="")
    assert "Is a directory" in message(tmp_path)


def test_malformed_lines_and_missing_files_are_reported_together(write):
    text = message(write("1.mp4 0\n2.mp4\n3.mp4 0\n", files=("1.mp4",)))
    assert "list.txt:2: expected `path label`" in text
    assert "list.txt:3: there is no file" in text


def test_all_problems_are_reported_at_once_ten_of_them_in_full(write):
    text = message(write("".join(f"{i}.mp4\n" for i in range(30))))
    assert text.count("list.txt:") == 10
    assert "list.txt:1:" in text
    assert "list.txt:10:" in text
    assert "20 more" in text


def test_another_number_of_classes_is_told_first_with_three_examples(write):
    path = write("".join(f"{i}.mp4 {i}\n" for i in range(30)))
    cause, *examples, more = message(path).splitlines()
    told = "labels 0 to 29, but num_classes = 10 means 0 to 9: set model.cls_head.num_classes=30, or correct the list"
    assert cause == f"{path} has {told}"
    assert [line.partition(": ")[0] for line in examples] == [f"{path}:{number}" for number in (11, 12, 13)]
    assert more == "... and 17 more problems"
    assert len(read(path, num_classes=30, check_files=False)) == 30


def test_a_wrong_data_prefix_is_told_first_with_three_examples(write, tmp_path):
    path = write("".join(f"{i}.mp4 0\n" for i in range(500)))
    cause, *examples, more = message(path).splitlines()
    assert cause == f"66 of 66 files looked for are not there: is data_prefix={str(tmp_path)!r} right?"
    assert all(": there is no file " in line for line in examples) and len(examples) == 3
    assert more == "... and 63 more problems"


def test_problems_of_several_kinds_have_no_common_cause(write):
    first, *_ = message(write("1.mp4 99\n2.mp4\n3.mp4 98\n")).splitlines()
    assert "list.txt:1: label 99 of '1.mp4' is outside 0..9" in first


def test_an_empty_list_is_an_error(write):
    assert "no records" in message(write("\n \n"))


def test_a_missing_list_is_an_error(tmp_path):
    assert f"{tmp_path / 'none.txt'}" in message(tmp_path / "none.txt")


def test_a_missing_data_prefix_is_an_error(write, tmp_path):
    assert f"{tmp_path / 'none'} is not a folder" in message(write("1.mp4 0"), data_prefix=tmp_path / "none")


def test_text_that_is_not_utf8_is_named_by_line(write):
    text = message(write(b"1.mp4 0\n\xe4.mp4 1\n"))
    assert "list.txt:2:" in text
    assert "UTF-8" in text


def test_missing_videos_are_found_before_training(write, tmp_path):
    names = [f"{i}.mp4" for i in range(500)]
    path = write("".join(f"{name} 0\n" for name in names), files=tuple(names))
    read(path)
    (tmp_path / "0.mp4").unlink()
    (tmp_path / "499.mp4").unlink()
    text = message(path)
    assert f"{path}:1: there is no file {tmp_path / '0.mp4'}" in text
    assert f"{path}:500:" in text


def test_a_quarter_of_the_videos_missing_is_found(write):
    names = [f"{i}.mp4" for i in range(1000)]
    path = write("".join(f"{name} 0\n" for name in names), files=tuple(names[:300] + names[550:]))
    assert "there is no file" in message(path)


@pytest.mark.parametrize("share, missing, is_refused", [
    (0.01, 10, False),
    (0.01, 11, True),
    (0.0, 1, True),
    (0.5, 32, False),
    (0.9, 33, True),  # half of what is looked at
])  # fmt: skip
def test_missing_videos_within_the_share_allowed_are_left_for_who_reads_them(write, share, missing, is_refused):
    """Files are missing just where they are looked for."""
    names = [f"{i}.mp4" for i in range(1000)]
    looked = sorted({round(i * 999 / 65) for i in range(66)})
    gone = {names[at] for at in looked[:missing]}
    path = write("".join(f"{name} 0\n" for name in names), files=tuple(name for name in names if name not in gone))
    if is_refused:
        assert message(path, max_missing=share).count("there is no file") == min(missing, 3)
    else:
        assert len(read(path, max_missing=share)) == 1000


def test_a_list_of_which_nothing_is_there_is_refused_whatever_is_allowed(write):
    assert "there is no file" in message(write("1.mp4 0\n2.mp4 0\n"), max_missing=1.0)


def test_a_list_of_the_other_format_is_recognised(write):
    assert "'rawframes'" in message(write("a 120 3\nb 99 4\n", folders=("a", "b")))
    assert "'videos'" in message(write("a.mp4 3\nb.mp4 4\n", files=("a.mp4", "b.mp4")), format="rawframes")


def test_hash_is_the_sha256_of_the_file(write):
    assert list_hash(write("a.mp4 3\n")) == hashlib.sha256(b"a.mp4 3\n").hexdigest()


# --------------------------------------------------------------------------------------- JSON, and lists without labels


def write_json(folder: Path, content: object) -> Path:
    path = folder / "list.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_json_records_are_the_lines_they_stand_for(tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/1.mp4").touch()
    path = write_json(tmp_path, [{"filename": "a b/1.mp4", "label": [3]}, {"filename": "a b/1.mp4", "label": 4}])
    assert [record.label for record in read(path)] == [3, 4]
    path = write_json(tmp_path, [{"frame_dir": "a b", "total_frames": 120, "label": [3]}])
    assert read(path, format="rawframes") == [Record(str(tmp_path / "a b"), 3, 120)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"filename": "1.mp4", "label": [1, 3]}], "list.json:1: expected `path label`, got '1.mp4 1,3'"),
        ([{"label": [1]}], "list.json:1: expected `path label`, got '1'"),
        ([["1.mp4", 0], "x"], "list.json:2: expected `path label`"),
        ([{"filename": "1.mp4", "label": [10]}], "list.json:1: label 10 of '1.mp4' is outside 0..9"),
        ([{"filename": "1.mp4", "label": [1]}], "list.json:1: there is no file"),
        ({"filename": "1.mp4"}, "list.json holds a JSON dict, not a list of records"),
        ("[1", "list.json is not JSON"),
        ("[" * 100_000, "list.json is not JSON"),
        ([], "holds no records"),
    ],
)  # fmt: skip
def test_wrong_json_records_are_named(tmp_path, content, expected):
    assert expected in message(write_json(tmp_path, content))


def test_json_of_the_other_format_is_recognised(tmp_path):
    path = write_json(tmp_path, [{"frame_dir": "1", "total_frames": 9, "label": [3]}])
    assert "is format 'rawframes' meant?" in message(path)


def test_list_without_labels_gives_every_video_label_0(write, tmp_path):
    path = write("my 1.mp4\n2.mp4\n", files=("my 1.mp4", "2.mp4"))
    assert read(path, labelled=False) == [
        Record(str(tmp_path / "my 1.mp4"), 0, None),
        Record(str(tmp_path / "2.mp4"), 0, None),
    ]


def test_files_need_not_be_there_where_only_labels_count(write):
    path = write("gone.mp4 3\n")
    assert read(path, data_prefix="nowhere", check_files=False)[0].label == 3


def test_labels_are_the_last_column_of_any_list(write, tmp_path):
    assert read_labels(write("a b/1.mp4 3\n2.mp4 -1\n")) == [3, -1]
    assert read_labels(write("a b/1 120 3\n")) == [3]
    assert read_labels(write_json(tmp_path, [{"filename": "1.mp4", "label": [7]}])) == [7]


# ------------------------------------------------------------------------------------ several labels, and addresses


def test_a_video_with_two_labels_is_not_taken_for_a_folder_of_frames(write):
    text = message(write("a b.mp4 1 2\nc.MTS 3 4 5\n", files=("a b.mp4", "c.MTS")))
    assert "list.txt:1: 'a b.mp4 1 2' has 2 labels, a video has one here; leave one of them" in text
    assert "list.txt:2: 'c.MTS 3 4 5' has 3 labels" in text
    assert "is format 'rawframes' meant?" not in text
    assert "has 2 labels" in message(write("a b.mp4 1 2\n"), check_files=False)


def test_two_labels_are_told_of_files_of_any_name_and_of_folders(write):
    assert "a is there, but 1 follows it: a video has one label" in message(write("a 1 2\n", files=("a",)))
    assert "b is there, but 120 follows it" in message(write("b 120 3 5\n", folders=("b",)), format="rawframes")
    assert "b 3 is there, but 7 follows it" in message(write("b 3 7 3 5\n", folders=("b 3",)), format="rawframes")


def test_a_file_whose_name_ends_with_a_number_has_one_label(write, tmp_path):
    path = write("a.mp4 1 2\n", files=("a.mp4 1",))
    assert read(path) == [Record(str(tmp_path / "a.mp4 1"), 2, None)]


def test_lists_of_folders_are_still_recognised(write):
    assert "is format 'rawframes' meant?" in message(write("a 120 2\nb c 7 1\n"))
    assert "is format 'videos' meant?" in message(write("a.mp4 2\nb.mp4 1\n"), format="rawframes")


@pytest.mark.parametrize("address", ["https://a.org/1.mp4", "s3://bucket/a b.mp4", "rtsp://10.0.0.1/live"])
def test_addresses_are_not_read_and_keep_their_slashes(write, address):
    assert f"list.txt:1: {address} is an address: download the file, and give its path" in message(
        write(f"{address} 0\n")
    )
    assert f"{address} is an address" in message(Path(address))
    assert f"{address} is an address" in message(write("1.mp4 0\n"), data_prefix=address)

"""What a folder of frames lacks is named, with the number its images begin with where that is the mistake."""

from pathlib import Path

import pytest

from tpn.data.annotations import Record
from tpn.data.frame_folders import (
    check_first_frames,
    check_frames,
    count_frames,
    frame_numbers,
    template_of,
    unused_first_frames,
)
from tpn.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """folder(numbers, name) makes empty images img_{:05}.jpg, and beside them files that are no frames."""

    def make(numbers, name: str = "video") -> Path:
        path = tmp_path / name
        path.mkdir()
        for number in numbers:
            (path / f"img_{number:05}.jpg").touch()
        for other in (
            "flow_x_00001.jpg",
            "img_1.jpg",
            "img_00001.png",
            "img_00009 (1).jpg",
            ".img_00007.jpg",
            "img_.jpg",
        ):
            (path / other).touch()
        return path

    return make


NAMES = {"filename_tmpl": "img_{:05}.jpg"}


def said(function, *arguments, **options) -> str:
    with pytest.raises(DataError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def test_only_names_of_the_template_are_frames(folder):
    path = folder([3, 1, 100000])
    assert frame_numbers(path, "img_{:05}.jpg") == [1, 3, 100000]
    assert frame_numbers(path, "img_{}.jpg") == [1, 100000]
    assert frame_numbers(path, "flow_x_{:05d}.jpg") == [1]
    assert frame_numbers(path, "{}") == frame_numbers(path, "img_00001.png") == []


@pytest.mark.parametrize("start_index", [0, 1, 5])
def test_a_whole_folder_is_counted(folder, start_index):
    assert count_frames(folder(range(start_index, 80)), start_index=start_index, **NAMES) == 80 - start_index


def test_a_folder_without_such_an_image_has_no_frames(folder):
    assert count_frames(folder([]), start_index=1, **NAMES) == 0


def test_a_gap_is_named_by_the_first_image_missing(folder):
    path = folder(set(range(1, 81)) - {5, 6})
    assert said(count_frames, path, start_index=1, **NAMES) == (
        f"{path} lacks img_00005.jpg, img_00006.jpg; extract the frames again"
    )


@pytest.mark.timeout(20)
def test_a_gap_of_any_length_is_named(folder):
    text = said(count_frames, folder([1, 10**15]), start_index=1, **NAMES)
    assert "lacks img_00002.jpg" in text
    assert "(999999999999998 of 1000000000000000 frames)" in text


@pytest.mark.parametrize(("first", "start_index"), [(0, 1), (5, 1), (1, 0), (1, 5)])
def test_a_folder_that_begins_with_another_number_is_an_error_that_names_it(folder, first, start_index):
    path = folder(range(first, 80))
    assert said(count_frames, path, start_index=start_index, **NAMES) == (
        f"{path}: its first frame is img_{first:05}.jpg, not img_{start_index:05}.jpg: set data.start_index={first} "
        f"(it is {start_index}), or extract the frames again"
    )


def test_a_check_names_the_number_the_frames_begin_with(folder):
    path = folder(range(80))
    assert said(check_frames, path, num_frames=80, start_index=1, **NAMES) == (
        f"{path} lacks img_00080.jpg; its frames begin with img_00000.jpg: set data.start_index=0"
    )
    check_frames(path, num_frames=79, start_index=1, **NAMES)
    assert "extract the frames again" in said(check_frames, path, num_frames=81, start_index=1, **NAMES)


def test_frames_with_another_suffix_are_named_with_the_setting(tmp_path):
    for number in range(1, 9):
        (tmp_path / f"img_{number:05}.png").touch()
    assert said(check_frames, tmp_path, num_frames=8, start_index=1, **NAMES) == (
        f"{tmp_path} lacks img_00001.jpg, img_00002.jpg, img_00003.jpg, img_00004.jpg, img_00005.jpg, … (8 of 8 "
        "frames); its first file is img_00001.png: set data.filename_tmpl='img_{:05}.png'"
    )
    assert said(check, [Record(str(tmp_path), 0, 8)]) == (
        f"list.txt: {tmp_path} lacks img_00001.jpg; its first file is img_00001.png: "
        "set data.filename_tmpl='img_{:05}.png'"
    )


@pytest.mark.parametrize(("name", "template", "number"), [
    ("img_00001.png", "img_{:05}.png", 1), ("7.jpg", "{}.jpg", 7), ("a12_0030 x.JPG", "a12_{:04} x.JPG", 30),
    ("frame.jpg", "", 0), ("notes1.txt", "", 0), ("{}1.png", "", 0),
])  # fmt: skip
def test_a_template_is_read_off_a_name(name, template, number):
    assert template_of(name) == (template, number)


def test_a_folder_that_may_not_be_read_is_named(folder, said_to_others):
    path = folder([1])
    path.chmod(0)
    text = said_to_others(lambda: count_frames("video", start_index=1, **NAMES), path.parent)
    assert text == "video: the folder of frames cannot be read (Permission denied)"


# ------------------------------------------------------------------------------------------------ those of a whole list


def check(records: list[Record], *, max_bad: float = 0.0) -> None:
    check_first_frames("list.txt", records, start_index=1, max_bad=max_bad, **NAMES)


def test_a_list_of_folders_numbered_from_zero_is_refused_before_one_is_read(folder):
    path = folder(range(80))
    assert said(check, [Record(str(path), 0, 80)], max_bad=0.5) == (
        f"list.txt: {path} lacks img_00080.jpg; its frames begin with img_00000.jpg: set data.start_index=0"
    )


def test_as_many_as_may_be_bad_wait_for_their_turn(folder):
    records = [Record(str(folder(range(3), "zero")), 0, 3), *[Record(str(folder(range(1, 4))), 0, 3)] * 9]
    check(records, max_bad=0.1)
    assert "zero lacks img_00003.jpg" in said(check, records, max_bad=0.09)


def test_frames_that_are_fewer_or_in_no_folder_are_left_to_the_reader(folder):
    check([Record(str(folder(range(1, 80))), 0, 80), Record("gone", 0, 80)])


def test_a_frame_before_the_first_that_is_read_is_remarked(folder):
    more, whole = Record(str(folder(range(81), "more")), 0, 80), Record(str(folder(range(1, 81))), 0, 80)
    check([more, whole])
    assert unused_first_frames([whole, more], start_index=1, **NAMES) == (
        f"1 of 2 folders looked at hold img_00000.jpg (the first is {more.path}), which is not read with "
        "data.start_index=1; if it is their first frame, set data.start_index=0"
    )
    assert unused_first_frames([whole], start_index=1, **NAMES) == ""
    assert unused_first_frames([more], start_index=0, **NAMES) == ""
    assert unused_first_frames([Record("1.mp4", 0, None)], start_index=1, **NAMES) == ""

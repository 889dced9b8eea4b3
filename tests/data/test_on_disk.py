"""Every video on the disk is listed, or counted among what is left out, with its reason; none vanishes."""

import os
from pathlib import Path

import av
import numpy as np
import pytest

from tpn.data.decode import VideoFile
from tpn.data.on_disk import FrameSpan, find_videos, frame_span, naming_remarks, numbering_remarks
from tpn.data.paths import VIDEO_SUFFIXES, is_video_name
from tpn.errors import DataError


@pytest.fixture
def source(tmp_path):
    """source("a/1.mp4", "empty/") makes empty files, and folders, under a folder and gives it."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.touch()
        return tmp_path

    return make


def said(function, *arguments, **options) -> str:
    with pytest.raises(DataError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def test_videos_of_class_folders_are_found_in_order(source):
    folder = source("run/2.MKV", "run/10.mp4", "a b/1.MTS", "a b/0.mts", "walk/x.m2ts", "walk/y.ogv", "walk/z.gif")
    assert find_videos(folder, format="videos", level=2) == (
        ["a b/0.mts", "a b/1.MTS", "run/10.mp4", "run/2.MKV", "walk/x.m2ts", "walk/y.ogv", "walk/z.gif"],
        [],
    )


def test_every_folder_left_out_is_named_with_its_reason(source):
    folder = source(
        "jump/1.mp4", ".ipynb_checkpoints/1.mp4", ".Trash/2.mp4", "@eaDir/1.mp4", "__MACOSX/jump/._1.mp4", "empty/",
        "none/", "notes/a.txt", "notes/b.txt", "notes/c", "deep/cam 1/1.mp4", "deep/cam 1/2.avi", "deep/cam 2/x.md",
    )  # fmt: skip
    paths, left_out = find_videos(folder, format="videos", level=2)
    assert paths == ["jump/1.mp4"]
    assert left_out == [
        "left out, hidden: .Trash, .ipynb_checkpoints",
        "left out, a folder of the system: @eaDir, __MACOSX",
        "left out, no video in it but 2 a level deeper (the first is deep/cam 1/1.mp4), "
        "1 folder without a video (the first is deep/cam 2): deep",
        "left out, nothing in it: empty, none",
        "left out, no video in it but 2 .txt (the first is notes/a.txt), "
        "1 without a suffix (the first is notes/c): notes",
    ]


def test_every_file_left_out_is_counted_by_its_reason(source):
    folder = source("jump/1.mp4", "jump/._1.mp4", "jump/1.srt", "jump/2.SRT", "jump/cut/3.mp4", "run/4.mov",
                    "run/a.part", "5.mp4", "README.md")  # fmt: skip
    (folder / "run/gone.mp4").symlink_to("nowhere.mp4")
    (folder / "run/loop.mp4").symlink_to("loop.mp4")
    os.mkfifo(folder / "run/pipe.mp4")
    paths, [line] = find_videos(folder, format="videos", level=2)
    assert paths == ["jump/1.mp4", "run/4.mov"]
    assert line == (
        "left out, no video to list: 1 hidden (the first is jump/._1.mp4), 2 .srt (the first is jump/1.srt), "
        "1 a level deeper (the first is jump/cut/3.mp4), 1 .part (the first is run/a.part), "
        "3 no file but a broken link or a pipe (the first is run/gone.mp4), 1 in no class folder (the first is 5.mp4), "
        "1 .md (the first is README.md)"
    )


def test_folders_of_frames_are_found_and_files_beside_them_counted(source):
    folder = source("a/1/", "a/.thumbs/", "a/list.txt", "b/img_00001.jpg", ".cache/1/")
    assert find_videos(folder, format="rawframes", level=2) == (["a/1"], [
        "left out, hidden: .cache",
        "left out, no folder of frames in it but 1 .jpg (the first is b/img_00001.jpg): b",
        "left out, no folder of frames to list: 1 hidden (the first is a/.thumbs), 1 .txt (the first is a/list.txt)",
    ])  # fmt: skip
    assert find_videos(folder, format="rawframes", level=1).paths == ["a", "b"]


def test_links_to_folders_and_videos_are_followed(source):
    folder = source("there/jump/1.mp4", "mine/")
    (folder / "mine/jump").symlink_to(folder / "there/jump")
    assert find_videos(folder / "mine", format="videos", level=2).paths == ["jump/1.mp4"]


def test_nothing_to_list_says_what_there_is_instead(source):
    folder = source("1.mp4", "a/b/2.mp4")
    assert said(find_videos, folder, format="videos", level=2).splitlines() == [
        f"{folder}: no video at level 2 (1: {folder}/x, 2: {folder}/class/x); correct the level",
        "left out, no video in it but 1 a level deeper (the first is a/b/2.mp4): a",
        "left out, no video to list: 1 in no class folder (the first is 1.mp4)",
    ]
    assert f"{folder}/a/b/2.mp4 is a video, no folder of frames: add --format videos" in said(
        find_videos, folder / "a/b", format="rawframes", level=1
    )
    assert f"there is no folder {folder}/x; name" in said(find_videos, folder / "x", format="videos", level=2)


def test_a_class_folder_that_may_not_be_read_is_an_error(source, said_to_others):
    folder = source("jump/1.mp4", "run/1.mp4")
    (folder / "run").chmod(0)
    text = said_to_others(lambda: find_videos(Path(), format="videos", level=2), folder)
    assert text == "the folder run cannot be read (Permission denied); change its permissions, or move it elsewhere"


def test_a_source_that_may_not_be_read_is_not_called_missing(source, said_to_others):
    folder = source("videos/jump/1.mp4")
    (folder / "videos").chmod(0)
    text = said_to_others(lambda: find_videos(Path("videos"), format="videos", level=2), folder)
    assert text == "the folder videos cannot be read (Permission denied); change its permissions, or move it elsewhere"


@pytest.mark.parametrize("name", ["a\nb/1.mp4", " a/1.mp4", "a/1\n.mp4"])
def test_names_that_no_list_can_hold_are_refused(source, name):
    assert f"the name {name!r} has a line break, or a space at an end" in said(
        find_videos, source(name), format="videos", level=2
    )


def test_all_names_that_no_list_can_hold_are_told_at_once(source):
    text = said(find_videos, source("a/1.mp4", "a/2.mp4 /3.mp4", " b/4.mp4", "b\udcff/5.mp4"), format="videos", level=2)
    assert [line.split("the name ")[1].split(" has ")[0].split(" is ")[0] for line in text.splitlines()] == [
        "' b/4.mp4'",
        "'b\\udcff/5.mp4'",
    ]


@pytest.mark.parametrize(("suffix", "container", "codec"), [
    (".mp4", "mp4", "libx264"), (".f4v", "mp4", "libx264"), (".MOV", "mov", "mpeg4"), (".3gp", "3gp", "mpeg4"),
    (".mkv", "matroska", "libx264"), (".webm", "webm", "libvpx"), (".avi", "avi", "mpeg4"), (".flv", "flv", "flv1"),
    (".wmv", "asf", "wmv2"), (".ogv", "ogg", "libvpx"), (".rm", "rm", "rv20"), (".mxf", "mxf", "mpeg2video"),
    (".MTS", "mpegts", "libx264"), (".m2ts", "mpegts", "mpeg2video"), (".mpg", "mpeg", "mpeg1video"),
    (".vob", "vob", "mpeg2video"), (".MOD", "vob", "mpeg2video"), (".m2v", "mpeg2video", "mpeg2video"),
    (".264", "h264", "libx264"), (".ivf", "ivf", "libvpx"), (".nut", "nut", "mpeg4"), (".gif", "gif", "gif"),
])  # fmt: skip
def test_what_is_listed_by_its_suffix_decodes(tmp_path, suffix, container, codec):
    path = tmp_path / f"video{suffix}"
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=25, width=176, height=144, pix_fmt="rgb8" if codec == "gif" else "yuv420p")
        for number in range(8):
            image = np.full((144, 176, 3), 25 * number, dtype=np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    assert is_video_name(path.name)
    with VideoFile(path) as video:
        assert len(video) == 8


def test_pictures_sound_and_text_are_no_videos():
    assert not VIDEO_SUFFIXES & {".jpg", ".png", ".webp", ".mp3", ".wav", ".m4a", ".txt", ".srt", ".json", ".part", ""}


# --------------------------------------------------------------------------------------------- the numbers of frames


def test_frames_are_counted_by_prefix_with_their_lowest_and_highest_number(source):
    folder = source(
        "v/img_00003.jpg", "v/img_00001.jpg", "v/flow_x_00009.jpg", "w/00000.jpg", "w/00001.png", "x/img_.jpg"
    )
    assert frame_span(folder / "v", "img_") == FrameSpan(2, 1, 3, "img_00001.jpg")
    assert frame_span(folder / "w", "0") == FrameSpan(2, 0, 1, "00000.jpg")
    assert frame_span(folder / "x", "img_") == FrameSpan(1, None, None, "img_.jpg")


def test_frames_that_do_not_begin_with_one_are_told_with_the_setting():
    assert numbering_remarks({"a": FrameSpan(80, 1, 80), "b": FrameSpan(1, None, None)}) == []
    assert numbering_remarks({"a": FrameSpan(80, 0, 79), "b": FrameSpan(7, 0, 6)}) == [
        "the frames are numbered from 0: set data.start_index=0"
    ]
    assert numbering_remarks({"a": FrameSpan(3, 1, 3), "b": FrameSpan(3, 0, 2), "c": FrameSpan(2, 0, 1)}) == [
        "folders are numbered differently, 2 from 0 (as b), 1 from 1 (as a): data.start_index is one number for all"
    ]


def test_frames_named_otherwise_than_in_the_recipe_are_told_with_the_setting():
    jpg, png = FrameSpan(8, 1, 8, "img_00001.jpg"), FrameSpan(8, 1, 8, "img_00001.png")
    assert naming_remarks({"a": jpg, "b": FrameSpan(1, None, None, "img_.jpg")}, "img_{:05}.jpg") == []
    assert naming_remarks({"a": png, "b": png}, "img_{:05}.jpg") == [
        "the frames are named like a/img_00001.png: set data.filename_tmpl='img_{:05}.png'"
    ]
    assert naming_remarks({"a": png, "b": jpg, "c": jpg}, "img_{:05}.jpg") == [
        "the frames of the folders are named differently, 1 like a/img_00001.png, 2 like b/img_00001.jpg: "
        "data.filename_tmpl is one for all"
    ]


def test_gaps_between_frames_are_told():
    assert numbering_remarks({"a": FrameSpan(80, 1, 80), "b": FrameSpan(79, 1, 80), "c": FrameSpan(2, 1, 1)}) == [
        "frames are missing, or there twice, in 2 folders (the first: b has 79 numbered 1 to 80): extract them again"
    ]

"""A folder that may not be entered or written to is named, whatever it is wanted for, and never called missing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tpn.check import delete
from tpn.config import load_config
from tpn.data.annotations import read_list
from tpn.data.decode import VideoFile
from tpn.data.frames import FrameFolder
from tpn.data.paths import closed_folder, kind_of
from tpn.engine.folder import RunFolder
from tpn.engine.results import check_output_path, check_results_path
from tpn.predict import open_video

CLOSED = "the folder closed may not be entered (Permission denied); change its permissions"


@pytest.fixture
def folder(sprites, tmp_path) -> Iterator[Path]:
    """closed/ holds a video, a link beside it leads there; ro/ may not be written to; two lists name the video."""
    for name in ("closed", "ro"):
        (tmp_path / name).mkdir()
    (tmp_path / "closed/a.mp4").write_bytes((sprites / "videos/val/00000.mp4").read_bytes())
    (tmp_path / "link.mp4").symlink_to("closed/a.mp4")
    (tmp_path / "list.txt").write_text("closed/a.mp4 0\n")
    (tmp_path / "list2.txt").write_text("closed/a.mp4 0\nclosed/b.mp4 0\n")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "ro").chmod(0o555)
    yield tmp_path
    (tmp_path / "closed").chmod(0o755)


@pytest.mark.parametrize("path", ["closed/a.mp4", "closed/none.mp4", "closed/deeper/a.mp4", "link.mp4"])
def test_what_lies_in_a_closed_folder_is_neither_read_nor_called_missing(path, folder, recipe, said_to_others):
    config = load_config(recipe)
    for read in (lambda: open_video(Path(path), config), lambda: VideoFile(path)):
        assert said_to_others(read, folder) == f"{path} cannot be looked at: {CLOSED}"


def test_frames_in_a_closed_folder_are_not_called_missing(folder, said_to_others):
    frames = FrameFolder("closed", num_frames=2, filename_tmpl="{}.jpg", start_index=1)
    assert said_to_others(lambda: frames.read([0]), folder) == f"closed/1.jpg cannot be looked at: {CLOSED}"


@pytest.mark.parametrize(
    ("ann_file", "prefix", "told"),
    [
        ("list.txt", "", f"list.txt:1: closed/a.mp4 cannot be looked at: {CLOSED}"),
        ("list.txt", ".", f"list.txt:1: closed/a.mp4 cannot be looked at: {CLOSED}"),
        ("list.txt", "closed/in", f"data_prefix closed/in cannot be looked at: {CLOSED}"),
        ("closed/list.txt", "", f"the list file closed/list.txt cannot be looked at: {CLOSED}"),
        ("list2.txt", "", "2 of 2 paths looked for are in folders that may not be entered, as closed"),
    ],
)
def test_a_list_of_videos_in_a_closed_folder_blames_the_folder(ann_file, prefix, told, folder, said_to_others):
    def read() -> None:
        read_list(ann_file, data_prefix=prefix, format="videos", num_classes=6)

    assert said_to_others(read, folder).split("\n")[0] == told


@pytest.mark.parametrize(
    ("path", "blamed"),
    [("closed/r.pkl", "closed"), ("closed/in/r.pkl", "closed"), ("ro/r.pkl", "ro"), ("ro/in/deep/r.pkl", "ro")],
)
def test_where_nothing_can_be_written_the_folder_is_named(path, blamed, folder, said_to_others):
    told = f"{path}: no file can be written into {blamed} (Permission denied)"
    assert said_to_others(lambda: check_results_path(Path(path)), folder) == told
    picture = Path(path).with_suffix(".png")
    said = said_to_others(lambda: check_output_path(picture, suffixes=[".png"], what="pictures"), folder)
    assert said == told.replace("r.pkl", "r.png")


@pytest.mark.parametrize(
    ("work_dir", "where"),
    [("closed", ""), ("closed/run", " into closed"), ("closed/a/b", " into closed"), ("ro", ""), ("ro/a", " into ro")],
)
def test_a_run_folder_that_cannot_be_made_names_the_folder_above(work_dir, where, folder, said_to_others):
    told = f"{work_dir}: the run folder cannot be written{where} (Permission denied); choose --work-dir"
    assert said_to_others(lambda: RunFolder(Path(work_dir)), folder) == told


def test_check_deletes_no_video_that_only_lacks_a_permission(tmp_path, said_to_others):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for name, mode in (("mine.mp4", 0), ("cut.mp4", 0o644)):
        (tmp_path / "open" / name).write_text("no video")
        (tmp_path / "open" / name).chmod(mode)
    said_to_others(lambda: delete(["open/mine.mp4", "open/cut.mp4"], Console(quiet=True)), tmp_path)
    assert [path.name for path in (tmp_path / "open").iterdir()] == ["mine.mp4"]


def test_a_path_says_of_itself_what_keeps_it_out_of_reach(tmp_path):
    """Where nothing does, the folder that a file would be written into is named."""
    assert kind_of(tmp_path / "none" / "a") is None
    assert closed_folder(tmp_path / "none" / "a") == tmp_path
    assert closed_folder("a") == Path()

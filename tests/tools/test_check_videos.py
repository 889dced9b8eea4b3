"""check_videos.py finds every video and every frame that training would stumble over, and deletes nothing unasked."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tpn.check import paths_of_others, some_frames
from tpn.data.sprites import write_video

SCRIPT = "analysis/check_videos.py"
FRAMES = np.random.default_rng(0).integers(256, size=(12, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def config(tmp_path, monkeypatch) -> Callable[..., Path]:
    """config(format, lines) writes a recipe with these lines as its training list; the tools run in its folder."""
    monkeypatch.chdir(tmp_path)

    def write(format: str, *lines: str) -> Path:
        Path("list.txt").write_text("".join(f"{line}\n" for line in lines))
        Path("config.py").write_text(f"""
model = dict(backbone=dict(type="ResNet3dSlowOnly"), cls_head=dict(num_classes=2))
_split = dict(ann_file="list.txt", data_prefix="data")
data = dict(format={format!r}, filename_tmpl="{{:05}}.jpg", clip_len=8, train=_split, val=_split, test=_split)
lr_config = dict(policy="step", step=[1])
total_epochs = 1
""")
        Path("data").mkdir(exist_ok=True)
        return Path("config.py")

    return write


def damaged_videos() -> None:
    """data/good.mp4, and beside it one that is cut off, one that is empty and one that is no video."""
    write_video(Path("data/good.mp4"), FRAMES)
    content = Path("data/good.mp4").read_bytes()
    Path("data/cut.mp4").write_bytes(content[: len(content) // 2])
    Path("data/empty.mp4").touch()
    Path("data/text.mp4").write_text("no video")


def test_sound_videos_are_counted(tool, config):
    recipe = config("videos", "good.mp4 0", "good.mp4 1")
    damaged_videos()
    Path("invalid-video.txt").write_text("data/good.mp4\n")
    assert tool(SCRIPT, recipe) == (0, "Checked 2 videos, none are corrupted/missing\n", "")
    assert not Path("invalid-video.txt").exists()


def test_bad_videos_are_named_counted_and_listed(tool, config):
    recipe = config("videos", "good.mp4 0", "cut.mp4 1", "gone.mp4 0", "empty.mp4 1", "text.mp4 1")
    damaged_videos()
    outcome = tool(SCRIPT, recipe, "--split", "val", "--num-processes", 2, "--output-file", "new/bad.txt")
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    names = ["data/cut.mp4", "data/gone.mp4", "data/empty.mp4", "data/text.mp4"]
    assert [line.split()[0].rstrip(":") for line in lines[:4]] == names
    assert lines[4:] == ["Checked 5 videos, 4 are corrupted/missing.", "their paths are in new/bad.txt"]
    assert Path("new/bad.txt").read_text().splitlines() == names
    assert all(Path(name).exists() for name in names if "gone" not in name), "nothing is deleted unless asked for"


def test_a_check_that_cannot_begin_makes_no_folder(tool, config, caplog):
    outcome = tool(SCRIPT, config("videos", "good.mp4"), "--output-file", "new/bad.txt")
    assert outcome.code == 2
    assert not Path("new").exists()
    assert not caplog.messages


def test_what_an_earlier_check_found_in_another_list_stays(tool, config):
    recipe = config("videos", "good.mp4 0", "cut.mp4 1", "gone.mp4 0")
    damaged_videos()
    assert tool(SCRIPT, recipe).code == 1
    other = config("videos", "good.mp4 0")
    outcome = tool(SCRIPT, other)
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "Checked 1 video, none are corrupted/missing",
        "invalid-video.txt keeps 2 paths of other lists, checked earlier",
    ]
    assert Path("invalid-video.txt").read_text() == "data/cut.mp4\ndata/gone.mp4\n"
    tool(SCRIPT, config("videos", "empty.mp4 1", "gone.mp4 0"))
    assert Path("invalid-video.txt").read_text() == "data/cut.mp4\ndata/empty.mp4\ndata/gone.mp4\n"
    Path("data/cut.mp4").write_bytes(Path("data/good.mp4").read_bytes())
    tool(SCRIPT, config("videos", "cut.mp4 1", "good.mp4 0"))
    assert Path("invalid-video.txt").read_text() == "data/empty.mp4\ndata/gone.mp4\n"


def test_an_earlier_checks_file_that_may_not_be_read_is_named(tmp_path, said_to_others):
    (tmp_path / "bad.txt").touch(mode=0)
    assert said_to_others(lambda: paths_of_others(Path("bad.txt"), []), tmp_path) == (
        "bad.txt cannot be read (Permission denied); name another --output-file"
    )


def test_corrupted_videos_are_deleted_on_request_and_named(tool, config):
    recipe = config("videos", "good.mp4 0", "cut.mp4 1", "gone.mp4 0", "cut.mp4 1")
    damaged_videos()
    out = tool(SCRIPT, recipe, "--remove-corrupted-videos").out
    assert out.endswith("Start deleting corrupted videos\ndeleted data/cut.mp4\nDeleted 1 corrupted video.\n")
    assert {path.name for path in Path("data").iterdir()} == {"good.mp4", "empty.mp4", "text.mp4"}


def frame_folder(name: str, numbers: range) -> None:
    folder = Path("data", name)
    folder.mkdir()
    for number in numbers:
        cv2.imwrite(str(folder / f"{number:05}.jpg"), FRAMES[0])


def test_missing_frames_of_folders_are_named(tool, config):
    recipe = config("rawframes", "good 5 0", "some 7 0", "many 9 0", "gone 5 0", "torn 4 1")
    frame_folder("good", range(1, 6))
    frame_folder("some", range(3, 8))
    frame_folder("many", range(9, 10))
    frame_folder("torn", range(1, 5))
    Path("data/torn/00004.jpg").write_bytes(Path("data/torn/00001.jpg").read_bytes()[:20])
    lines = tool(SCRIPT, recipe).out.splitlines()
    assert lines[0] == "data/some lacks 00001.jpg, 00002.jpg; extract the frames again"
    assert lines[1].startswith(
        "data/many lacks 00001.jpg, 00002.jpg, 00003.jpg, 00004.jpg, 00005.jpg, … (8 of 9 frames)"
    )
    assert lines[2].startswith("data/gone: the folder of frames cannot be read")
    assert lines[3].startswith("data/torn/00004.jpg is not an image")
    assert lines[4] == "Checked 5 videos, 4 are corrupted/missing."


def test_folders_of_frames_are_never_deleted(tool, config):
    recipe = config("rawframes", "good 5 0")
    outcome = tool(SCRIPT, recipe, "--remove-corrupted-videos")
    assert outcome.code == 2
    assert "deletes video files only" in outcome.err


def test_flags_without_effect_warn(tool, config):
    recipe = config("videos", "good.mp4 0")
    damaged_videos()
    outcome = tool(SCRIPT, recipe, "--decoder", "decord", "--options", "a=1")
    assert outcome.code == 0
    assert [line.split(":")[1] for line in outcome.err.splitlines()] == [
        " --decoder has no effect",
        " --options has no effect",
    ]
    assert tool(SCRIPT, recipe, "--decoder", "pyav").err == ""


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 1000])
def test_first_last_and_frames_in_between_are_decoded(num_frames):
    frames = some_frames(num_frames)
    assert frames[0] == 0 and frames[-1] == num_frames - 1
    assert frames == sorted(set(frames))
    assert len(frames) == min(num_frames, 5)


# ----------------------------------------------------------------------------------------- all frames, and what is said


def test_damage_in_the_middle_is_found_where_every_frame_is_decoded(tool, config):
    recipe = config("videos", "a.mp4 0")
    frames = np.random.default_rng(0).integers(256, size=(40, 32, 32, 3), dtype=np.uint8)
    write_video(Path("data/a.mp4"), frames)
    content = bytearray(Path("data/a.mp4").read_bytes())
    decoded = some_frames(40)
    hurt = next(number for number in range(5, 35) if number not in decoded)
    with av.open("data/a.mp4") as container:
        packet = [packet for packet in container.demux(video=0) if packet.size and packet.pts is not None][hurt]
    content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    Path("data/a.mp4").write_bytes(content)
    outcome = tool(SCRIPT, recipe, "--full")
    assert outcome.code == 1
    assert "data/a.mp4 is damaged" in outcome.out


def test_empty_pictures_in_an_avi_are_not_remarked_on(tool, config):
    recipe = config("videos", "slow.avi 0")
    with av.open("data/slow.avi", "w") as container:
        stream = container.add_stream("mpeg4", rate=50)
        stream.width = stream.height = 32
        for number, image in enumerate(FRAMES):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts = 2 * number  # between each two of them the container gets an empty one
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert tool(SCRIPT, recipe) == (0, "Checked 1 video, none are corrupted/missing\n", "")


def test_what_videos_ask_for_is_counted(tool, config):
    recipe = config("videos", "a.mp4 0", "b.mp4 1")
    for name in ("a.mp4", "b.mp4"):
        write_video(Path("data") / name, FRAMES)
    with av.open("data/b.mp4") as old, av.open("data/c.mp4", "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        stream.set_display_rotation(90)
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    Path("data/c.mp4").replace("data/b.mp4")
    outcome = tool(SCRIPT, recipe)
    assert outcome.out.splitlines()[0] == "Checked 2 videos, none are corrupted/missing"
    assert "1 with a mark to turn them (done: data.rotation='apply'): data/b.mp4" in outcome.out

"""`tpn data pack`: every video once more, none lost, doubled or overwritten, whatever happens on the way."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tpn.data.decode import VideoFile
from tpn.data.sprites import write_video
from tpn.pack import is_hardly_worth_it

BITS = 6


def numbered(num_frames: int, size: int = 48) -> np.ndarray:
    """(num_frames, size, size, 3): each shows its number as black and white bars, the lowest bit on the left."""
    bits = np.arange(num_frames)[:, None] >> np.arange(BITS) & 1  # (F, BITS)
    bars = np.repeat(bits * 255, size // BITS, axis=1).astype(np.uint8)  # (F, W)
    return np.ascontiguousarray(np.broadcast_to(bars[:, None, :, None], (num_frames, size, size, 3)))


def numbers(path: Path) -> list[int]:
    """What the frames of a video show."""
    with VideoFile(path) as video:
        frames = video.read(range(len(video)))
    width = frames.shape[2] // BITS
    bars = frames[:, frames.shape[1] // 2, width // 2 :: width, 0] > 127  # (F, BITS)
    return (bars << np.arange(BITS)).sum(axis=1).tolist()


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """dataset({name: number of frames}) writes videos and their list; the command runs in the folder of both."""
    monkeypatch.chdir(tmp_path)

    def write(videos: dict[str, int], name: str = "list.txt", size: int = 48) -> str:
        for video, num_frames in videos.items():
            Path("videos", video).parent.mkdir(parents=True, exist_ok=True)
            write_video(Path("videos", video), numbered(num_frames, size))
        Path(name).write_text("".join(f"{video} {label}\n" for label, video in enumerate(videos)), encoding="utf-8")
        return name

    return write


def pack(tpn, *arguments: object):
    return tpn("data", "pack", "list.txt", "--data-prefix", "videos", "--out", "packed", *arguments)


def test_every_frame_is_there_in_order_and_the_list_is_the_same(tpn, dataset):
    dataset({"a/one.mp4": 40, "b/two words.mp4": 17, "b/ünï→.mp4": 1})
    outcome = pack(tpn, "--workers", 2)
    assert outcome.code == 0, outcome.err
    assert Path("packed/list.txt").read_bytes() == Path("list.txt").read_bytes()
    assert numbers(Path("packed/a/one.mp4")) == list(range(40))
    assert numbers(Path("packed/b/two words.mp4")) == list(range(17))
    assert numbers(Path("packed/b/ünï→.mp4")) == [0]
    for told in ("size: ", "reading a training clip", "reading a test video", "x faster", "accuracy"):
        assert told in outcome.out


def test_names_of_any_kind_stay_and_others_than_mp4_get_the_suffix(tpn, dataset):
    names = ["-i.mp4", "a:b.mp4", "100% %d.mp4", "x'y\"z.mp4", "$(touch no).mp4", "UPPER.MP4", "old.mkv", "old.mp4"]
    dataset(dict.fromkeys(names, 3))
    assert pack(tpn).code == 0
    expected = [name if name.lower().endswith(".mp4") else f"{name}.mp4" for name in names]
    lines = Path("packed/list.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [f"{name} {label}" for label, name in enumerate(expected)]
    assert all(numbers(Path("packed", name)) == [0, 1, 2] for name in expected)
    assert not Path("no").exists()


@pytest.mark.parametrize("name", ["../outside.mp4", "a/../../outside.mp4", "/outside.mp4"])
def test_nothing_is_written_outside_the_folder(tpn, dataset, name):
    dataset({"a.mp4": 2})
    Path("list.txt").write_text(f"a.mp4 0\n{name} 1\n")
    outcome = pack(tpn)
    assert outcome.code == 2
    assert "outside.mp4" in outcome.err
    assert "data_prefix videos" in outcome.err
    assert not Path("packed").exists()


def test_a_json_list_stays_one(tpn, dataset):
    dataset({"a.mp4": 3, "b.mp4": 3})
    Path("list.json").write_text(json.dumps([{"filename": "b.mp4", "label": [1]}, {"filename": "a.mp4", "label": [0]}]))
    assert tpn("data", "pack", "list.json", "--data-prefix", "videos", "--out", "packed").code == 0
    assert json.loads(Path("packed/list.json").read_text()) == json.loads(Path("list.json").read_text())


def test_a_video_listed_twice_is_packed_once(tpn, dataset):
    dataset({"a.mp4": 3})
    Path("list.txt").write_text("a.mp4 0\na.mp4 1\n")
    assert pack(tpn).code == 0
    assert Path("packed/list.txt").read_text() == "a.mp4 0\na.mp4 1\n"


def test_folders_of_frames_become_a_list_of_videos(tpn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, count in (("x/one", 9), ("x/two", 4)):
        Path("frames", name).mkdir(parents=True)
        for number, image in enumerate(numbered(count)):
            cv2.imwrite(f"frames/{name}/{number:03}.png", image)
    Path("list.txt").write_text("x/one 9 5\nx/two 4 6\n")
    outcome = tpn(
        "data", "pack", "list.txt", "--data-prefix", "frames", "--out", "packed", "--format", "rawframes",
        "--filename-tmpl", "{:03}.png", "--start-index", 0,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert Path("packed/list.txt").read_text() == "x/one.mp4 5\nx/two.mp4 6\n"
    assert numbers(Path("packed/x/one.mp4")) == list(range(9))


def test_wrong_names_of_images_are_told_as_options_and_may_be_put_right(tpn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("frames/one").mkdir(parents=True)
    for number, image in enumerate(numbered(9)):
        cv2.imwrite(f"frames/one/{number:03}.png", image)
    Path("list.txt").write_text("one 9 0\n")
    run = ["data", "pack", "list.txt", "--data-prefix", "frames", "--out", "packed", "--format", "rawframes"]
    outcome = tpn(*run)
    assert outcome.code == 2
    assert "its first file is 000.png: set --filename-tmpl '{:03}.png'" in outcome.out
    run += ["--filename-tmpl", "{:03}.png"]
    outcome = tpn(*run)
    assert outcome.code == 2
    assert "its frames begin with 000.png: set --start-index 0" in outcome.out
    outcome = tpn(*run, "--start-index", 0)
    assert outcome.code == 0, outcome.err
    assert numbers(Path("packed/one.mp4")) == list(range(9))
    assert "--out packed was packed with start_index = 0; give" in tpn(*run, "--start-index", 1).err


def test_names_of_images_that_ask_for_more_than_a_number_are_refused(tpn):
    template = "img_{:0999999999}.jpg"
    outcome = tpn("data", "pack", "list.txt", "--out", "packed", "--format", "rawframes", "--filename-tmpl", template)
    assert outcome.code == 2
    assert "expected the frame's number once, as in 'img_{:05}.jpg'" in outcome.err
    assert template in outcome.err


# -------------------------------------------------------------------------------------------------------- bad sources


def test_bad_videos_are_named_and_the_others_packed(tpn, dataset):
    dataset({"a.mp4": 3, "b.mp4": 3})
    Path("videos/bad.mp4").write_bytes(b"no video")
    Path("list.txt").write_text("a.mp4 0\nbad.mp4 1\nnone.mp4 2\nb.mp4 3\n")
    outcome = pack(tpn)
    assert outcome.code == 2
    assert "2 of 4 videos cannot be packed" in outcome.err
    reasons = Path("packed/list_bad.txt").read_text().splitlines()
    assert [reason.split()[0] for reason in reasons] == ["videos/bad.mp4", "videos/none.mp4"]
    assert not Path("packed/list.txt").exists()

    left_out = pack(tpn, "--skip-bad")
    assert left_out.code == 0
    assert "2 of 4 videos are in packed already" in left_out.out
    assert Path("packed/list.txt").read_text() == "a.mp4 0\nb.mp4 3\n"

    for name in ("bad", "none"):
        write_video(Path(f"videos/{name}.mp4"), numbered(5))
    assert pack(tpn).code == 0
    assert Path("packed/list.txt").read_text() == Path("list.txt").read_text()
    assert not Path("packed/list_bad.txt").exists()


def test_a_list_of_bad_videos_only_is_an_error(tpn, dataset):
    dataset({})
    Path("list.txt").write_text("none.mp4 0\n")
    outcome = pack(tpn, "--skip-bad")
    assert outcome.code == 2
    assert "of its 1 video none can be packed" in outcome.err


# ---------------------------------------------------------------------------------------------- the folder written to


def test_the_folder_of_the_videos_is_refused(tpn, dataset):
    dataset({"a.mp4": 3})
    before = Path("videos/a.mp4").read_bytes()
    for out in ("videos", "./videos/../videos", "."):
        outcome = tpn("data", "pack", "list.txt", "--data-prefix", "videos", "--out", out)
        assert outcome.code == 2
        assert "name another folder" in outcome.err
    assert Path("videos/a.mp4").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["list.txt", "videos"]


def test_a_folder_with_other_files_is_refused(tpn, dataset):
    dataset({"a.mp4": 3})
    Path("packed").mkdir()
    Path("packed/a.mp4").write_text("precious")
    assert "holds other files; name a new folder" in pack(tpn).err
    assert Path("packed/a.mp4").read_text() == "precious"


def test_other_settings_are_refused(tpn, dataset):
    dataset({"a.mp4": 3})
    assert pack(tpn).code == 0
    outcome = pack(tpn, "--gop", 32)
    assert outcome.code == 2
    assert "--out packed was packed with gop = 16; give the same settings again" in outcome.err


def test_lists_of_one_data_prefix_share_a_folder(tpn, dataset):
    dataset({"a.mp4": 3, "b.mp4": 3})
    dataset({"b.mp4": 3, "c.mp4": 3}, name="other.txt")
    assert pack(tpn).code == 0
    outcome = tpn("data", "pack", "other.txt", "--data-prefix", "videos", "--out", "packed")
    assert outcome.code == 0
    assert "1 of 2 videos are in packed already" in outcome.out
    assert sorted(path.name for path in Path("packed").iterdir()) == [
        "a.mp4", "b.mp4", "c.mp4", "list.txt", "other.txt", "pack.json",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["videos", "none.txt"])
def test_what_is_no_list_is_named_without_settings_of_recipes(tpn, dataset, name):
    dataset({"a.mp4": 3})
    outcome = tpn("data", "pack", name, "--data-prefix", "videos", "--out", "packed")
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: the list {name} is ")
    assert "ann_file" not in outcome.err
    assert not Path("packed").exists()


@pytest.mark.parametrize("after, ratios, expected", [
    (200, (1.5, 1.9), True), (200, (1.5, 2.5), False), (90, (1.1, 1.1), False),
])  # fmt: skip
def test_packing_is_hardly_worth_it_where_a_set_grows_and_reads_no_faster(after, ratios, expected):
    assert is_hardly_worth_it(100, after, ratios) == expected


def test_a_set_that_packing_makes_larger_and_no_faster_is_told_so(tpn, dataset):
    """Videos packed once, and then again with less loss."""
    dataset({"a.mp4": 40, "b.mp4": 40}, size=96)
    assert pack(tpn, "--crf", 40).code == 0
    outcome = tpn("data", "pack", "packed/list.txt", "--data-prefix", "packed", "--out", "again", "--crf", 1)
    assert outcome.code == 0
    assert "packing is hardly worth it here. A higher --crf" in outcome.out


# ------------------------------------------------------------------------------------------------------- interruptions


def test_ctrl_c_gives_up_running_videos_and_tells_how_to_go_on(tpn, dataset, environment):
    dataset({f"{number:02}.mp4": 60 if number < 2 else 4_000 for number in range(4)}, size=96)
    command = ["data", "pack", "list.txt", "--data-prefix", "videos", "--out", "packed", "--workers", "1"]
    start = [sys.executable, "-c", "from tpn.cli import main; main()", *command]
    process = subprocess.Popen(
        start, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # which a background job ignores
    )  # fmt: skip
    while not list(Path("packed").glob("*.mp4")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped, running videos are given up: the same command goes on with the videos that are left" in out
    assert not list(Path("packed").glob(".*"))
    assert err.splitlines()[-1] == "interrupted"


def test_a_killed_run_goes_on_where_it_was(tpn, dataset, environment):
    videos = {f"{number:02}.mp4": 60 for number in range(24)}
    dataset(videos, size=96)
    command = ["data", "pack", "list.txt", "--data-prefix", "videos", "--out", "packed", "--workers", "2"]
    start = [sys.executable, "-c", "from tpn.cli import main; main()", *command]
    process = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL)
    while not (done := list(Path("packed").glob("*.mp4"))):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(done) < len(videos)
    assert all(numbers(path) == list(range(60)) for path in done)  # a file that has its name is whole
    before = {path: path.stat().st_mtime_ns for path in done}

    time.sleep(0.5)  # its helpers end by themselves
    outcome = pack(tpn, "--workers", 2)
    assert outcome.code == 0, outcome.err
    assert "of 24 videos are in packed already" in outcome.out
    assert before == {path: path.stat().st_mtime_ns for path in done}
    assert Path("packed/list.txt").read_bytes() == Path("list.txt").read_bytes()
    assert all(numbers(Path("packed", name)) == list(range(60)) for name in videos)
    assert not list(Path("packed").glob(".*"))

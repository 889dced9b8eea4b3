"""Videos that ask to be turned are turned, as ffmpeg turns them; their pixels stay as they were."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from tests.data.remuxing import copy, replaced
from tpn.data.annotations import Record
from tpn.data.decode import VideoFile
from tpn.data.display import UPRIGHT, Turn
from tpn.data.encode import pictures
from tpn.data.marks import Marks, describe_marks, marks_remark
from tpn.errors import DataError

ONE = 1 << 16
SIDEWAYS = {"width": 64, "height": 48, "num_frames": 6}
# (a, b, c, d) of a display matrix that shows the point (p, q) at (a p + c q, b p + d q), p to the right and q down; and
# the same by NumPy on a picture of rows.
MATRICES = {
    "upright": ((1, 0, 0, 1), lambda image: image),
    "clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "half a turn": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "counterclockwise": ((0, -1, 1, 0), np.rot90),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda image: image[::-1]),
    "transposed": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    "transposed the other way": ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
}
# By ffmpeg 5.1. OpenCV 5.0, decord 0.6.0 and torchcodec 0.13 agree on the first two, and turn the third without
# mirroring it: they read an angle from the matrix, which has none for a mirror.
REAL = {
    "rotated.mp4": "counterclockwise",
    "rotated_hdr.mov": "clockwise",
    "rotated_and_mirrored.mp4": "transposed",
}


@pytest.fixture
def marked(make_video, tmp_path):
    """marked(a, b, c, d, suffix) is a video with this display matrix."""

    def make(a: float, b: float, c: float, d: float, suffix: str = "mp4"):
        source = make_video("to_be_turned.mp4", **SIDEWAYS)
        path = tmp_path / f"turned.{suffix}"
        with av.open(str(source)) as old, av.open(str(path), "w") as new:
            stream = new.add_stream_from_template(old.streams.video[0])
            matrix = [round(each * ONE) for each in (a, b, 0, c, d, 0, 0, 0)]
            stream.set_display_matrix([*matrix, 1 << 30])
            for packet in old.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    new.mux(packet)
        return path

    return make


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("name", MATRICES)
def test_frames_are_turned_and_mirrored(marked, name, suffix):
    matrix, turn = MATRICES[name]
    path = marked(*matrix, suffix)
    with VideoFile(path, rotation="ignore") as video:
        stored = video.read([1, 4])
    with VideoFile(path) as video:
        shown = video.read([1, 4])
    np.testing.assert_array_equal(shown, [turn(image) for image in stored])
    assert stored.shape == (2, 48, 64, 3)


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_turned_as_others_turn_them(shared, name):
    path = shared / "videos/real" / name
    _, turn = MATRICES[REAL[name]]
    with VideoFile(path, rotation="ignore") as video:
        stored = video.read([0, 7])
    with VideoFile(path) as video:
        np.testing.assert_array_equal(video.read([0, 7]), [turn(image) for image in stored])


def test_another_angle_is_not_applied_but_noticed(marked):
    with VideoFile(marked(0.8, 0.6, -0.6, 0.8)) as video:
        assert video.read([0]).shape == (1, 48, 64, 3)
        assert video.turn is None


def test_a_degree_off_is_a_quarter_turn_still(marked):
    with VideoFile(marked(0.01, 1, -1, 0.01)) as video:
        assert video.read([0]).shape == (1, 64, 48, 3)
        assert video.turn == Turn(True, True, False)


def test_pixels_that_are_not_square_are_noticed_and_stay(encode_frames, tmp_path):
    frames = np.random.default_rng(0).integers(256, size=(3, 48, 64, 3), dtype=np.uint8)
    path = encode_frames(tmp_path / "wide.mp4", frames, options={"x264-params": "sar=4/3"})
    with VideoFile(path) as video:
        assert video.read([0]).shape == (1, 48, 64, 3)
        assert video.pixel_aspect == Fraction(4, 3)
        assert video.turn == UPRIGHT


def test_what_videos_ask_for_is_counted_and_bad_ones_are_not(marked, make_video, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    paths = [marked(0, 1, -1, 0), make_video("to_be_turned.mp4", **SIDEWAYS), broken]
    records = [Record(str(path), 0, None) for path in paths]
    assert marks_remark(records, rotation="apply", read_timeout=60, processes=2) == (
        f"of 2 videos looked at, 1 with a mark to turn them (done: data.rotation='apply'): {paths[0]}"
    )
    assert marks_remark(records[1:], rotation="apply", read_timeout=60, processes=1) == ""
    assert not any(Marks())


# The orientations of Exif, by the same on a picture of rows.
EXIF = {1: "upright", 2: "mirrored", 3: "half a turn", 4: "upside down", 5: "transposed", 6: "clockwise",
        7: "transposed the other way", 8: "counterclockwise"}  # fmt: skip


def with_exif(source: Path, path: Path, orientation: int) -> Path:
    """Motion JPEG with Exif in each picture, as still cameras write it."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    marker = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    return copy(source, path, lambda packets: (replaced(p, bytes(p)[:2] + marker + bytes(p)[2:]) for p in packets))


@pytest.mark.parametrize("orientation", EXIF)
@pytest.mark.parametrize("suffix", ["avi", "mov", "mkv"])
def test_pictures_with_exif_are_read_and_turned_as_it_says(make_video, tmp_path, orientation, suffix):
    """PyAV 18.1 has no name for such data beside a frame."""
    source = make_video(f"no_exif.{suffix}", codec="mjpeg", pix_fmt="yuvj420p", **SIDEWAYS)
    path = with_exif(source, tmp_path / f"exif.{suffix}", orientation)
    with VideoFile(source) as video:
        stored = video.read([1, 4])
    with VideoFile(path, rotation="ignore") as video:
        np.testing.assert_array_equal(video.read([1, 4]), stored)
    with VideoFile(path) as video:
        _, turn = MATRICES[EXIF[orientation]]
        np.testing.assert_array_equal(video.read([1, 4]), [turn(image) for image in stored])
        assert len(list(pictures(video))) == len(video)


def test_tiff_pictures_are_read(make_video):
    with VideoFile(make_video("pictures.mov", codec="tiff", pix_fmt="rgb24", **SIDEWAYS)) as video:
        assert video.read([1, 4]).shape == (2, 48, 64, 3)


def turned_in_its_bits(source: Path, path: Path, angle: int) -> Path:
    """A raw H.264 stream whose keyframes say that it is to be turned."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        mark = BitStreamFilterContext(f"h264_metadata=display_orientation=insert:rotate={angle}", stream)
        for packet in old.demux(video=0):
            for marked in mark.filter(packet if packet.size else None):
                marked.stream = stream
                new.mux(marked)
    return path


def test_what_a_keyframe_says_holds_for_the_frames_after_it(make_video, tmp_path):
    source = make_video("raw.h264", **SIDEWAYS)
    with VideoFile(source) as video:
        stored = video.read(range(6))
    with VideoFile(turned_in_its_bits(source, tmp_path / "turned.h264", 90)) as video:
        np.testing.assert_array_equal(video.read(range(6)), [np.rot90(image) for image in stored])
        np.testing.assert_array_equal(video.read([4]), [np.rot90(stored[4])])
        assert {frame.height for frame in pictures(video)} == {64}


@pytest.mark.parametrize("angle", [90, 180])
@pytest.mark.parametrize("turned_first", [True, False])
def test_a_turn_that_changes_midway(make_video, tmp_path, angle, turned_first):
    """Each part is as it asks; both at once are refused where they are of two sizes."""
    source = make_video("raw.h264", **SIDEWAYS)
    with VideoFile(source) as video:
        stored = video.read(range(6))
    turned = turned_in_its_bits(source, tmp_path / "turned.h264", angle)
    parts = [turned, source] if turned_first else [source, turned]
    turns = [angle // 90, 0] if turned_first else [0, angle // 90]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with VideoFile(path) as video:
        for part, turn in enumerate(turns):
            numbers = [part * 6 + number for number in (0, 3, 5)]
            np.testing.assert_array_equal(video.read(numbers), [np.rot90(stored[n], turn) for n in (0, 3, 5)])
        if angle == 180:
            assert video.read([5, 6]).shape == (2, 48, 64, 3)
            return
        refusal = "turns its pictures by another angle from frame 6 on"
        with pytest.raises(DataError, match=refusal):
            video.read([5, 6])
        with pytest.raises(DataError, match=refusal):
            list(pictures(video))
    with VideoFile(path, rotation="ignore") as video:
        np.testing.assert_array_equal(video.read([5, 6]), stored[[5, 0]])


def test_marks_name_the_first_three_videos():
    found = [(f"{number}.mp4", Marks(turned=True, stretched=number == 4)) for number in range(5)]
    assert describe_marks(found, "ignore") == (
        "5 with a mark to turn them (not done: data.rotation='ignore'): 0.mp4, 1.mp4, 2.mp4 and 2 more; "
        "1 with pixels that are not square (read as stored, as in the reference): 4.mp4"
    )
    assert describe_marks([("0.mp4", Marks())], "apply") == ""

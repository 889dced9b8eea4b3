"""A video cut off anywhere is named, or has all its frames; whole ones are read, whatever their headers leave open."""

import math
import struct

import av
import numpy as np
import pytest

from tpn.data.containers import pauses_keep_promise
from tpn.data.decode import VideoFile
from tpn.errors import DataError

FRAMES = 40
CONTAINERS = {  # suffix and codec, and what the muxer is told
    "avi, mpeg4": (".avi", "mpeg4", {}),
    "avi, mjpeg": (".avi", "mjpeg", {}),
    "mp4": (".mp4", "libx264", {}),
    "mp4, fragments": (".mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    "mov": (".mov", "mjpeg", {"movflags": "faststart"}),
    "mkv": (".mkv", "libx264", {}),
    "webm": (".webm", "libvpx", {}),
    "flv": (".flv", "libx264", {}),
    "wmv": (".wmv", "wmv2", {}),
}
OPEN_ENDED = {  # of writers that cannot go back to say how long the file has become
    "mkv, live": (".mkv", "libx264", {"live": "1"}),
    "flv, no size": (".flv", "libx264", {"flvflags": "no_duration_filesize"}),
    "mpegts": (".ts", "libx264", {}),
}


@pytest.fixture
def whole(make_video):
    """whole(name): a video in this container."""

    def make(name: str):
        suffix, codec, muxer = (CONTAINERS | OPEN_ENDED)[name]
        pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        return make_video(f"whole {name}{suffix}", num_frames=FRAMES, codec=codec, muxer=muxer, pix_fmt=pix_fmt)

    return make


def count(path, content: bytes) -> int:
    path.write_bytes(content)
    with VideoFile(path) as video:
        return len(video)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_video_cut_off_anywhere_is_named_or_has_all_its_frames(whole, tmp_path, name):
    content, path = whole(name).read_bytes(), tmp_path / f"a{whole(name).suffix}"
    assert count(path, content) == FRAMES
    told = 0
    for percent in (1, 20, 40, 50, 60, 70, 80, 90, 95, 99):
        try:
            assert count(path, content[: len(content) * percent // 100]) == FRAMES
        except DataError as error:
            assert str(path) in str(error)
            told += 1
    assert told > 4


@pytest.mark.parametrize("name", [*CONTAINERS, *OPEN_ENDED])
def test_a_whole_video_is_read_also_with_bytes_after_its_end(whole, tmp_path, name):
    path = tmp_path / f"a{whole(name).suffix}"
    assert count(path, whole(name).read_bytes()) == FRAMES
    if name != "mpegts":
        assert count(path, whole(name).read_bytes() + bytes(999)) == FRAMES


@pytest.mark.parametrize("name", OPEN_ENDED)
def test_where_the_container_does_not_say_its_length_what_is_there_is_read(whole, tmp_path, name):
    content = whole(name).read_bytes()
    try:
        assert 0 < count(tmp_path / "a", content[: len(content) * 2 // 3]) < FRAMES
    except DataError as error:
        assert "is cut off after" in str(error)


@pytest.mark.parametrize("size", [math.nan, math.inf, -math.inf, 1e300, -1.0])
def test_an_flv_whose_size_is_no_size_is_read_or_named(whole, tmp_path, size):
    content = bytearray(whole("flv").read_bytes())
    at = content.index(b"\x08filesize\0") + 10
    content[at : at + 8] = struct.pack(">d", size)
    assert is_read_or_named(tmp_path / "a.flv", content)


@pytest.mark.parametrize("size", [0, 15, 1 << 62, (1 << 63) - 1, (1 << 64) - 1])
def test_an_mp4_with_a_box_of_an_impossible_size_is_read_or_named(whole, tmp_path, size):
    content = whole("mp4").read_bytes() + struct.pack(">I4sQ", 1, b"mdat", size) + bytes(50)
    assert is_read_or_named(tmp_path / "a.mp4", content)


@pytest.mark.parametrize("size", [b"\0", b"\x01\xff", b"\xff", b"\x01" + bytes(7)])
def test_a_matroska_segment_of_an_impossible_size_is_read_or_named(whole, tmp_path, size):
    content = whole("mkv").read_bytes()
    at = content.index(b"\x18\x53\x80\x67") + 4
    assert is_read_or_named(tmp_path / "a.mkv", content[:at] + size + content[at + 8 :])
    assert is_read_or_named(tmp_path / "b.mkv", content[:at])


def is_read_or_named(path, content: bytes) -> bool:
    try:
        return count(path, content) == FRAMES
    except DataError as error:
        return str(path) in str(error)


# ----------------------------------------------------------------------------------------------------------------- AVI


def chunks(content: bytes) -> tuple[bytes, list[bytes]]:
    """What comes before an AVI's frames, from its RIFF header on, and the frames' chunks."""
    start = content.index(b"movi") + 4
    (size,) = struct.unpack_from("<I", content, start - 8)
    at, found = start, []
    while at < start + size - 4:
        (length,) = struct.unpack_from("<I", content, at + 4)
        found.append(content[at : at + 8 + length + length % 2])
        at += len(found[-1])
    return content[12 : start - 12], found


def part(kind: bytes, header: bytes, frames: list[bytes]) -> bytes:
    body = b"".join(frames)
    inside = kind + header + b"LIST" + struct.pack("<I", len(body) + 4) + b"movi" + body
    return b"RIFF" + struct.pack("<I", len(inside)) + inside


def test_an_avi_of_several_parts_is_read_and_its_last_one_missed(whole, tmp_path):
    """As files of more than 1 GB are."""
    header, frames = chunks(whole("avi, mjpeg").read_bytes())
    assert len(frames) == FRAMES
    content = part(b"AVI ", header, frames[:30]) + part(b"AVIX", b"", frames[30:])
    assert count(tmp_path / "a.avi", content) == FRAMES
    for lacking in (len(frames[-1]), len(frames[-1]) + len(frames[-2]) // 2):
        with pytest.raises(DataError, match="is cut off"):
            count(tmp_path / "a.avi", content[:-lacking])


def test_empty_pictures_between_those_of_an_avi_are_none_that_it_lacks(tmp_path):
    path = tmp_path / "copied.avi"
    with av.open(str(path), "w") as container:  # as FFmpeg copies H.264 whose times count fields
        stream = container.add_stream("mpeg4", rate=50)
        stream.width = stream.height = 64
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 12 * number, dtype=np.uint8))
            frame.pts = 2 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with VideoFile(path) as video:
        assert (len(video), video.remark) == (20, "its header promises 39 frames, it has 20")
    assert pauses_keep_promise(path)
    content = path.read_bytes()
    at = content.index(b"vids") + 32
    path.write_bytes(content[:at] + struct.pack("<I", 40) + content[at + 4 :])
    assert not pauses_keep_promise(path)  # one more than there is
    for end in range(0, len(content), 37):
        path.write_bytes(content[:end])
        assert not pauses_keep_promise(path)
    path.write_bytes(content[: content.index(b"idx1") - 40])
    with pytest.raises(DataError, match="is cut off"):
        VideoFile(path)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 1 << 30, 100])
def test_an_avi_whose_size_is_wrong_is_read(whole, tmp_path, size):
    """Nothing is missing: its writer never finished, or could not count."""
    content = bytearray(whole("avi, mjpeg").read_bytes())
    content[4:8] = struct.pack("<I", size)
    assert count(tmp_path / "a.avi", content) == FRAMES
    at = content.index(b"strh") + 8 + 32  # the number of frames, never filled in
    assert struct.unpack_from("<I", content, at) == (FRAMES,)
    content[at : at + 4] = bytes(4)
    assert count(tmp_path / "a.avi", content) == FRAMES

"""Data that never arrived, or cannot be decoded, are named; what a header merely promises is a remark."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tpn.data.decode import VideoFile
from tpn.data.wholeness import BLOCK
from tpn.errors import DataError

X264 = {"x264-params": "keyint=25:scenecut=0"}
FILES = {
    "avi": {"codec": "mpeg4", "max_b_frames": 2},
    "mkv": {"options": X264},
    "webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "g": "25"}},
    "flv": {"options": X264},
    "mp4": {"options": X264, "muxer": {"movflags": "faststart"}},
    "ts": {"options": X264},
    "mpg": {"codec": "mpeg2video", "max_b_frames": 2},
    "wmv": {"codec": "wmv2"},
}  # fmt: skip
JFIF = struct.pack(">H5sHBHHBB", 16, b"JFIF", 0x0102, 0, 1, 1, 0, 0)  # as most writers begin a JPEG picture
SOME = ["avi", "mkv", "flv", "mp4", "wmv"]


@pytest.fixture(scope="session")
def whole(make_video):
    """whole(suffix) is a video of four seconds."""
    return lambda suffix: make_video(f"unbroken.{suffix}", num_frames=100, height=240, width=320, **FILES[suffix])


def with_zeros(path: Path, start: float, end: float) -> Path:
    content = bytearray(path.read_bytes())
    first, last = int(start * len(content)), int(end * len(content))
    content[first:last] = bytes(last - first)
    path.write_bytes(content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught, VideoFile(path) as video:
        for _ in video.pictures():
            pass
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.mark.parametrize("suffix", [s if s in SOME else pytest.param(s, marks=pytest.mark.slow) for s in FILES])
def test_an_unfinished_download_is_named(whole, tmp_path, suffix):
    """Its second half has never arrived: what is there is neither read as if it were all, nor numbered anew."""
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(whole(suffix).read_bytes())
    with VideoFile(path) as video:
        assert (len(video), video.remark) == (100, "")
    assert "lacks data from byte" in refusal(with_zeros(path, 0.5, 1))


@pytest.mark.parametrize("suffix", ["avi", "mkv", "webm", "flv", "wmv"])
def test_a_hole_does_not_number_the_frames_behind_it_anew(whole, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(whole(suffix).read_bytes())
    assert "where there are only zeros" in refusal(with_zeros(path, 0.4, 0.6))


def test_a_hole_in_an_mp4_file_leaves_the_other_frames_their_numbers(whole, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(whole("mp4").read_bytes())
    with VideoFile(path) as video:
        expected = video.read([10, 99])
    with VideoFile(with_zeros(path, 0.4, 0.6)) as video:
        np.testing.assert_array_equal(video.read([10, 99]), expected)
        with pytest.raises(DataError, match="is damaged"):
            video.read([50])
    assert "is damaged" in refusal(path)


def test_a_header_that_promises_more_is_a_remark(whole, tmp_path):
    content = bytearray(whole("avi").read_bytes())
    at = content.index(b"strh") + 8 + 32  # the number of frames of the stream
    assert struct.unpack_from("<I", content, at) == (100,)
    struct.pack_into("<I", content, at, 130)
    path = tmp_path / "a.avi"
    path.write_bytes(content)
    with VideoFile(path) as video:
        assert len(video) == 100
        assert video.remark == "its header promises 130 frames, it has 100"


def test_a_hole_in_front_of_the_first_frame_is_found(whole, tmp_path):
    """Of an AVI file whose first frames have never arrived; the room that a header leaves is no hole."""
    content = bytearray(whole("avi").read_bytes())
    start = content.index(b"movi") + 4
    end = start + 3 * BLOCK
    content[start:end] = bytes(end - start)
    path = tmp_path / "a.avi"
    path.write_bytes(content)
    assert "only zeros, as in an unfinished download: its header promises 100 frames" in refusal(path)


# ------------------------------------------------------------------------------------- zeros that are as they should be


def with_silence(source: Path, path: Path, *, sound: str, seconds: int, pause: bool = False, **muxer: str) -> Path:
    """A copy with uncompressed silence beside the pictures, and a pause of a second in the middle of them."""
    with av.open(str(source)) as old, av.open(str(path), "w", options=muxer) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        silence = new.add_stream(sound, rate=48000, layout="stereo")
        packets = [packet for packet in old.demux(video=0) if packet.size]
        later = int(1 / stream.time_base) if pause else 0
        for number, packet in enumerate(packets):
            if number >= len(packets) // 2:
                packet.pts, packet.dts = packet.pts + later, packet.dts + later
            packet.stream = stream
            new.mux(packet)
        for number in range(seconds * 10):
            frame = av.AudioFrame(silence.format, "stereo", 4800)
            frame.planes[0].update(bytes(frame.planes[0].buffer_size))
            frame.sample_rate, frame.pts, frame.time_base = 48000, number * 4800, Fraction(1, 48000)
            new.mux(silence.encode(frame))
        new.mux(silence.encode(None))
    return path


@pytest.mark.parametrize(
    "name, sound, how",
    [
        ("a.mov", "pcm_s16le", {}),
        ("b.mov", "pcm_s16le", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("c.mkv", "pcm_s24le", {}),
        ("d.avi", "pcm_s16le", {"codec": "mpeg4"}),
    ],
)
@pytest.mark.parametrize("seconds, pause", [(4, False), (2, True)], ids=["goes on", "in a pause"])
def test_silence_is_no_hole(make_video, tmp_path, name, sound, how, seconds, pause):
    source = make_video(f"without sound {name}", num_frames=26, **{"max_b_frames": 0, **how})
    path = with_silence(source, tmp_path / name, sound=sound, seconds=seconds, pause=pause)
    assert not has_no_zeros(path)
    with VideoFile(path) as video:
        assert len(video) == 26
        assert video.read([0, 25]).shape == (2, 48, 64, 3)


def test_a_hole_beside_silence_is_found(encode_frames, tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(26, 96, 128, 3), dtype=np.uint8)
    source = encode_frames(tmp_path / "noise.mp4", noise, max_b_frames=0, options={"crf": "1"})
    path = with_silence(source, tmp_path / "a.mov", sound="pcm_s16le", seconds=4)
    with av.open(str(path)) as container:
        last = [packet for packet in container.demux(video=0) if packet.size][-1]
    assert last.size > 3 * BLOCK
    with path.open("r+b") as file:
        file.seek(last.pos + 16)
        file.write(bytes(last.size - 16))
    assert "where there are only zeros" in refusal(path)


def has_no_zeros(path: Path) -> bool:
    """Whether no block of a file is zeros."""
    content = path.read_bytes()
    return all(any(content[at : at + BLOCK]) for at in range(0, len(content) - BLOCK, BLOCK))


@pytest.mark.parametrize("codec", ["r210", "r10k", "avrp"])
def test_black_pictures_are_no_hole(encode_frames, tmp_path, codec):
    path = encode_frames(tmp_path / "black.mov", np.zeros((6, 48, 128, 3), np.uint8), codec=codec, pix_fmt="gbrp10le")
    with VideoFile(path) as video:
        assert video.read([0, 5]).shape == (2, 48, 128, 3)


@pytest.mark.parametrize("black_rows", [24, 48])
def test_a_black_bar_of_uncoded_pictures_is_no_hole(tmp_path, black_rows):
    """Grey YUV4MPEG of full range, written by hand: FFmpeg's writer would scale it."""
    image = np.full((48, 256), 99, np.uint8)
    image[48 - black_rows :] = 0
    path = tmp_path / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 W256 H48 F25:1 Ip A1:1 Cmono XCOLORRANGE=FULL\n" + (b"FRAME\n" + image.tobytes()) * 6)
    with VideoFile(path) as video:
        np.testing.assert_array_equal(video.read([0, 5])[:, :, :, 1], [image, image])


def test_the_room_that_a_header_leaves_is_no_hole(make_video, tmp_path):
    source = make_video("without sound a.mov", num_frames=26, max_b_frames=0)
    path = with_silence(source, tmp_path / "b.mov", sound="pcm_alaw", seconds=4, moov_size="40000")
    assert not has_no_zeros(path)
    with VideoFile(path) as video:
        assert len(video) == 26


def test_an_encrypted_file_is_not_read_as_noise(make_video, tmp_path):
    source, path = make_video("to_encrypt.mp4", num_frames=40, height=96, width=128), tmp_path / "encrypted.mp4"
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
           "encryption_kid": "a7e61c373e219033c21091fa607bf3b8"}  # fmt: skip
    with av.open(str(source)) as old, av.open(str(path), "w", options=key) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    for indices in ([0], [5, 20], [39]):
        with pytest.raises(DataError, match="damaged"), VideoFile(path) as video:
            video.read(indices)


@pytest.mark.parametrize(
    "name, how",
    [
        ("a.y4m", {"codec": "wrapped_avframe"}),
        ("a.mjpeg", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("a.apng", {"codec": "apng", "pix_fmt": "rgb24"}),
    ],
)
def test_rare_containers_are_read(make_video, name, how):
    with VideoFile(make_video(name, num_frames=6, **how)) as video:
        assert video.read(range(6)).shape == (6, 48, 64, 3)


@pytest.mark.parametrize("name", ["a.mjpeg", "a.MJPG"])
@pytest.mark.parametrize("height", [48, 240])
def test_bare_motion_jpeg_is_a_video(make_video, tmp_path, name, height):
    source = make_video(f"bare{height}.mjpeg", num_frames=30, height=height, codec="mjpeg", pix_fmt="yuvj420p")
    path = tmp_path / name
    path.write_bytes(source.read_bytes().replace(b"\xff\xd8", b"\xff\xd8\xff\xe0" + JFIF))
    with av.open(str(path), format="mjpeg") as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with VideoFile(path) as video:
        assert len(video) == 30
        np.testing.assert_array_equal(video.read([7, 8, 29]), [expected[number] for number in (7, 8, 29)])


def test_what_is_only_called_motion_jpeg_is_read_as_what_it_is(make_video, tmp_path):
    path = tmp_path / "a.mjpeg"
    path.write_bytes(make_video("unbroken.mp4", num_frames=100, height=240, width=320, **FILES["mp4"]).read_bytes())
    with VideoFile(path) as video:
        assert len(video) == 100
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")
    with pytest.raises(DataError, match="is not a video that is read"):
        VideoFile(path)


def test_a_damaged_header_is_no_want_of_permission(whole, tmp_path):
    kind_of_stream = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")  # ASF's number of video
    path = tmp_path / "a.wmv"
    path.write_bytes(whole("wmv").read_bytes().replace(kind_of_stream, bytes(16)))
    assert "is damaged, cut off or not a video" in refusal(path)


def test_what_is_no_video_that_is_read_is_not_called_damaged(tmp_path):
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")
    with pytest.raises(
        DataError, match="is not a video that is read, but a picture, a playlist or in a rare container"
    ):
        VideoFile(path)

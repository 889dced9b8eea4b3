"""Files that are no videos, or pretend to be larger than they are: named with the reason, in little memory."""

import os
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tpn.data.decode import VideoFile
from tpn.data.frames import MAX_PIXELS, FrameFolder
from tpn.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


def refusal(path: Path) -> str:
    """What is said of a video that cannot be read."""
    with pytest.raises(DataError) as caught, VideoFile(path) as video:
        video.read([0, len(video) - 1] if len(video) > 1 else [0])
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def frame(path: Path) -> str:
    """What is said of a folder of frames whose first frame cannot be read."""
    folder = FrameFolder(path.parent, num_frames=1, filename_tmpl=path.name, start_index=0)
    with pytest.raises(DataError) as caught:
        folder.read([0])
    return str(caught.value)


def sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        for start in range(0, 8000, 1024):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            block.sample_rate, block.pts = 8000, start
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return path


def no_frames(path: Path) -> Path:
    """A video stream without a packet, beside sound."""
    with av.open(str(sound(path.with_suffix(".m4a")))) as heard, av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=25)
        picture.width = picture.height = 64
        stream = container.add_stream_from_template(heard.streams.audio[0])
        for packet in heard.demux(audio=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return path


def png(width: int, height: int) -> bytes:
    """A black picture of one bit a pixel: a few bytes for every megapixel."""
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + packer.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def film(path: Path, pictures: list[bytes], *, size: int = 64) -> Path:
    """PNG pictures as a video, whatever their size is."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = "monob"
        for number, picture in enumerate(pictures):
            packet = av.Packet(picture)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = number
            container.mux(packet)
    return path


def peak_of(path: Path) -> tuple[int, str]:
    """MiB that opening and reading a video, or a frame in a folder, takes in a process of its own, and what is said."""
    script = """
import resource, sys
from tpn.data.decode import VideoFile
from tpn.data.frames import FrameFolder
from tpn.errors import DataError
before, path = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sys.argv[1]
try:
    if path.endswith(".png"):
        FrameFolder("", num_frames=1, filename_tmpl=path, start_index=0).read([0])
    else:
        with VideoFile(path) as video:
            video.read(range(len(video)))
except DataError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    *told, peak = done.stdout.splitlines()
    return int(peak), "".join(told)


# ---------------------------------------------------------------------------------------------------- what is no video


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm", ".mkv"])
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, np.random.default_rng(0).bytes(50_000), b"path 3\n" * 99, b"\xff\xd8\xff\xe0"],
    ids=["empty", "zeros", "random", "text", "a torn picture"],
)  # fmt: skip
def test_what_is_no_video_is_named(tmp_path, content, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    assert ("is empty" if not content else "not a video") in refusal(path)


def test_sound_alone_is_no_video(tmp_path):
    assert "has no video stream (only sound?)" in refusal(sound(tmp_path / "a.mp4"))


def test_a_video_stream_without_a_frame_is_named(tmp_path):
    text = refusal(no_frames(tmp_path / "a.avi"))
    assert "holds no frame that decodes" in text or "has no video stream" in text


def test_a_name_says_nothing_about_the_content(make_video, tmp_path):
    """A wrong suffix does not matter: what is inside is looked at."""
    path = tmp_path / "a.txt"
    path.write_bytes(make_video("mp4.mp4", num_frames=5).read_bytes())
    with VideoFile(path) as video:
        assert len(video) == 5
    path.write_text("#EXTM3U\nfile:///etc/passwd\n")
    assert "not a video" in refusal(path)


def test_what_is_no_file_is_named(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.mp4")
    (tmp_path / "folder.mp4").mkdir()
    assert "is not a file" in refusal(tmp_path / "folder.mp4")
    (tmp_path / "circle.mp4").symlink_to(tmp_path / "circle.mp4")
    assert "circle.mp4" in refusal(tmp_path / "circle.mp4")
    assert "does not exist" in refusal(tmp_path / ("a" * 5000 + ".mp4"))


@pytest.mark.timeout(20)
def test_a_pipe_that_never_answers_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "is not a file" in refusal(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "pipe.jpg cannot be read" in frame(tmp_path / "pipe.jpg")


def test_a_file_that_may_not_be_read_is_named_and_not_called_damaged(make_video, said_to_others, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(make_video("mp4.mp4", num_frames=5).read_bytes())
    path.chmod(0)
    told = said_to_others(lambda: VideoFile("a.mp4"), tmp_path)
    assert told == "a.mp4 cannot be read (Permission denied); change its permissions"


# ----------------------------------------------------------------------------------------------------- what is too much


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_decompression_bomb_is_refused_in_little_memory(tmp_path, side):
    bomb = png(side, side)
    assert len(bomb) < 300_000
    (tmp_path / "a.png").write_bytes(bomb)
    for path in [
        film(tmp_path / "a.avi", [bomb] * 2),
        film(tmp_path / "a.mov", [png(64, 64), bomb]),
        tmp_path / "a.png",
    ]:
        peak, told = peak_of(path)
        assert peak < 100
        if path.suffix != ".mov":  # there the frames before it remain
            assert f"{MAX_PIXELS:,} pixels" in told


def test_frames_whose_header_claims_too_many_pixels_are_refused(make_video, tmp_path):
    content = bytearray(make_video("claims.avi", num_frames=3, codec="rawvideo", pix_fmt="bgr24").read_bytes())
    at = content.find(b"strf") + 12
    content[at : at + 8] = struct.pack("<ii", 20_000, 20_000)
    (tmp_path / "a.avi").write_bytes(content)
    peak, told = peak_of(tmp_path / "a.avi")
    assert peak < 100
    assert "a.avi" in told


def test_a_size_that_changes_midway_is_named(tmp_path):
    path = film(tmp_path / "a.mov", [png(64, 64), png(64, 64), png(96, 64)])
    assert "changes its picture size before frame 2" in refusal(path)


def test_frames_that_are_no_pictures_are_named(tmp_path):
    for content in [b"", b"\xff\xd8\xff", bytes(99), b"GIF89a", png(64, 64)[:30]]:
        (tmp_path / "a.jpg").write_bytes(content)
        assert "a.jpg is not an image that can be decoded" in frame(tmp_path / "a.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert "folder.jpg cannot be read" in frame(tmp_path / "folder.jpg")


def test_large_frames_within_the_limit_are_read(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4320, 7680, 3), np.uint8))  # 8K
    folder = FrameFolder(tmp_path, num_frames=1, filename_tmpl="a.png", start_index=0)
    assert folder.read([0]).shape == (1, 4320, 7680, 3)


# --------------------------------------------------------------------------------------------------- what fuzzing found


def found(make_video, tmp_path: Path, name: str, *changes: tuple[bytes, bytes], **how) -> Path:
    """A good video in which each of these pieces, which must be there, is replaced by another of its length."""
    content = make_video(name, num_frames=5, **how).read_bytes()
    for before, after in changes:
        assert before in content and len(before) == len(after)
        content = content.replace(before, after)
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def test_metadata_that_are_not_utf8_do_not_matter(make_video, tmp_path):
    path = found(make_video, tmp_path, "latin1.mp4", (b"Lavf", b"L\xe4vf"))
    with VideoFile(path) as video:
        assert len(video) == 5


def test_a_codec_without_a_name_is_named(make_video, tmp_path):
    path = found(make_video, tmp_path, "codec.avi", (b"FMP4", b"????"), codec="mpeg4")
    with pytest.raises(DataError, match=r"codec\.avi is damaged, or of a codec that FFmpeg does not know"):
        VideoFile(path)

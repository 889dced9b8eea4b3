"""Videos encoded once more: the same frames in the same order, in colours that stay, laid out for single reads."""

import av
import cv2
import numpy as np
import pytest
from av.error import FFmpegError

from tpn.data.decode import VideoFile
from tpn.data.encode import Profile, encode, pictures
from tpn.data.frames import FrameFolder
from tpn.errors import DataError

PROFILE = Profile(short_side=256, gop=16, crf=16)
X264 = {"x264-params": "keyint=20:bframes=3"}
SOURCES = {
    "plain.mp4": {"options": X264},
    "full_range.mp4": {"pix_fmt": "yuvj420p"},
    "full_range_444.mp4": {"pix_fmt": "yuvj444p"},
    "444.mp4": {"pix_fmt": "yuv444p"},
    "ten_bit.mkv": {"pix_fmt": "yuv420p10le"},
    "bt709.mp4": {"options": {"x264-params": "colormatrix=bt709"}},
    "red_green_blue.mkv": {"codec": "libx264rgb", "pix_fmt": "rgb24"},
    "grey.mkv": {"codec": "ffv1", "pix_fmt": "gray"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "mpeg4.avi": {"codec": "mpeg4", "max_b_frames": 2},
}  # fmt: skip


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(F,) decibels between frames (F, H, W, 3)."""
    return 10 * np.log10(255**2 / ((a.astype(float) - b) ** 2).mean(axis=(1, 2, 3)).clip(1e-9))


def convert(source, target, profile=PROFILE) -> np.ndarray:
    """Encode a video and give its frames."""
    with VideoFile(source) as video:
        assert encode(pictures(video), target, frame_rate=video.frame_rate, profile=profile) == len(video)
    with VideoFile(target) as video:
        return video.read(range(len(video)))


@pytest.mark.parametrize("name", SOURCES)
def test_frames_and_order_stay(make_video, tmp_path, name):
    source = make_video(f"to_encode_{name}", num_frames=40, height=96, width=128, **SOURCES[name])
    with VideoFile(source) as video:
        before = video.read(range(40))
    after = convert(source, tmp_path / "packed.mp4")
    assert after.shape == before.shape
    assert psnr(before, after).min() > 30
    for shift in (1, -1):  # each is nearer to its own frame than to its neighbours
        assert (psnr(before, np.roll(after, shift, axis=0)) < psnr(before, after) - 3).all()


@pytest.mark.parametrize("name", SOURCES)
def test_colours_stay(encode_frames, tmp_path, name):
    """Range and matrix, seen on large patches: grey and white, pure colours and mixed ones."""
    colours = np.array([0, 40, 128, 220, 255], dtype=np.uint8)
    patches = np.stack(np.meshgrid(colours, colours, colours), axis=-1).reshape(5, 25, 3)
    still = np.broadcast_to(patches.repeat(16, axis=0).repeat(16, axis=1), (3, 80, 400, 3))
    source = encode_frames(tmp_path / name, still, **SOURCES[name])
    with VideoFile(source) as video:
        before = video.read([1])[0, 8::16, 8::16].astype(int)
    after = convert(source, tmp_path / "packed.mp4")[1, 8::16, 8::16]
    assert abs(before - after).max() <= 8  # a wrong range or matrix: 15 and more


def test_real_videos_keep_their_frames(shared, tmp_path):
    for name in ("arm_wrestling.mp4", "test_mpeg4.avi"):
        with VideoFile(shared / "videos" / name) as video:
            before = video.read(range(len(video)))
        after = convert(shared / "videos" / name, tmp_path / "packed.mp4", Profile(short_side=256, gop=16, crf=20))
        assert len(before) == len(after)
        assert psnr(before, after).min() > 33


def test_a_lossless_profile_loses_nothing_but_what_420_cannot_hold(make_video, tmp_path):
    source = make_video("plain.mp4", num_frames=40, height=96, width=128, **SOURCES["plain.mp4"])
    with VideoFile(source) as video:
        before = video.read(range(40))
    after = convert(source, tmp_path / "packed.mp4", Profile(short_side=0, gop=16, crf=0))
    np.testing.assert_array_equal(before, after)


def test_keyframes_are_close_and_most_frames_referred_to_by_none(make_video, tmp_path):
    convert(
        make_video("plain.mp4", num_frames=40, height=96, width=128, **SOURCES["plain.mp4"]), tmp_path / "packed.mp4"
    )
    with av.open(str(tmp_path / "packed.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [at for at, packet in enumerate(packets) if packet.is_keyframe] == [0, 16, 32]
    assert sum(reference_level(bytes(packet)) == 0 for packet in packets) >= 0.75 * 40


def reference_level(packet: bytes) -> int:
    """nal_ref_idc of the picture in an H.264 packet (ISO 14496-10, 7.3.1): 0 if no other refers to it."""
    at = 0
    while packet[at + 4] & 31 not in (1, 5):
        at += 4 + int.from_bytes(packet[at : at + 4])
    return packet[at + 4] >> 5


@pytest.mark.parametrize(
    "size, short_side, expected",
    [
        ((340, 256), 256, (340, 256)),
        ((1280, 720), 256, (456, 256)),
        ((202, 360), 100, (100, 178)),
        ((320, 240), 256, (320, 240)),  # never enlarged
        ((63, 47), 256, (64, 48)),  # 4:2:0 has even sides
        ((1, 1), 0, (2, 2)),
        ((1281, 721), 0, (1282, 722)),
    ],
)
def test_long_sides_shrink_and_become_even(size, short_side, expected):
    assert Profile(short_side=short_side, gop=16, crf=20).size(*size) == expected


def test_shrunk_frames_are_the_frames_shrunk(make_video, tmp_path):
    source = make_video("large.mp4", num_frames=12, height=120, width=160)
    with VideoFile(source) as video:
        before = [cv2.resize(frame, (80, 60), interpolation=cv2.INTER_AREA) for frame in video.read(range(12))]
    after = convert(source, tmp_path / "packed.mp4", Profile(short_side=60, gop=16, crf=10))
    assert psnr(np.stack(before), after).min() > 30


def test_folders_of_frames_become_videos(tmp_path):
    rng = np.random.default_rng(0)
    frames = cv2.resize(rng.integers(0, 256, (6, 8, 30), dtype=np.uint8), (64, 48)).reshape(48, 64, 10, 3)
    for number in range(10):
        cv2.imwrite(str(tmp_path / f"img_{number + 1:05}.png"), frames[:, :, number, ::-1])
    folder = FrameFolder(tmp_path, num_frames=10, filename_tmpl="img_{:05}.png", start_index=1)
    assert encode(pictures(folder), tmp_path / "packed.mp4", frame_rate=0, profile=PROFILE) == 10
    with VideoFile(tmp_path / "packed.mp4") as video:
        after = video.read(range(10))
    assert psnr(folder.read(range(10)), after).min() > 25
    assert abs(folder.read(range(10)).mean(axis=(0, 1, 2)) - after.mean(axis=(0, 1, 2))).max() < 2


def test_a_video_with_a_damaged_frame_is_not_encoded_without_it(damaged_video, tmp_path):
    path, _ = damaged_video
    with VideoFile(path) as video, pytest.raises(DataError, match="frame 30 of 60 does not decode"):
        encode(pictures(video), tmp_path / "packed.mp4", frame_rate=25, profile=PROFILE)


def test_a_target_that_cannot_be_written_is_an_error_of_the_system(make_video, tmp_path):
    with (
        VideoFile(make_video("plain.mp4", num_frames=40, height=96, width=128, **SOURCES["plain.mp4"])) as video,
        pytest.raises((OSError, FFmpegError)),
    ):
        encode(pictures(video), tmp_path / "none" / "packed.mp4", frame_rate=25, profile=PROFILE)

"""Videos encoded once more: the same frames in the same order, in colours that stay, laid out for single reads."""

import itertools
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.error import FFmpegError

from tpn.data.decode import VideoFile
from tpn.data.display import UPRIGHT, Turn
from tpn.data.encode import Profile, encode, pictures, shown_aspect, turned
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
    "fifteen_bits.avi": {"codec": "rawvideo", "pix_fmt": "rgb555le"},
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


# ------------------------------------------------------------------------------------- what a file says of its pictures


def packed(source, target) -> VideoFile:
    """A video encoded as `tpn data pack` does it, opened."""
    with VideoFile(source) as video:
        encode(pictures(video), target, frame_rate=video.frame_rate, profile=PROFILE, pixel_aspect=shown_aspect(video))
    return VideoFile(target)


def test_white_stays_white_in_fifteen_bits(encode_frames, tmp_path):
    source = encode_frames(
        tmp_path / "white.avi", np.full((3, 48, 64, 3), 255, np.uint8), **SOURCES["fifteen_bits.avi"]
    )
    with packed(source, tmp_path / "packed.mp4") as video:
        assert video.read([1]).mean() > 253.5


def test_the_rate_is_that_of_the_times(make_video, tmp_path):
    """A rate of 50 announced, 25 present: the copy lasts as long as the original."""
    source = make_video("rate.mkv", num_frames=40)
    content = source.read_bytes()
    duration = (40_000_000).to_bytes(4)  # DefaultDuration, in nanoseconds
    assert content.count(duration) == 1
    wrong = tmp_path / "wrong.mkv"
    wrong.write_bytes(content.replace(duration, (20_000_000).to_bytes(4)))
    with VideoFile(wrong) as video, av.open(str(wrong)) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(50)
        assert video.frame_rate == pytest.approx(25, rel=1e-3)
    with packed(wrong, tmp_path / "packed.mp4") as video:
        assert video.frame_rate == pytest.approx(25, rel=1e-3)


def test_a_real_file_with_a_wrong_rate_keeps_its_duration(shared, tmp_path):
    source = shared / "videos/real/double_rate.mkv"
    with av.open(str(source)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
        seconds = (
            float((max(times) - min(times)) * container.streams.video[0].time_base) * len(times) / (len(times) - 1)
        )
    with packed(source, tmp_path / "packed.mp4") as video:
        assert len(video) / video.frame_rate == pytest.approx(seconds, rel=0.01)


def test_a_change_of_size_is_refused(make_video, tmp_path):
    small, large = make_video("s.ts", num_frames=5), make_video("l.ts", num_frames=5, height=96)
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoFile(path) as video, pytest.raises(DataError, match="changes its picture size before frame 5"):
        encode(pictures(video), tmp_path / "packed.mp4", frame_rate=25, profile=PROFILE)


@pytest.mark.parametrize("size, aspect", [((48, 64), Fraction(4, 3)), ((47, 63), Fraction(16, 15))])
def test_the_pixel_aspect_stays(encode_frames, tmp_path, size, aspect):
    frames = np.random.default_rng(0).integers(256, size=(3, *size, 3), dtype=np.uint8)
    options = {"x264-params": f"sar={aspect.numerator}/{aspect.denominator}"}
    source = encode_frames(tmp_path / "wide.mkv", frames, options=options, pix_fmt="yuv444p")
    with packed(source, tmp_path / "packed.mp4") as video:
        shown = video.pixel_aspect * video.read([0]).shape[2] / video.read([0]).shape[1]
        assert float(shown) == pytest.approx(float(aspect * size[1] / size[0]), rel=0.01)


@pytest.mark.parametrize("turn", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
def test_turned_frames_are_the_frames_turned(make_video, pix_fmt, turn):
    source = make_video(f"turn_{pix_fmt}.mp4", num_frames=3, height=96, width=128, pix_fmt=pix_fmt)
    with av.open(str(source)) as container:
        frame = next(container.decode(video=0))
    ours, stored = turned(frame, Turn(*turn)).to_ndarray(format="rgb24"), frame.to_ndarray(format="rgb24")
    expected = Turn(*turn)(stored)
    assert ours.shape == expected.shape
    assert psnr(ours[None], expected[None]).min() > 38  # colours lie at other corners of their four pixels then


def test_a_turned_video_is_packed_as_it_is_shown(shared, tmp_path):
    source = shared / "videos/real/rotated.mp4"
    with VideoFile(source) as video:
        before = video.read(range(len(video)))
    with packed(source, tmp_path / "packed.mp4") as video:
        after = video.read(range(len(video)))
        assert video.turn == UPRIGHT
    assert before.shape[2] < before.shape[1]
    resized = np.stack([cv2.resize(image, after.shape[2:0:-1], interpolation=cv2.INTER_AREA) for image in before])
    assert psnr(resized, after).min() > 28

"""Whatever was done to a video on its way, any frames asked for are those that decoding all of it in order gives."""

import random
from itertools import chain
from pathlib import Path

import av
import numpy as np
import pytest
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from tests.data import remuxing as way
from tpn.data.decode import VideoFile
from tpn.data.packets import Order
from tpn.errors import DataError

X264 = "scenecut=0:bframes=3:b-adapt=0"
X265 = "scenecut=0:bframes=4:log-level=none:b-adapt=0"
IRREGULAR = np.cumsum(np.random.default_rng(0).integers(1, 9, 64)).tolist()

CODECS = {
    "h264": {"codec": "libx264", "options": {"x264-params": f"{X264}:b-pyramid=normal:keyint=20"}},
    "h264, open": {"codec": "libx264", "options": {"x264-params": f"{X264}:open-gop=1:keyint=12:min-keyint=12"}},
    "h264, no B": {"codec": "libx264", "options": {"x264-params": "scenecut=0:bframes=0:keyint=16"}},
    "h264, mbaff": {"codec": "libx264", "options": {"x264-params": f"{X264}:interlaced=1:keyint=20"}},
    "h264, intra": {"codec": "libx264", "options": {"x264-params": "keyint=1"}},
    "hevc": {"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=0:keyint=20"}},
    "hevc, open": {"codec": "libx265", "options": {"x265-params": f"{X265}:keyint=12:min-keyint=12"}},
    "mpeg4": {"codec": "mpeg4", "max_b_frames": 2},
    "mpeg4, no B": {"codec": "mpeg4", "max_b_frames": 0},
    "mpeg2": {"codec": "mpeg2video", "max_b_frames": 2},
    "vp8": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "100k", "cpu-used": "8"}},
    "vp9": {"codec": "libvpx-vp9", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "20", "cpu-used": "8"}},
    "av1": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "keyint=20"}},
    "mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "wmv2": {"codec": "wmv2"},
    "msmpeg4": {"codec": "msmpeg4"},
}  # fmt: skip
ENCODED = {
    "mp4": [
        "h264", "h264, open", "h264, no B", "h264, mbaff", "h264, intra", "hevc", "hevc, open", "mpeg4", "mpeg2", "vp9",
        "av1", "mjpeg",
    ],
    "mov": ["h264", "hevc", "mpeg4", "mjpeg"],
    "mkv": ["h264", "h264, open", "hevc, open", "mpeg4", "mpeg2", "vp8", "vp9", "av1", "msmpeg4"],
    "webm": ["vp8", "vp9", "av1"],
    "flv": ["h264", "h264, open"],
    "avi": ["h264", "h264, open", "h264, no B", "mpeg4", "mpeg4, no B", "mjpeg", "msmpeg4"],
    "ts": ["h264", "h264, open", "h264, mbaff", "hevc", "mpeg2"],
    "mpg": ["mpeg2"],
    "wmv": ["wmv2"],
    "nut": ["h264", "mpeg4"],
    "h264": ["h264", "h264, open"],
    "hevc": ["hevc", "hevc, open"],
    "m4v": ["mpeg4"],
}  # fmt: skip
B_FRAMES = ["h264", "h264, open", "hevc", "hevc, open", "mpeg4"]
COPIED = {
    "times made up": (way.times_made_up, {"mp4": B_FRAMES, "mov": B_FRAMES, "mkv": B_FRAMES, "flv": ["h264"]}),
    "times in pairs": (way.times_in_pairs, {"mp4": B_FRAMES, "mkv": B_FRAMES}),
    "no keyframe at first": (way.without(0), {"mp4": B_FRAMES, "mkv": B_FRAMES, "ts": ["h264", "hevc"]}),
    "cut in an open group": (way.without(*range(12)), {"mp4": ["h264, open", "hevc, open"]}),
    "an edit list": (way.earlier(10), {"mp4": [*B_FRAMES, "mpeg2"], "mov": B_FRAMES}),
    "packed B-frames": (way.b_frames_packed, {"avi": ["mpeg4"], "mkv": ["mpeg4"], "mp4": ["mpeg4"]}),
    "parameter sets apart": (way.sets_apart, {"mp4": ["h264", "h264, open"], "mkv": ["h264"]}),
    "not coded": (way.some_not_coded, {"avi": ["mpeg4, no B"], "mp4": ["mpeg4, no B"], "mkv": ["mpeg4, no B"]}),
}
QUICK = {("mp4", "mpeg4"), ("mp4", "h264"), ("mkv", "hevc, open"), ("avi", "mpeg4"), ("avi", "mpeg4, no B")}


def cases(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(suffix, codec) for suffix, codecs in table.items() for codec in codecs]


def quick_or_slow(container: str, codec: str, *which: str) -> object:
    quick = (container, codec) in QUICK
    return pytest.param(*which, container, codec, marks=() if quick else pytest.mark.slow)


def decode_everything(path: Path) -> list[np.ndarray]:
    """All frames, the plainest way: every packet into a decoder of one thread, then what it holds back."""
    reformatter, frames = VideoReformatter(), []
    with av.open(str(path)) as container:
        decoder = container.streams.video[0].codec_context
        decoder.thread_count = 1
        for packet in chain((packet for packet in container.demux(video=0) if packet.size), [None]):
            try:
                decoded = decoder.decode(packet)
            except FFmpegError:
                decoded = []
            frames += [reformatter.reformat(frame, format="rgb24").to_ndarray() for frame in decoded]
    return frames


@pytest.fixture(params=["packets in memory", "packets read again"])
def memory(request, monkeypatch) -> None:
    if request.param == "packets read again":
        monkeypatch.setattr("tpn.data.packet_source.KEPT_BYTES", 0)


def assert_any_frames_are_exact(path: Path, *, at_least: int) -> None:
    expected = decode_everything(path)
    assert len(expected) >= at_least
    draw = random.Random(0)
    for _ in range(12):  # opened anew: one that has been in doubt decodes from the start ever after
        with VideoFile(path, rotation="ignore") as video:
            assert len(video) == len(expected)
            indices = sorted(draw.sample(range(len(video)), min(len(video), draw.choice([1, 2, 5, 9]))))
            for index, frame in zip(indices, video.read(indices), strict=True):
                assert np.array_equal(frame, expected[index]), (index, indices)


@pytest.fixture
def encoded(make_video):
    """encoded(codec, suffix) is a video of 64 frames."""

    def make(codec: str, suffix: str) -> Path:
        name = codec.replace(", ", "_").replace(" ", "_")
        return make_video(f"identity_{name}.{suffix}", num_frames=64, height=96, width=128, **CODECS[codec])

    return make


@pytest.mark.parametrize("container, codec", [quick_or_slow(*case) for case in cases(ENCODED)])
def test_encoded_files(encoded, memory, container, codec):
    assert_any_frames_are_exact(encoded(codec, container), at_least=64)


@pytest.mark.parametrize(
    "how, container, codec", [quick_or_slow(*case, how) for how, (_, table) in COPIED.items() for case in cases(table)]
)
def test_copied_files(encoded, tmp_path, memory, how, container, codec):
    change, _ = COPIED[how]
    source = encoded(codec, "mkv" if how == "times in pairs" else "ts" if container == "ts" else "mp4")
    path = way.copy(source, tmp_path / f"copy.{container}", change)
    assert_any_frames_are_exact(path, at_least=0 if codec.startswith("hevc") else 40)


LOST = {
    b"ctts": ["h264", "h264, open", "hevc", "hevc, open", "mpeg4"],
    b"stss": [*B_FRAMES, "h264, no B", "mpeg4, no B"],
}


@pytest.mark.parametrize(
    "box, container, codec", [quick_or_slow("mp4", codec, box) for box in LOST for codec in LOST[box]]
)
def test_mp4_files_without_a_box(encoded, tmp_path, memory, box, container, codec):
    """ctts: no times to show pictures at. stss: every picture is called a keyframe."""
    path = way.rename_box(encoded(codec, container), tmp_path / "lost.mp4", box)
    assert_any_frames_are_exact(path, at_least=62)  # without ctts, an edit list hides the first two


@pytest.mark.parametrize("codec", ["h264", "h264, open", "hevc", "hevc, open", "mpeg2"])
@pytest.mark.parametrize("seconds", [10, 1], ids=["times go back", "times overlap"])
def test_files_joined_with_other_times(encoded, tmp_path, codec, seconds):
    """64 frames are of 2.6 seconds, and begin at 1.4 seconds."""
    one = encoded(codec, "ts")
    moved = way.copy(one, tmp_path / "moved.ts", way.later(seconds))
    assert_any_frames_are_exact(way.joined(tmp_path / "joined.ts", moved, one), at_least=100)


@pytest.mark.parametrize("codec", ["h264, open", "hevc, open"])
def test_a_file_cut_in_an_open_group_and_appended(encoded, tmp_path, codec):
    """Of HEVC the decoder drops pictures at the seam: neither the packets nor their times say so."""
    one = encoded(codec, "ts")
    cut = way.copy(one, tmp_path / "cut.ts", way.without(*range(12)))
    assert_any_frames_are_exact(way.joined(tmp_path / "joined.ts", one, cut), at_least=90)
    with VideoFile(one) as video:
        assert isinstance(video._numbering, Order)  # an open group alone costs no decoding


@pytest.mark.parametrize(("codec", "suffix"), [("mpeg2", "ts"), ("mpeg2", "mpg"), ("mpeg4", "m4v"), ("h264", "ts")])
def test_a_file_with_pictures_of_another_size_appended(encoded, make_video, tmp_path, codec, suffix):
    one = encoded(codec, suffix)
    other = make_video(f"smaller_{codec}.{suffix}", num_frames=20, height=48, width=64, **CODECS[codec])
    path = way.joined(tmp_path / f"joined.{suffix}", one, other)
    expected = decode_everything(path)
    for number in (0, 40, 60, len(expected) - 15, len(expected) - 1):
        with VideoFile(path) as video:
            assert len(video) == len(expected)
            assert np.array_equal(video.read([number])[0], expected[number]), number


def test_packed_b_frames_appended_where_a_pair_was_cut(encoded, tmp_path):
    packed = way.copy(encoded("mpeg4", "mp4"), tmp_path / "packed.avi", way.b_frames_packed)
    path = way.copy(packed, tmp_path / "joined.avi", lambda packets: way.appended(packets, first=20))
    assert_any_frames_are_exact(path, at_least=70)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rates(make_video, memory, suffix):
    path = make_video(f"irregular.{suffix}", num_frames=64, times=IRREGULAR, **CODECS["h264"])
    assert_any_frames_are_exact(path, at_least=64)


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg4"])
def test_fragments(make_video, memory, codec):
    muxer = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    path = make_video(f"{codec}_fragments.mp4", num_frames=64, height=96, width=128, muxer=muxer, **CODECS[codec])
    assert_any_frames_are_exact(path, at_least=64)


# ---------------------------------------------------------------------------------------------------------- real files

REAL = {
    "box.mp4": 455,
    "packed_bframes.avi": 15,
    "fields.mts": 13,
    "rotated.mp4": 17,
    "rotated_hdr.mov": 40,
    "rotated_and_mirrored.mp4": 30,
    "double_rate.mkv": 30,
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_files(shared, memory, name):
    path = shared / "videos/real" / name
    assert_any_frames_are_exact(path, at_least=REAL[name])


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("name", ["packed_bframes.avi", "fields.mts"])
def test_copies_of_real_files(shared, tmp_path, memory, name, suffix):
    path = way.copy(shared / "videos/real" / name, tmp_path / f"copy.{suffix}", way.untouched)
    assert_any_frames_are_exact(path, at_least=11)


@pytest.mark.parametrize("name", ["two_stsd_h264.mp4", "two_stsd_hevc.mp4"])
def test_a_second_sample_description_is_read_as_it_is_or_named(shared, memory, name):
    path = shared / "videos/real" / name
    expected = decode_everything(path)
    for index, frame in enumerate(expected):
        with VideoFile(path) as video:
            assert np.array_equal(video.read([index])[0], frame)
    with VideoFile(path) as video, pytest.raises(DataError, match="changes its picture size"):
        video.read([0, 3])

"""Videos read by frame number: bit for bit what decoding everything gives, and bad files named."""

import json
import shutil
from collections.abc import Collection
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from tpn.data import opening
from tpn.data.decode import VideoFile
from tpn.errors import DataError

IRREGULAR = np.cumsum(np.random.default_rng(0).integers(1, 9, 60)).tolist()
X264 = "scenecut=0:bframes=3:b-pyramid=normal"
X265 = "scenecut=0:bframes=4:log-level=none"
FAST_VP9 = {"deadline": "realtime", "cpu-used": "8"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}

VIDEOS = {
    "long_gop.mp4": {"options": {"x264-params": f"{X264}:keyint=250"}, "num_frames": 90},
    "short_gop.mp4": {"options": {"x264-params": f"{X264}:keyint=8"}},
    "open_gop.mp4": {"options": {"x264-params": f"{X264}:open-gop=1:keyint=12:min-keyint=12"}},
    "open_gop.mkv": {"options": {"x264-params": f"{X264}:open-gop=1:keyint=12:min-keyint=12"}},
    "intra_refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=20:bframes=2"}},
    "interlaced.mp4": {"options": {"x264-params": f"{X264}:interlaced=1:keyint=20", "flags": "+ilme+ildct"}},
    "h264.flv": {"options": {"x264-params": f"{X264}:keyint=20"}},
    "h264.ts": {"options": {"x264-params": f"{X264}:keyint=20"}},
    "h264.h264": {"options": {"x264-params": f"{X264}:keyint=20"}},
    "h264.avi": {"options": {"x264-params": f"{X264}:keyint=20"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=0:keyint=20"}},
    "hevc_open_gop.mkv": {"codec": "libx265", "options": {"x265-params": f"{X265}:keyint=12:min-keyint=12"}},
    "hevc_layers.mp4": {"codec": "libx265", "options": {"x265-params": f"{X265}:keyint=24:temporal-layers=3"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "20"}},
    "vp8.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "100k"}},
    "mpeg4.avi": {"codec": "mpeg4", "max_b_frames": 2, "height": 96, "width": 128},
    "mpeg4.mp4": {"codec": "mpeg4", "max_b_frames": 2, "height": 96, "width": 128},
    "tiny_mpeg4.mp4": {"codec": "mpeg4", "max_b_frames": 2},
    "mpeg2.mpg": {"codec": "mpeg2video", "max_b_frames": 2},
    "motion_jpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "animation.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "wmv2.wmv": {"codec": "wmv2"},
    "msmpeg4.avi": {"codec": "msmpeg4"},
    "variable_rate.mp4": {"options": {"x264-params": f"{X264}:keyint=20"}, "times": IRREGULAR},
    "variable_rate.mkv": {"options": {"x264-params": f"{X264}:keyint=20"}, "times": IRREGULAR},
    "starts_late.mp4": {"options": {"x264-params": f"{X264}:keyint=20"}, "times": list(range(1000, 1060))},
    "starts_late.mkv": {"options": {"x264-params": f"{X264}:keyint=20"}, "times": list(range(1000, 1060))},
    "fragmented.mp4": {"options": {"x264-params": f"{X264}:keyint=20"}, "muxer": FRAGMENTED},
    "one_frame.mp4": {"num_frames": 1},
    "one_frame.avi": {"codec": "mpeg4", "num_frames": 1},
    "five_frames.mp4": {"num_frames": 5},
    "odd_size.webm": {"codec": "libvpx-vp9", "options": FAST_VP9, "height": 47, "width": 63},
    "odd_size_444.mp4": {"pix_fmt": "yuv444p", "height": 47, "width": 63},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "ten_bit.mkv": {"codec": "libx265", "options": {"x265-params": X265}, "pix_fmt": "yuv420p10le"},
    "full_range.mp4": {"pix_fmt": "yuvj420p"},
}  # fmt: skip
# Not intra_refresh.mp4: its keyframes are none, decoding from one is right only some frames later. Not GIF's pictures,
# which refer to those before. Not MPEG-4 pictures of 8 bytes, which might be the empty ones that XviD writes.
SEEKABLE = [name for name in VIDEOS if name not in {"intra_refresh.mp4", "animation.gif", "tiny_mpeg4.mp4"}]
NO_TIMES = {"h264.h264", "mpeg2.mpg"}  # no seek finds a packet again: those before it are read, but not decoded


def decode_everything(path: Path) -> np.ndarray:
    """All frames, the plainest way."""
    reformatter = VideoReformatter()
    with av.open(str(path)) as container:
        return np.stack([reformatter.reformat(f, format="rgb24").to_ndarray() for f in container.decode(video=0)])


def choices(num_frames: int) -> list[list[int]]:
    """Frame by frame, clips, scattered frames, and everything."""
    rng = np.random.default_rng(0)
    scattered = [sorted(rng.choice(num_frames, min(num_frames, n), replace=False).tolist()) for n in (2, 3, 5, 8, 20)]
    clips = [list(range(start, num_frames, 8)) for start in range(0, num_frames, 11)]
    return [[n] for n in range(0, num_frames, 3)] + clips + scattered + [list(range(num_frames))]


def assert_exact(path: Path) -> None:
    expected = decode_everything(path)
    with VideoFile(path) as video:
        assert len(video) == len(expected)
        for indices in choices(len(expected)):
            np.testing.assert_array_equal(video.read(indices), expected[indices], err_msg=str(indices))


def message(path: Path) -> str:
    with pytest.raises(DataError) as caught, VideoFile(path) as video:
        video.read([0, len(video) - 1] if len(video) > 1 else [0])
    assert str(path) in str(caught.value)
    return str(caught.value)


def remux(source: Path, target: Path, *, shift: int = 0, without: Collection[int] = ()) -> Path:
    """Copy the packets `shift` frames earlier; what comes before time 0 an edit list hides."""
    with av.open(str(source)) as old, av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as new:
        stream, copy = old.streams.video[0], new.add_stream_from_template(old.streams.video[0])
        frame = int(1 / (stream.average_rate * stream.time_base))
        for number, packet in enumerate(old.demux(stream)):
            if packet.size and number not in without:
                packet.pts, packet.dts, packet.stream = packet.pts - shift * frame, packet.dts - shift * frame, copy
                new.mux(packet)
    return target


# ---------------------------------------------------------------------------------------------------- the right frames


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_are_those_of_a_full_decode(make_video, name):
    assert_exact(make_video(name, **VIDEOS[name]))


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "test_mpeg4.avi"])
def test_frames_of_real_videos_are_those_of_a_full_decode(shared, name):
    path = shared / "videos" / name
    expected = decode_everything(path)
    rng = np.random.default_rng(0)
    with VideoFile(path) as video:
        assert len(video) == len(expected)
        for _ in range(4):
            indices = sorted(rng.choice(len(expected), 8, replace=False).tolist())
            np.testing.assert_array_equal(video.read(indices), expected[indices])


@pytest.mark.parametrize("name", SEEKABLE)
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "read again"])
def test_no_video_is_decoded_from_the_start(make_video, monkeypatch, name, kept):
    """Neither from packets in memory nor, of a large file, from those that a seek finds."""
    path = make_video(name, **VIDEOS[name])
    expected = decode_everything(path)
    if not kept:
        monkeypatch.setattr("tpn.data.packet_source.KEPT_BYTES", 0)
    with VideoFile(path) as video:
        monkeypatch.setattr(video, "_decode_from_start", lambda: pytest.fail("decoded from the start"))
        opened = count_openings(monkeypatch)
        for indices in choices(len(video)):
            np.testing.assert_array_equal(video.read(indices), expected[indices], err_msg=str(indices))
        assert not opened or (not kept and name in NO_TIMES)


def count_openings(monkeypatch) -> list[str]:
    """The files that are opened from now on."""
    opened: list[str] = []
    monkeypatch.setattr(
        "tpn.data.packet_source.open_video", lambda path: opened.append(path) or opening.open_video(path)
    )
    return opened


def test_an_edit_list_hides_its_frames(make_video, tmp_path):
    source = make_video("long_gop.mp4", **VIDEOS["long_gop.mp4"])
    path = remux(source, tmp_path / "edited.mp4", shift=30)
    with VideoFile(path) as video:
        assert len(video) == 60
    assert_exact(path)
    np.testing.assert_array_equal(decode_everything(path), decode_everything(source)[30:])


def test_a_video_cut_off_in_front_begins_with_the_first_frame_that_decodes(make_video, tmp_path):
    source = make_video("open_gop.mp4", **VIDEOS["open_gop.mp4"])
    assert_exact(remux(source, tmp_path / "headless.mp4", without=range(5)))


def test_a_hole_in_the_packets_does_not_shift_the_other_frames(make_video, tmp_path):
    source = make_video("short_gop.mp4", **VIDEOS["short_gop.mp4"])
    expected = decode_everything(source)
    with VideoFile(remux(source, tmp_path / "hole.mp4", without={20, 21})) as video:
        assert len(video) == 58
        np.testing.assert_array_equal(video.read([3, 15]), expected[[3, 15]])
        np.testing.assert_array_equal(video.read([22, 57]), expected[[24, 59]])


def test_a_seek_that_fails_is_replaced_by_reading_from_the_start(make_video, monkeypatch):
    path = make_video("short_gop.mp4", **VIDEOS["short_gop.mp4"])
    expected = decode_everything(path)
    monkeypatch.setattr("tpn.data.packet_source.KEPT_BYTES", 0)
    monkeypatch.setattr(
        "tpn.data.packet_source.seek_time", lambda identity: 10**6
    )  # as of a broken index: it lands at the end
    with VideoFile(path) as video:
        np.testing.assert_array_equal(video.read([3, 30]), expected[[3, 30]])


def test_a_file_may_be_called_anything(make_video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ["100% real.mp4", "a:b.mp4", "http:x.mp4", "clip?#.mp4", "ünïcode.mp4", "%03d.mp4", "-i.mp4"]:
        shutil.copy(make_video("five_frames.mp4", num_frames=5), name)
        with VideoFile(name) as video:
            assert len(video) == 5


def test_colours_of_interlaced_pictures_are_those_of_their_field(make_video):
    """A row of 4:2:0's colours belongs to two rows of one field: to rows 0 and 2, or 1 and 3, not to 0 and 1."""
    path = make_video("interlaced.mp4", **VIDEOS["interlaced.mp4"])
    with av.open(str(path)) as container:
        frame = list(container.decode(video=0))[7]
    assert frame.interlaced_frame
    y, _, v = np.split(frame.to_ndarray().astype(float).ravel(), [48 * 64, 48 * 64 * 5 // 4])
    rows = np.arange(48)
    red = {
        name: (y.reshape(48, 64) - 16) * 255 / 219 + 1.596 * (v.reshape(24, 32)[at].repeat(2, axis=1) - 128)
        for name, at in {"by field": rows // 4 * 2 + rows % 2, "by frame": rows // 2}.items()
    }
    with VideoFile(path) as video:
        ours = video.read([7])[0, :, :, 0]
    distance = {name: abs(ours - values.clip(0, 255)).mean() for name, values in red.items()}
    assert distance["by field"] < 1 < distance["by frame"] / 2  # 1: swscale's coefficients are integers


def test_wrong_frame_numbers_are_refused(make_video):
    with VideoFile(make_video("five_frames.mp4", num_frames=5)) as video:
        for indices in [[], [-1], [5], [1, 1], [2, 1]]:
            with pytest.raises(ValueError, match=r"0\.\.4"):
                video.read(indices)


def test_only_what_is_needed_is_decoded(make_video, monkeypatch):
    decoded = []
    decode = VideoFile._decode

    def counting(self: VideoFile, packet: av.Packet | None) -> list[av.VideoFrame]:
        frames = decode(self, packet)
        decoded.extend(frame.pts for frame in frames)
        return frames

    monkeypatch.setattr(VideoFile, "_decode", counting)

    def number_decoded(name: str, indices: list[int]) -> int:
        with VideoFile(make_video(name, **VIDEOS[name])) as video:
            decoded.clear()
            video.read(indices)
        assert len(set(decoded)) == len(decoded)  # nothing twice
        return len(decoded)

    assert number_decoded("short_gop.mp4", [50]) <= 8  # from the keyframe before it
    assert number_decoded("short_gop.mp4", [3, 50]) <= 16  # not what lies between
    assert number_decoded("long_gop.mp4", [40, 48, 56]) <= 57 * 0.7  # not the B-frames nothing refers to


def test_frame_rate_is_the_videos(make_video):
    with VideoFile(make_video("five_frames.mp4", num_frames=5)) as video:
        assert video.frame_rate == 25


# -------------------------------------------------------------------------------------------------------- the bad files


def test_a_missing_file_is_named(tmp_path):
    assert "does not exist" in message(tmp_path / "none.mp4")


def test_a_folder_is_named(tmp_path):
    assert "rawframes" in message(tmp_path)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert "empty (0 bytes)" in message(tmp_path / "empty.mp4")


def test_random_bytes_are_named(tmp_path):
    path = tmp_path / "random.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(20_000))
    assert "not a video" in message(path)


def test_text_is_named(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text(json.dumps({"a": list(range(1000))}))
    assert "not a video" in message(path)


def test_sound_without_pictures_is_named(tmp_path):
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        for number in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "no video stream" in message(path)


def test_a_video_whose_index_is_cut_off_is_named(make_video, tmp_path):
    path = tmp_path / "cut.mp4"
    path.write_bytes(make_video("short_gop.mp4", **VIDEOS["short_gop.mp4"]).read_bytes()[:3000])
    assert "cut off" in message(path)


def test_a_video_whose_frames_are_cut_off_is_named(make_video, tmp_path):
    whole = make_video("index_first.mp4", muxer={"movflags": "faststart"}).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    text = message(path)
    assert "cut off after" in text
    assert "of 60 frames" in text


def test_a_video_without_a_frame_is_named(make_video, tmp_path):
    source = make_video("long_gop.mp4", **VIDEOS["long_gop.mp4"])
    path = remux(source, tmp_path / "no_keyframe.mp4", without=range(60))
    assert "no frame that decodes" in message(path)


def test_frames_that_do_not_decode_are_named(damaged_video):
    path, whole = damaged_video
    expected = decode_everything(whole)
    with VideoFile(path) as video:
        np.testing.assert_array_equal(video.read([29, 31]), expected[[29, 31]])
        with pytest.raises(DataError, match=r"1 of the 3 frames needed do not decode \(the first is frame 30 of 60\)"):
            video.read([29, 30, 31])


def test_a_change_of_size_is_named(make_video, tmp_path):
    small, large = make_video("small.ts", num_frames=10), make_video("large.ts", num_frames=10, height=96)
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoFile(path) as video:
        assert len(video) == 20
        assert video.read([0, 9]).shape == (2, 48, 64, 3)
        assert video.read([10, 19]).shape == (2, 96, 64, 3)
    assert "picture size" in message(path)


def test_a_playlist_opens_no_other_file(make_video, tmp_path):
    shutil.copy(make_video("five_frames.mp4", num_frames=5), tmp_path / "five.mp4")
    path = tmp_path / "playlist.mp4"
    path.write_text("ffconcat version 1.0\nfile five.mp4\n")
    assert "not a video" in message(path)


def test_frames_numbered_by_decoding_are_decoded_once(make_video, monkeypatch):
    """A GIF says nothing of its frames: they are counted by decoding them, and short ones kept for reading."""
    path = make_video("counted.gif", num_frames=30, height=48, width=64, codec="gif", pix_fmt="rgb8")
    opened = count_openings(monkeypatch)
    with VideoFile(path) as video:
        kept = video.read([3, 17, 29])
    assert len(opened) == 2  # for the packets, and for a decoder that has seen nothing
    monkeypatch.setattr("tpn.data.decode.KEPT_PIXELS", 48 * 64)
    with VideoFile(path) as video:
        np.testing.assert_array_equal(video.read([3, 17, 29]), kept)
    assert len(opened) == 5

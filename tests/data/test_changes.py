"""Video files that change: their pictures midway, or what is under their name while they are open."""

import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from tpn.data.decode import VideoFile
from tpn.errors import DataError

X264 = {"x264-params": "keyint=8:scenecut=0"}
GIF = {"codec": "gif", "pix_fmt": "rgb8"}


@pytest.fixture
def video_of(make_video):
    """video_of(suffix) is a video of sixty frames."""
    return lambda suffix: make_video(f"changes.{suffix}", **(GIF if suffix == "gif" else {"options": X264}))


def decode_everything(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("height", [48, 80])
def test_motion_jpeg_that_becomes_smaller_is_read_as_a_full_decode_has_it(make_video, tmp_path, height):
    """A decoder that starts at a picture of half the height announced takes two of them for the fields of one."""
    large = make_video("large.avi", num_frames=10, height=96, width=128, codec="mjpeg", pix_fmt="yuvj420p")
    small = make_video(f"s{height}.avi", num_frames=10, height=height, width=64, codec="mjpeg", pix_fmt="yuvj420p")
    path = tmp_path / "both.avi"
    with av.open(str(path), "w") as new:
        stream = None
        for number, source in enumerate([large, small]):
            with av.open(str(source)) as old:
                stream = stream or new.add_stream_from_template(old.streams.video[0])
                for packet in old.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = packet.dts + 10 * number
                        packet.stream = stream
                        new.mux(packet)
    expected = decode_everything(path)
    with VideoFile(path) as video:
        assert len(video) == 20
        for indices in ([10, 11], [13, 17], [11], [19], [0, 9], list(range(10, 20)), list(range(10))):
            np.testing.assert_array_equal(video.read(indices), [expected[index] for index in indices])
        for indices in ([9, 10], [0, 19]):
            with pytest.raises(DataError, match="changes its picture size"):
                video.read(indices)


def test_sound_that_begins_midway_ends_nothing(make_video, encode_frames, tmp_path):
    """In a recording of television: a part without, one with sound under a new table of programmes, one without."""
    silent = make_video("changes.ts", options=X264)
    heard = tmp_path / "heard.ts"
    with av.open(str(silent)) as old, av.open(str(heard), "w", options={"tables_version": "5"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        sounds = [new.add_stream("mp2", rate=48000, layout="stereo") for _ in range(8)]
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
        for sound in sounds:
            frame = av.AudioFrame("s16", "stereo", 1152)
            frame.sample_rate, frame.pts = 48000, 0
            new.mux(sound.encode(frame))
            new.mux(sound.encode(None))
    noise = np.random.default_rng(0).integers(256, size=(30, 96, 128, 3), dtype=np.uint8)
    last = encode_frames(tmp_path / "last.ts", noise, options={**X264, "crf": "1"})  # where FFmpeg looks for the end
    beyond_probing = (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 30_000  # 5.6 MB that say nothing
    path = tmp_path / "a.ts"
    path.write_bytes(silent.read_bytes() + beyond_probing + heard.read_bytes() + last.read_bytes())
    with VideoFile(path) as video:
        assert len(video) == 150
        assert video.read([3, 70]).shape == (2, 48, 64, 3)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


def deleted(path: Path) -> None:
    path.unlink()


def replaced_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [emptied, cut_off, deleted, replaced_by_a_pipe])
@pytest.mark.parametrize("suffix", ["h264", "mp4", "ts"])
def test_a_large_file_that_changes_while_it_is_open_is_named_each_time(video_of, tmp_path, monkeypatch, change, suffix):
    """Where packets are read again; what is still at hand of it is right."""
    monkeypatch.setattr("tpn.data.packet_source.KEPT_BYTES", 0)
    source = video_of(suffix)
    expected = decode_everything(source)
    path = Path(shutil.copy(source, tmp_path / source.name))
    with VideoFile(path) as video:
        video.read([3])
        change(path)
        for number in (50, 3, 50):
            try:
                np.testing.assert_array_equal(video.read([number])[0], expected[number])
            except DataError as error:
                assert str(path) in str(error)
        for _ in range(2):
            with pytest.raises(DataError, match=str(path)):
                list(video.pictures())


def test_a_large_file_that_is_another_one_now_is_not_read_as_the_first(video_of, make_video, tmp_path, monkeypatch):
    monkeypatch.setattr("tpn.data.packet_source.KEPT_BYTES", 0)
    path = Path(shutil.copy(video_of("h264"), tmp_path / "a.h264"))
    other = make_video("other.h264", num_frames=60, seed=7)
    with VideoFile(path) as video:
        path.unlink()
        shutil.copy(other, path)
        for _ in range(2):
            with pytest.raises(DataError, match="has been changed since it was opened"):
                video.read([3, 50])


@pytest.mark.parametrize("kept", [0, 1 << 25])
@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_closed_file_says_so(video_of, monkeypatch, kept, suffix):
    monkeypatch.setattr("tpn.data.packet_source.KEPT_BYTES", kept)
    with VideoFile(video_of(suffix)) as video:
        pass
    for read in (lambda: video.read([3]), lambda: list(video.pictures())):
        with pytest.raises(DataError, match="is closed; open it again"):
            read()


@pytest.mark.parametrize(
    "error", [av.error.OSError(95, "Operation not supported"), ValueError("99 is not a valid Type")]
)
def test_what_ffmpeg_or_pyav_cannot_read_is_told_in_a_sentence(video_of, monkeypatch, error):
    """Whatever it may be: these two stand for those that nobody has met yet."""

    def fail(*_: object) -> None:
        raise error

    path = video_of("mp4")
    monkeypatch.setattr("tpn.data.decode.turn_of", fail)
    with VideoFile(path) as video:
        for read in (lambda: video.read([3]), lambda: list(video.pictures())):
            with pytest.raises(DataError, match=f"{path} cannot be read .*; re-encode or replace the file"):
                read()
    monkeypatch.setattr("tpn.data.packets.PacketIndex.add", fail)
    with pytest.raises(DataError, match=str(path)):
        VideoFile(path)

"""Pictures whose matrix FFmpeg cannot convert by are read by the nearest; formats it cannot convert are named."""

import av
import numpy as np
import pytest

from tpn.data.decode import VideoFile
from tpn.data.encode import Profile, encode, pictures
from tpn.errors import DataError

SIZE = {"num_frames": 6, "height": 48, "width": 64}
# x264's names of matrices that FFmpeg 8.1 refuses, and of those by which they are read.
REFUSED = {
    "YCgCo": "undef",
    "bt2020c": "bt2020nc",
    "chroma-derived-nc": "undef",
    "chroma-derived-c": "undef",
    "ICtCp": "undef",
    "smpte2085": "undef",
}


@pytest.fixture
def tagged(make_video):
    """tagged(matrix): a video that names this matrix."""
    return lambda matrix: make_video(f"{matrix}.mp4", options={"x264-params": f"colormatrix={matrix}"}, **SIZE)


@pytest.mark.parametrize("matrix", REFUSED)
def test_a_matrix_that_ffmpeg_refuses_is_read_by_the_nearest(tagged, matrix):
    with VideoFile(tagged(REFUSED[matrix])) as video:
        expected = video.read(range(6))
    with VideoFile(tagged(matrix)) as video:
        np.testing.assert_array_equal(video.read(range(6)), expected)


def test_a_packed_copy_looks_the_same(tagged, tmp_path):
    path = tmp_path / "packed.mp4"
    with VideoFile(tagged("YCgCo")) as video:
        encode(pictures(video), path, frame_rate=25, profile=Profile(short_side=0, gop=4, crf=1))
        expected = video.read(range(6)).astype(int)
    with VideoFile(path) as video:
        assert abs(video.read(range(6)) - expected).mean() < 1


@pytest.mark.parametrize("pix_fmt", ["rgb4", "bgr4"])
def test_a_format_that_ffmpeg_cannot_convert_is_named(tmp_path, pix_fmt):
    path = tmp_path / "raw.nut"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for number in range(4):
            frame = av.VideoFrame(64, 48, pix_fmt)
            frame.planes[0].update(bytes([16 * number]) * frame.planes[0].buffer_size)
            frame.pts = number
            container.mux(stream.encode(frame))
    with VideoFile(path) as video, pytest.raises(DataError, match=f"{path} has pictures in the format {pix_fmt}"):
        video.read([0])

"""Videos, good and bad ones, made by the tests that read them, and data sets of them."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from tpn.data.annotations import Record
from tpn.data.dataset import FixedViews, RandomViews, VideoDataset
from tpn.data.workers import Batch

FRAME_RATE = 25
RANDOM = RandomViews(clip_len=4, frame_interval=2, num_clips=1, frames_per_view=4, crop_size=16)
FIXED = FixedViews(
    clip_len=4, frame_interval=2, num_clips=2, frames_per_view=4, short_side=20, crop_size=16, num_crops=1
)


def moving_picture(num_frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """(num_frames, height, width, 3) uint8: a window sliding over a blurred random picture; no two frames are alike."""
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 256, (height + num_frames, width + 2 * num_frames, 3), dtype=np.uint8)
    scene = cv2.GaussianBlur(scene, (9, 9), 2)
    return np.stack([scene[i : i + height, 2 * i : 2 * i + width] for i in range(num_frames)])


def write_video(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    max_b_frames: int | None = None,
    times: list[int] | None = None,
) -> Path:
    """Encode `frames`; `times` are their display times in units of a frame (constant frame rate without)."""
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=FRAME_RATE, options={"threads": "1", **(options or {})})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        if max_b_frames is not None:
            stream.codec_context.max_b_frames = max_b_frames
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = times[number] if times else number
            frame.time_base = Fraction(1, FRAME_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def encode_frames() -> Callable[..., Path]:
    """encode_frames(path, frames, **how) writes frames of the test's own."""
    return write_video


@pytest.fixture(scope="session")
def make_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """make_video(name, num_frames=…, height=…, width=…, **how) writes a video once per session and gives its path."""
    folder = tmp_path_factory.mktemp("videos")

    def make(name: str, *, num_frames: int = 60, height: int = 48, width: int = 64, seed: int = 0, **how) -> Path:
        path = folder / name
        return path if path.exists() else write_video(path, moving_picture(num_frames, height, width, seed), **how)

    return make


@pytest.fixture
def damaged_video(make_video, tmp_path) -> tuple[Path, Path]:
    """A video of 60 frames whose frame 30 does not decode, and the video as it was."""
    whole = make_video("motion.mp4", codec="mjpeg", pix_fmt="yuvj420p")
    with av.open(str(whole)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][30]
    data = bytearray(whole.read_bytes())
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    return path, whole


# ----------------------------------------------------------------------------------------------- data sets, and batches


@pytest.fixture(scope="session")
def videos(make_video) -> list[Path]:
    """Eleven small videos."""
    return [make_video(f"loader{n}.mp4", num_frames=12, height=20, width=24, seed=n) for n in range(11)]


@pytest.fixture
def bad_videos(videos, tmp_path) -> list[Path]:
    """As `videos`, but numbers 2 and 5 are no videos."""
    broken = list(videos)
    for number in (2, 5):
        broken[number] = tmp_path / f"broken{number}.mp4"
        broken[number].write_bytes(b"no video")
    return broken


@pytest.fixture(scope="session")
def dataset_of() -> Callable[..., VideoDataset]:
    """dataset_of(videos) shows one random view of each, with fixed=True the two of a test; labels are 0, 1, 2, …"""

    def build(videos: list[Path], *, fixed: bool = False, kind: type[VideoDataset] = VideoDataset) -> VideoDataset:
        records = [Record(str(video), label, None) for label, video in enumerate(videos)]
        views = FIXED if fixed else RANDOM
        return kind(records=records, views=views, seed=3, mean=(0, 0, 0), std=(1, 1, 1), color_jitter=True)

    return build


@pytest.fixture(scope="session")
def are_same() -> Callable[[Iterable[Batch], Iterable[Batch]], bool]:
    """are_same(batches, others): as many, and equal to the last bit."""

    def compare(batches: Iterable[Batch], others: Iterable[Batch]) -> bool:
        fields = ((x, y) for a, b in zip(batches, others, strict=True) for x, y in zip(a, b, strict=True))
        return all(torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in fields)

    return compare

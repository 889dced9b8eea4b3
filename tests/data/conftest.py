"""Videos and folders of frames, made by the tests that read them."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

FRAME_RATE = 25


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

"""Video files to measure with: ten seconds of 340 x 256 in H.264, as Kinetics is usually stored."""

from pathlib import Path

import av
import cv2
import numpy as np

FRAME_RATE, SECONDS, HEIGHT, WIDTH = 30, 10, 256, 340


def write_videos(folder: Path, *, number: int, seconds: int = SECONDS, first: int = 0) -> list[str]:
    """Make so many files unless they are there, from number `first` on; returns their names."""
    names = [f"made_{seconds}s_{index}.mp4" for index in range(first, first + number)]
    for index, name in enumerate(names, first):
        if not (folder / name).exists():
            write_video(folder / name, moving_picture(FRAME_RATE * seconds, seed=index))
    return names


def moving_picture(num_frames: int, *, seed: int) -> np.ndarray:
    """(F, H, W, 3) uint8: a window that slides over a blurred random picture, with some noise of a camera."""
    rng = np.random.default_rng(seed)
    scene = rng.integers(256, size=(HEIGHT + num_frames // 2, WIDTH + num_frames, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(scene, (0, 0), 4)
    scene = ((blurred - blurred.min()) * (239 / np.ptp(blurred)) + 8).astype(np.uint8)
    noise = rng.integers(8, size=(16, HEIGHT, WIDTH, 3), dtype=np.uint8)
    windows = (scene[at // 2 : at // 2 + HEIGHT, at : at + WIDTH] for at in range(num_frames))
    return np.stack([window + noise[at % len(noise)] for at, window in enumerate(windows)])


def write_video(path: Path, frames: np.ndarray) -> None:
    """H.264 with the encoder's own settings: a keyframe every 250 frames, B-frames between."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))

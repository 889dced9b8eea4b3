"""Which frames of a video form its clips: numbers in, numbers out.

A clip of clip_len=4 and frame_interval=2 over a video of 16 frames; `x` is shown, `-` is stepped over::

    frame   0 1 2 3 4 5 6 7 8 9 . . . . . 15
    clip        x - x - x - x -                    offset 2: frames 2, 4, 6, 8; the clip reserves 4 x 2 = 8 frames

The reserved length is clip_len * frame_interval, one step longer than what is shown; published numbers rest on it.
Rules and rounding are those of MMAction2 0.x's SampleFrames, without keep_tail_frames. Frame numbers count from 0.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

OutOfBound = Literal["loop", "repeat_last"]
TestClips = Literal["middle", "spread"]


def test_indices(
    num_frames: int,
    *,
    clip_len: int,
    frame_interval: int,
    num_clips: int,
    twice_sample: bool = False,
    test_clips: TestClips = "middle",
    out_of_bound: OutOfBound = "loop",
) -> np.ndarray:
    """The middle clip of each of num_clips equal segments; with `twice_sample` then also the first clip of each.

    `test_clips="spread"` is the rule of SlowFast, and of MMAction2 1.x for clips of several frames: the first clip
    begins with the video, the last one ends with it.

    Returns:
        (num_clips, clip_len) int64, or (2 * num_clips, clip_len). A video shorter than a clip gives clips from frame 0;
        there the reference forgets to double them, we do not, so that every video has as many views.
    """
    if test_clips == "spread":
        last = max(num_frames - (clip_len - 1) * frame_interval - 1, 0)
        offsets = np.round(np.arange(num_clips) * (last / (num_clips - 1))) if num_clips > 1 else np.array([last // 2])
    else:
        room = num_frames - clip_len * frame_interval + 1
        starts = np.arange(num_clips) * (max(room, 0) / num_clips)
        middles = np.trunc(starts + max(room, 0) / num_clips / 2)
        offsets = np.concatenate([middles, starts]) if twice_sample else middles
    return _clips(offsets, num_frames, clip_len=clip_len, frame_interval=frame_interval, out_of_bound=out_of_bound)


def train_indices(
    num_frames: int,
    rng: np.random.Generator,
    *,
    clip_len: int,
    frame_interval: int,
    num_clips: int,
    out_of_bound: OutOfBound = "loop",
) -> np.ndarray:
    """A random clip of each of num_clips equal segments.

    Returns:
        (num_clips, clip_len) int64.
    """
    reserved = clip_len * frame_interval
    room = num_frames - reserved + 1  # offsets at which a clip fits
    segment = room // num_clips
    if segment > 0:
        offsets = np.arange(num_clips) * segment + rng.integers(segment, size=num_clips)
    elif num_frames > max(num_clips, reserved):  # fewer offsets than clips: any, in order
        offsets = np.sort(rng.integers(room, size=num_clips))
    elif segment == 0:  # hardly more frames than a clip needs, or fewer frames than clips: spread evenly
        offsets = np.around(np.arange(num_clips) * (room / num_clips))
    else:
        offsets = np.zeros(num_clips)
    return _clips(offsets, num_frames, clip_len=clip_len, frame_interval=frame_interval, out_of_bound=out_of_bound)


def dense_test_indices(
    num_frames: int,
    *,
    clip_len: int,
    frame_interval: int,
    num_clips: int,
    dense_range: int,
    dense_windows: int,
    out_of_bound: OutOfBound = "loop",
) -> np.ndarray:
    """The first clip of each of num_clips equal segments of a window of dense_range frames; windows spread evenly.

    Returns:
        (dense_windows * num_clips, clip_len) int64 (MMAction2's DenseSampleFrames; a clip may begin the video again).
    """
    starts = np.linspace(0, max(num_frames - dense_range, 0), num=dense_windows, dtype=int)
    offsets = (starts[:, None] + np.arange(num_clips) * (dense_range // num_clips)).ravel() % num_frames
    return _clips(offsets, num_frames, clip_len=clip_len, frame_interval=frame_interval, out_of_bound=out_of_bound)


def dense_train_indices(
    num_frames: int,
    rng: np.random.Generator,
    *,
    clip_len: int,
    frame_interval: int,
    num_clips: int,
    dense_range: int,
    out_of_bound: OutOfBound = "loop",
) -> np.ndarray:
    """As `dense_test_indices`, of one window at random; the reference never draws the last one, nor do we.

    Returns:
        (num_clips, clip_len) int64.
    """
    start = rng.integers(num_frames - dense_range) if num_frames > dense_range else 0
    offsets = (start + np.arange(num_clips) * (dense_range // num_clips)) % num_frames
    return _clips(offsets, num_frames, clip_len=clip_len, frame_interval=frame_interval, out_of_bound=out_of_bound)


def _clips(
    offsets: np.ndarray, num_frames: int, *, clip_len: int, frame_interval: int, out_of_bound: OutOfBound
) -> np.ndarray:
    """The frames of the clips that begin at `offsets`. Fractions are cut off last, as the reference does."""
    indices = offsets[:, None] + np.arange(clip_len) * frame_interval  # (clips, clip_len)
    return OUT_OF_BOUND[out_of_bound](indices, num_frames).astype(np.int64)


def _loop(indices: np.ndarray, num_frames: int) -> np.ndarray:
    """Begin the video again: 0 2 4 6 of 5 frames becomes 0 2 4 1."""
    return indices % num_frames


def _repeat_last(indices: np.ndarray, num_frames: int) -> np.ndarray:
    """Stay on the clip's last frame that exists: 0 2 4 6 of 5 frames becomes 0 2 4 4."""
    inside = indices < num_frames
    return np.where(inside, indices, (indices * inside).max(axis=1, keepdims=True))


OUT_OF_BOUND: dict[OutOfBound, Callable[[np.ndarray, int], np.ndarray]] = {"loop": _loop, "repeat_last": _repeat_last}

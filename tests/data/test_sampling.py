"""Frame numbers: the reference's, exactly, and the rule they follow in training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpn.data import sampling

SECTIONS = ["kinetics_test", "kinetics_val", "kinetics_test_32x2", "sthv1_test", "sthv1_val", "repeat_last"]
CLIPS = {"clip_len": st.integers(1, 40), "frame_interval": st.integers(1, 10), "num_clips": st.integers(1, 12)}
NUM_FRAMES = st.one_of(st.integers(1, 100), st.integers(1, 2000))


@pytest.mark.parametrize("section", SECTIONS)
def test_test_indices_are_the_references(parity, section):
    golden = parity("frame_indices.json")[section]
    names = {"out_of_bound_opt": "out_of_bound"}
    kwargs = {names.get(name, name): value for name, value in golden["args"].items() if name != "test_mode"}
    for num_frames, expected in golden["frame_inds"].items():
        indices = sampling.test_indices(int(num_frames), **kwargs)
        assert indices.dtype == np.int64
        assert indices.shape[1] == kwargs["clip_len"]
        assert indices.ravel().tolist() == expected, num_frames


def test_every_section_of_the_golden_indices_is_tested(parity):
    assert sorted(parity("frame_indices.json")) == sorted(SECTIONS)


@given(num_frames=NUM_FRAMES, twice=st.booleans(), rule=st.sampled_from(["loop", "repeat_last"]), **CLIPS)
def test_test_indices_exist_and_every_video_has_as_many(num_frames, twice, rule, clip_len, frame_interval, num_clips):
    indices = sampling.test_indices(
        num_frames,
        clip_len=clip_len,
        frame_interval=frame_interval,
        num_clips=num_clips,
        twice_sample=twice,
        out_of_bound=rule,
    )
    assert indices.shape == (num_clips * (2 if twice else 1), clip_len)
    assert indices.min() >= 0
    assert indices.max() < num_frames


@given(num_frames=NUM_FRAMES, seed=st.integers(0, 2**32), **CLIPS)
def test_training_clips_lie_in_their_segments(num_frames, seed, clip_len, frame_interval, num_clips):
    indices = sampling.train_indices(
        num_frames,
        np.random.default_rng(seed),
        clip_len=clip_len,
        frame_interval=frame_interval,
        num_clips=num_clips,
    )
    assert indices.shape == (num_clips, clip_len)
    assert indices.min() >= 0
    assert indices.max() < num_frames
    steps = np.diff(indices) % num_frames
    assert (steps == frame_interval % num_frames).all()

    offsets, room = indices[:, 0], num_frames - clip_len * frame_interval + 1
    if room >= num_clips:  # one offset out of each of num_clips segments of whole length
        segment = room // num_clips
        assert (offsets // segment == np.arange(num_clips)).all()
    elif room <= 0:  # the clip does not fit: from the first frame
        assert (offsets == 0).all()
    elif num_frames > max(num_clips, clip_len * frame_interval):  # fewer places than clips: any of them, in order
        assert (np.diff(offsets) >= 0).all()
        assert offsets.max() < room
    else:  # fewer frames than clips: evenly, to the nearest even place, and the place after the last is the first
        assert offsets.tolist() == [round(i * room / num_clips) % num_frames for i in range(num_clips)]


def test_every_offset_of_a_segment_is_drawn():
    rng = np.random.default_rng(0)
    drawn = {int(sampling.train_indices(20, rng, clip_len=2, frame_interval=3, num_clips=3)[1, 0]) for _ in range(200)}
    assert drawn == {5, 6, 7, 8, 9}  # (20 - 2*3 + 1) // 3 = 5 offsets, those of the second segment


def test_clip_of_8x8_reserves_64_frames():
    clips = [
        sampling.train_indices(65, np.random.default_rng(i), clip_len=8, frame_interval=8, num_clips=1)
        for i in range(50)
    ]
    assert {int(clip[0, 0]) for clip in clips} == {0, 1}  # its span of 57 frames alone would leave nine places


def test_short_video_loops():
    assert sampling.test_indices(5, clip_len=4, frame_interval=2, num_clips=1).tolist() == [[0, 2, 4, 1]]


def test_short_video_repeats_its_last_frame():
    indices = sampling.test_indices(5, clip_len=4, frame_interval=2, num_clips=1, out_of_bound="repeat_last")
    assert indices.tolist() == [[0, 2, 4, 4]]


# -------------------------------------------------------- MMAction2 1.x's test clips, and TSM's dense sampling (golden)


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (30, [[0, 3], [9, 12], [17, 20], [26, 29]]),
        (5, [[0, 3], [0, 3], [1, 4], [1, 4]]),
        (3, [[0, 0], [0, 0], [0, 0], [0, 0]]),
    ],
)
def test_spread_clips_are_version_1s(num_frames, expected):
    clips = sampling.test_indices(num_frames, clip_len=2, frame_interval=3, num_clips=4, test_clips="spread")
    assert clips.tolist() == expected
    (middle,) = sampling.test_indices(num_frames, clip_len=2, frame_interval=3, num_clips=1, test_clips="spread")
    assert middle[0] == max(num_frames - 4, 0) // 2


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (40, [[0, 4, 8, 12], [12, 16, 20, 24], [24, 28, 32, 36]]),
        (16, [[0, 4, 8, 12]] * 3),
        (10, [[0, 4, 8, 2]] * 3),
    ],
)
def test_dense_windows_are_the_references(num_frames, expected):
    clips = sampling.dense_test_indices(
        num_frames, clip_len=1, frame_interval=1, num_clips=4, dense_range=16, dense_windows=3
    )
    assert clips.reshape(3, 4).tolist() == expected


@pytest.mark.parametrize(("num_frames", "starts"), [(20, {0, 1, 2, 3}), (17, {0}), (16, {0}), (3, {0})])
def test_a_dense_training_window_begins_anywhere_but_at_the_last_place(num_frames, starts):
    rng = np.random.default_rng(0)
    clips = [
        sampling.dense_train_indices(num_frames, rng, clip_len=1, frame_interval=1, num_clips=4, dense_range=16).ravel()
        for _ in range(100)
    ]
    assert {int(clip[0]) for clip in clips} == starts
    assert all((clip == (clip[0] + np.arange(4) * 4) % num_frames).all() for clip in clips)

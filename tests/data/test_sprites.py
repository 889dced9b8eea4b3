"""The sprites: mirror classes differ in the order of frames and in nothing else, and the set is made once, whole."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from tpn.data import sprites
from tpn.data.sprites import CLASSES, NUM_FRAMES, SIZE, make_sprites, video_frames, write_video
from tpn.errors import DataError

PAIRS = [("move left", "move right"), ("rotate clockwise", "rotate counter-clockwise"), ("grow", "shrink")]
LABELS = {name: label for label, name in enumerate(CLASSES)}


def make(folder: Path, *, num_train: int = 6, seed: int = 1, workers: int = 2, progress=None) -> None:
    make_sprites(folder, num_train=num_train, num_val=2, num_test=2, seed=seed, workers=workers, progress=progress)


def decode(path: Path) -> np.ndarray:
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def frame_multiset(frames: np.ndarray) -> list[bytes]:
    return sorted(frame.tobytes() for frame in frames)


def centres(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Centre (F, 2), x and y, of what differs from the background."""
    weight = np.abs(frames.astype(float) - background).sum(axis=-1)
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack([(weight * x).sum((1, 2)), (weight * y).sum((1, 2))], axis=1) / weight.sum((1, 2))[:, None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sprites") / "set"
    make(path)
    return path


# -------------------------------------------------------------------------------------------------- no order, no answer


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_mirror_classes_show_the_same_frames_in_opposite_order(one, other):
    for seed in range(3):
        forwards = video_frames(LABELS[one], np.random.default_rng(seed))
        backwards = video_frames(LABELS[other], np.random.default_rng(seed))
        np.testing.assert_array_equal(forwards, backwards[::-1])
        assert not np.array_equal(forwards, backwards)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_every_clip_is_the_same_set_of_frames_as_a_mirror_clip(one, other):
    forwards = video_frames(LABELS[one], np.random.default_rng(5), noise=0)
    backwards = video_frames(LABELS[other], np.random.default_rng(5), noise=0)
    for start in (0, 13, 64):
        clip = forwards[start : start + 57 : 8]
        mirror_start = NUM_FRAMES - 1 - (start + 56)
        mirror = backwards[mirror_start : mirror_start + 57 : 8]
        assert frame_multiset(clip) == frame_multiset(mirror)


def test_pairs_cover_the_classes_and_share_a_motion():
    assert [name for pair in PAIRS for name in pair] == list(CLASSES)
    for one, other in PAIRS:
        assert CLASSES[one][0] == CLASSES[other][0]
        assert CLASSES[one][1] == -CLASSES[other][1]


def test_random_draws_do_not_depend_on_the_class():
    states = []
    for label in range(len(CLASSES)):
        rng = np.random.default_rng(3)
        video_frames(label, rng)
        states.append(rng.bit_generator.state)
    assert all(state == states[0] for state in states)


def test_coding_a_reversed_video_reverses_the_decoded_frames(tmp_path):
    for label in range(0, len(CLASSES), 2):
        frames = video_frames(label, np.random.default_rng(label))
        write_video(tmp_path / "forwards.mp4", frames)
        write_video(tmp_path / "backwards.mp4", frames[::-1])
        np.testing.assert_array_equal(decode(tmp_path / "forwards.mp4"), decode(tmp_path / "backwards.mp4")[::-1])


def test_phase_is_uniform_at_every_frame():
    """So a clip shows the same phases wherever it starts, forwards or backwards."""
    rng = np.random.default_rng(0)
    phases = np.stack([sprites.draw_phases(rng) for _ in range(4000)])
    for frame in (0, 32, NUM_FRAMES - 1):
        share = np.histogram(phases[:, frame], bins=8, range=(0, 1))[0] / len(phases)
        np.testing.assert_allclose(share, 1 / 8, atol=0.025)


# ------------------------------------------------------------------------------------------------------ what is visible


def test_no_sprite_aliases_at_stride_16():
    rng = np.random.default_rng(0)
    steps = [(phases[16] - phases[0]) % 1 for phases in (sprites.draw_phases(rng) for _ in range(1000))]
    assert 0.14 < min(steps) < 0.16
    assert 0.40 < max(steps) < 0.421  # half a cycle would look the same in both directions


@pytest.mark.parametrize("shape", range(len(sprites.SHAPES)))
def test_no_shape_looks_the_same_before_a_full_turn(shape):
    sprite = sprites.Sprite(shape=shape, colour=(255, 255, 255), x=16, y=16, size=14, angle=0.3)
    turning = sprites.Motion(turn=2 * np.pi)
    masks = sprites.draw_masks(sprite.outlines(turning, np.arange(8) / 8))
    changes = np.abs(masks[1:] - masks[0]).sum((1, 2, 3)) / masks[0].sum()
    assert changes.min() > 0.2


@pytest.mark.parametrize("name", ["rotate clockwise", "grow"])
@pytest.mark.parametrize("y", [9, SIZE - 9])
def test_largest_sprite_leaves_no_trace_in_the_next_frame(name, y):
    for shape in range(len(sprites.SHAPES)):
        for angle in np.arange(8) / 8 * 2 * np.pi:
            sprite = sprites.Sprite(shape=shape, colour=(255, 255, 255), x=16, y=y, size=14, angle=angle)
            outlines = sprite.outlines(CLASSES[name][0], np.arange(8) / 8)
            alone = np.concatenate([sprites.draw_masks(outline[None]) for outline in outlines])
            np.testing.assert_array_equal(sprites.draw_masks(outlines), alone)


def frames_of(name: str, **changes: float) -> np.ndarray:
    """A white half disc alone on black, one cycle in 16 frames."""
    values = {"x": 16.0, "y": 16.0, "size": 10.0, "angle": 0.0, **changes}
    sprite = sprites.Sprite(shape=2, colour=(255, 255, 255), **values)
    motion, direction = CLASSES[name]
    outlines = sprite.outlines(motion, np.arange(16) / 16)
    return sprites.paint(np.zeros((SIZE, SIZE, 3), np.float32), outlines, sprite.colour)[::direction]


def test_move_right_goes_right_and_wraps_around():
    frames = frames_of("move right", x=10)
    x = centres(frames, np.zeros(3))[:, 0]
    assert (np.diff(x[:9]) > 1).all()
    areas = frames.sum((1, 2, 3))
    np.testing.assert_allclose(areas, areas[0], rtol=0.02)  # what leaves on the right is back on the left


def test_rotate_clockwise_turns_clockwise_on_the_screen():
    x, y = (centres(frames_of("rotate clockwise"), np.zeros(3)) - 15.5).T
    steps = np.diff(np.unwrap(np.arctan2(y, x)))  # y points down, so clockwise is a growing angle
    assert (steps > 0).all()
    np.testing.assert_allclose(steps, 2 * np.pi / 16, rtol=0.2)


def test_grow_grows_then_starts_again():
    areas = frames_of("grow").sum((1, 2, 3))
    assert (np.diff(areas) > 0).all()
    assert areas[-1] > 5 * areas[0]


def test_colours_survive_the_encoding(tmp_path):
    for seed in range(6):
        frames = video_frames(seed, np.random.default_rng(seed), noise=0)
        write_video(tmp_path / "video.mp4", frames)
        decoded = decode(tmp_path / "video.mp4")
        bright = frames.max(axis=-1) > 200  # the sprites
        drift = np.abs(decoded[bright].astype(float) - frames[bright]).mean()
        assert drift < 25, f"colours are {drift:.0f} levels off"


# ---------------------------------------------------------------------------------------------------------- the files


def test_lists_name_every_video_with_balanced_labels(folder):
    lines = (folder / "train.txt").read_text().splitlines()
    paths, labels = zip(*(line.split(" ") for line in lines), strict=True)
    assert lines[:2] == ["videos/train/00000.mp4 0", "videos/train/00001.mp4 1"]
    assert sorted(folder / path for path in paths) == sorted((folder / "videos" / "train").iterdir())
    assert sorted(map(int, labels)) == list(range(6))
    assert (folder / "labels.txt").read_text().splitlines() == list(CLASSES)
    assert [len((folder / f"{split}.txt").read_text().splitlines()) for split in ("val", "test")] == [2, 2]


def test_videos_are_small_h264_in_which_every_frame_is_a_key_frame(folder):
    path = folder / "videos" / "train" / "00000.mp4"
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 30)
        assert (stream.width, stream.height, stream.frames) == (32, 32, NUM_FRAMES)
        assert all(frame.key_frame for frame in container.decode(stream))
    assert path.stat().st_size < 40_000


def test_videos_do_not_depend_on_workers_or_on_the_number_of_videos(folder, tmp_path):
    make(tmp_path / "other", num_train=2, workers=1)
    for video in ("train/00000.mp4", "train/00001.mp4", "test/00001.mp4"):
        np.testing.assert_array_equal(decode(folder / "videos" / video), decode(tmp_path / "other" / "videos" / video))


def test_splits_and_seeds_give_different_videos(folder, tmp_path):
    make(tmp_path / "other", seed=2, num_train=1)
    first = decode(folder / "videos/train/00000.mp4")
    assert not np.array_equal(first, decode(folder / "videos/val/00000.mp4"))
    assert not np.array_equal(first, decode(tmp_path / "other" / "videos/train/00000.mp4"))


def test_progress_counts_the_videos(tmp_path):
    counts: list[int] = []
    make(tmp_path / "set", num_train=3, progress=counts.append)
    assert counts == list(range(1, 8))


def test_a_set_that_is_there_is_left_alone(folder):
    path = folder / "videos" / "train" / "00000.mp4"
    before = path.stat().st_mtime_ns
    make(folder, progress=lambda done: pytest.fail("a video was made again"))
    assert path.stat().st_mtime_ns == before


def test_other_parameters_or_a_missing_video_remake_the_set(tmp_path):
    make(tmp_path / "set", num_train=1)
    make(tmp_path / "set", num_train=2)
    assert json.loads((tmp_path / "set" / "sprites.json").read_text())["train"] == 2
    video = tmp_path / "set" / "videos/train/00001.mp4"
    video.unlink()
    make(tmp_path / "set", num_train=2)
    assert video.is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_interrupted_run_leaves_nothing_half_made(tmp_path):
    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "set", num_train=2, progress=interrupt)
    assert not (tmp_path / "set").exists()
    make(tmp_path / "set", num_train=2)
    assert len(list((tmp_path / "set" / "videos" / "train").iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("ours", [True, False])
def test_files_of_somebody_else_are_never_deleted(tmp_path, ours):
    if ours:
        make(tmp_path, num_train=1)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"thesis\.tex"):
        make(tmp_path, num_train=2)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    with pytest.raises(DataError, match="is a file"):
        make(tmp_path / "thesis.tex")


def test_someone_elses_videos_folder_is_never_deleted(tmp_path):
    (tmp_path / "videos").mkdir()
    with pytest.raises(DataError, match="videos"):
        make(tmp_path)
    assert (tmp_path / "videos").is_dir()

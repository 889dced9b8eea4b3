"""Samples: what a view is, and that a sample depends on (seed, epoch, index) alone."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tpn.config.settings import Config
from tpn.data.dataset import FixedViews, RandomViews, Sample, VideoDataset, build_dataset, read_views
from tpn.data.decode import VideoFile
from tpn.data.frames import FrameFolder
from tpn.data.sampling import test_indices as fixed_indices
from tpn.errors import DataError

NUM_VIDEOS = 4


@pytest.fixture(scope="module")
def list_file(make_video, tmp_path_factory) -> Path:
    """A list of four videos of 40 frames, 48 x 64 pixels, labels 0 .. 3."""
    videos = [make_video(f"{number}.mp4", num_frames=40, seed=number) for number in range(NUM_VIDEOS)]
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    path.write_text("".join(f"{video} {label}\n" for label, video in enumerate(videos)))
    return path


def make_config(list_file: Path, **changes) -> Config:
    split = {"ann_file": str(list_file)}
    data = {"format": "videos", "clip_len": 4, "frame_interval": 4, "short_side": 40, "crop_size": 32, **changes}
    test = {"num_clips": 3, "num_crops": 3, "crop_size": 40}
    return Config.model_validate(
        {
            "model": {"backbone": {"type": "ResNet3dSlowOnly"}, "cls_head": {"num_classes": NUM_VIDEOS}},
            "data": {"train": split, "val": split, "test": split | test} | data,
            "lr_config": {"policy": "step", "step": [1]},
            "total_epochs": 1,
        }
    )


def equal(a: Sample, b: Sample) -> bool:
    return all(torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in zip(a, b, strict=True))


# ----------------------------------------------------------------------------------------------------------- its views


def test_a_training_sample_is_one_view(list_file):
    sample = build_dataset(make_config(list_file), "train", seed=0)[0, 2]
    assert sample.index == 2
    assert sample.label == 2
    assert sample.views.shape == (1, 4, 32, 32, 3)
    assert sample.views.dtype == torch.uint8
    assert sample.jitter_factors.dtype == torch.float32
    assert sorted(sample.jitter_order.tolist()) == [0, 1, 2, 3]


def test_test_views_are_crop_major_and_the_references_pixels(list_file):
    dataset = build_dataset(make_config(list_file), "test", seed=0)
    views = dataset[0, 1].views.numpy()
    assert views.shape == (9, 4, 40, 40, 3)
    with VideoFile(dataset.records[1].path) as video:
        frames = video.read(range(40))
    frames = np.stack([cv2.resize(frame, (53, 40), interpolation=cv2.INTER_LINEAR) for frame in frames])
    clips = fixed_indices(40, clip_len=4, frame_interval=4, num_clips=3)
    for crop, left in enumerate((0, 12, 6)):  # left, right, middle
        for clip in range(3):
            np.testing.assert_array_equal(views[crop * 3 + clip], frames[clips[clip], :, left : left + 40])


def test_validation_takes_the_centre_crop_of_one_clip(list_file):
    dataset = build_dataset(make_config(list_file), "val", seed=0)
    assert dataset[0, 0].views.shape == (1, 4, 32, 32, 3)


def test_segments_of_one_frame_form_one_view_and_twice_sample_doubles_it(make_video):
    views = FixedViews(
        clip_len=1, frame_interval=1, num_clips=8, frames_per_view=8, short_side=40, crop_size=40, num_crops=3,
        twice_sample=True,
    )  # fmt: skip
    for num_frames in (1, 5, 40):
        with VideoFile(make_video(f"{num_frames}_frames.mp4", num_frames=num_frames)) as video:
            assert read_views(video, views).shape == (6, 8, 40, 40, 3)


def test_a_video_shorter_than_a_clip_has_as_many_views(make_video):
    views = FixedViews(
        clip_len=4, frame_interval=4, num_clips=3, frames_per_view=4, short_side=40, crop_size=40, num_crops=3
    )
    with VideoFile(make_video("5_frames.mp4", num_frames=5)) as video:
        assert read_views(video, views).shape == (9, 4, 40, 40, 3)


def test_ten_crops_are_five_and_their_mirror_images():
    views = FixedViews(
        clip_len=1, frame_interval=1, num_clips=1, frames_per_view=1, short_side=None, crop_size=32, num_crops=10
    )
    frame = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    crops = [box.cut(frame) for box in views.boxes(40, 50)]
    assert [crop.shape for crop in crops] == [(32, 32, 3)] * 10
    for crop, mirrored in zip(crops[::2], crops[1::2], strict=True):
        np.testing.assert_array_equal(mirrored, crop[:, ::-1])
    np.testing.assert_array_equal(crops[0], frame[:32, :32])


def test_dense_sampling_shows_each_window_as_a_view(make_video):
    views = FixedViews(
        clip_len=1, frame_interval=1, num_clips=8, frames_per_view=8, short_side=40, crop_size=40, num_crops=3,
        dense_range=16, dense_windows=5,
    )  # fmt: skip
    with VideoFile(make_video("40_frames.mp4", num_frames=40)) as video:
        assert read_views(video, views).shape == (views.num_views, 8, 40, 40, 3) == (15, 8, 40, 40, 3)


def test_frames_that_are_not_resized_must_hold_the_crop(make_video):
    views = FixedViews(
        clip_len=4, frame_interval=1, num_clips=1, frames_per_view=4, short_side=None, crop_size=999, num_crops=1
    )
    with VideoFile(make_video("small.mp4", num_frames=5)) as video, pytest.raises(DataError) as error:
        read_views(video, views)
    assert "small.mp4: crops of 999 do not fit into its" in str(error.value)


def test_every_frame_is_read_once_however_many_clips_show_it(tmp_path, monkeypatch):
    for number in range(20):
        cv2.imwrite(str(tmp_path / f"img_{number + 1:05}.jpg"), np.full((40, 50, 3), number, np.uint8))
    read, read_one = [], FrameFolder._read_one
    monkeypatch.setattr(FrameFolder, "_read_one", lambda self, index: read.append(index) or read_one(self, index))
    video = FrameFolder(tmp_path, num_frames=20, filename_tmpl="img_{:05}.jpg", start_index=1)
    views = FixedViews(
        clip_len=4, frame_interval=4, num_clips=5, frames_per_view=4, short_side=40, crop_size=40, num_crops=3
    )
    shown = read_views(video, views)[:, :, 0, 0, 0]
    assert len(read) == len(set(read))
    np.testing.assert_array_equal(shown[:5], views.indices(20))  # the frames' grey is their number


def test_folders_of_frames_are_read_as_the_settings_name_them(tmp_path):
    (tmp_path / "clip").mkdir()
    for number in range(20):
        cv2.imwrite(str(tmp_path / "clip" / f"{number:03}.png"), np.full((40, 50, 3), number, np.uint8))
    (tmp_path / "list.txt").write_text("clip 20 1\n")
    split = {"ann_file": str(tmp_path / "list.txt"), "data_prefix": str(tmp_path)}
    config = make_config(
        tmp_path / "list.txt", format="rawframes", filename_tmpl="{:03}.png", start_index=0, train=split
    )
    assert build_dataset(config, "train", seed=0)[0, 0].views.shape == (1, 4, 32, 32, 3)


# ---------------------------------------------------------------------------------------------------------- its chance


def test_a_sample_does_not_depend_on_what_was_made_before(list_file):
    config = make_config(list_file)
    keys = [(epoch, index) for epoch in range(2) for index in range(NUM_VIDEOS)]
    forwards, backwards = build_dataset(config, "train", seed=7), build_dataset(config, "train", seed=7)
    one = {key: forwards[key] for key in keys}
    np.random.seed(0)
    torch.manual_seed(0)
    other = {key: backwards[key] for key in reversed(keys)}
    assert all(equal(one[key], other[key]) for key in keys)


def test_seed_and_epoch_each_change_a_sample(list_file):
    config = make_config(list_file)
    sample = build_dataset(config, "train", seed=0)[0, 0]
    assert not equal(sample, build_dataset(config, "train", seed=0)[1, 0])
    assert not equal(sample, build_dataset(config, "train", seed=1)[0, 0])


def test_making_samples_leaves_the_global_generators_alone(list_file):
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    build_dataset(make_config(list_file), "train", seed=0)[0, 0]
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_draws_nothing(list_file, split):
    config = make_config(list_file, flip_ratio=1.0, flip_label_map={0: 1})
    sample = build_dataset(config, split, seed=0)[0, 0]
    assert equal(sample, build_dataset(config, split, seed=9)[5, 0])
    assert not sample.flip
    assert sample.label == 0
    assert sample.jitter_factors.tolist() == [1, 1, 1, 0]


def test_a_flip_swaps_left_and_right_in_the_label(list_file):
    config = make_config(list_file, flip_ratio=0.5, flip_label_map={0: 1, 1: 0})
    dataset = build_dataset(config, "train", seed=0)
    samples = [dataset[epoch, index] for epoch in range(10) for index in range(NUM_VIDEOS)]
    assert {sample.flip for sample in samples} == {True, False}
    for sample in samples:
        swapped = {0: 1, 1: 0}.get(sample.index, sample.index)
        assert sample.label == (swapped if sample.flip else sample.index)


def test_random_crops_differ_between_samples_and_are_one_per_sample(tmp_path):
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], (48, 64, 3))
    for number in range(10):
        cv2.imwrite(str(tmp_path / f"img_{number:05}.png"), ramp)
    folder = FrameFolder(tmp_path, num_frames=10, filename_tmpl="img_{:05}.png", start_index=0)
    views = RandomViews(clip_len=4, frame_interval=2, num_clips=1, frames_per_view=4, crop_size=16)
    crops = [read_views(folder, views, np.random.default_rng(seed))[0] for seed in range(5)]
    assert all((crop == crop[0]).all() for crop in crops)
    assert len({crop.tobytes() for crop in crops}) == 5


# ----------------------------------------------------------------------------------------------------------- its errors


def test_an_unreadable_video_is_named(list_file, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all")
    (tmp_path / "list.txt").write_text(f"{bad} 0\n")
    with pytest.raises(DataError, match=r"bad\.mp4"):
        build_dataset(make_config(tmp_path / "list.txt"), "train", seed=0)[0, 0]


@pytest.mark.parametrize("split, allowed", [
    ("train", {"max_bad": 0.3}), ("val", {"val": {"max_bad": 0.3}}), ("test", {"test": {"max_bad": 0.3}}),
])  # fmt: skip
def test_a_missing_video_that_may_be_bad_is_told_when_it_is_read(list_file, tmp_path, split, allowed):
    lines = [*list_file.read_text().splitlines()[:3], f"{tmp_path}/gone.mp4 3"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    merged = {key: {"ann_file": str(tmp_path / "list.txt"), **value} if key == split else value
              for key, value in allowed.items()}  # fmt: skip
    config = make_config(tmp_path / "list.txt", **merged)
    dataset = build_dataset(config, split, seed=0)
    with pytest.raises(DataError, match=r"gone\.mp4 does not exist"):
        dataset[0, 3]
    with pytest.raises(DataError, match=r"list\.txt:4: there is no file .*gone\.mp4"):
        build_dataset(make_config(tmp_path / "list.txt", **merged, on_error="fail"), split, seed=0)
    other = {"train": "val", "val": "test", "test": "train"}[split]
    with pytest.raises(DataError, match=r"list\.txt:4: there is no file"):
        build_dataset(config, other, seed=0)


def test_a_dataset_can_be_sent_to_another_process(list_file):
    import pickle

    dataset = build_dataset(make_config(list_file), "train", seed=0)
    copy: VideoDataset = pickle.loads(pickle.dumps(dataset))
    assert equal(copy[0, 0], dataset[0, 0])

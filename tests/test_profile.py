"""A profile runs the real training and test; its phases fill their time, and its advice follows from them."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from tpn.config import load_config
from tpn.data.dataset import build_dataset
from tpn.data.sprites import write_video
from tpn.engine import stopwatch
from tpn.engine.evaluate import build_scorer
from tpn.engine.stopwatch import (
    BACKWARD,
    COLLATE,
    DECODE,
    DISK,
    FORWARD,
    OPTIMIZER,
    RESIZE,
    TEST_PHASES,
    TRAIN_PHASES,
    VIDEO_PHASES,
    WAIT,
    Stopwatch,
    TimedScorer,
    milliseconds,
    train_times,
    video_times,
)
from tpn.errors import DataError
from tpn.models.recognizer import Recognizer, build_recognizer
from tpn.profile import Profile, advice, describe, measure
from tpn.report import draw_profile

CPU, QUIET = torch.device("cpu"), Console(quiet=True)


@pytest.fixture
def config(recipe, single_thread):
    return load_config(recipe)


def profiled(config, mode, steps=2) -> Profile:
    return measure(config, config_file=Path("tiny.py"), mode=mode, steps=steps, device=CPU, console=QUIET)


# -------------------------------------------------------------------------------------------------------- the measuring


def test_phases_sum_to_the_lap():
    clock = Stopwatch(CPU)
    clock.begin("a")
    for phase in "bcab":
        clock.enter(phase)
    clock.end()
    [lap] = clock.laps
    times = clock.times(("a", "b", "c"))
    assert list(times) == ["a", "b", "c"]
    assert sum(times.values()) == pytest.approx(milliseconds(lap[0][1], lap[-1][1]))


def test_lap_that_does_not_end_and_laps_that_are_skipped_do_not_count():
    clock = Stopwatch(CPU)
    for phase in ("first", "a", "a"):
        clock.begin(phase)
        clock.end()
    clock.begin("forgotten")
    clock.begin("forgotten too")
    assert len(clock.laps) == 3
    assert list(clock.times(("a",), skip=1)) == ["a"]


@pytest.mark.parametrize(("mode", "phases"), [("train", TRAIN_PHASES), ("test", TEST_PHASES)])
def test_every_phase_of_the_real_loop_takes_time(config, mode, phases):
    profile = profiled(config, mode)
    assert tuple(profile.step) == phases
    assert tuple(profile.video) == VIDEO_PHASES
    assert all(ms > 0 for ms in [*profile.step.values(), *profile.video.values()])


def test_training_is_run_for_the_steps_asked_however_short_the_list(config, monkeypatch):
    forwards, forward = [], Recognizer.forward

    def counting(self, clips):
        if clips.device.type != "meta":  # where only shapes are asked for, before the run
            forwards.append(len(clips))
        return forward(self, clips)

    monkeypatch.setattr(Recognizer, "forward", counting)
    train_times(config, config_file=Path("tiny.py"), steps=9, device=CPU, console=QUIET)
    assert forwards == [4, 4, 4, 1, 4, 4, 4, 1, 4, 4]  # 13 videos; the first step does not count


def test_profile_leaves_nothing_but_its_picture(tpn, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = tpn("profile", recipe, "--steps", 1)
    assert outcome.code == 0, outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["profile_train.png"]


def test_scores_are_those_of_the_test(config):
    scorer = build_scorer(build_recognizer(config.model), config, CPU)
    views = torch.from_numpy(np.random.default_rng(0).integers(256, size=(1, 2, 8, 32, 32, 3), dtype=np.uint8))
    timed = TimedScorer(**vars(scorer), clock=Stopwatch(CPU))
    assert torch.equal(timed(views), scorer(views))


def test_samples_are_those_of_training(config):
    dataset = build_dataset(config, "train", seed=0)
    timed = stopwatch.TimedDataset(**vars(dataset), clock=Stopwatch(CPU))
    assert torch.equal(timed[3, 5].views, dataset[3, 5].views)


def test_broken_video_is_left_out_and_nothing_but_broken_ones_is_an_error(config, sprites, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    good = (sprites / "train.txt").read_text().split()[0]

    def with_list(lines: str):
        (tmp_path / "list.txt").write_text(lines)
        train = config.data.train.model_copy(update={"ann_file": str(tmp_path / "list.txt"), "data_prefix": "/"})
        return config.model_copy(update={"data": config.data.model_copy(update={"train": train})})

    assert video_times(with_list(f"{tmp_path}/broken.mp4 0\n{sprites}/{good} 0\n"), "train")[DECODE] > 0
    with pytest.raises(DataError, match=r"broken\.mp4"):
        video_times(with_list(f"{tmp_path}/broken.mp4 0\n"), "train")


# ---------------------------------------------------------------------------------------------------------- the verdict


def test_large_videos_before_a_small_network_are_input_bound(config, tmp_path):
    frames = np.random.default_rng(0).integers(256, size=(70, 45, 80, 3), dtype=np.uint8)
    write_video(tmp_path / "large.mp4", np.stack([cv2.resize(frame, (1280, 720)) for frame in frames]))
    (tmp_path / "list.txt").write_text("large.mp4 0\n")
    data = config.data.model_copy(
        update={
            "train": config.data.train.model_copy(
                update={"ann_file": str(tmp_path / "list.txt"), "data_prefix": str(tmp_path)}
            )
        }
    )
    profile = profiled(config.model_copy(update={"data": data}), "train", steps=1)
    assert profile.is_input_bound
    assert profile.bfloat16 is None  # the network is not what to change
    assert max(profile.video, key=profile.video.__getitem__) == DECODE
    assert advice(profile).startswith("Input-bound: ")


def test_small_videos_before_a_large_network_are_compute_bound(recipe):
    config = load_config(recipe, {"model.backbone.base_channels": 48, "data.videos_per_gpu": 1})
    profile = profiled(config, "train", steps=1)
    assert not profile.is_input_bound
    assert profile.bfloat16 is not None and profile.bfloat16 > 0
    assert f"measured {profile.total / profile.bfloat16:.1f} times as fast here" in advice(profile)


def built(config, *, step=(), video=(), **fields) -> Profile:
    """A profile in which every phase takes 10 ms, but for those given."""
    profile = Profile(
        mode="train",
        config=config,
        device=CPU,
        laps=5,
        step=dict.fromkeys(TRAIN_PHASES, 10.0) | dict(step),
        video=dict.fromkeys(VIDEO_PHASES, 1.0) | dict(video),
    )
    return replace(profile, **fields)


@pytest.mark.parametrize(
    ("format", "slowest", "remedy"),
    [
        ("videos", DISK, "faster disk"),
        ("videos", DECODE, "re-encode the videos once"),
        ("videos", RESIZE, "re-encode the videos once, smaller"),
        ("videos", COLLATE, "fewer views"),
        ("rawframes", DECODE, "store the frames"),
        ("rawframes", RESIZE, "shorter side of 256 pixels"),
    ],
)
def test_input_advice_is_about_the_slowest_part_of_making_a_video(config, format, slowest, remedy):
    data = config.data.model_copy(update={"format": format})
    text = advice(built(config.model_copy(update={"data": data}), step={WAIT: 94.0}, video={slowest: 97.0}))
    assert text.startswith(f"Input-bound: 65 % of a step waits for videos; {slowest} is 97 % of making one")
    assert remedy in text


def test_workers_are_asked_for_while_there_are_cpus(config, monkeypatch):
    def workers(cpus: int, workers: int) -> str:
        monkeypatch.setattr("os.sched_getaffinity", lambda process: range(cpus), raising=False)
        data = config.data.model_copy(update={"workers_per_gpu": workers})
        # four videos of 100 ms to be made in the 50 ms in which a step computes
        return advice(built(config.model_copy(update={"data": data}), step={WAIT: 200.0}, video={DECODE: 97.0}))

    assert "try data.workers_per_gpu=8, or re-encode" in workers(cpus=16, workers=2)
    assert "try data.workers_per_gpu=4, or re-encode" in workers(cpus=4, workers=0)
    assert "there are as many workers as CPUs (4)" in workers(cpus=4, workers=4)


def test_compute_advice_claims_only_what_was_measured(config):
    busy = built(config, step={FORWARD: 200.0, BACKWARD: 300.0, OPTIMIZER: 20.0})
    assert "bfloat16" not in advice(replace(busy, config=config.model_copy(update={"dtype": "float16"})))
    faster = advice(replace(busy, bfloat16=busy.total / 1.9))
    assert "; try --dtype bfloat16: a step measured 1.9 times as fast here." in faster
    assert "measured 0.7 times as fast here, so float32 is right" in advice(replace(busy, bfloat16=busy.total / 0.7))


def test_what_was_measured_is_described(config):
    assert describe(built(config)) == "mean of 5 steps of 4 videos, 0 workers, float32, CPU, 1 thread"
    assert describe(built(config, mode="test", laps=1)).startswith("mean of 1 video, 0 workers")


# ----------------------------------------------------------------------------------------------- the table, the picture


def test_table_and_verdict_are_printed(tpn, recipe, tmp_path):
    picture = tmp_path / "new" / "p.png"
    outcome = tpn("profile", recipe, "--mode", "test", "--steps", 2, "--out", picture)
    assert outcome.code == 0, outcome.err
    assert all(f"│ {phase} " in outcome.out for phase in (*TEST_PHASES, *VIDEO_PHASES))
    assert "-bound: " in outcome.out
    assert outcome.out.endswith(f"Drawn to {picture}\n")
    assert np.asarray(cv2.imread(str(picture))).shape[1] == 1200


@pytest.mark.parametrize(("out", "told"), [("no.txt", "as .png"), ("file/p.png", "no file can be written into")])
def test_a_picture_that_cannot_be_written_is_said_before_anything_is_measured(out, told, tpn, recipe, tmp_path):
    (tmp_path / "file").touch()
    outcome = tpn("profile", recipe, "--out", tmp_path / out, "--cfg-options", "data.train.ann_file=missing.txt")
    assert outcome.code == 2
    assert told in outcome.err


def test_bars_are_as_long_as_their_phases_and_follow_each_other(tmp_path):
    phases = {"one": 10.0, "two": 60.0, "three": 30.0}
    draw_profile("title", "subtitle", {"a": phases, "b": {"x": 1.0}}, "A verdict.", tmp_path / "p.png")
    image = np.asarray(cv2.imread(str(tmp_path / "p.png")))[..., ::-1].astype(int)
    left, right = 250, 1200 - 24 - 190
    done = 0.0
    for number, ms in enumerate(phases.values()):
        row = image[84 + 62 + 34 * number + 17, left:right]
        coloured = np.flatnonzero(row[:, 2] - row[:, 0] > 40)
        np.testing.assert_allclose(
            [coloured[0], coloured[-1]], (right - left) * np.array([done, done + ms]) / 100, atol=2
        )
        done += ms

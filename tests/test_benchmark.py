"""The benchmark counts each video once, on the views that the recipe's test has."""

import re

import pytest
import torch
from rich.console import Console

from tpn.benchmark import benchmark, random_views, run_benchmark
from tpn.config import load_config
from tpn.engine.evaluate import load_scorer

CPU = torch.device("cpu")
KINETICS = "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb"
STHV1 = "tpn_tsm_r50_1x1x8_150e_sthv1_rgb"


@pytest.fixture
def config(recipe, single_thread):
    return load_config(recipe)


@pytest.mark.parametrize("warm_up", [0, 3])
def test_each_video_is_run_once_after_the_uncounted_ones(config, warm_up):
    batches = []
    scorer = load_scorer(config, None, CPU)
    scorer.model.register_forward_hook(lambda module, inputs, output: batches.append(len(output)))
    speed = benchmark(scorer, config, num_videos=5, warm_up=warm_up, log_interval=10, console=Console(quiet=True))
    assert batches == [2] * (warm_up + 5)  # the two views of each video at once
    assert speed.videos == 5
    assert speed.videos_per_second == 5 / speed.seconds
    assert speed.peak_memory > 50  # MiB: no process with torch in it is smaller


def test_progress_and_overall_lines_are_mmaction2s(tpn, recipe):
    outcome = tpn("benchmark", recipe, "--num-videos", 5, "--warm-up", 0, "--log-interval", 2)
    assert outcome.code == 0, outcome.err
    second, fourth, overall, speed, details = outcome.out.splitlines()
    assert re.fullmatch(r"Done video \[2  / 5\], fps: [\d.e+]+ video / s", second)
    assert re.fullmatch(r"Done video \[4  / 5\], fps: [\d.e+]+ video / s", fourth)
    assert re.fullmatch(r"Overall fps: [\d.e+]+ video / s", overall)
    number = r"[\d.e+]+"
    assert re.fullmatch(
        rf"2 views a video, {number} views / s, {number} GFLOP/s: \d+% of the {number} this machine reached", speed
    )
    assert re.fullmatch(r"float32, peak memory \d+ MiB, on CPU, 1 threads", details)


def test_no_share_exceeds_what_the_machine_reached(config, monkeypatch, capsys):
    """However little the large products reach: on a busy machine they are now and then slower than the network."""
    monkeypatch.setattr("tpn.peak.measured_peak", lambda dtype, device: 1.0)
    run_benchmark(config, checkpoint=None, num_videos=1, warm_up=1, log_interval=9, device=CPU, console=Console())
    assert " GFLOP/s: 100% of the " in capsys.readouterr().out


def test_figures_agree_with_each_other(config, capsys):
    speed = run_benchmark(
        config, checkpoint=None, num_videos=4, warm_up=None, log_interval=4, device=CPU, console=Console()
    )
    rates = [float(rate) for rate in re.findall(r"([\d.e+]+) (?:video|views) / s", capsys.readouterr().out)]
    fps = speed.videos_per_second
    assert rates == pytest.approx([fps, fps, 2 * fps], rel=0.01)  # the last progress line, overall, views


@pytest.mark.parametrize(("name", "shape"), [(KINETICS, (1, 30, 8, 256, 256, 3)), (STHV1, (1, 6, 8, 256, 256, 3))])
def test_views_are_those_of_the_published_test(build, name, shape):
    views = random_views(build(name)[1], CPU)
    assert (views.shape, views.dtype) == (shape, torch.uint8)


def test_checkpoint_is_run(tpn, recipe, trained):
    outcome = tpn("benchmark", recipe, "--checkpoint", trained / "epoch_3.pth", "--num-videos", 1)
    assert outcome.code == 0, outcome.err
    assert "Overall fps: " in outcome.out

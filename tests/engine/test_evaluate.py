"""Every video is scored once, whatever the number of processes; and test, prediction and formula give one answer."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from tpn.compat.checkpoints import load_checkpoint
from tpn.config import Config, load_config
from tpn.data.augment import normalize
from tpn.data.dataset import VideoDataset, build_dataset
from tpn.engine import evaluate
from tpn.engine.evaluate import Scorer, build_scorer, in_list_order
from tpn.engine.progress import ProgressBar
from tpn.engine.results import read_results
from tpn.models.recognizer import Recognizer, build_recognizer
from tpn.predict import ShownScorer, predict

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tested(tpn, recipe, trained, tmp_path_factory):
    """The result file of `tpn test` over all 67 videos, and what it printed."""
    out = tmp_path_factory.mktemp("tested") / "result.json"
    outcome = tpn("test", recipe, trained / "epoch_3.pth", "--out", out, "--eval", "top_k_accuracy")
    assert outcome.code == 0, outcome.err
    return out, outcome.out


@pytest.fixture
def config(recipe) -> Config:
    return load_config(recipe)


@pytest.fixture
def model(config, trained, single_thread) -> Recognizer:
    model = build_recognizer(config.model)
    load_checkpoint(model, trained / "epoch_3.pth")
    return model


@pytest.fixture
def scorer(model, config) -> Scorer:
    return build_scorer(model, config, CPU)


def views_of(config: Config, index: int) -> torch.Tensor:
    """(1, V, T, H, W, 3) uint8: the test views of a video."""
    return build_dataset(config, "test", seed=0)[0, index].views[None]


# ------------------------------------------------------------------------------------------------------ each video once


def test_test_reads_every_video_once_and_writes_a_row_for_each(tpn, recipe, trained, tested, monkeypatch, tmp_path):
    indices = []
    read = VideoDataset.__getitem__
    monkeypatch.setattr(VideoDataset, "__getitem__", lambda self, key: indices.append(key[1]) or read(self, key))
    assert tpn("test", recipe, trained / "epoch_3.pth", "--out", tmp_path / "again.json").code == 0
    assert indices == list(range(67))
    assert (tmp_path / "again.json").read_bytes() == tested[0].read_bytes()
    assert read_results(tested[0]).shape == (67, 6)


def test_two_processes_write_the_same_file_as_one(shell, recipe, trained, tested, tmp_path):
    out = tmp_path / "result.json"
    outcome = shell(
        f"torchrun --nproc-per-node 2 tools/test.py {recipe} {trained / 'epoch_3.pth'} --out {out} "
        "--eval top_k_accuracy"
    )
    assert outcome.code == 0, outcome.err
    assert out.read_bytes() == tested[0].read_bytes()
    theirs, ours = metric_lines(outcome.out), metric_lines(tested[1])
    assert theirs == ["Evaluating top_k_accuracy ...", *(line.replace(": ", "\t") for line in ours), *ours]


@pytest.mark.slow
def test_fewer_videos_than_processes_write_the_same_file_as_one(shell, tpn, recipe, trained, sprites, tmp_path):
    one = tmp_path / "one.txt"
    one.write_text((sprites / "test.txt").read_text().splitlines()[0] + "\n")
    option, checkpoint = f"data.test.ann_file={one}", trained / "epoch_3.pth"
    assert tpn("test", recipe, checkpoint, "--out", tmp_path / "alone.json", "--cfg-options", option).code == 0
    outcome = shell(
        f"torchrun --nproc-per-node 2 tools/test.py {recipe} {checkpoint} --out {tmp_path / 'two.json'} "
        f"--eval top_k_accuracy mean_class_accuracy --cfg-options {option}"
    )
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "alone.json").read_bytes()


def metric_lines(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if "acc" in line]


def test_scores_come_in_list_order_and_none_is_missing_or_double():
    rows = {index: np.full(3, index, dtype=np.float32) for index in range(5)}
    even, odd = ({index: rows[index] for index in rows if index % 2 == parity} for parity in (0, 1))
    np.testing.assert_array_equal(in_list_order([even, odd], 5), np.stack(list(rows.values())))
    np.testing.assert_array_equal(in_list_order([rows, {}], 5), np.stack(list(rows.values())))  # an idle process
    for parts in ([even, even], [even], [even, odd, {0: rows[0]}]):
        with pytest.raises(AssertionError, match="twice or not at all"):
            in_list_order(parts, 5)


# --------------------------------------------------------------------------------------------------------- one formula


@pytest.mark.parametrize("average_clips", ["prob", "score"])
def test_scores_are_the_mean_over_views_of_probabilities_or_of_logits(config, model, average_clips):
    views = views_of(config, 3)
    with torch.no_grad():
        logits = model.eval()(normalize(views[0], mean=config.data.mean, std=config.data.std)).numpy()  # (V, 6)
    exponentials = np.exp(logits.astype(np.float64))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True) if average_clips == "prob" else logits
    scorer = build_scorer(model, with_average(config, average_clips), CPU)
    np.testing.assert_allclose(scorer(views)[0].numpy(), expected.mean(axis=0), rtol=1e-5, atol=1e-7)


def with_average(config: Config, average_clips: str) -> Config:
    return config.model_copy(
        update={"evaluation": config.evaluation.model_copy(update={"average_clips": average_clips})}
    )


def test_average_clips_of_the_command_line_wins(tpn, recipe, trained, tested, tmp_path):
    out = tmp_path / "score.json"
    tpn("test", recipe, trained / "epoch_3.pth", "--out", out, "--average-clips", "score")
    np.testing.assert_allclose(read_results(tested[0]).sum(axis=1), 1, rtol=1e-5)
    assert (np.abs(read_results(out).sum(axis=1) - 1) > 1e-3).any()


def test_views_in_portions_score_as_all_at_once(config, scorer, monkeypatch):
    views = torch.cat([views_of(config, 0), views_of(config, 1)])
    whole = scorer(views)
    shape = views.flatten(0, 1).shape
    assert scorer.views_per_portion(shape) >= 4
    monkeypatch.setattr(evaluate, "CPU_BUDGET", 1)
    assert scorer.views_per_portion(shape) == 1
    assert torch.equal(scorer(views), whole)
    assert torch.equal(torch.cat([scorer(video) for video in views.split(1)]), whole)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_views_of_a_pixel_are_scored(scorer, size):
    views = torch.randint(256, (2, 3, 8, size, size, 3), dtype=torch.uint8)
    assert scorer(views).isfinite().all()


def test_scoring_changes_neither_the_model_nor_torchs_generator(config, scorer):
    weights = {name: tensor.clone() for name, tensor in scorer.model.state_dict().items()}
    generator = torch.get_rng_state()
    scorer(views_of(config, 0))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in scorer.model.state_dict().items())


@pytest.mark.parametrize("index", [0, 66])
def test_prediction_equals_the_tests_row_to_the_last_digit(config, scorer, tested, index):
    video = Path(build_dataset(config, "test", seed=0).records[index].path)
    names = [str(label) for label in range(6)]
    scores = predict(scorer, config, video, names=names, out=None, console=Console(quiet=True))
    np.testing.assert_array_equal(scores.numpy(), read_results(tested[0])[index])


def test_a_prediction_counts_its_views_and_scores_them_as_ever(config, scorer):
    views = views_of(config, 0)
    with ProgressBar(views.shape[1], console=Console(quiet=True)) as bar:
        scores = ShownScorer(**vars(scorer), bar=bar)(views)
    assert bar.completed == views.shape[1]
    assert torch.equal(scores, scorer(views))


def test_predict_prints_the_five_likeliest_classes_as_the_test_scored_them(
    tpn, recipe, trained, sprites, tested, tmp_path
):
    video, picture = sprites / "videos/test/00004.mp4", tmp_path / "prediction.png"
    outcome = tpn(
        "predict", recipe, trained / "epoch_3.pth", video, "--labels", sprites / "labels.txt", "--out", picture
    )
    assert outcome.code == 0, outcome.err
    scores, names = read_results(tested[0])[4], (sprites / "labels.txt").read_text().splitlines()
    best = [f"{names[label]}: {scores[label]:.4f}" for label in np.argsort(-scores)[:5]]
    first, *lines = outcome.out.splitlines()
    assert first == "The top-5 labels with corresponding scores are:"  # MMAction2's words
    assert lines == [*best, f"drawn to {picture}"]
    assert picture.read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------- what it was made from


def test_meta_beside_the_results_says_what_they_depend_on(tested, trained, sprites):
    meta = json.loads(tested[0].with_name("result.json.meta.json").read_text())
    assert meta["checkpoint"] == str(trained / "epoch_3.pth")
    assert meta["ann_file_sha256"] == hashlib.sha256((sprites / "test.txt").read_bytes()).hexdigest()
    expected = {"num_videos": 67, "num_failures": 0, "views_per_video": 2, "average_clips": "prob", "short_side": 32,
                "crop_size": 32, "dtype": "float32", "torch_version": torch.__version__}  # fmt: skip
    assert meta.items() >= expected.items()
    assert meta["decoder"].startswith("PyAV ")
    assert meta["resizer"].startswith("OpenCV ")

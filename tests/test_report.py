"""The pictures show what the log and the scores hold."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tpn.engine.log import RunLog
from tpn.errors import DataError
from tpn.plot import BLUE, GREEN, ORANGE, blend
from tpn.report import curve, draw_curves, draw_prediction, read_logs, with_means

PANELS = {"loss": (slice(160, 420), slice(70, 660)), "validation": (slice(160, 420), slice(760, 1350)),
          "top1": (slice(560, 820), slice(70, 660)), "lr": (slice(560, 820), slice(760, 1350))}  # fmt: skip


def train_row(epoch: int, iter: int, **values) -> dict:
    return {"mode": "train", "epoch": epoch, "iter": iter, "lr": 0.01, "loss": 2.0, "top1_acc": 0.5} | values


def val_row(epoch: int, **values) -> dict:
    return {"mode": "val", "epoch": epoch, "iter": 31, "lr": 0.01} | values


@pytest.fixture
def write(tmp_path):
    def write(*rows: dict, tail: str = "", name: str = "20260102_030405") -> Path:
        path = tmp_path / f"{name}.log.json"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
        return path

    return write


def drawn(log_json: Path) -> np.ndarray:
    png = log_json.with_name("curves.png")
    draw_curves([log_json], png)
    return np.asarray(cv2.imread(str(png)))[..., ::-1]


def where(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """(2, n): rows and columns of the pixels of a colour."""
    return np.argwhere((np.abs(image.astype(int) - colour) < 12).all(axis=2)).T


# ------------------------------------------------------------------------------------------------------------ the log


def test_log_that_run_log_wrote_is_read(tmp_path):
    log = RunLog(tmp_path, "t")
    log.meta({"config_name": "tpn.py"})
    values = {"time": 0.5, "data_time": 0.1, "loss": 1.5, "top1_acc": 0.25}
    log.train(epoch=1, iter=20, iters_per_epoch=40, lr=0.01, eta_seconds=10, values=values)
    log.val(epoch=1, iter=3, lr=0.01, values={"top1_acc": 0.5})
    log.close()
    meta, train, val = read_logs([log.json_path])
    assert meta == {"config_name": "tpn.py"}
    assert [(row["iter"], row["loss"]) for row in train] == [(20, 1.5)]
    assert [row["top1_acc"] for row in val] == [0.5]


def test_steps_done_again_after_going_back_replace_the_first_ones(write):
    path = write(train_row(1, 20, loss=3.0), train_row(2, 20, loss=9.0), {"seed": 0}, train_row(2, 20, loss=2.0))
    assert [row["loss"] for row in read_logs([path])[1]] == [3.0, 2.0]


def at(*rows: dict) -> list[tuple[str, int, int]]:
    return [(row["mode"], row["epoch"], row["iter"]) for row in rows]


def test_logs_of_a_resumed_run_are_one_training(write):
    """The first run stopped in its third epoch; the second goes on after the first, and validates that one again."""
    before = [train_row(1, 20), val_row(1, top1_acc=0.1), train_row(2, 20), val_row(2, top1_acc=0.2), train_row(3, 10)]
    first = write({"seed": 0}, *before, name="20260101_000000")
    second = write({"seed": 1}, val_row(1, top1_acc=0.15), train_row(2, 10), train_row(2, 20))
    meta, train, val = read_logs([first, second])
    assert meta == {"seed": 1}
    assert at(*train) == [("train", 1, 20), ("train", 2, 10), ("train", 2, 20)]
    assert [row["top1_acc"] for row in val] == [0.15]
    assert at(*read_logs([first])[1]) == [("train", 1, 20), ("train", 2, 20), ("train", 3, 10)]


def test_run_begun_again_from_the_start_replaces_all_before(write):
    first = write(train_row(1, 20), train_row(2, 20), val_row(2, top1_acc=0.2), name="20260101_000000")
    _, train, val = read_logs([first, write(train_row(1, 20, loss=5.0))])
    assert ([row["loss"] for row in train], val) == ([5.0], [])


def test_half_a_line_and_foreign_lines_are_left_out(write):
    path = write(train_row(1, 20), {"mode": "train", "epoch": "x", "iter": 3}, tail='[1, 2]\n{"mode": "tra')
    assert len(read_logs([path])[1]) == 1


def test_file_without_a_step_is_refused_by_name(write, tmp_path):
    with pytest.raises(DataError, match=r"030405\.log\.json: no line is about"):
        read_logs([write({"seed": 0})])
    with pytest.raises(DataError, match=r"gone\.log\.json: cannot be read"):
        read_logs([tmp_path / "gone.log.json"])


# ---------------------------------------------------------------------------------------------------------- the curves


def test_curves_are_1400_by_900_on_white(write):
    image = drawn(write(train_row(1, 20), val_row(1, top1_acc=0.4)))
    assert image.shape == (900, 1400, 3)
    assert (image[:, :30] == 255).all() and (image[-20:] == 255).all()


def test_every_panel_shows_its_curves(write):
    rows = [train_row(epoch, iter) for epoch in (1, 2) for iter in (20, 40)]
    vals = [val_row(epoch, top1_acc=0.1 * epoch, top5_acc=0.9, mean_class_accuracy=0.05 * epoch) for epoch in (1, 2)]
    image = drawn(write(*rows, *vals))
    shown = {
        (panel, name)
        for panel, area in PANELS.items()
        for name, colour in [("blue", BLUE), ("green", GREEN), ("orange", ORANGE)]
        if len(where(image[area], colour)[0]) > 20
    }
    assert shown == {("loss", "blue"), ("top1", "blue"), ("lr", "green"),
                     ("validation", "blue"), ("validation", "green"), ("validation", "orange")}  # fmt: skip


def test_loss_falls_from_left_to_right_over_the_epochs(write):
    image = drawn(write(*(train_row(epoch, 1, loss=10.0 - epoch) for epoch in range(1, 9))))
    rows, columns = where(image[PANELS["loss"]], BLUE)
    heights = [rows[np.abs(columns - 590 * epoch / 8) <= 2].mean() for epoch in range(1, 9)]
    np.testing.assert_allclose(np.diff(heights), 260 / 1.1 / 7, atol=1.5)  # evenly, over the height less its margins


def test_run_without_validation_and_with_infinite_losses_is_drawn(write):
    path = write(train_row(1, 20, loss=float("nan")), train_row(1, 40, loss=float("inf")), train_row(1, 60))
    image = drawn(path)
    assert len(where(image[PANELS["validation"]], BLUE)[0]) == 0
    assert curve(read_logs([path])[1], "loss", BLUE).y.tolist() == [2.0]


def test_validation_alone_is_drawn(write):
    image = drawn(write(val_row(5, top1_acc=0.5)))
    assert len(where(image[PANELS["validation"]], BLUE)[0]) > 10


def test_steps_within_an_epoch_lie_between_the_epochs(write):
    _, train, val = read_logs([write(train_row(1, 50), train_row(1, 100), train_row(2, 50), val_row(2, top1_acc=0.5))])
    assert curve(train, "loss", BLUE).x.tolist() == [0.5, 1.0, 1.5]
    assert curve(val, "top1_acc", BLUE).x.tolist() == [2.0]
    assert curve(val, "top1_acc", BLUE).y.tolist() == [50.0]


def test_smoothing_halves_noise_and_keeps_the_level(write):
    noise = np.random.default_rng(0).normal(2, 0.3, size=400)
    rows = [train_row(1, step + 1, loss=loss) for step, loss in enumerate(noise)]
    raw, smooth = with_means(curve(read_logs([write(*rows)])[1], "loss", BLUE))
    assert raw.faint and not smooth.faint
    assert smooth.y.std() < raw.y.std() / 2
    assert smooth.y.mean() == pytest.approx(raw.y.mean(), abs=0.01)
    assert len(where(drawn(write(*rows))[PANELS["loss"]], blend(BLUE, 0.3))[0]) > 500


# ------------------------------------------------------------------------------------------------------ the prediction


def predicted(tmp_path: Path, frames: np.ndarray, probs: list[float]) -> np.ndarray:
    names = [f"class {index}" for index in range(len(probs))]
    draw_prediction(frames, names, np.array(probs), tmp_path / "prediction.png")
    return np.asarray(cv2.imread(str(tmp_path / "prediction.png")))[..., ::-1]


def test_small_frames_are_enlarged_four_times_pixel_by_pixel(tmp_path):
    frames = np.random.default_rng(0).integers(256, size=(8, 32, 32, 3), dtype=np.uint8)
    image = predicted(tmp_path, frames, [0.5, 0.5])
    left = (1200 - (8 * 128 + 7 * 6)) // 2
    for index, frame in enumerate(frames):
        x = left + index * (128 + 6)
        np.testing.assert_array_equal(image[24 : 24 + 128, x : x + 128], frame.repeat(4, axis=0).repeat(4, axis=1))


@pytest.mark.parametrize("shape", [(8, 256, 340), (16, 224, 224), (5, 1080, 1920), (1, 700, 2000), (32, 20, 30)])
def test_frames_of_any_size_fit_the_width(tmp_path, shape):
    image = predicted(tmp_path, np.zeros((*shape, 3), np.uint8), [1.0])
    dark = (image[: image.shape[0] - 80] == 0).all(axis=2)
    assert image.shape[1] == 1200
    assert dark.any()
    assert not dark[:, :24].any() and not dark[:, -24:].any()


def test_bars_of_the_five_best_classes_are_as_long_as_their_probabilities(tmp_path):
    probs = [0.02, 0.4, 0.03, 0.2, 0.1, 0.25]
    image = predicted(tmp_path, np.zeros((8, 32, 32, 3), np.uint8), probs)
    first, others = where(image, BLUE), where(image, blend(BLUE, 0.45))
    bars_top = 24 + 128 + 36

    def length(pixels: np.ndarray, rank: int) -> int:
        return int((pixels[0] == bars_top + 44 * rank + 12).sum())

    lengths = [length(first, 0), *(length(others, rank) for rank in range(1, 5))]
    scale = lengths[0] / 0.4
    np.testing.assert_allclose(lengths, np.array([0.4, 0.25, 0.2, 0.1, 0.03]) * scale, atol=2)
    assert length(others, 5) == 0

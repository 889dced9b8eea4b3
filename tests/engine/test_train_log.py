"""A training tells its story in MMAction2's words, in text, JSON and pictures."""

import hashlib
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest

from tpn.data.workers import usable_workers


def test_json_log_is_mmaction2s(trained, diary):
    (path,) = trained.glob("*.log.json")
    meta, train, val = diary(trained)
    assert list(meta) == ["env_info", "seed", "config_name", "work_dir", "hook_msgs"]
    assert list(train[0]) == ["mode", "epoch", "iter", "lr", "loss_aux", "top1_acc", "top5_acc", "loss_cls", "loss",
                              "grad_norm"]  # fmt: skip
    assert [(row["epoch"], row["iter"]) for row in train] == [
        (epoch, iter) for epoch in (1, 2, 3) for iter in (1, 2, 3, 4)
    ]
    assert [list(row) for row in val] == [
        ["mode", "epoch", "iter", "lr", "top1_acc", "top5_acc", "mean_class_accuracy"]
    ] * 3
    assert [(row["epoch"], row["iter"]) for row in val] == [(1, 2), (2, 2), (3, 2)]  # two batches of videos
    assert '"data_time": ' in path.read_text().splitlines()[1]


def test_losses_add_up(trained, diary):
    for row in diary(trained).train:
        assert row["loss"] == pytest.approx(row["loss_cls"] + row["loss_aux"], abs=2e-5)


def test_text_log_tells_the_run_in_mmaction2s_words(trained, sprites, text_log, diary, best_of):
    log = text_log(trained)
    train_list, val_list = sprites / "train.txt", sprites / "val.txt"
    told = [
        "Environment info:",
        "Distributed training: False (1 process on cpu)",
        f"Config: {trained / 'tiny.py'}",
        "Set random seed to 0, deterministic: True",
        "13 training videos of 6 classes (2 to 3 videos each); "
        f"list {train_list}, SHA-256 {hashlib.sha256(train_list.read_bytes()).hexdigest()[:8]}",
        "7 validation videos of 6 classes (1 to 2 videos each); "
        f"list {val_list}, SHA-256 {hashlib.sha256(val_list.read_bytes()).hexdigest()[:8]}",
        "Workers per process: 0",
        "Videos per step: 4 (4 a process)",
        "lr 0.05",
        "Saving checkpoint at 1 epochs",
        f"Now best checkpoint is saved as {best_of(trained)[1]}.",
        f"Config, logs, checkpoints and curves are in {trained}",
    ]
    assert [line for line in log if line in told][: len(told)] == told
    row = diary(trained).train[5]
    step = rf"Epoch \[2\]\[2/4\]\tlr: {row['lr']:.3e}, eta: 0:00:\d\d, time: [\d.]+, data_time: [\d.]+, "
    step += r"loss_aux: ([\d.]+), top1_acc: ([\d.]+), top5_acc: ([\d.]+), "
    [found] = [match for line in log if (match := re.match(step, line))]
    expected = [row["loss_aux"], row["top1_acc"], row["top5_acc"]]
    assert [float(value) for value in found.groups()] == pytest.approx(expected, abs=1e-4)  # rounded twice


@pytest.mark.parametrize(("limit", "interval", "told"), [(0, 20, 1), (0, 1, 0), (1000, 20, 0)])
def test_a_slow_first_step_is_told_of_where_no_bar_shows_it(limit, interval, told, tpn, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("tpn.engine.train.SLOW_STEP", limit)
    options = ["--cfg-options", f"log_config.interval={interval}", "total_epochs=2"]
    outcome = tpn("train", recipe, "--work-dir", tmp_path, *options)
    lines = [line for line in outcome.out.splitlines() if line.startswith("first step: ")]
    assert len(lines) == told
    pattern = r"first step: \d+ s; at this pace an epoch of 4 steps takes 0:\d\d:\d\d, and the log has a line every 20"
    assert all(re.match(pattern, line) for line in lines)


def test_workers_beyond_the_cpus_are_not_started_and_the_log_says_so(train, text_log, recwarn):
    cpus = usable_workers(10**6)
    run = train(data__workers_per_gpu=cpus + 1, total_epochs=1)
    assert f"Workers per process: {cpus} (one per CPU; the config says {cpus + 1})" in text_log(run)
    assert not [warning for warning in recwarn if "worker" in str(warning.message)]  # torch warns of too many


def test_curves_of_a_resumed_run_cover_the_whole_training(trained, train, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run", symlinks=True)
    (log,) = run.glob("*.log.json")
    kept = [line for line in log.read_text().splitlines() if '"epoch": 3' not in line]
    log.rename(run / "20200101_000000.log.json").write_text("\n".join(kept) + "\n")
    (run / "curves.png").unlink()
    train("--validate", "--seed", 0, "--deterministic", "--resume-from", run / "epoch_2.pth")
    assert len(list(run.glob("*.log.json"))) == 2
    assert (cv2.imread(str(run / "curves.png")) == cv2.imread(str(trained / "curves.png"))).all()


def test_curves_that_cannot_be_drawn_cost_a_line_not_the_run(train, text_log, tmp_path):
    (tmp_path / "run" / "curves.png").mkdir(parents=True)
    run = train(total_epochs=1)
    assert (run / "epoch_1.pth").exists()
    (line,) = [line for line in text_log(run) if line.startswith("The curves are not drawn")]
    assert "curves.png" in line


def test_training_in_the_recipes_own_folder_leaves_the_recipe_as_it_was(tpn, recipe, tmp_path):
    own = Path(shutil.copy(recipe, tmp_path))
    outcome = tpn("train", own, "--work-dir", tmp_path, "--cfg-options", "total_epochs=1")
    assert outcome.code == 0, outcome.err
    assert own.read_text() == recipe.read_text()


@pytest.mark.skipif(find_spec("tensorboard") is not None, reason="TensorBoard is installed")
def test_missing_tensorboard_is_said_before_the_first_step(tpn, recipe, tmp_path):
    outcome = tpn("train", recipe, "--work-dir", tmp_path, "--cfg-options", "log_config.tensorboard=True")
    assert outcome == (2, "", "error: log_config.tensorboard needs TensorBoard: pip install tpn[tensorboard]\n")
    assert [path.name for path in tmp_path.iterdir()] == [".run"]

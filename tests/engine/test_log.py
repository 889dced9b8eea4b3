"""The run's logs have MMAction2's formats to the letter, and survive kills and full disks."""

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tpn.engine.distributed import World
from tpn.engine.log import RecentMeans, RunLog, environment_info
from tpn.engine.progress import ProgressBar
from tpn.errors import UserError

VALUES = {"time": 0.85304, "grad_norm": 3.14159, "loss": 8.98712, "loss_cls": 5.99141, "top5_acc": 0.015625,
          "top1_acc": 0.003125, "loss_aux": 2.995714, "data_time": 0.10101, "memory": 6916}  # fmt: skip
ALONE = World(rank=0, size=1, device=torch.device("cpu"))
PREFIX = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - tpn - INFO - "


@pytest.fixture
def log(tmp_path):
    log = RunLog(tmp_path / "run", "20260102_030405")
    yield log
    log.close()


def log_train(log: RunLog, **changes) -> None:
    log.train(epoch=1, iter=20, iters_per_epoch=3757, lr=0.01, eta_seconds=633300.9, values=VALUES | changes)


def text_lines(log: RunLog) -> list[str]:
    return log.text_path.read_text().splitlines()


def json_rows(log: RunLog) -> list[dict]:
    return [json.loads(line) for line in log.json_path.read_text().splitlines()]


# -------------------------------------------------------------------------------------------------------- the formats


def test_files_are_named_by_the_timestamp(log, tmp_path):
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["20260102_030405.log", "20260102_030405.log.json"]


def test_train_text_line_is_mmaction2s(log):
    log_train(log)
    (line,) = text_lines(log)
    assert re.match(PREFIX, line)
    assert line.split(" - INFO - ")[1] == (
        "Epoch [1][20/3757]\tlr: 1.000e-02, eta: 7 days, 7:55:00, time: 0.853, data_time: 0.101, memory: 6916, "
        "loss_aux: 2.9957, top1_acc: 0.0031, top5_acc: 0.0156, loss_cls: 5.9914, loss: 8.9871, grad_norm: 3.1416"
    )


def test_train_json_line_is_mmaction2s(log):
    log_train(log)
    assert log.json_path.read_text() == (
        '{"mode": "train", "epoch": 1, "iter": 20, "lr": 0.01, "memory": 6916, "data_time": 0.10101, '
        '"loss_aux": 2.99571, "top1_acc": 0.00313, "top5_acc": 0.01562, "loss_cls": 5.99141, "loss": 8.98712, '
        '"grad_norm": 3.14159, "time": 0.85304}\n'
    )


def test_what_a_run_does_not_have_is_absent(log):
    values = {name: VALUES[name] for name in ("data_time", "top1_acc", "top5_acc", "loss_cls", "loss", "time")}
    log.train(epoch=2, iter=5, iters_per_epoch=9, lr=0.1, eta_seconds=59, values=values)
    assert text_lines(log)[0].endswith("eta: 0:00:59, time: 0.853, data_time: 0.101, top1_acc: 0.0031, "
                                       "top5_acc: 0.0156, loss_cls: 5.9914, loss: 8.9871")  # fmt: skip
    assert list(json_rows(log)[0]) == ["mode", "epoch", "iter", "lr", *values]


def test_values_of_our_own_come_after_mmaction2s_and_before_time(log):
    log_train(log, waiting=0.62)
    assert list(json_rows(log)[0])[-3:] == ["grad_norm", "waiting", "time"]
    assert text_lines(log)[0].endswith("grad_norm: 3.1416, waiting: 0.6200")


def test_val_lines_are_mmaction2s(log):
    log.val(
        epoch=5, iter=310, lr=0.01, values={"top1_acc": 0.512342, "top5_acc": 0.7654, "mean_class_accuracy": 0.5121}
    )
    assert re.fullmatch(
        PREFIX + r"Epoch\(val\) \[5\]\[310\]\ttop1_acc: 0\.5123, top5_acc: 0\.7654, mean_class_accuracy: 0\.5121",
        text_lines(log)[0],
    )
    assert log.json_path.read_text() == (
        '{"mode": "val", "epoch": 5, "iter": 310, "lr": 0.01, '
        '"top1_acc": 0.51234, "top5_acc": 0.7654, "mean_class_accuracy": 0.5121}\n'
    )


def test_meta_is_a_json_line_and_info_a_text_line(log, tmp_path):
    log.meta({"env_info": "a\nb", "seed": 0, "config_name": "tpn.py", "work_dir": tmp_path, "hook_msgs": {}})
    log.info("Environment info:\nPython: 3.11")
    assert list(json_rows(log)[0]) == ["env_info", "seed", "config_name", "work_dir", "hook_msgs"]
    assert re.fullmatch(PREFIX + "Environment info:\nPython: 3.11\n", log.text_path.read_text())


# ----------------------------------------------------------------------------------------------------- it survives


def test_log_of_a_killed_run_has_every_line(tmp_path):
    script = f"""
import os, signal
from pathlib import Path
from tpn.engine.distributed import World
from tpn.engine.log import RunLog
log = RunLog(Path({str(tmp_path)!r}), "t")
log.meta({{"seed": 0}})
log.train(epoch=1, iter=1, iters_per_epoch=9, lr=0.1, eta_seconds=1, values={VALUES!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert len((tmp_path / "t.log").read_text().splitlines()) == 1
    assert len((tmp_path / "t.log.json").read_text().splitlines()) == 2


def test_half_a_line_of_a_killed_run_does_not_spoil_the_next(log):
    log_train(log)
    log.json_path.write_text(log.json_path.read_text() + '{"mode": "tra')
    again = RunLog(log.json_path.parent, "20260102_030405")
    log_train(again)
    again.close()
    first, broken, second = log.json_path.read_text().splitlines()
    assert broken == '{"mode": "tra'
    assert first == second


def test_full_disk_costs_lines_but_not_the_run(tmp_path, capsys):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "t.log").symlink_to("/dev/full")
    log = RunLog(tmp_path, "t")
    for _ in range(3):
        log_train(log)
    log.close()
    assert len(json_rows(log)) == 3
    warning = capsys.readouterr().err
    assert warning == f"warning: {tmp_path}: log lines cannot be written (No space left on device)\n"


def test_work_dir_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/run: the run's logs cannot be written here"):
        RunLog(tmp_path / "file" / "run", "t")


def test_other_ranks_write_nothing(tmp_path):
    output = io.StringIO()
    log = RunLog(tmp_path / "run", "t", enabled=False, tensorboard=True, console=Console(file=output))
    log.meta({})
    log.info("hello")
    log_train(log)
    log.val(epoch=1, iter=1, lr=0.1, values={})
    log.close()
    assert not (tmp_path / "run").exists()
    assert output.getvalue() == ""


# ------------------------------------------------------------------------------------------------------- the console


def test_console_that_is_no_terminal_gets_the_log_byte_for_byte(tmp_path):
    output = io.StringIO()
    log = RunLog(tmp_path, "t", console=Console(file=output, width=20))
    log_train(log)
    log.info("[red]not markup[/red] :smile:")
    log.close()
    assert output.getvalue() == log.text_path.read_text()


def screen(output: str) -> list[str]:
    """What a terminal shows after the output: the lines above the cursor, where rich erases and redraws."""
    rows, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", output):
        if token == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
            column = 0
        elif token == "\r":
            column = 0
        elif token == "\x1b[2K":
            rows[row] = ""
        elif token.endswith("A") and token.startswith("\x1b["):
            row -= int(token[2:-1])
        elif not token.startswith("\x1b["):
            rows[row] = rows[row][:column].ljust(column) + token + rows[row][column + len(token) :]
            column += len(token)
    return [row.rstrip() for row in rows if row.strip()]


def test_lines_appear_whole_above_a_live_bar_on_a_terminal(tmp_path):
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=60, color_system=None)
    log = RunLog(tmp_path, "t", console=console)
    with ProgressBar(3, console=console, description="epoch 1", delay=0, transient=True) as bar:
        for _ in range(3):
            log_train(log)  # 200 characters: longer than the terminal is wide
            bar.advance()
        while_running = screen(output.getvalue())
    assert while_running[:-1] == [line.expandtabs() for line in text_lines(log)]
    assert re.match(r"epoch 1 .* \d/3 ", while_running[-1])
    assert screen(output.getvalue()) == while_running[:-1]
    log.close()


# -------------------------------------------------------------------------------------------------------- TensorBoard


def test_missing_tensorboard_is_one_line_with_the_fix(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install tpn\[tensorboard\]"):
        RunLog(tmp_path, "t", tensorboard=True)


def test_tensorboard_gets_every_value_at_the_step_it_belongs_to(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import]

    log = RunLog(tmp_path, "t", tensorboard=True)
    log.train(epoch=2, iter=20, iters_per_epoch=100, lr=0.01, eta_seconds=1, values=VALUES)
    log.val(epoch=2, iter=310, lr=0.01, values={"top1_acc": 0.5})
    log.close()
    events = EventAccumulator(str(tmp_path / "tf_logs")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/lr")] == [(120, pytest.approx(0.01))]
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(120, pytest.approx(8.98712))]
    assert [(event.step, event.value) for event in events.Scalars("val/top1_acc")] == [(200, 0.5)]


# ----------------------------------------------------------------------------------------------------- means, machine


def test_means_are_weighted_by_samples():
    recent = RecentMeans(interval=20)
    recent.begin_step()
    recent.update({"loss": 1.0}, num_samples=6)
    recent.begin_step()
    recent.update({"loss": torch.tensor(4.0)}, num_samples=2)
    assert recent.means(ALONE) == {"loss": 1.75}


def test_means_forget_what_is_older_than_the_interval():
    recent = RecentMeans(interval=2)
    for loss in (100.0, 2.0, 4.0):
        recent.begin_step()
        recent.update({"loss": loss}, num_samples=8)
        recent.update({"time": loss / 2})
    assert recent.means(ALONE) == {"loss": 3.0, "time": 1.5}


def test_means_do_not_keep_the_graph_of_the_loss():
    recent, weight = RecentMeans(interval=2), torch.ones(1, requires_grad=True)
    recent.begin_step()
    recent.update({"loss": (weight * 2).sum()})
    assert not recent.steps[0]["loss"][0][0].requires_grad
    assert recent.means(ALONE) == {"loss": 2.0}


def test_environment_info_names_what_results_depend_on():
    lines = dict(line.split(": ", 1) for line in environment_info().splitlines())
    assert lines["PyTorch"] == torch.__version__
    assert re.fullmatch(r"[\d.]+ \(FFmpeg .+\)", lines["PyAV"])
    assert {"tpn", "Python", "Platform", "CUDA", "cuDNN", "GPU", "NumPy", "OpenCV"} <= set(lines)

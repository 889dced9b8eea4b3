"""The tools at MMAction2's paths, run as they are, and what they work on."""

import io
import json
import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


class Outcome(NamedTuple):
    """What a tool left: exit status, what it printed and what it complained about."""

    code: int
    out: str
    err: str


@pytest.fixture
def tool(monkeypatch, single_thread):
    """tool("analysis/get_flops.py", CONFIG, …) runs a script of tools/ in this process, which it leaves as it was."""
    monkeypatch.setattr(os, "environ", os.environ.copy())

    def run(script: str, *arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        code, out, err = 0, io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                runpy.run_path(str(TOOLS / script), run_name="__main__")
            except SystemExit as end:
                code = int(end.code or 0)
        return Outcome(code, out.getvalue(), err.getvalue())

    return run


def train_row(epoch: int, iter: int, time: float) -> dict:
    return {"mode": "train", "epoch": epoch, "iter": iter, "lr": 0.01, "memory": 6916, "data_time": 0.1,
            "loss_aux": 2.5, "top1_acc": 0.1 * epoch, "top5_acc": 0.2, "loss_cls": 5.0, "loss": 7.5 / epoch,
            "grad_norm": 3.1, "time": time}  # fmt: skip


@pytest.fixture
def log_json(tmp_path) -> Path:
    """A log as MMAction2 0.24.1 writes it: three epochs of 40 steps, a validation after the second."""
    rows: list[dict] = [{"env_info": "…", "seed": 0, "config_name": "tpn.py", "work_dir": "w", "hook_msgs": {}}]
    for epoch, seconds in enumerate([0.5, 0.9, 0.7], 1):
        rows += [train_row(epoch, 20, 9.0), train_row(epoch, 40, seconds)]
        if epoch == 2:
            rows.append({"mode": "val", "epoch": 2, "iter": 310, "lr": 0.01, "top1_acc": 0.5123,
                         "top5_acc": 0.7654, "mean_class_accuracy": 0.5121})  # fmt: skip
    path = tmp_path / "20210709_101213.log.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path

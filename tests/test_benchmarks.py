"""Every benchmark runs, in small: a table and rows of JSON come out. What they measure is asserted nowhere."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tpn.plot import BLUE, ORANGE

ROOT = Path(__file__).resolve().parents[1]


def rows(environment, out: Path, *arguments: str) -> list[dict]:
    """The rows of a benchmark run in its own process, without peers."""
    command = [sys.executable, *arguments, "--quick", "--out", str(out)]
    environment = {key: value for key, value in environment.items() if not key.endswith("_PYTHON")}
    done = subprocess.run(command, cwd=ROOT / "benchmarks", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text(encoding="utf-8"))["rows"]


@pytest.mark.slow
def test_end_to_end(environment, tmp_path):
    found = rows(environment, tmp_path / "out.json", "end_to_end.py")
    assert [row["name"] for row in found] == ["tpn, float32", "tpn, bfloat16"] * 2
    assert all(float(row["videos/s" if " test " in row["table"] else "clips/s"]) > 0 for row in found)
    assert all(int(row["peak MiB"]) > 0 for row in found)


@pytest.mark.slow
def test_scaling(environment, tmp_path):
    found = rows(environment, tmp_path / "out.json", "scaling.py")
    points = [(row["table"].split("\n")[0], row["name"]) for row in found]
    assert points == [
        ("side of a view, pixels", "48"),
        ("side of a view, pixels", "64"),
        ("frames of a view", "8"),
        ("frames of a view", "16"),
        ("views of a video", "1"),
        ("views of a video", "3"),
        ("data workers", "0"),
        ("data workers", "1"),
        ("processes of one thread", "1"),
        ("processes of one thread", "2"),
    ]
    assert all("exponent" in row or row["efficiency"] > 0 for row in found)


@pytest.mark.slow
def test_train_step(environment, tmp_path):
    found = rows(environment, tmp_path / "out.json", "train_step.py")
    names = [row["name"] for row in found]
    assert names == ["tpn, float32", "tpn, bfloat16", "tpn, float32, with_cp", "tpn, bfloat16, with_cp"]
    assert all(row["median_s"] > 0 and int(row["peak MiB"].split()[0]) > 500 for row in found)


@pytest.mark.slow
def test_model(environment, tmp_path):
    found = rows(environment, tmp_path / "out.json", "model.py", "--recipe", "tpn_tsm_r50_1x1x8_150e_sthv1_rgb")
    assert [row["name"] for row in found] == ["plain, float32", "optimized, float32", "optimized, bfloat16"]
    assert all(float(row["views/s"]) > 0 and int(row["peak MiB"]) > 0 for row in found)


@pytest.mark.slow
def test_gpu_runs_on_a_cpu(environment, tmp_path):
    found = rows(environment, tmp_path / "out.json", "gpu.py", "--device", "cpu")
    assert [row["name"] for row in found] == ["float32, eager", "bfloat16, eager", "float32", "bfloat16"]
    assert all(int(row["MiB"]) > 0 for row in found)


def test_input(environment, tmp_path):
    found = rows(environment, tmp_path / "out.json", "input.py")
    ours = ["ours", "ours, packed", "ours, frames alone", "PyAV from the start, frames alone"]
    names = [row["name"] for row in found]
    assert names[:4] == names[6:10] == ours
    assert names[4].startswith("the whole file") and names[5] == "ours"
    assert all(row["median_s"] > 0 for row in found)


def test_plotted_bars_are_as_long_as_contenders_are_fast(environment, tmp_path):
    ratios = {"MMAction2 0.24.1, float32": 1.0, "tpn, float32": 1.5, "tpn, bfloat16": 3.0}
    found = [{"name": name, "ratio": ratio, "median_s": 2 / ratio} for name, ratio in ratios.items()]
    record = {"date": "2026-11-22", "machine": "a machine", "rows": found}
    (tmp_path / "out.json").write_text(json.dumps(record), encoding="utf-8")
    command = [sys.executable, ROOT / "benchmarks/plot.py", f"One view={tmp_path}/out.json", "--out", "plot.png"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    picture = np.asarray(cv2.imread(str(tmp_path / "plot.png")))[..., ::-1]
    lengths = {colour: (picture == colour).all(axis=-1).sum(axis=1).max() for colour in (BLUE, ORANGE)}
    assert lengths[ORANGE] == pytest.approx(2 * lengths[BLUE], abs=2) and lengths[BLUE] > 100

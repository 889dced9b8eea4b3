"""Every benchmark runs, in small: a table and rows of JSON come out. What they measure is asserted nowhere."""

import json
import platform
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
@pytest.mark.timeout(1200)
def test_all_that_a_gpu_has_to_show_is_rehearsed_on_a_cpu(environment, tmp_path):
    """Every stage of gpu_check.sh runs and leaves its figures; what only CUDA can show is named."""
    command = [ROOT / "benchmarks/gpu_check.sh", "--quick", "--device", "cpu", "--out", tmp_path]
    environment = {**environment, "PYTHON": sys.executable, "OMP_NUM_THREADS": "2"}
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    stages = json.loads((tmp_path / "summary.json").read_text())
    assert [(each["stage"], each["result"]) for each in stages] == [
        (name, "passed") for name in ("environment", "tests", "inference", "training", "files")
    ]
    assert "0 errors, 0 failures, 0 skipped" in stages[1]["figures"]
    names = [row["name"] for row in json.loads((tmp_path / "inference.json").read_text())["rows"] if "name" in row]
    ours = [f"{form}, {kind}" for kind in ("float32", "bfloat16") for form in ("plain", "for inference")]
    assert names == ["Conv3d, float32", "Conv3d, AMP, bfloat16", *ours] * 4
    files = json.loads((tmp_path / "files.json").read_text())
    assert files["training"]["clips/s"] > 0 and next(iter(files["loader, clips/s by workers"])) == "1"
    assert (tmp_path / "profile.png").stat().st_size > 1000
    unseen = done.stdout.partition("not shown on this machine:")[2]
    assert "nccl with one process averages and gathers" in unseen
    assert "scores match the reference" not in unseen  # that has been rehearsed


def test_a_stage_that_fails_or_is_late_stops_no_other(tmp_path, benchmark):
    check = benchmark("gpu_check")
    commands = {
        "fails": "raise SystemExit(3)",
        "late": "import time; print('begun', flush=True); time.sleep(60)",
        "good": "",
    }
    stages = [
        check.Stage(
            name, [sys.executable, "-c", code], limit=20 if name != "late" else 3, file=tmp_path / name, figures=str
        )
        for name, code in commands.items()
    ]
    for stage in stages:
        check.run(stage, tmp_path, "cpu")
    assert [stage.result for stage in stages] == ["failed (3)", "late (3 s)", "passed"]
    assert (tmp_path / "late.log").read_text() == "begun\n"


@pytest.mark.network
def test_the_wheels_for_a_machine_with_a_gpu_are_few_and_can_be_imported(environment, tmp_path):
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    environment = {**environment, "PYTHON": sys.executable}
    script = [ROOT / "benchmarks/gpu_wheels.sh", platform.machine(), version, tmp_path / "wheels"]
    done = subprocess.run([*map(str, script)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "av-" in done.stdout and "torch" not in done.stdout
    wheels = sorted((tmp_path / "wheels").glob("*.whl"))
    assert sum(wheel.stat().st_size for wheel in wheels) <= 55_000_000
    target = ["--no-index", "--no-deps", "--target", tmp_path / "site", *wheels]
    subprocess.run([*map(str, [sys.executable, "-m", "pip", "install", "-q", *target])], check=True)
    code = "import av, pydantic, cyclopts, rich, safetensors, pytest, hypothesis, yaml; print(av.__file__)"
    bare = {**environment, "PYTHONPATH": str(tmp_path / "site")}
    found = subprocess.run([sys.executable, "-S", "-c", code], env=bare, capture_output=True, text=True)
    assert found.stdout.startswith(str(tmp_path / "site")), found.stderr


class FixedRate:
    """A peak whose large products reach so much."""

    def __init__(self, rate: float) -> None:
        self.rate, self.best = rate, 0.0

    def measure(self) -> None:
        self.seen(self.rate)

    def seen(self, rate: float) -> None:
        self.best = max(self.best, rate)


@pytest.mark.parametrize("products", [5.0, 50.0], ids=["slower than a contender", "faster"])
def test_no_contender_exceeds_the_peak_of_its_run(products, benchmark):
    """The peak is the most that anything reached in its precision, large products among the contenders."""
    timing = benchmark("timing")
    times = {"plain, float32": [9, 2, 4], "optimized, float32": [9, 1, 2], "ours, int8": [1, 2, 3]}
    runs = {name: iter(values).__next__ for name, values in times.items()}
    peaks = {"float32": FixedRate(products)}
    seconds = timing.interleave_with_peaks(runs, peaks, flops=10.0, rounds=2)
    assert seconds == {name: values[1:] for name, values in times.items()}
    assert peaks["float32"].best == max(products, 10.0)
    shares = [timing.share_of_peak(name, 10.0 / min(values), peaks) for name, values in seconds.items()]
    assert shares == (["50%", "100%", "–"] if products == 5 else ["10%", "20%", "–"])


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

"""Contenders in processes of their own, ours and others': MMAction2, ONNX Runtime, OpenVINO.

Others live in a Python that an environment variable names, and are left out where it is not set:
    MMACTION2_PYTHON    has mmaction2==0.24.1, mmcv 1.x and the same torch
    ONNX_PYTHON         has torch, pydantic, onnxscript, onnxruntime, openvino and nncf
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import torch

HERE = Path(__file__).parent
SLOWONLY = "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb"
PUBLISHED = (SLOWONLY, "tpn_tsm_r50_1x1x8_150e_sthv1_rgb")  # the recipes that MMAction2 0.24.1 has, too
MMACTION2 = "MMACTION2_PYTHON"
ONNX = "ONNX_PYTHON"
GRAPH_ENGINES = [
    ("ONNX Runtime", "float32"),
    ("OpenVINO", "float32"),
    ("OpenVINO", "bfloat16"),
    ("OpenVINO", "int8"),
]


class Contender:
    """A worker process (worker.py) that does its job on command: called, it gives the seconds of one run."""

    def __init__(self, python: str, worker: str, job: dict) -> None:
        self.process = start(python, worker)
        ask(self.process, json.dumps({**job, "threads": torch.get_num_threads()}))
        self.peak_mib = self.first_mib = 0
        """The most memory the process has held so far, and what it held before the first run."""

    def __call__(self) -> float:
        answer = json.loads(ask(self.process, "run"))
        self.peak_mib, self.first_mib = answer["peak_mib"], answer["first_mib"]
        return answer["seconds"]

    def end(self) -> None:
        self.process.communicate()  # the end of its input ends it


def ours(worker: str, job: dict) -> Contender:
    return Contender(sys.executable, worker, job)


def mmaction2(worker: str, job: dict) -> dict[str, Contender]:
    """MMAction2 by its name; nothing where it is not at hand, or has no recipe of the job's name."""
    python = os.environ.get(MMACTION2)
    if not python or job["recipe"] not in PUBLISHED:
        return {}
    return {"MMAction2 0.24.1, float32": Contender(python, worker, job)}


def graph_engines(job: dict) -> dict[str, Contender]:
    """Our network exported to ONNX, in other engines, by their names; nothing where they are not at hand."""
    python = os.environ.get(ONNX)
    if not python:
        return {}
    return {
        f"{engine}, {precision}": Contender(
            python, "graph_worker.py", {**job, "engine": engine, "precision": precision}
        )
        for engine, precision in GRAPH_ENGINES
    }


def start(python: str, worker: str) -> subprocess.Popen:
    command = [python, str(HERE / worker)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE)


def ask(process: subprocess.Popen, line: str) -> str:
    """Send a line, wait for the answer."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write(line + "\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"{process.args} ended with status {process.wait()} (-9: not enough memory?)")
    return answer

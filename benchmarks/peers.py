"""Others as contenders, each in a Python named by an environment variable: MMAction2, ONNX Runtime, OpenVINO."""

import json
import os
import subprocess
from pathlib import Path

import torch
from timing import Run

WORKER = Path(__file__).with_name("mmaction2_worker.py")
VARIABLE = "MMACTION2_PYTHON"
"""Environment variable: a Python that has mmaction2==0.24.1, mmcv 1.x and the same torch."""

GRAPH_WORKER = Path(__file__).with_name("graph_worker.py")
GRAPH_VARIABLE = "ONNX_PYTHON"
"""Environment variable: a Python that has torch, pydantic, onnxscript, onnxruntime and openvino."""


def mmaction2(recipe: str, *, shape: tuple[int, ...], mode: str) -> Run | None:
    """MMAction2's published network of this name; None where the variable names no Python. Arguments as below."""
    process = mmaction2_process(recipe, shape=shape, mode=mode)
    return None if process is None else lambda: float(ask(process, "run"))


def mmaction2_process(recipe: str, *, shape: tuple[int, ...], mode: str) -> subprocess.Popen | None:
    """The process MMAction2's network lives in: it answers `run` with seconds, `memory` with MiB, peak and at first.

    None where the variable names no Python, or MMAction2 has no recipe of this name.

    Args:
        shape: of the input, in MMAction2's layout.
        mode: 'test' for a forward pass, 'train' for an optimisation step.
    """
    python = os.environ.get(VARIABLE)
    if not python:
        return None
    located = subprocess.run(
        [python, "-c", "import importlib.util as u; print(u.find_spec('mmaction').submodule_search_locations[0])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    config = Path(located.stdout.strip()) / ".mim/configs/recognition/tpn" / f"{recipe}.py"
    if not config.is_file():  # MMAction2 published two of the recipes
        return None
    process = subprocess.Popen([python, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    job = {"config": str(config), "shape": shape, "mode": mode, "threads": torch.get_num_threads()}
    ask(process, json.dumps(job))
    return process


def graph_engine(engine: str, recipe: str, *, shape: tuple[int, ...]) -> subprocess.Popen | None:
    """Our network exported to ONNX, in 'onnxruntime' or 'openvino', of shape (N, 3, T, H, W); None without ONNX_PYTHON.

    Its process answers as MMAction2's does.
    """
    python = os.environ.get(GRAPH_VARIABLE)
    if not python:
        return None
    process = subprocess.Popen([python, str(GRAPH_WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    job = {"engine": engine, "recipe": recipe, "shape": shape, "threads": torch.get_num_threads()}
    while '"ready"' not in ask(process, json.dumps(job)):  # the exporter may have something to say first
        pass
    return process


def ask(process: subprocess.Popen, line: str) -> str:
    """Send a line, wait for the answer."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"{process.args} ended with status {process.wait()}")
    return answer

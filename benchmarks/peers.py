"""The reference implementation as a contender: MMAction2 0.24.1 in a Python of its own, named by MMACTION2_PYTHON."""

import json
import os
import subprocess
from pathlib import Path

import torch
from timing import Run

WORKER = Path(__file__).with_name("mmaction2_worker.py")
VARIABLE = "MMACTION2_PYTHON"
"""Environment variable: a Python that has mmaction2==0.24.1, mmcv 1.x and the same torch."""


def mmaction2(recipe: str, *, shape: tuple[int, ...], mode: str) -> Run | None:
    """MMAction2's published network of this name in its own process; None where the variable names no Python.

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
    process = subprocess.Popen([python, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    job = {"config": str(config), "shape": shape, "mode": mode, "threads": torch.get_num_threads()}
    ask(process, json.dumps(job))
    return lambda: float(ask(process, "run"))


def ask(process: subprocess.Popen, line: str) -> str:
    """Send a line, wait for the answer."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"{WORKER.name} ended with status {process.wait()}")
    return answer

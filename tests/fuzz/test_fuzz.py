"""Damaged configs, list files and videos by the thousand: nothing comes of them but errors of ours."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def fuzz(kind: str, inputs: int, seed: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tests/fuzz/fuzz.py", kind, "--inputs", str(inputs), "--seed", str(seed)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(("kind", "inputs"), [("configs", 300), ("lists", 300), ("videos", 100)])
def test_a_few_damaged_files_end_in_errors_of_ours(kind, inputs):
    done = fuzz(kind, inputs, seed=0)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("kind", "inputs"), [("configs", 100_000), ("lists", 100_000), ("videos", 12_000)])
def test_a_hundred_thousand_texts_and_ten_thousand_videos_end_in_errors_of_ours(kind, inputs):
    done = fuzz(kind, inputs, seed=1)
    assert done.returncode == 0, done.stdout + done.stderr

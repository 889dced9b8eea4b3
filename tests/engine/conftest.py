"""What a run folder holds, for the tests of the engine."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

TIMES = ("time", "data_time")


class Diary(NamedTuple):
    """The `.log.json` of a run, without the times, which differ from run to run."""

    meta: dict[str, Any]
    train: list[dict[str, Any]]
    val: list[dict[str, Any]]

    def losses(self) -> list[float]:
        return [row["loss"] for row in self.train]


@pytest.fixture(scope="session")
def diary():
    """diary(work_dir): what its only, or else its latest, run logged."""

    def read(work_dir: Path) -> Diary:
        path = max(work_dir.glob("*.log.json"))
        meta, *rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows = [{key: value for key, value in row.items() if key not in TIMES} for row in rows]
        return Diary(meta, *([row for row in rows if row["mode"] == mode] for mode in ("train", "val")))

    return read


@pytest.fixture(scope="session")
def text_log():
    """text_log(work_dir): the messages of its text log, without the dates."""

    def read(work_dir: Path) -> list[str]:
        lines = max(work_dir.glob("*.log")).read_text().splitlines()
        return [re.split(" - (?:INFO|WARNING|ERROR) - ", line)[-1] for line in lines]

    return read


@pytest.fixture(scope="session")
def tensors():
    """tensors(checkpoint): every tensor in it, weights and momenta, by name."""

    def read(path: Path) -> dict[str, Tensor]:
        checkpoint = torch.load(path, weights_only=True)
        momenta = {
            f"momentum {key}": value["momentum_buffer"] for key, value in checkpoint["optimizer"]["state"].items()
        }
        return checkpoint["state_dict"] | momenta

    return read


@pytest.fixture(scope="session")
def differing():
    """differing(one, other): names of the tensors that are not bitwise equal in two checkpoints."""

    def compare(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
        return [name for name in one.keys() | other.keys() if not torch.equal(one[name], other[name])]

    return compare


@pytest.fixture(scope="session")
def best_of():
    """best_of(work_dir): the best score of its run, and the name of the only checkpoint that is kept for it."""

    def read(work_dir: Path) -> tuple[float, str]:
        (path,) = work_dir.glob("best_*")
        messages = torch.load(path, weights_only=True)["meta"]["hook_msgs"]
        assert Path(messages["best_ckpt"]).name == path.name
        return messages["best_score"], path.name

    return read


@pytest.fixture
def train(tpn, recipe, tmp_path):
    """train(flag, …, **settings) trains the tiny recipe, changed by settings such as optimizer__lr=0.1."""

    def run(*flags: object, work_dir: Path = tmp_path / "run", **settings: object) -> Path:
        options = [f"{name.replace('__', '.')}={value}" for name, value in settings.items()]
        outcome = tpn("train", recipe, "--work-dir", work_dir, *flags, "--cfg-options", *options)
        assert outcome.code == 0, outcome.err
        return work_dir

    return run

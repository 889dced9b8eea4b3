"""Fixtures every test may use."""

import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tpn.cli import main
from tpn.config import load_config
from tpn.data.sprites import make_sprites
from tpn.errors import UserError
from tpn.models.recognizer import build_recognizer

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "configs/recognition/tpn"
SHARED = ROOT.parent / "shared"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of CUDA need a GPU; on a machine that must have one (REQUIRE_GPU=1) they fail without it."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available() and os.environ.get("REQUIRE_GPU") != "1":
        pytest.skip("needs a GPU with CUDA")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout: parity figures and two real videos."""
    if not SHARED.is_dir():
        pytest.skip(f"reference data are not at {SHARED}")
    return SHARED


@pytest.fixture
def said_to_others():
    """said_to_others(action, folder): the user error of an action in a folder, done by one who may not read it all."""

    def say(action: Callable[[], object], folder: Path) -> str:
        reader, writer = os.pipe()
        child = os.fork()
        if child:
            os.close(writer)
            os.waitpid(child, 0)
            with os.fdopen(reader) as told:
                return told.read()
        text = "no user error"
        try:  # the folders on the way are closed to others, too: stay in this one
            os.chdir(folder)
            if not os.geteuid():
                folder.chmod(0o755)
                os.setuid(65534)
            action()
        except UserError as error:
            text = str(error)
        finally:
            os.write(writer, text.encode())
            os._exit(0)

    return say


@pytest.fixture(scope="session")
def parity(shared: Path):
    """Read one file of what the reference implementations compute: parity('model.json')."""

    def read(name: str):
        path = shared / "parity" / name
        return json.loads(path.read_text()) if path.suffix == ".json" else dict(np.load(path))

    return read


@pytest.fixture(scope="session")
def seeded(shared):
    """parity/weights.py: weights and inputs drawn from names and seeds."""
    spec = importlib.util.spec_from_file_location("parity_weights", shared / "parity/weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def build():
    """build(recipe name) -> (recognizer with uninitialised weights, to be filled; config)."""

    def build_published(name: str):
        config = load_config(RECIPES / f"{name}.py", {"model.backbone.pretrained": None})
        with torch.device("meta"):
            model = build_recognizer(config.model)
        return model.to_empty(device="cpu"), config

    return build_published


@pytest.fixture(scope="session")
def benchmark():
    """benchmark("timing"): one of the scripts in benchmarks/ as a module; they import each other by their names."""

    def load(name: str):
        if (folder := str(ROOT / "benchmarks")) not in sys.path:
            sys.path.append(folder)
        return importlib.import_module(name)

    return load


@pytest.fixture(scope="session")
def reference_layout(benchmark):
    """A context in which networks compute in the reference's own layout."""
    return benchmark("reference_layout").reference_layout


# ------------------------------------------------------------------------------------------------- running the commands


class Outcome(NamedTuple):
    """What a command left: exit status, what it printed and what it complained about."""

    code: int
    out: str
    err: str


@contextmanager
def one_thread() -> Iterator[None]:
    """Nets this small are fastest on one thread; and the order of additions, so every bit, is the same everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if torch.are_deterministic_algorithms_enabled():  # turning off what is off imports half of torch, here
            torch.use_deterministic_algorithms(False)


@pytest.fixture
def single_thread() -> Iterator[None]:
    """For a test that computes in this process what a command computes too."""
    with one_thread():
        yield


@pytest.fixture(scope="session")
def tpn():
    """tpn("train", recipe, …) runs the command in this process, from its arguments to its exit status.

    As on a terminal of UTF-8, what is not UTF-8 cannot be printed.
    """

    def run(*arguments: object) -> Outcome:
        code, (out, err) = 0, (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with redirect_stdout(out), redirect_stderr(err), one_thread():
            try:
                main([str(argument) for argument in arguments])
            except SystemExit as end:
                code = int(end.code or 0)
        return Outcome(code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode())

    return run


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Of a process that runs a command: this Python first on the path, this checkout importable, one thread."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}


@pytest.fixture(scope="session")
def shell(environment):
    """shell("python tools/train.py …") runs a command line as a process, in the checkout or in `folder`."""

    def run(command: str, *, folder: Path = ROOT) -> Outcome:
        done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


# -------------------------------------------------------------------------------------------- a training of seconds


@pytest.fixture(scope="session")
def sprites(tmp_path_factory) -> Path:
    """A folder of tiny videos: 13 to train on, 7 to validate, 67 to test, in six classes."""
    folder = tmp_path_factory.mktemp("sprites")
    make_sprites(folder, num_train=13, num_val=7, num_test=67, seed=0, workers=2, progress=None)
    return folder


@pytest.fixture(scope="session")
def recipe(sprites, tmp_path_factory) -> Path:
    """A recipe for the tiny videos and a tiny network: four steps an epoch, the last of a single video."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.py"
    path.write_text(f"""
model = dict(
    backbone=dict(type="ResNet3dSlowOnly", depth=14, base_channels=8, stem_pool=False),
    cls_head=dict(num_classes=6),
)
_root = {str(sprites)!r}
data = dict(
    format="videos",
    clip_len=8,
    frame_interval=8,
    short_side=32,
    crop_size=32,
    videos_per_gpu=4,
    workers_per_gpu=0,
    train=dict(ann_file=f"{{_root}}/train.txt", data_prefix=_root),
    val=dict(ann_file=f"{{_root}}/val.txt", data_prefix=_root),
    test=dict(ann_file=f"{{_root}}/test.txt", data_prefix=_root, num_clips=2),
)
optimizer = dict(lr=0.05, lr_batch_size=4, weight_decay=0.0001, max_grad_norm=20)
lr_config = dict(policy="cosine")
total_epochs = 3
evaluation = dict(interval=1)
log_config = dict(interval=1)
""")
    return path


@pytest.fixture(scope="session")
def trained(tpn, recipe, tmp_path_factory) -> Path:
    """The run folder of the tiny recipe, trained for its three epochs with seed 0 and validated after each."""
    work_dir = tmp_path_factory.mktemp("trained") / "run"
    outcome = tpn("train", recipe, "--work-dir", work_dir, "--validate", "--seed", 0, "--deterministic")
    assert outcome.code == 0, outcome.err
    return work_dir

"""Trainings of seconds that are disturbed from outside, by real signals, and the digest that they have to end at."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from jobs import ROOT, Digest, Job, digest_of, pids_of

TRAIN = (sys.executable, "-u", "tools/train.py")
SEED = ("--seed", "0", "--deterministic")


# ------------------------------------------------------------------------------------------------------------ the runs


@pytest.fixture(scope="session")
def tiny(recipe, sprites, tmp_path_factory) -> Path:
    """The tiny recipe (batch norm, dropout, augmentation) on 60 records: three epochs of 15 steps, a third logged."""
    folder = tmp_path_factory.mktemp("tiny")
    lines = (sprites / "train.txt").read_text().splitlines(keepends=True)
    (folder / "train.txt").write_text("".join((lines * 5)[:60]))
    path = folder / "tiny.py"
    path.write_text(f"""
_base_ = {str(recipe)!r}
data = dict(videos_per_gpu=2, workers_per_gpu=1, train=dict(ann_file={str(folder / "train.txt")!r}))
checkpoint_config = dict(every=4)
log_config = dict(interval=3)
""")
    return path


@pytest.fixture(scope="session")
def digest() -> Callable[[Path], Digest]:
    """digest(work_dir): of the last checkpoint's weights and momenta, and of the losses logged by all runs there."""
    return digest_of


# ------------------------------------------------------------------------------------------------------- the processes


@pytest.fixture
def start(environment, tmp_path_factory) -> Iterator[Callable[..., Job]]:
    """start(argument, …) starts a command; afterwards no process, shared memory or temporary file of it may be left."""
    mark, temporary = uuid.uuid4().hex, tmp_path_factory.mktemp("tmp")
    shared_before = set(Path("/dev/shm").iterdir())
    env = {**environment, "TPN_TEST": mark, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    jobs = []

    def begin(*command: object, **variables: str) -> Job:
        jobs.append(Job([*map(str, command)], env | variables, mark))
        return jobs[-1]

    yield begin
    deadline = time.monotonic() + 12  # orphaned data workers look for their parent every five seconds
    while (left := pids_of(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    told = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ") for pid in left}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, told
    shared = {path for path in set(Path("/dev/shm").iterdir()) - shared_before if path.name.startswith("torch")}
    assert not shared
    assert not [path for path in temporary.rglob("*") if path.is_file()]


@pytest.fixture
def alone(start, tiny):
    """alone(work_dir, flag, …) starts a training in one process."""
    return lambda work_dir, *flags: start(*TRAIN, tiny, "--work-dir", work_dir, *SEED, "--validate", *flags)


@pytest.fixture
def torchrun(start, tiny):
    """torchrun(work_dir, flag, …, restarts=3) starts a training in two processes."""

    def begin(work_dir: Path, *flags: object, restarts: int = 0, processes: int = 2) -> Job:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
        command += ["--max-restarts", restarts, *TRAIN[2:], tiny, "--work-dir", work_dir]
        return start(*command, *SEED, "--validate", *flags)

    return begin


@pytest.fixture(scope="session")
def expected(environment, tiny, tmp_path_factory) -> dict[int, Digest]:
    """D: the digests of undisturbed runs, of one process and of two."""
    digests = {}
    for processes in (1, 2):
        work_dir = tmp_path_factory.mktemp("undisturbed")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command += [*TRAIN[2:], str(tiny), "--work-dir", str(work_dir), *SEED, "--validate"]
        command += ["--cfg-options", f"data.videos_per_gpu={4 // processes}"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)
        digests[processes] = digest_of(work_dir)
    return digests

"""Processes that are killed, stopped or lost: the run goes on by itself and ends where an undisturbed one does."""

import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
UNDER_WAY = r"Epoch \["
RECORDER = Path(__file__).with_name("recorder.py")


@pytest.mark.parametrize("seed", range(5))
def test_runs_whose_processes_are_killed_at_random_steps_end_as_undisturbed(seed, torchrun, expected, digest, tmp_path):
    """Four kills in each of five runs; after each the next line of the log has to come within a minute."""
    rng, told = random.Random(seed), 0
    job = torchrun(tmp_path, restarts=4)
    for _ in range(4):
        told = job.wait_for(UNDER_WAY, after=told, timeout=60)
        time.sleep(rng.uniform(0, 0.9))
        told = len(job.lines)
        job.kill(rng.randrange(2))
    job.done()
    assert digest(tmp_path) == expected[2]
    assert not list(tmp_path.glob(".*.tmp"))


def test_runs_killed_while_they_save_end_as_undisturbed(torchrun, expected, digest, tmp_path):
    """Four times the process that writes is stopped when its half-written file appears, and killed if it is there."""
    job, told = torchrun(tmp_path, restarts=4), 0
    for _ in range(4):
        told = job.wait_for(UNDER_WAY, after=told, timeout=60)
        kill_while_saving(job.ranks()[0], tmp_path)
        told = len(job.lines)
    job.done()
    assert digest(tmp_path) == expected[2]
    assert not list(tmp_path.glob(".*.tmp"))


def kill_while_saving(pid: int, folder: Path) -> None:
    while True:
        if not any(folder.glob(".*.pth.*.tmp")):
            continue
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.01)
        if any(folder.glob(".*.pth.*.tmp")):
            return os.kill(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGCONT)


def test_a_killed_data_worker_is_replaced_and_costs_nothing(torchrun, expected, digest, tmp_path):
    """No restart is allowed, and none is needed."""
    job = torchrun(tmp_path, restarts=0)
    told = job.wait_for(UNDER_WAY)
    for rank in (0, 1):
        (worker,) = job.workers_of(job.ranks()[rank])
        os.kill(worker, signal.SIGKILL)
        told = job.wait_for(UNDER_WAY, after=told)
    job.done()
    assert digest(tmp_path) == expected[2]


def test_a_process_that_hangs_is_found_out_and_the_restarted_run_ends_as_undisturbed(
    torchrun, expected, digest, tmp_path
):
    """SIGSTOP; found after --dist-timeout, and killed by torchrun 30 s after it has not answered SIGTERM."""
    job = torchrun(tmp_path, "--dist-timeout", "8", restarts=1)
    told = job.wait_for(r"Epoch \[2\]\[3/")
    job.kill(1, signal.SIGSTOP)
    job.wait_for("does not answer: it hangs", after=told, timeout=30)
    job.wait_for("resumed epoch 1", after=told, timeout=75)
    job.done()
    assert digest(tmp_path) == expected[2]


@pytest.fixture
def agent(start, tiny, tmp_path):
    """agent(last_call) starts torchrun as on one of several machines, which meet at a port and become one or two.

    The training is started by the recorder, which notes what is trained on and changes nothing.
    """
    (tmp_path / "seen").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def begin(last_call: int):
        command = ["-m", "torch.distributed.run", "--nnodes", "1:2", "--nproc-per-node", "1", "--max-restarts", "2"]
        command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "test"]
        command += ["--rdzv-conf", f"last_call_timeout={last_call},keep_alive_interval=1", RECORDER, tmp_path / "seen"]
        command += [tiny, "--work-dir", tmp_path / "run", "--seed", "0", "--auto-resume"]
        return start(sys.executable, *command, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")

    return begin


def test_when_one_of_two_machines_is_lost_the_other_goes_on_with_every_video_once(agent, tmp_path):
    first = agent(last_call=10)
    time.sleep(2)  # they meet where the first is
    second = agent(last_call=10)
    while not any("Epoch [2][3/15]" in job.text for job in (first, second)):  # one of them has the main process
        assert first.process.poll() is None, first.text
        time.sleep(0.05)
    for pid in (second.process.pid, *second.workers_of(second.process.pid)):  # the machine and all that is on it
        os.kill(pid, signal.SIGKILL)
    first.done(timeout=150)
    assert "Distributed training: False (1 process " in first.text
    assert trained_on(tmp_path / "seen") == {epoch: [*range(60)] for epoch in range(3)}


def test_when_a_machine_joins_late_every_video_is_still_shown_once(agent, tmp_path):
    first = agent(last_call=1)
    first.wait_for(r"Epoch \[1\]\[6/30\]")
    second = agent(last_call=1)
    first.done(timeout=150)
    second.end()
    assert "Distributed training: True (2 processes" in first.text + second.text
    assert trained_on(tmp_path / "seen") == {epoch: [*range(60)] for epoch in range(3)}


def trained_on(folder: Path) -> dict[int, list[int]]:
    """epoch -> indices of what made it into the weights: an attempt takes back what it does again.

    A file is of one process of one attempt; its lines are `epoch start position index …`, where the epoch was begun
    or gone on with at `start`, and stands at `position` after the batch.
    """
    attempts: dict[str, list[list[int]]] = {}
    for path in sorted(folder.iterdir()):
        rows = [[*map(int, line.split())] for line in path.read_text().splitlines()]
        attempts.setdefault(path.name.split("_")[1], []).extend(rows)
    kept: list[list[int]] = []
    for rows in attempts.values():
        if rows:
            begin = min((epoch, start) for epoch, start, *_ in rows)
            kept = [row for row in kept if (row[0], row[2]) <= begin] + rows
    epochs: dict[int, list[int]] = {}
    for epoch, _, _, *indices in kept:
        epochs.setdefault(epoch, []).extend(indices)
    return {epoch: sorted(indices) for epoch, indices in epochs.items()}

"""A run that is asked to stop saves everything at the next step, leaves, and goes on as if nothing had been."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest


@pytest.fixture
def interrupted(tpn, recipe):
    """interrupted(work_dir, number, pattern, flag, …) trains here and sends the signal once the log has such a line."""

    def run(work_dir: Path, number: int, pattern: str, *flags: object):
        def watch() -> None:
            for _ in range(3000):
                time.sleep(0.01)
                if any(re.search(pattern, path.read_text()) for path in work_dir.glob("*.log")):
                    return os.kill(os.getpid(), number)

        watcher = threading.Thread(target=watch)
        watcher.start()
        outcome = tpn("train", recipe, "--work-dir", work_dir, "--validate", "--seed", 0, "--deterministic", *flags)
        watcher.join()
        return outcome

    return run


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_answered_at_the_next_step_and_the_resumed_run_ends_as_the_undisturbed_one(
    number, status, interrupted, trained, tpn, recipe, digest, tmp_path
):
    outcome = interrupted(tmp_path, number, r"Epoch \[2\]\[1/4\]")
    assert outcome.code == status, outcome.err
    (step,) = tmp_path.glob("step_*.pth")
    assert f"{signal.Signals(number).name}: stopped after {step.stem[5:]} steps, all of it saved" in outcome.out
    assert (tmp_path / "latest.pth").readlink() == Path(step.name)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    resumed = tpn("train", recipe, "--work-dir", tmp_path, "--validate", "--deterministic", "--auto-resume")
    assert resumed.code == 0, resumed.err
    assert digest(tmp_path) == digest(trained)
    assert not list(tmp_path.glob("step_*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_two_processes_agree_on_the_step_leave_within_five_seconds_and_resume_exactly(
    number, torchrun, expected, digest, tmp_path
):
    job = torchrun(tmp_path)
    job.wait_for(r"Epoch \[2\]\[3/15\]")
    ranks = job.ranks()
    asked = time.monotonic()
    os.kill(job.process.pid, number)
    while any(Path(f"/proc/{pid}").exists() for pid in ranks.values()):
        time.sleep(0.05)
    assert time.monotonic() - asked <= 5
    assert job.end() != 0
    assert re.search(rf"{number.name}: stopped after \d+ steps", job.text)
    torchrun(tmp_path, "--auto-resume").done()
    assert digest(tmp_path) == expected[2]


@pytest.mark.slow
def test_a_signal_to_one_process_alone_stops_all_at_the_same_step(torchrun, expected, digest, tmp_path):
    job = torchrun(tmp_path)
    job.wait_for(r"Epoch \[1\]\[6/15\]")
    job.kill(1, signal.SIGTERM)
    assert job.end() == 1
    assert re.search(r"SIGTERM: stopped after \d+ steps", job.text)
    assert re.findall(r"exitcode +: +(-?\d+)", job.text) == ["143"] * 2
    torchrun(tmp_path, "--auto-resume").done()
    assert digest(tmp_path) == expected[2]


@pytest.mark.slow
def test_a_signal_during_validation_is_answered_at_once(torchrun, expected, digest, tmp_path):
    job = torchrun(tmp_path)
    job.wait_for("Saving checkpoint at 2 epochs")
    os.kill(job.process.pid, signal.SIGTERM)
    assert job.end() != 0
    assert re.search(r"SIGTERM: stopped after \d+ steps, all of it saved in ", job.text)
    torchrun(tmp_path, "--auto-resume").done()
    assert digest(tmp_path) == expected[2]


@pytest.mark.slow
def test_a_second_control_c_leaves_at_once(alone, tmp_path):
    """The process is stopped in between, so that both signals are there before it can answer the first."""
    job = alone(tmp_path, "--cfg-options", "total_epochs=1000")
    job.wait_for(r"Epoch \[1\]\[3/")
    os.kill(job.process.pid, signal.SIGINT)
    while job.process.poll() is None:
        os.kill(job.process.pid, signal.SIGINT)
    assert job.end() in (-signal.SIGINT, 130)

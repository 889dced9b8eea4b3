"""Work by several processes: one problem each, in order, whatever becomes of the processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tpn.data.annotations import Record
from tpn.data.processes import in_processes
from tpn.errors import DataError

SLEEPERS = """
import os, sys, time
from pathlib import Path
from tpn.data.annotations import Record
from tpn.data.processes import in_processes

def work(record):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

list(in_processes(work, [Record(str(i), 0, None) for i in range(9)], processes=3))
"""

INTERRUPTED = """
import os, signal, sys, time
from tpn.data.annotations import Record
from tpn.data.processes import in_processes

interrupt = lambda: os.kill(os.getpid(), signal.SIGINT)
os.register_at_fork(after_in_parent=interrupt, after_in_child=interrupt)  # as a terminal does: to both, right then
try:
    list(in_processes(lambda record: time.sleep(600), [Record(str(i), 0, None) for i in range(9)], processes=3))
except KeyboardInterrupt:
    sys.exit("interrupted")
"""


def crash_at_five(record: Record) -> str | None:
    if record.path == "5":
        os.kill(os.getpid(), signal.SIGKILL)
    return None if record.label else record.path


def test_video_that_crashes_its_process_is_found_out():
    records = [Record(str(i), i % 2, None) for i in range(12)]
    problems = list(in_processes(crash_at_five, records, processes=2))
    assert problems[5] == "5 makes the decoder crash; re-encode the file or take it off the list"
    assert problems[:5] + problems[6:] == ["0", None, "2", None, "4", "6", None, "8", None, "10", None]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_with_the_main_process_even_if_it_is_killed(environment, tmp_path):
    main = subprocess.Popen([sys.executable, "-c", SLEEPERS, str(tmp_path)], env=environment)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 3)
    main.kill()
    main.wait()
    wait_until(lambda: not any(is_running(path.name) for path in tmp_path.iterdir()))


def heed_interrupts() -> None:
    """Where tests run in the background of a shell, their children would ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are not forked")
def test_an_interrupt_while_processes_start_ends_them_all(environment):
    main = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], env=environment, capture_output=True, text=True, timeout=60,
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    assert main.returncode == 1
    assert main.stderr == "interrupted\n"


def write(record: Record) -> str:
    """A file that is removed again when the work on it ends; the second one takes no notice of a polite request."""
    file = Path(record.path)
    if record.label == 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    file.touch()
    try:
        time.sleep(600 * record.label)
    finally:
        file.unlink()
    return file.name


def test_closing_ends_the_processes_and_their_work_is_tidied_up(tmp_path):
    others = multiprocessing.active_children()  # of loaders that earlier tests have left alive
    records = [Record(str(tmp_path / str(label)), label, None) for label in (0, 1, 2, 3)]
    results = in_processes(write, records, processes=3)
    assert next(results) == "0"
    wait_until(lambda: {path.name for path in tmp_path.iterdir()} == {"1", "2", "3"})
    results.close()  # long before the 600 seconds are over
    assert [path.name for path in tmp_path.iterdir()] == ["1"]  # it had to be killed
    assert set(multiprocessing.active_children()) <= set(others)


def refuse(record: Record) -> str:
    raise DataError(f"{record.path} is refused")


def test_an_error_of_the_work_is_raised():
    with pytest.raises(DataError, match=r"^7 is refused"):
        next(in_processes(refuse, [Record("7", 0, None)], processes=2))


def wait_until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(process: str) -> bool:
    try:
        return Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

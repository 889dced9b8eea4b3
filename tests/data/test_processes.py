"""Work by several processes: one problem each, in order, whatever becomes of the processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tpn.data.annotations import Record
from tpn.data.processes import in_processes

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

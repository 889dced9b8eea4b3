"""A command under way, to be disturbed from outside, and the digest that says where a training has ended."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[2]


class Digest(NamedTuple):
    """What two runs are compared by."""

    weights: str
    optimizer: str
    log: str


def digest_of(work_dir: Path) -> Digest:
    """Of the last checkpoint's weights and momenta, and of the losses logged by all runs in the folder."""
    last = max(work_dir.glob("epoch_*.pth"), key=lambda path: int(path.stem[6:]))
    checkpoint = torch.load(last, weights_only=True)
    momenta = {str(key): value["momentum_buffer"] for key, value in checkpoint["optimizer"]["state"].items()}
    return Digest(hash_of(checkpoint["state_dict"]), hash_of(momenta), hash_of_log(work_dir))


def hash_of(tensors: dict[str, torch.Tensor]) -> str:
    content = hashlib.sha256()
    for name in sorted(tensors):
        content.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return content.hexdigest()


def hash_of_log(work_dir: Path) -> str:
    """Of what was logged last about each step and each validation, times left out."""
    rows = {}
    for path in sorted(work_dir.glob("*.log.json")):
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # the last line of a killed run may be cut short
                row = json.loads(line)
                if "mode" in row:
                    values = {key: value for key, value in row.items() if key not in ("time", "data_time")}
                    rows[row["mode"], row["epoch"], row["iter"]] = values
    return hashlib.sha256(json.dumps(sorted(rows.items())).encode()).hexdigest()


# -------------------------------------------------------------------------------------------------------- the processes


class Job:
    """A command under way: what it prints, which processes it has, and ways to disturb them."""

    def __init__(self, command: list[str], env: dict[str, str], mark: str) -> None:
        self.mark = mark
        self.lines: list[str] = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.lines.append("")
            self.changed.notify_all()

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str, *, after: int = 0, timeout: float = 60) -> int:
        """Wait for a line that matches; returns the number of the line after it."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                for number, line in enumerate(self.lines[after:], start=after):
                    if re.search(pattern, line):
                        return number + 1
                ended = self.lines and self.lines[-1] == ""
                remaining = deadline - time.monotonic()
                assert not ended and remaining > 0, f"no line matched {pattern!r}:\n{self.text}"
                self.changed.wait(remaining)

    def ranks(self) -> dict[int, int]:
        """rank -> process id of the training processes, without their data workers."""
        found: dict[int, int] = {}
        for pid in pids_of(self.mark):
            environment, parent = read_environment(pid), parent_of(pid)
            if "RANK" in environment and "RANK" not in read_environment(parent):
                found[int(environment["RANK"])] = pid
        return found

    def workers_of(self, pid: int) -> list[int]:
        return [child for child in pids_of(self.mark) if parent_of(child) == pid]

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        os.kill(self.ranks()[rank], number)

    def end(self, timeout: float = 90) -> int:
        """Wait for the end; the exit status."""
        self.process.wait(timeout)
        self.reader.join(10)
        return self.process.returncode

    def done(self, timeout: float = 90) -> None:
        """Wait for an end without error."""
        assert self.end(timeout) == 0, self.text


def pids_of(mark: str) -> list[int]:
    """The processes that were started with this mark in their environment, zombies left out."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if read_environment(pid).get("TPN_TEST") == mark]


def read_environment(pid: int) -> dict[str, str]:
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in content.split("\0") if "=" in entry)


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0

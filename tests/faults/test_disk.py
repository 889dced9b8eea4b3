"""Disks that are full, read-only or gone, folders in use, and files that have been damaged: nothing saved is lost."""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from tpn.engine.folder import RunFolder
from tpn.errors import CheckpointError
from tpn.models.seal import read_label
from tpn.models.weights import read_checkpoint


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    """The folder of the finished tiny run, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run", symlinks=True))


# ------------------------------------------------------------------------------------------------------ damaged files


@pytest.mark.parametrize("samples", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_a_checkpoint_is_refused(samples, trained, tmp_path):
    """Random ones in the file and in its seal."""
    content, path = (trained / "epoch_1.pth").read_bytes(), tmp_path / "flipped.pth"
    rng, size = random.Random(0), len(content) * 8
    places = rng.sample(range(size), samples) + rng.sample(range(size - 258 * 8, size), samples)
    for place in places:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match="flipped"):
            read_checkpoint(path)


@pytest.mark.parametrize("samples", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_truncation_of_a_checkpoint_is_refused(samples, trained, tmp_path):
    """Lengths from nothing to all but one byte, and as many within the seal and the zip file's table of contents."""
    content, path = (trained / "epoch_1.pth").read_bytes(), tmp_path / "short.pth"
    size, end = len(content), 30_000
    lengths = [*range(0, size, size // samples), *range(size - end, size, end // samples), size - 257, size - 1]
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="short"):
            read_checkpoint(path)


def test_a_seal_names_the_place_and_does_not_disturb_other_readers(trained):
    path = trained / "epoch_2.pth"
    assert " epoch=2 position=0 step=8" in (read_label(path) or "")
    assert torch.load(path, weights_only=True)["meta"]["epoch"] == 2
    listed = subprocess.run(["python3", "-m", "zipfile", "-l", path], capture_output=True, text=True, check=True)
    assert "data.pkl" in listed.stdout


@pytest.mark.parametrize("damage", ["flipped bit", "truncation", "flipped bit in the seal"])
def test_resuming_falls_back_to_the_newest_intact_checkpoint_and_says_so(damage, copied, tpn, recipe):
    for path in [copied / "epoch_3.pth", *copied.glob("best_*_3.pth")]:
        content = bytearray(path.read_bytes())
        if damage == "truncation":
            del content[-1000:]
        else:
            content[-10 if "seal" in damage else 5000] ^= 1
        path.write_bytes(content)
    outcome = tpn("train", recipe, "--work-dir", copied, "--validate", "--auto-resume", "--deterministic")
    assert outcome.code == 0, outcome.err
    told = [line.split(" - INFO - ")[-1] for line in outcome.out.splitlines()]
    assert any(line.startswith(f"{copied}/epoch_3.pth: damaged") for line in told)
    assert any(line.startswith(f"going back to the newest intact checkpoint, {copied}/") for line in told)
    assert f"resumed epoch 2, iter 8, from {copied}/epoch_2.pth" in told


def test_resuming_from_a_damaged_checkpoint_that_is_named_is_refused(copied, tpn, recipe):
    path = copied / "epoch_3.pth"
    path.write_bytes(path.read_bytes()[:-5])
    outcome = tpn("train", recipe, "--work-dir", copied, "--resume-from", path)
    assert outcome.code == 2
    assert f"{path}: damaged" in outcome.err


# --------------------------------------------------------------------------------------------------------- the folder


def test_a_second_run_in_the_same_folder_is_refused(tpn, recipe, tmp_path):
    reading, writing = os.pipe()
    holder = os.fork()
    if holder == 0:  # a lock is a process's: one of the same process would not be in the way
        folder = RunFolder(tmp_path)
        os.write(writing, folder.begin().encode())
        signal_never_comes = os.pipe()[0]
        os.read(signal_never_comes, 1)
    try:
        name = os.read(reading, 100).decode()
        outcome = tpn("train", recipe, "--work-dir", tmp_path)
        assert outcome.code == 2
        assert outcome.err.startswith(
            f"error: {tmp_path}: another run is at work in this folder (run={name} process={holder}"
        )
    finally:
        os.kill(holder, 9)
        os.waitpid(holder, 0)
    assert tpn("train", recipe, "--work-dir", tmp_path, "--cfg-options", "total_epochs=1").code == 0  # the lock is gone


def test_what_killed_runs_left_half_written_is_removed_and_the_rest_is_not(tpn, recipe, tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f".epoch_1.pth.{dead.pid}.tmp").write_bytes(b"half")
    (tmp_path / f".result.json.{os.getppid()}.tmp").write_bytes(b"being written")
    assert tpn("train", recipe, "--work-dir", tmp_path, "--cfg-options", "total_epochs=1").code == 0
    assert [path.name for path in tmp_path.glob(".*.tmp")] == [f".result.json.{os.getppid()}.tmp"]


@pytest.mark.parametrize("place", ["read-only", "gone", "a file"])
def test_a_folder_that_cannot_be_written_is_said_before_the_first_epoch(place, tpn, recipe, tmp_path):
    if place == "read-only":
        work_dir = Path("/sys/kernel/tpn")  # for root, too
    elif place == "gone":
        (tmp_path / "link").symlink_to("/proc/nowhere")
        work_dir = tmp_path / "link" / "run"
    else:
        work_dir = tmp_path / "file"
        work_dir.touch()
    outcome = tpn("train", recipe, "--work-dir", work_dir)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {work_dir}: the run folder cannot be written")


@pytest.mark.slow
def test_a_full_disk_is_named_with_what_is_free_and_costs_nothing_saved(start, tiny, alone, expected, digest, tmp_path):
    """A disk of 12 MB, which three checkpoints of 4 MB fill; then a larger one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", disk]).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        flags = ("--cfg-options", "data.videos_per_gpu=4")
        job = alone(disk / "run", *flags)
        assert job.end() == 2
        assert "No space left on device" in job.text
        assert "bytes free); what was saved before is intact" in job.text
        assert not list((disk / "run").glob(".*.tmp"))
        for path in (disk / "run").glob("[es]*.pth"):
            read_checkpoint(path)
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        alone(disk / "run", "--auto-resume", *flags).done()
        assert digest(disk / "run") == expected[1]
    finally:
        subprocess.run(["umount", disk], check=True)

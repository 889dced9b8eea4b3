"""Memory that is not enough ends a command in one sentence, and costs nothing that was saved."""

import hashlib
import subprocess
import sys

import pytest
import torch

from tpn.engine.out_of_memory import is_out_of_memory, memory_for
from tpn.errors import UserError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")

ROOM = 900 << 20  # bytes a command gets beyond its imports: enough for the tiny recipe, not for large frames
LARGE_CLIPS = ["data.crop_size=448", "data.short_side=448", "data.videos_per_gpu=13"]
LARGE_VIEWS = ["data.test.crop_size=2240", "data.short_side=2240"]
LIMITED = f"""
import resource, sys, torch, av, cv2
from tpn.cli import main
import tpn.engine.train, tpn.engine.test
torch.set_num_threads(1)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {ROOM},) * 2)
main(sys.argv[1:])
"""


@pytest.fixture
def limited(environment):
    """limited("train", …): a command in a process that has little memory."""

    def run(*arguments: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", LIMITED, *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


def test_a_training_that_does_not_fit_names_its_batch_and_leaves_the_checkpoint(tpn, limited, recipe, tmp_path):
    flags = [recipe, "--work-dir", tmp_path, "--seed", 0]
    assert tpn("train", *flags, "--cfg-options", "total_epochs=1").code == 0
    before = hashlib.sha256((tmp_path / "epoch_1.pth").read_bytes()).digest()
    done = limited("train", *flags, "--auto-resume", "--cfg-options", *LARGE_CLIPS)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "is not enough for a step of 13 clips of 8 x 448 x 448 in float32: lower data.videos_per_gpu" in done.stderr
    assert hashlib.sha256((tmp_path / "epoch_1.pth").read_bytes()).digest() == before
    assert (tmp_path / "latest.pth").resolve().name == "epoch_1.pth"
    assert tpn("train", *flags, "--auto-resume", "--cfg-options", "total_epochs=2").code == 0


def test_a_test_that_does_not_fit_names_its_views(limited, recipe, trained):
    flags = ["--eval", "top_k_accuracy", "--cfg-options", *LARGE_VIEWS]
    done = limited("test", recipe, trained / "latest.pth", *flags)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "is not enough for 1 view of 8 x 2240 x 2240: end what else uses it" in done.stderr


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), memory_for("it", torch.device("cpu"), remedy="none"):
        raise RuntimeError("shapes do not match")


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")])
def test_every_allocators_word_is_known(error):
    assert is_out_of_memory(error)
    with pytest.raises(UserError, match="machine's memory is not enough for it: lower"):  # noqa: SIM117
        with memory_for("it", torch.device("cpu"), remedy="lower it"):
            raise error


def test_the_cpus_allocator_is_recognised_by_what_it_says():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)

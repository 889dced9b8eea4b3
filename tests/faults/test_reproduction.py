"""The same run again: same seed, same bits, whatever the workers; same samples, whatever the processes."""

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_two_processes_with_one_seed_end_at_the_same_bits_whatever_their_workers(
    workers, torchrun, expected, digest, tmp_path
):
    torchrun(tmp_path, "--cfg-options", f"data.workers_per_gpu={workers}").done()
    assert digest(tmp_path) == expected[2]


def test_one_process_and_two_see_the_same_videos_in_the_same_order_each_once(start, tiny, tmp_path):
    """With the same global batch, each of them is of the same videos."""
    seen = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
        command += [Path(__file__).with_name("recorder.py"), folder, tiny, "--work-dir", folder / "run", "--seed", 0]
        start(sys.executable, *command, "--cfg-options", f"data.videos_per_gpu={4 // processes}").done()
        seen[processes] = batches(folder)
    assert seen[1] == seen[2]
    for epoch in range(3):
        assert sorted(index for key, videos in seen[1].items() if key[0] == epoch for index in videos) == [*range(60)]


def batches(folder) -> dict[tuple[int, int], list[int]]:
    """(epoch, position) -> the videos of the global batch that ends there, in rank order."""
    found: dict[tuple[int, int], list[int]] = {}
    for path in sorted(folder.glob("*_*_*"), key=lambda path: path.name.split("_")[2]):
        for line in path.read_text().splitlines():
            epoch, _, position, *indices = map(int, line.split())
            found.setdefault((epoch, position), []).extend(indices)
    return found

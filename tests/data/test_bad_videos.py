"""Bad videos of every kind are named in time and survived, and so are data workers that die."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from tpn.data.dataset import VideoDataset
from tpn.data.loader import build_eval_loader, build_train_loader
from tpn.data.workers import SUBSTITUTES, Batch, Failure, Guarded, Workers
from tpn.errors import DataError

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="signals to worker processes")


class Trapped(VideoDataset):
    """A data set some of whose videos do something to the process that reads them."""

    def __getitem__(self, key):
        name = Path(self.records[key[1]].path).name
        if name == "kills.mp4" or (name.startswith("once") and not Path(self.records[key[1]].path).exists()):
            Path(self.records[key[1]].path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "hangs.mp4":
            hang_in_c()
        return super().__getitem__((key[0], 0) if name.startswith("once") else key)


def hang_in_c() -> None:
    """Sleep in the system's C library, as a decoder may: no signal handler of Python's runs until it returns."""
    import ctypes

    libc = ctypes.CDLL(None)
    while True:
        libc.pause()


@pytest.fixture(scope="module")
def dataset_of(dataset_of):
    """Of videos with traps among them."""
    return partial(dataset_of, kind=Trapped)


def epochs(dataset: VideoDataset, **how) -> tuple[list[Batch], list[Failure]]:
    """Two epochs of training batches, and the failures on the way."""
    failures: list[Failure] = []
    loader = build_train_loader(dataset, **{"batch_size": 4, "seed": 0, "on_failure": failures.append, **how})
    return [batch for epoch in range(2) for batch in loader.epoch(epoch)[1]], failures


# ---------------------------------------------------------------------------------------------------------- substitutes


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_videos_are_replaced_in_training_and_each_is_told(bad_videos, workers, dataset_of):
    batches, failures = epochs(dataset_of(bad_videos), workers=workers)
    shown = [index for batch in batches for index in batch.index.tolist()]
    assert len(shown) == 22
    assert not {2, 5} & set(shown)
    assert {failure.index for failure in failures} == {2, 5}
    assert all(failure.path == str(bad_videos[failure.index]) for failure in failures)
    assert all("not a video" in failure.message for failure in failures)


def test_the_substitute_does_not_depend_on_who_makes_it(bad_videos, dataset_of, are_same):
    dataset = dataset_of(bad_videos)
    alone, _ = epochs(dataset, workers=0)
    for workers in (1, 2):
        assert are_same(alone, epochs(dataset, workers=workers)[0])
    ranks = [epochs(dataset, workers=0, batch_size=2, rank=rank, world_size=2)[0] for rank in range(2)]
    for batch, *shared in zip(alone, *ranks, strict=True):
        assert torch.equal(torch.cat([part.views for part in shared]), batch.views)
    resumed = build_train_loader(dataset, batch_size=4, workers=0, seed=0, on_failure=lambda failure: None)
    assert are_same(resumed.epoch(1, start=4)[1], alone[-2:])


def test_substitutes_differ_from_epoch_to_epoch_and_are_never_the_video_itself(videos, dataset_of):
    guarded = Guarded(dataset_of(videos * 30), workers=0, substitutes=True, read_timeout=None)
    choices = [guarded.substitutes_of((epoch, 7)) for epoch in range(20)]
    assert len({tuple(choice) for choice in choices}) == 20
    assert all(7 not in choice and len(choice) >= SUBSTITUTES - 4 for choice in choices)


def test_where_no_substitute_can_be_read_the_training_ends(tmp_path, dataset_of):
    with pytest.raises(
        DataError, match=r"no video of a batch can be read, nor one in its place: .*\.mp4 does not exist"
    ):
        dataset = dataset_of([tmp_path / f"{n}.mp4" for n in range(4)])
        list(build_train_loader(dataset, batch_size=4, workers=0, seed=0, on_failure=lambda _: None).epoch(0)[1])


# ------------------------------------------------------------------------------------------------- workers that die


def kill_one(loader) -> None:
    os.kill(loader.workers.loader._iterator._workers[0].pid, signal.SIGKILL)


@LINUX
def test_a_killed_worker_is_replaced_and_no_sample_changes(videos, caplog, dataset_of, are_same):
    dataset = dataset_of(videos)
    expected, _ = epochs(dataset, workers=0, batch_size=1)
    loader = build_train_loader(dataset, batch_size=1, workers=2, seed=0)
    batches = []
    for epoch in range(2):
        for number, batch in enumerate(loader.epoch(epoch)[1]):
            batches.append(batch)
            if number in (0, 6):
                kill_one(loader)
    assert are_same(batches, expected)
    assert "a data worker was ended by SIGKILL" in caplog.text


@LINUX
def test_a_worker_killed_between_two_epochs_is_replaced(videos, dataset_of, are_same):
    dataset = dataset_of(videos)
    loader = build_train_loader(dataset, batch_size=4, workers=2, seed=0)
    first = list(loader.epoch(0)[1])
    kill_one(loader)
    assert are_same(first + list(loader.epoch(1)[1]), epochs(dataset, workers=0)[0])


@LINUX
def test_the_death_of_a_worker_disturbs_nothing_outside_the_loader(videos, dataset_of):
    """Torch would raise an error wherever the process is: in the middle of a step."""
    loader = build_train_loader(dataset_of(videos), batch_size=1, workers=2, seed=0)
    next(loader.epoch(0)[1])
    kill_one(loader)
    for _ in range(20):
        time.sleep(0.01)


@LINUX
def test_a_video_that_kills_its_worker_is_bad_at_the_second_time(videos, tmp_path, dataset_of):
    failures: list[Failure] = []
    traps = [*videos[:2], tmp_path / "kills.mp4", *videos[2:4], tmp_path / "once.mp4"]
    loader = build_eval_loader(dataset_of(traps, fixed=True), batch_size=1, workers=2, on_failure=failures.append)
    assert [batch.index.item() for batch in loader] == [0, 1, 3, 4, 0]  # the last one's second time
    (failure,) = failures
    assert failure.message.startswith(
        f"{tmp_path / 'kills.mp4'} ends the process that reads it: it was ended by SIGKILL"
    )


@LINUX
@pytest.mark.parametrize("workers", [0, 2])
def test_a_video_that_never_answers_is_bad_after_the_time_limit(videos, tmp_path, workers, dataset_of):
    failures: list[Failure] = []
    dataset = dataset_of([videos[0], tmp_path / "hangs.mp4", videos[1]], fixed=True)
    loader = build_eval_loader(dataset, batch_size=1, workers=workers, read_timeout=0.5, on_failure=failures.append)
    assert [batch.index.item() for batch in loader] == [0, 2]
    assert [failure.index for failure in failures] == [1]
    assert "hangs.mp4 cannot be read within 0.5 s; replace the file, or raise data.read_timeout" in failures[0].message


@LINUX
def test_workers_that_die_whatever_they_do_end_the_run(videos, monkeypatch, dataset_of):
    monkeypatch.setattr("tpn.data.workers.start_worker", lambda worker, ending: os._exit(7))
    with pytest.raises(DataError, match="the last one ended with status 7"):
        list(Workers(dataset_of(videos), workers=1, substitutes=False, read_timeout=None).batches([[(0, 0)]]))


@LINUX
def test_no_process_outlives_a_loader_whose_worker_was_killed(videos):
    script = """
import os, signal, sys
from tpn.data.annotations import Record
from tpn.data.dataset import RandomViews, VideoDataset
from tpn.data.loader import build_train_loader
views = RandomViews(clip_len=4, frame_interval=2, num_clips=1, frames_per_view=4, crop_size=16)
dataset = VideoDataset(records=[Record(sys.argv[1], 0, None)] * 20, views=views, seed=0, mean=(0, 0, 0), std=(1, 1, 1))
loader = build_train_loader(dataset, batch_size=2, workers=2, seed=0)
pids = []
for number, batch in enumerate(loader.epoch(0)[1]):
    workers = loader.workers.loader._iterator._workers
    pids += [worker.pid for worker in workers]
    if number == 1:
        os.kill(workers[0].pid, signal.SIGKILL)
print(number, *set(pids))
"""
    done = subprocess.run([sys.executable, "-c", script, str(videos[0])], capture_output=True, text=True, timeout=60)
    number, *pids = map(int, done.stdout.split())
    assert number == 9
    assert len(pids) == 4
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]

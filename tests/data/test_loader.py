"""Batches: every record once, whoever makes them; and errors, signals and the end of the process."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tpn.data.loader import (
    build_eval_loader,
    build_train_loader,
    epoch_order,
    global_batches,
    shares,
)
from tpn.data.workers import Failure
from tpn.errors import DataError

# ----------------------------------------------------------------------------------------------- the order of an epoch


@given(
    num_records=st.integers(1, 200),
    batch_size=st.integers(1, 9),
    world_size=st.integers(1, 9),
    start=st.integers(0, 200),
)
def test_every_record_is_seen_exactly_once_and_no_rank_waits(num_records, batch_size, world_size, start):
    start = min(start, num_records)
    order = epoch_order(num_records, seed=0, epoch=0)
    cuts = global_batches(num_records, batch_size=batch_size, world_size=world_size, start=start)
    ranks = [shares(order, cuts, rank=rank, world_size=world_size) for rank in range(world_size)]
    seen = [int(index) for batches in ranks for batch in batches for index in batch]
    if num_records - start >= world_size:
        assert sorted(seen) == sorted(order[start:].tolist())
    else:
        assert seen == []  # fewer records remain than ranks: there is no batch to give all of them a part of
    for parts in zip(*ranks, strict=True):
        sizes = [len(part) for part in parts]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= batch_size + 1


@given(
    num_records=st.integers(20, 200),
    batch_size=st.integers(1, 9),
    before=st.integers(1, 5),
    after=st.integers(1, 5),
    steps=st.integers(0, 20),
)
def test_an_epoch_continues_with_another_world_size(num_records, batch_size, before, after, steps):
    first = global_batches(num_records, batch_size=batch_size, world_size=before)[:steps]
    position = first[-1].stop if first else 0
    rest = global_batches(num_records, batch_size=batch_size, world_size=after, start=position)
    consumed = [number for cut in first + rest for number in range(num_records)[cut]]
    lost = num_records - len(consumed)
    assert consumed == list(range(num_records - lost))
    assert lost == 0 or (lost < after and not rest)


def test_an_epoch_is_a_permutation_of_its_own():
    orders = {
        (seed, epoch): epoch_order(100, seed=seed, epoch=epoch).tolist() for seed in range(2) for epoch in range(3)
    }
    assert all(sorted(order) == list(range(100)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 6
    assert epoch_order(100, seed=1, epoch=2).tolist() == orders[1, 2]


def test_the_order_of_an_epoch_is_not_the_chance_of_a_sample():
    order = epoch_order(50, seed=4, epoch=2).tolist()
    assert all(np.random.default_rng([4, 2, index]).permutation(50).tolist() != order for index in range(50))


# ---------------------------------------------------------------------------------------------------------- the batches


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(videos, workers, dataset_of, are_same):
    dataset = dataset_of(videos)
    alone = build_train_loader(dataset, batch_size=3, workers=0, seed=5)
    helped = build_train_loader(dataset, batch_size=3, workers=workers, seed=5)
    for epoch in range(2):
        (steps, ours), (others_steps, others) = alone.epoch(epoch), helped.epoch(epoch)
        assert steps == others_steps == 4
        assert are_same(ours, others)


def test_ranks_share_every_batch_of_one_process(videos, dataset_of):
    dataset = dataset_of(videos)
    whole = build_train_loader(dataset, batch_size=4, workers=0, seed=5).epoch(1)[1]
    parts = [
        build_train_loader(dataset, batch_size=2, workers=0, seed=5, rank=rank, world_size=2).epoch(1)[1]
        for rank in range(2)
    ]
    for batch, *shared in zip(whole, *parts, strict=True):
        assert torch.cat([part.index for part in shared]).tolist() == batch.index.tolist()
        assert torch.equal(torch.cat([part.views for part in shared]), batch.views)
        assert [part.position for part in shared] == [batch.position] * 2
        means = [part.label.double().mean() * part.share for part in shared]
        assert sum(means) / 2 == pytest.approx(batch.label.double().mean().item())


def test_a_resumed_epoch_continues_where_it_stood(videos, dataset_of, are_same):
    loader = build_train_loader(dataset_of(videos), batch_size=3, workers=0, seed=5)
    batches = list(loader.epoch(2)[1])
    steps, rest = loader.epoch(2, start=batches[1].position)
    assert steps == 2
    assert are_same(rest, batches[2:])


def test_an_epoch_left_early_does_not_leak_into_the_next(videos, dataset_of, are_same):
    loader = build_train_loader(dataset_of(videos), batch_size=3, workers=2, seed=5)
    next(loader.epoch(0)[1])
    again = build_train_loader(dataset_of(videos), batch_size=3, workers=0, seed=5)
    assert are_same(loader.epoch(1)[1], again.epoch(1)[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_the_global_generators_alone(videos, workers, dataset_of):
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(build_train_loader(dataset_of(videos), batch_size=3, workers=workers, seed=5).epoch(0)[1])
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_every_video_is_evaluated_once_over_all_ranks_and_none_is_padded(videos, workers, dataset_of):
    dataset = dataset_of(videos, fixed=True)
    indices = []
    for rank in range(3):
        loader = build_eval_loader(dataset, batch_size=2, workers=workers, rank=rank, world_size=3)
        batches = list(loader)
        assert len(batches) == len(loader) == 2
        indices.append([index for batch in batches for index in batch.index.tolist()])
        assert batches[0].views.shape == (2, 2, 4, 16, 16, 3)
    assert indices == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8]]


def test_more_ranks_than_videos_leave_some_without_work(videos, dataset_of):
    dataset = dataset_of(videos[:1], fixed=True)
    assert list(build_eval_loader(dataset, batch_size=2, workers=0, rank=1, world_size=2)) == []
    with pytest.raises(DataError, match="1 training records do not go round 2 processes"):
        build_train_loader(dataset, batch_size=1, workers=0, seed=0, rank=0, world_size=2)


def test_what_the_cpu_reads_of_a_batch_stays_on_the_cpu(videos, dataset_of):
    meta = torch.device("meta")
    for batch in (
        next(build_train_loader(dataset_of(videos), batch_size=2, workers=0, seed=0, device=meta).epoch(0)[1]),
        next(iter(build_eval_loader(dataset_of(videos, fixed=True), batch_size=2, workers=0, device=meta))),
    ):
        assert batch.views.is_meta
        assert batch.label.is_meta
        assert not any(field.is_meta for field in (batch.index, batch.flip, batch.jitter_factors, batch.jitter_order))


# ---------------------------------------------------------------------------------------------------------- the errors


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_arrives_as_itself(bad_videos, workers, dataset_of):
    with pytest.raises(DataError) as direct:
        dataset_of(bad_videos)[0, 2]
    with pytest.raises(DataError) as caught:
        list(build_eval_loader(dataset_of(bad_videos, fixed=True), batch_size=3, workers=workers))
    assert type(caught.value) is DataError
    assert str(caught.value) == str(direct.value)
    assert "broken2.mp4" in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_videos_can_be_counted_and_survived_in_evaluation(bad_videos, workers, dataset_of):
    failures: list[Failure] = []
    dataset = dataset_of(bad_videos, fixed=True)
    batches = list(build_eval_loader(dataset, batch_size=4, workers=workers, on_failure=failures.append))
    assert sorted(index for batch in batches for index in batch.index.tolist()) == [0, 1, 3, 4, 6, 7, 8, 9, 10]
    assert sorted(failure.index for failure in failures) == [2, 5]
    assert all("not a video" in failure.message for failure in failures)


def test_a_batch_of_nothing_but_bad_videos_is_passed_over_in_evaluation(bad_videos, dataset_of):
    dataset = dataset_of(bad_videos, fixed=True)
    loader = build_eval_loader(dataset, batch_size=1, workers=0, on_failure=lambda failure: None)
    assert [batch.index.item() for batch in loader] == [0, 1, 3, 4, 6, 7, 8, 9, 10]


# ------------------------------------------------------------------------------------------------- the worker processes


@pytest.mark.skipif(sys.platform != "linux", reason="signals to process groups")
def test_workers_outlive_signals_to_the_process_group(videos, dataset_of):
    """torchrun and Ctrl-C signal every process; the main one then finishes its step, which needs its workers."""
    loader = build_train_loader(dataset_of(videos), batch_size=1, workers=2, seed=0)
    batches = loader.epoch(0)[1]
    indices = [next(batches).index.item()]
    for worker in loader.workers.loader._iterator._workers:
        os.kill(worker.pid, signal.SIGTERM)
        os.kill(worker.pid, signal.SIGINT)
    time.sleep(0.1)
    indices += [batch.index.item() for batch in batches]
    assert sorted(indices) == list(range(11))


@pytest.mark.skipif(sys.platform != "linux", reason="signals to process groups")
def test_a_process_ends_although_its_workers_are_deaf_to_signals(videos):
    script = """
import sys
from tpn.data.annotations import Record
from tpn.data.dataset import RandomViews, VideoDataset
from tpn.data.loader import build_train_loader
views = RandomViews(clip_len=4, frame_interval=2, num_clips=1, frames_per_view=4, crop_size=16)
dataset = VideoDataset(records=[Record(sys.argv[1], 0, None)] * 50, views=views, seed=0, mean=(0, 0, 0), std=(1, 1, 1))
steps, batches = build_train_loader(dataset, batch_size=2, workers=2, seed=0).epoch(0)
next(batches)
sys.exit(3)
"""
    command = [sys.executable, "-c", script, str(videos[0])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert done.stderr == ""

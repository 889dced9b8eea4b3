"""`tpn train`, with a note of every batch as the training takes it: recorder.py FOLDER [arguments of tpn train]."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tpn.cli import main
from tpn.data.loader import TrainLoader
from tpn.data.workers import Batch

# Of each attempt, which has a port of its own, and each of its processes.
file = (Path(sys.argv[1]) / f"{time.time():.3f}_{os.environ['MASTER_PORT']}_{os.environ['RANK']}").open("w")
epoch_of = TrainLoader.epoch


def recorded_epoch(loader: TrainLoader, epoch: int, start: int = 0) -> tuple[int, Iterator[Batch]]:
    steps, batches = epoch_of(loader, epoch, start)
    return steps, recorded(epoch, start, batches)


def recorded(epoch: int, start: int, batches: Iterator[Batch]) -> Iterator[Batch]:
    for batch in batches:
        print(epoch, start, batch.position, *batch.index.tolist(), file=file, flush=True)
        yield batch


if __name__ == "__main__":
    TrainLoader.epoch = recorded_epoch
    main(["train", *sys.argv[2:]])

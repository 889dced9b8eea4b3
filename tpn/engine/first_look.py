"""Validation videos opened before a training's first step, so that a damaged one is told then and not hours later."""

from contextlib import closing
from functools import partial

import numpy as np
from rich.console import Console

from tpn.config import Config
from tpn.data.annotations import Record
from tpn.data.dataset import VideoDataset
from tpn.data.decode import VideoFile
from tpn.data.processes import in_processes
from tpn.data.workers import Failure, usable_workers, within
from tpn.engine.bad_videos import BadVideos
from tpn.engine.distributed import World
from tpn.engine.progress import ProgressBar
from tpn.errors import DataError

MOST = 2000  # videos that are opened: seconds of a few processes


def look_at_validation(config: Config, val_set: VideoDataset, world: World, console: Console) -> dict[str, str]:
    """Find validation videos that cannot be opened, or whose first frame cannot be decoded; all processes call this.

    Of a list of more than 2000 it is as many, spread over it. Damage further on is found by the validation.

    Returns:
        path and error of each, on the main process.
    Raises:
        DataError: they are more than `data.val.max_bad` allows; they are named.
    """
    bad = BadVideos(config, "val", val_set.records)
    if world.is_main:
        open_videos(config, val_set, bad, console)
    bad.share(world)
    return bad.listed()


def open_videos(config: Config, dataset: VideoDataset, bad: BadVideos, console: Console) -> None:
    """Open videos of a data set by several processes, and note in `bad` those that cannot be read."""
    total, timeout = len(dataset), config.data.read_timeout
    places = np.unique(np.linspace(0, total - 1, min(MOST, total)).round().astype(int)).tolist()
    records = [dataset.records[place] for place in places]
    title = (
        "opening validation videos" if len(places) == total else f"opening {len(places)} of {total} validation videos"
    )
    processes = usable_workers(config.data.workers_per_gpu) or 1
    with (
        ProgressBar(len(records), console=console, description=title, unit="video") as bar,
        closing(in_processes(partial(problem_of, dataset, timeout), records, processes=processes)) as problems,
    ):
        for place, record, problem in zip(places, records, problems, strict=True):
            if problem is not None:
                bad.note(Failure(place, record.path, problem))
            bar.advance()


def problem_of(dataset: VideoDataset, read_timeout: float | None, record: Record) -> str | None:
    """What is wrong with a video or folder of frames as far as its first frame tells, or its first and last image."""
    try:
        within(read_timeout, partial(read_ends, dataset, record), record.path)
    except (DataError, MemoryError) as error:
        return str(error) or f"{record.path} does not fit into memory"
    return None


def read_ends(dataset: VideoDataset, record: Record) -> None:
    with dataset.open(record) as video:
        last = 0 if isinstance(video, VideoFile) else len(video) - 1  # which takes no decoding of others
        video.read(sorted({0, last}))

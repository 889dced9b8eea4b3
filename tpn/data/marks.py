"""What is worth knowing of videos, counted: pictures to be turned, pixels that are not square, single frames."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

import numpy as np

from tpn.data.annotations import CHECKED_FILES, Record
from tpn.data.decode import VideoFile
from tpn.data.display import UPRIGHT, Rotation
from tpn.data.processes import in_processes
from tpn.data.workers import within
from tpn.errors import DataError
from tpn.words import counted, first_of

SHOWN_PATHS = 3


class Marks(NamedTuple):
    """Of one video."""

    turned: bool = False
    """By quarter turns or mirrorings."""
    askew: bool = False
    """By another angle, which is not applied."""
    stretched: bool = False
    """Its pixels are not square, which is not applied either."""
    single: bool = False
    """It has one frame alone."""


def marks_of(video: VideoFile) -> Marks:
    """Of a video of which a frame has been read."""
    return Marks(
        turned=video.turn not in (UPRIGHT, None),
        askew=video.turn is None,
        stretched=video.pixel_aspect != 1,
        single=len(video) == 1,
    )


def describe_marks(found: Sequence[tuple[str, Marks]], rotation: Rotation) -> str:
    """How many videos, of these paths, have which marks, the first of them, and what becomes of them; '' for none."""
    done = "done" if rotation == "apply" else "not done"
    meanings = (
        f"with a mark to turn them ({done}: data.rotation={rotation!r})",
        "with a mark to turn them by another angle than a quarter turn (not done)",
        "with pixels that are not square (read as stored, as in the reference)",
        "with a single frame, which every clip of them repeats",
    )
    parts = []
    for place, meaning in enumerate(meanings):
        if paths := [path for path, marks in found if marks[place]]:
            parts.append(f"{len(paths)} {meaning}: {first_of(paths, SHOWN_PATHS)}")
    return "; ".join(parts)


def marks_remark(records: Sequence[Record], *, rotation: Rotation, read_timeout: float | None, processes: int) -> str:
    """What some videos of a list, spread over it, ask for; '' where none asks for anything. Bad ones do not count."""
    places = np.unique(np.linspace(0, len(records) - 1, min(CHECKED_FILES, len(records))).round().astype(int))
    sample = [records[place] for place in places if records[place].num_frames is None]
    look = partial(look_at, read_timeout=read_timeout)
    with closing(in_processes(look, sample, processes=processes)) as results:
        found = [(each.path, marks) for each, marks in zip(sample, results, strict=True) if isinstance(marks, Marks)]
    text = describe_marks(found, rotation)
    return f"of {counted(len(found), 'video')} looked at, {text}" if text else ""


def look_at(record: Record, *, read_timeout: float | None) -> Marks | None:
    """The marks of a video; None of one that cannot be read."""
    try:
        return within(read_timeout, partial(read_marks, record.path), record.path)
    except DataError:
        return None


def read_marks(path: str) -> Marks:
    with VideoFile(path) as video:
        video.read([0])
        return marks_of(video)

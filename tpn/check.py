"""The videos of a list checked before they are needed: each opened and, in part, decoded, by several processes."""

import os
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from tpn.config import Config
from tpn.config.settings import Data
from tpn.data.annotations import Record, read_list
from tpn.data.containers import pauses_keep_promise
from tpn.data.dataset import Split, open_record
from tpn.data.decode import VideoFile
from tpn.data.display import Rotation
from tpn.data.frame_folders import check_frames, unused_first_frames
from tpn.data.marks import Marks, describe_marks, marks_of
from tpn.data.paths import kind_of
from tpn.data.processes import in_processes
from tpn.data.workers import within
from tpn.engine.progress import ProgressBar, print_line
from tpn.engine.results import make_folder_of, write_atomically
from tpn.errors import DataError, UserError
from tpn.words import counted


class Finding(NamedTuple):
    """What there is to say of a video or a folder of frames."""

    problem: str | None = None
    """What is wrong with it, in one sentence that names it; None if nothing is."""
    remark: str = ""
    """What may be: its header promises more than there is."""
    marks: Marks | None = None
    """What a video asks of those who show it."""


def run_check(
    config: Config,
    split: Split,
    *,
    output_file: Path,
    processes: int,
    full: bool = False,
    remove: bool,
    console: Console,
) -> list[str]:
    """Check the videos of a list, name the bad ones with the reason, write their paths to `output_file`.

    What is in that file about videos of other lists stays, so that the splits of a data set may share it.

    Args:
        full: decode every frame, not five.
        remove: delete the bad video files.
    Returns:
        the paths of the bad ones.
    Raises:
        UserError: the list cannot be read, `output_file` not be written, or folders of frames were to be deleted.
    """
    data = config.data
    settings = {"train": data.train, "val": data.val, "test": data.test}[split]
    if remove and data.format == "rawframes":
        raise UserError("--remove-corrupted-videos deletes video files only; delete folders of frames yourself")
    records = read_list(
        settings.ann_file,
        data_prefix=settings.data_prefix,
        format=data.format,
        num_classes=config.model.cls_head.num_classes,
        check_files=False,
    )
    make_folder_of(output_file)
    others = paths_of_others(output_file, records)
    if remark := unused_first_frames(records, filename_tmpl=data.filename_tmpl, start_index=data.start_index):
        print_line(remark, console)
    bad: list[str] = []
    marks: list[tuple[str, Marks]] = []
    with (
        ProgressBar(len(records), console=console, description="check", unit="video") as bar,
        closing(check_records(records, data, full=full, processes=processes)) as findings,
    ):
        for record, finding in findings:
            if finding.problem is not None:
                bad.append(record.path)
            if finding.marks is not None:
                marks.append((record.path, finding.marks))
            for line in filter(None, (finding.problem, finding.remark)):
                print_line(line, console)
            bar.advance()
    if bad or others:
        write_atomically(output_file, "".join(f"{path}\n" for path in [*others, *bad]).encode(errors="surrogateescape"))
    else:
        output_file.unlink(missing_ok=True)
    for line in summary(len(records), bad, marks, others, output_file=output_file, rotation=data.rotation):
        print_line(line, console)
    if bad and remove:
        delete(bad, console)
    return bad


def summary(
    num_records: int,
    bad: Sequence[str],
    marks: Sequence[tuple[str, Marks]],
    others: Sequence[str],
    *,
    output_file: Path,
    rotation: Rotation,
) -> list[str]:
    """What a check ends with: how many are bad, where their paths are, what the good ones ask for."""
    result = "none are corrupted/missing"
    if bad:
        result = f"{len(bad)} {'is' if len(bad) == 1 else 'are'} corrupted/missing."
    lines = [f"Checked {counted(num_records, 'video')}, {result}"]
    if bad:
        lines.append(f"{'its path is' if len(bad) == 1 else 'their paths are'} in {output_file}")
    if text := describe_marks(marks, rotation):
        good = "other" if len(marks) == 1 else f"{len(marks)} others"
        lines.append(f"Of the {good}: {text}" if bad else f"Of them: {text}")
    if others:
        lines.append(f"{output_file} keeps {counted(len(others), 'path')} of other lists, checked earlier")
    return lines


def paths_of_others(output_file: Path, records: Sequence[Record]) -> list[str]:
    """What earlier checks have left in the file about videos that are not among these records: another split's.

    Raises UserError where the file may not be read.
    """
    if kind_of(output_file) != "file":
        return []
    try:
        lines = output_file.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError as error:
        raise UserError(f"{output_file} cannot be read ({error.strerror}); name another --output-file") from None
    checked = {record.path for record in records}
    return [line for line in lines if line and line not in checked]


def delete(paths: Sequence[str], console: Console) -> None:
    """Delete those of the files that are there and may be read, and name them: want of a permission is no damage."""
    print_line("Start deleting corrupted videos", console)
    files = [path for path in map(Path, dict.fromkeys(paths)) if kind_of(path) == "file" and os.access(path, os.R_OK)]
    for path in files:
        path.unlink()
        print_line(f"deleted {path}", console)
    print_line(f"Deleted {counted(len(files), 'corrupted video')}.", console)


def check_records(
    records: Sequence[Record], data: Data, *, full: bool, processes: int
) -> Generator[tuple[Record, Finding]]:
    """Each record and what there is to say of it, in the order of the list.

    Of a video the first, the last and three random frames are decoded, or all; of a folder of frames the missing files
    are named, too. A video that makes its process crash, or takes more than `data.read_timeout` seconds, is found out
    and does not stop the others.
    """
    with closing(in_processes(partial(examine, data=data, full=full), records, processes=processes)) as results:
        for record, found in zip(records, results, strict=True):
            yield record, Finding(problem=found) if isinstance(found, str) else found


def examine(record: Record, *, data: Data, full: bool) -> Finding:
    """Decode some frames of a video or a folder, or all, and say what there is to say."""
    try:
        return within(None if full else data.read_timeout, partial(read, record, data, full=full), record.path)
    except DataError as error:
        return Finding(problem=str(error))


def read(record: Record, data: Data, *, full: bool) -> Finding:
    """As `examine`, but DataError is raised where something is wrong."""
    if record.num_frames is not None:
        check_frames(
            record.path,
            num_frames=record.num_frames,
            filename_tmpl=data.filename_tmpl,
            start_index=data.start_index,
        )
    with open_record(record, filename_tmpl=data.filename_tmpl, start_index=data.start_index) as video:
        for _ in video.each(list(range(len(video))) if full else some_frames(len(video))):
            pass
        if not isinstance(video, VideoFile):
            return Finding()
        is_short = video.remark and not pauses_keep_promise(record.path)
        remark = f"{record.path}: {video.remark}; copy it again if it should have them" if is_short else ""
        return Finding(remark=remark, marks=marks_of(video))


def some_frames(num_frames: int) -> list[int]:
    """The first, the last and three random frames in between, the same ones in every run."""
    between = np.random.default_rng(num_frames).permutation(num_frames - 2)[:3] + 1 if num_frames > 2 else []
    return sorted({0, num_frames - 1, *map(int, between)})

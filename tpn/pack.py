"""A data set's videos encoded once more, by all cores, so that training and test read them several times faster."""

import errno
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePath

import cv2
import numpy as np
from av.error import FFmpegError
from rich.console import Console

from tpn.data.annotations import Format, Record, list_problems, read_list
from tpn.data.dataset import FixedViews, RandomViews, Views, open_record, read_views
from tpn.data.decode import VideoFile
from tpn.data.encode import SQUARE, Profile, encode, pictures, shown_aspect
from tpn.data.file_lists import to_json, to_text
from tpn.data.frames import FrameFolder
from tpn.data.paths import kind_of, out_of_reach
from tpn.data.processes import in_processes
from tpn.engine.progress import ProgressBar, print_line
from tpn.engine.results import write_atomically
from tpn.errors import DataError, UserError
from tpn.names import as_utf8
from tpn.words import counted

SETTINGS_FILE = "pack.json"
BAD_FILE = "{}_bad.txt"
SAMPLE = 20  # videos whose reading is timed before and after
ROUNDS = 3
CLEARLY_FASTER = 2.0
# Of a write, after which no other video would fare better.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}
TRAINING = RandomViews(clip_len=8, frame_interval=8, num_clips=1, frames_per_view=8, crop_size=224)
TEST = FixedViews(
    clip_len=8, frame_interval=8, num_clips=10, frames_per_view=8, short_side=256, crop_size=256, num_crops=3
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the videos come from, and how folders of frames name their images."""

    data_prefix: str
    format: Format
    filename_tmpl: str
    start_index: int

    def open(self, record: Record) -> VideoFile | FrameFolder:
        return open_record(record, filename_tmpl=self.filename_tmpl, start_index=self.start_index)

    def size(self, record: Record) -> int:
        """Bytes on the disk; 0 of what is not there."""
        if record.num_frames is None:
            return size_of(Path(record.path))
        numbers = range(self.start_index, self.start_index + record.num_frames)
        return sum(size_of(Path(record.path, self.filename_tmpl.format(number))) for number in numbers)

    def target(self, record: Record, out: Path) -> Path:
        """Where a video goes: by the same name, from `out` instead of data_prefix; .mp4 is added to other names.

        Raises ValueError for a video that is not under data_prefix.
        """
        relative = PurePath(os.path.relpath(record.path, self.data_prefix or "."))
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"{record.path} is not in data_prefix {self.data_prefix or '.'}")
        added = "" if self.format == "videos" and relative.suffix.lower() == ".mp4" else ".mp4"
        return out / f"{relative}{added}"


def run_pack(
    list_file: Path,
    *,
    source: Source,
    out: Path,
    profile: Profile,
    processes: int,
    skip_bad: bool,
    console: Console,
) -> Path:
    """Encode every video of a list that is not yet in `out`, write the new list there, say what it brought.

    A file appears in `out` once it is whole, so a run that was killed goes on where it was when it is started again.

    Returns:
        the path of the new list, `out` / the list's name: a line `path label` for each line of the old one.

    Raises:
        UserError: the list or `out` cannot be used; or videos cannot be read and skip_bad is not set: then all others
            are packed, and the bad ones named in `out`/<list>_bad.txt.
    """
    kind = kind_of(list_file)
    if kind == "out of reach":
        raise DataError(f"the list {out_of_reach(list_file)}")
    if kind != "file":
        found = "a folder; give a list file of its videos" if kind == "folder" else "no file; correct its name"
        raise DataError(f"the list {list_file} is {found}, which `tpn build-list folders` makes of a folder per class")
    records = read_list(
        list_file, data_prefix=source.data_prefix, format=source.format, num_classes=sys.maxsize, check_files=False
    )
    targets = find_targets(records, source, out)
    prepare_folder(out, list_file, {**asdict(source), **asdict(profile)})
    unique = {target: record for record, target in zip(records, targets, strict=True)}
    left = {target: record for target, record in unique.items() if not target.exists()}
    if len(left) < len(unique):
        print_line(f"{len(unique) - len(left)} of {len(unique)} videos are in {out} already", console)
    problems = pack_all(left, source, out, profile, processes=processes, console=console)
    bad_file = out / BAD_FILE.format(list_file.stem)
    bad_file.unlink(missing_ok=True)
    if problems:
        write_atomically(bad_file, as_utf8("".join(f"{problem}\n" for problem in problems.values())))
        if not skip_bad:
            raise DataError(
                f"{len(problems)} of {len(unique)} videos cannot be packed, {bad_file} says why; mend them and start "
                f"again (the others are done), or leave them out with --skip-bad"
            )
        print_line(f"{len(problems)} of {len(unique)} videos are left out, {bad_file} says why", console)
    kept = [(r, target) for r, target in zip(records, targets, strict=True) if target not in problems]
    if not kept:
        raise DataError(f"{list_file}: of its {counted(len(unique), 'video')} none can be packed, {bad_file} says why")
    new_list = write_list(out / list_file.name, kept, out)
    print_line(f"{new_list}: {counted(len(kept), 'line')}; as data_prefix give {out}", console)
    report(unique, [target for target in unique if target not in problems], source, console)
    return new_list


def find_targets(records: Sequence[Record], source: Source, out: Path) -> list[Path]:
    """Where each record's video goes. Raises DataError for a path outside data_prefix, or two videos of one target."""
    targets: list[Path] = []
    origin: dict[Path, str] = {}
    problems: list[str] = []
    for record in records:
        try:
            targets.append(target := source.target(record, out))
        except ValueError as error:
            problems.append(str(error))
            continue
        if origin.setdefault(target, record.path) != record.path:
            problems.append(f"{record.path} and {origin[target]} would both become {target}; rename one")
    if problems:
        raise DataError(list_problems(problems, "Set --data-prefix to the folder that holds all videos of the list."))
    return targets


def prepare_folder(out: Path, list_file: Path, settings: dict[str, object]) -> None:
    """Make `out` and note the settings in it: others than before only while nothing is packed.

    Raises UserError for a folder that holds anything but such a data set.
    """
    path = out / SETTINGS_FILE
    prefix = Path(str(settings["data_prefix"])).resolve()
    settings = {**settings, "data_prefix": str(prefix)}
    if out.resolve() == prefix:
        raise UserError(f"--out {out} is where the videos are; they would be overwritten: name another folder")
    if out.resolve() == list_file.resolve().parent:
        raise UserError(f"--out {out} is where {list_file} is; it would be overwritten: name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if before is None and any(out.iterdir()):
            raise UserError(f"--out {out} holds other files; name a new folder")
    except OSError as error:
        raise UserError(f"--out {out} cannot be used ({error.strerror}); name another folder") from error
    except ValueError:
        raise UserError(f"{path} is damaged; name another folder as --out") from None
    if before is None or (before != settings and not any(out.rglob("*.mp4"))):
        write_atomically(path, as_utf8(json.dumps(settings, indent=2, ensure_ascii=False) + "\n"))
    elif before != settings:
        changed = sorted(key for key in settings if not isinstance(before, dict) or before.get(key) != settings[key])
        told = ", ".join(f"{key} = {before.get(key)!r}" for key in changed if isinstance(before, dict))
        raise UserError(f"--out {out} was packed with {told}; give the same settings again, or another folder")


# -------------------------------------------------------------------------------------------------------- encoding


def pack_all(
    left: dict[Path, Record], source: Source, out: Path, profile: Profile, *, processes: int, console: Console
) -> dict[Path, str]:
    """Encode videos, naming those that fail at once; their targets and problems."""
    work = partial(pack_one, source=source, out=out, profile=profile)
    problems: dict[Path, str] = {}
    with (
        told_how_to_go_on(console),
        ProgressBar(len(left), console=console, description="pack", unit="video") as bar,
        closing(in_processes(work, list(left.values()), processes=processes)) as results,
    ):
        for target, problem in zip(left, results, strict=True):
            if problem is not None:
                problems[target] = problem
                print_line(problem, console)
            bar.advance()
    return problems


@contextmanager
def told_how_to_go_on(console: Console) -> Iterator[None]:
    """After Ctrl-C, say that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        print_line(
            "stopped, running videos are given up: the same command goes on with the videos that are left", console
        )
        raise


def pack_one(record: Record, *, source: Source, out: Path, profile: Profile) -> str | None:
    """Encode one video; what is wrong with it in one sentence, None if nothing is.

    The file gets its name once it is whole and on the disk. Raises UserError where nothing more can be written.
    """
    target = source.target(record, out)
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open(record) as video:
            rate, aspect = (video.frame_rate, shown_aspect(video)) if isinstance(video, VideoFile) else (0.0, SQUARE)
            count = encode(pictures(video), temporary, frame_rate=rate, profile=profile, pixel_aspect=aspect)
        with VideoFile(temporary) as packed:
            if not len(packed) == count == len(video):
                return (
                    f"{record.path} has {len(video)} frames, {len(packed)} of them when encoded; re-encode it yourself"
                )
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except DataError as error:
        return as_options(str(error))
    except (OSError, FFmpegError) as error:
        if error.errno in FULL:
            raise UserError(f"{target} cannot be written ({error.strerror}); make room and start again") from None
        return f"{record.path} cannot be encoded ({error.strerror}); leave it out, or re-encode it yourself"
    finally:
        temporary.unlink(missing_ok=True)
    return None


def as_options(text: str) -> str:
    """A message with the options of this command in the place of settings of recipes."""
    return re.sub(r"data\.(filename|start)_(tmpl|index)=", r"--\1-\2 ", text)


def write_list(path: Path, kept: Sequence[tuple[Record, Path]], out: Path) -> Path:
    records = [Record(target.relative_to(out).as_posix(), record.label, None) for record, target in kept]
    write_atomically(path, (to_json(records) if path.suffix == ".json" else to_text(records)).encode())
    return path


# ------------------------------------------------------------------------------------------------- what it brought


def report(records: dict[Path, Record], done: Sequence[Path], source: Source, console: Console) -> None:
    """Sizes of all videos, and how long reading some of them takes, before and after."""
    before = sum(source.size(records[target]) for target in done)
    after = sum(size_of(target) for target in done)
    print_line(
        f"size: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after ({after / max(before, 1):.2f}x)", console
    )
    sample = [done[at] for at in np.unique(np.linspace(0, len(done) - 1, SAMPLE).round().astype(int))]
    ratios = []
    for what, views in (("training clip", TRAINING), ("test video", TEST)):
        old, new = compare(sample, records, source, views)
        print_line(
            f"reading a {what} (median of {len(sample)}): {old * 1e3:.1f} ms before, {new * 1e3:.1f} ms after "
            f"({old / new:.1f}x faster)",
            console,
        )
        ratios.append(old / new)
    if is_hardly_worth_it(before, after, ratios):
        print_line(
            "The packed videos are larger and hardly faster to read: packing is hardly worth it here. "
            "A higher --crf, as 28, makes them smaller (in another folder) and loses more.",
            console,
        )
    print_line(
        "The pictures are not quite the same: accuracy with published checkpoints may change a little, test it.",
        console,
    )


def is_hardly_worth_it(before: int, after: int, ratios: Sequence[float]) -> bool:
    """Whether a set has become larger, in bytes, and nothing clearly faster to read: twice as fast, by these ratios."""
    return after > before and max(ratios) < CLEARLY_FASTER


def compare(sample: Sequence[Path], records: dict[Path, Record], source: Source, views: Views) -> tuple[float, float]:
    """Median seconds of processor time to read a video of the sample, from its source and packed, taken in turns."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # as in a worker
    old, new = [], []
    for turn in range(ROUNDS):
        for target in sample:
            old.append(read_time(lambda record=records[target]: source.open(record), views, turn))
            new.append(read_time(lambda path=target: VideoFile(path), views, turn))
    cv2.setNumThreads(threads)
    return statistics.median(old), statistics.median(new)


def read_time(open_video: Callable[[], VideoFile | FrameFolder], views: Views, seed: int) -> float:
    started = time.process_time()
    with open_video() as video:
        read_views(video, views, np.random.default_rng(seed))
    return time.process_time() - started


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0

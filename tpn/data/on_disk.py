"""Videos, or folders of frames, that are on the disk under a folder; and what is left out, each with its reason."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from tpn.data.annotations import Format
from tpn.data.frame_folders import naming_fix, template_of
from tpn.data.paths import is_video_name, kind_of
from tpn.errors import DataError
from tpn.names import is_utf8
from tpn.words import counted

Level = Literal[1, 2]
NO_CLASSES = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
WANTED: dict[Format, str] = {"rawframes": "folder of frames", "videos": "video"}
NUMBER = re.compile(r"(\d+)\D*$")


@dataclass
class Content:
    """What a folder holds: paths of videos (or folders of frames), and of everything else by the reason against it."""

    videos: list[str] = field(default_factory=list)
    others: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, paths: Iterable[str]) -> None:
        """Note paths that are not taken; a reason is read after their number: `3 hidden`."""
        if paths := list(paths):
            self.others.setdefault(reason, []).extend(paths)

    def counts(self) -> str:
        """'10 .txt (the first is jump/notes.txt), 2 hidden (the first is jump/.a)'."""
        return ", ".join(f"{len(paths)} {reason} (the first is {paths[0]})" for reason, paths in self.others.items())


class Found(NamedTuple):
    """Paths from the source, in alphabetical order, and lines that say what is left out and why."""

    paths: list[str]
    left_out: list[str]


def find_videos(source: Path, *, format: Format, level: Level) -> Found:
    """The videos or folders of frames in `source`.

    Args:
        level: whether they lie in `source` itself (1) or in folders in it (2).

    Raises:
        DataError: there is no such folder, nothing in it, one that may not be read, or a name no list can hold.
    """
    top, kept = Content(), Content()
    folders: dict[str, list[str]] = {}  # those left out, by their reason
    for entry in entries_of(source):
        if level == 2 and is_folder(entry):
            content = content_of_class(source, entry.name, format)
            kept.videos += content.videos
            for reason, paths in content.others.items() if content.videos else ():
                kept.leave_out(reason, paths)
            if not content.videos:
                folders.setdefault(reason_against(entry.name, content, format), []).append(entry.name)
        else:
            sort_in(top, source, entry, entry.name, format)
    if level == 1:
        kept.videos += top.videos
    else:
        kept.leave_out("in no class folder", top.videos)
    for reason, paths in top.others.items():
        kept.leave_out(reason, paths)
    left_out = [f"left out, {reason}: {', '.join(names)}" for reason, names in folders.items()]
    left_out += [f"left out, no {WANTED[format]} to list: {kept.counts()}"] if kept.others else []
    if not kept.videos:
        raise DataError("\n".join([nothing_found(source, format, level), *left_out]))
    check_names(source, kept.videos)
    return Found(kept.videos, left_out)


def content_of_class(source: Path, name: str, format: Format) -> Content:
    """What a class folder holds; of hidden folders and those of the system nothing is looked at."""
    content = Content()
    if not name.startswith(".") and name not in NO_CLASSES:
        for entry in entries_of(source / name):
            sort_in(content, source, entry, f"{name}/{entry.name}", format)
    return content


def sort_in(content: Content, source: Path, entry: os.DirEntry[str], path: str, format: Format) -> None:
    """Put a file or folder to the videos or to what is left out."""
    if entry.name.startswith("."):
        content.leave_out("hidden", [path])
    elif entry.name in NO_CLASSES:
        content.leave_out("of the system", [path])
    elif is_folder(entry):
        if format == "rawframes":
            content.videos.append(path)
        elif deeper := videos_in(source / path):
            content.leave_out("a level deeper", [f"{path}/{name}" for name in deeper])
        else:
            content.leave_out("folder without a video", [path])
    elif not is_file(entry):
        content.leave_out("no file but a broken link or a pipe", [path])
    elif format == "videos" and is_video_name(entry.name):
        content.videos.append(path)
    else:
        content.leave_out(PurePosixPath(entry.name).suffix.lower() or "without a suffix", [path])


def videos_in(folder: Path) -> list[str]:
    """Names of the videos in a folder that is not looked into otherwise; none where it may not be read."""
    try:
        return [entry.name for entry in entries_of(folder) if is_video_name(entry.name) and is_file(entry)]
    except DataError:
        return []


def reason_against(name: str, content: Content, format: Format) -> str:
    """Why a folder in which nothing was found is no class."""
    if name.startswith("."):
        return "hidden"
    if name in NO_CLASSES:
        return "a folder of the system"
    return f"no {WANTED[format]} in it but {content.counts()}" if content.others else "nothing in it"


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name. Raises DataError where it is none, or may not be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"there is no folder {folder}; name the folder with the videos or the folders of frames"
        ) from None
    except OSError as error:
        raise DataError(
            f"the folder {folder} cannot be read ({error.strerror}); change its permissions, or move it elsewhere"
        ) from None


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def nothing_found(source: Path, format: Format, level: Level) -> str:
    """The error of a source in which nothing is to be listed: the other format, or the other level."""
    pattern = "*" if level == 1 else "*/*"
    videos = (path for path in sorted(source.glob(pattern)) if is_video_name(path.name) and kind_of(path) == "file")
    if format == "rawframes" and (video := next(videos, None)):
        return f"{video} is a video, no folder of frames: add --format videos to list videos"
    return f"{source}: no {WANTED[format]} at level {level} (1: {source}/x, 2: {source}/class/x); correct the level"


def check_names(source: Path, paths: Iterable[str]) -> None:
    """Raise DataError for names that a list, which is UTF-8 text of a line per video, cannot give back: for all."""
    problems = []
    for path in paths:
        if not is_utf8(path):
            problems.append(f"{source}: the name {path!a} is not UTF-8 text, as a list must be; rename it")
        elif "\n" in path or path != path.strip():
            problems.append(
                f"{source}: the name {path!r} has a line break, or a space at an end, which no list can hold; rename it"
            )
    if problems:
        raise DataError("\n".join(problems))


# ------------------------------------------------------------------------------------------- the frames in a folder


class FrameSpan(NamedTuple):
    """The frames of a folder: how many files, and the lowest and highest number in their names (None: no number)."""

    num_frames: int
    first: int | None
    last: int | None
    name: str = ""
    """Of the first of them."""


def frame_span(folder: Path, prefix: str) -> FrameSpan:
    """Of the files whose names begin with `prefix`. Raises DataError where the folder may not be read."""
    names = [entry.name for entry in entries_of(folder) if entry.name.startswith(prefix)]
    numbers = [int(match[1]) for name in names if (match := NUMBER.search(name.rpartition(".")[0]))]
    return FrameSpan(len(names), min(numbers, default=None), max(numbers, default=None), names[0] if names else "")


def naming_remarks(spans: dict[str, FrameSpan], filename_tmpl: str) -> list[str]:
    """What has to be set for frames that are not named by a recipe's template: folders by path, what they hold."""
    templates: dict[str, list[str]] = {}
    for path, span in spans.items():
        if template := template_of(span.name)[0]:
            templates.setdefault(template, []).append(f"{path}/{span.name}")
    if len(templates) > 1:
        counts = ", ".join(f"{len(names)} like {names[0]}" for names in templates.values())
        return [f"the frames of the folders are named differently, {counts}: data.filename_tmpl is one for all"]
    others = [name for template, names in templates.items() for name in names if template != filename_tmpl]
    return [f"the frames are named like {others[0]}: {naming_fix(PurePosixPath(others[0]).name)}"] if others else []


def numbering_remarks(spans: dict[str, FrameSpan]) -> list[str]:
    """What has to be set, or mended, for frames that are not numbered 1, 2, 3, …: folders by path, what they hold."""
    firsts: dict[int, list[str]] = {}
    gaps = []
    for path, (num_frames, first, last, _) in spans.items():
        if first is None or last is None:
            continue
        firsts.setdefault(first, []).append(path)
        if last - first + 1 != num_frames:
            gaps.append(f"{path} has {num_frames} numbered {first} to {last}")
    remarks = []
    if len(firsts) > 1:
        counts = ", ".join(f"{len(paths)} from {first} (as {paths[0]})" for first, paths in sorted(firsts.items()))
        remarks.append(f"folders are numbered differently, {counts}: data.start_index is one number for all")
    elif firsts and 1 not in firsts:
        remarks.append(f"the frames are numbered from {next(iter(firsts))}: set data.start_index={next(iter(firsts))}")
    if gaps:
        remarks.append(
            f"frames are missing, or there twice, in {counted(len(gaps), 'folder')} (the first: {gaps[0]}): "
            "extract them again"
        )
    return remarks

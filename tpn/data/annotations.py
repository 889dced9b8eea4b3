"""List files: which videos belong to a data set, and their labels."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePath
from typing import Any, Literal

from tpn.data.paths import closed_folder, is_video_name, kind_of, leads_out, out_of_reach, shown
from tpn.errors import DataError
from tpn.names import address_problem, is_utf8

Format = Literal["rawframes", "videos"]
LINE: dict[Format, str] = {"rawframes": "folder num_frames label", "videos": "path label"}
SHOWN_PROBLEMS = 10
CHECKED_FILES = 66
MAX_LABELS = 100  # of a line, where several are recognised, and refused
MAX_BYTES = 1 << 30  # of a list file: some ten million lines
MAX_FRAMES = 10**7  # of a video: four days at 25 a second


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a list file."""

    path: str
    label: int
    num_frames: int | None
    """None for a video file, which knows itself."""


def read_list(
    ann_file: str | Path,
    *,
    data_prefix: str | Path = "",
    format: Format,
    num_classes: int,
    labelled: bool = True,
    check_files: bool = True,
    max_missing: float = 0.0,
) -> list[Record]:
    """Read a list file and check it before any time is spent on its videos.

    Where a data_prefix is given, no path leads out of it, neither an absolute one nor one with `..`. (Links are
    followed: they are the owner's, not the list's.)

    A line is `folder num_frames label` (rawframes) or `path label` (videos). The numbers are split off from the right,
    so that names may hold spaces. A .json file holds [{"frame_dir", "total_frames", "label": [label]}, ...] or
    [{"filename", "label": [label]}, ...] instead; its records are counted where the lines of a text file are.

    Args:
        data_prefix: folder the paths start from, and stay in; '' allows paths to anywhere.
        num_classes: labels are 0 .. num_classes-1.
        labelled: whether the records end with a label; without, every label is 0.
        check_files: whether the first file, the last and 64 in between are looked for.
        max_missing: share of the records whose files may be missing; they are left for who reads them. More than the
            whole list may lack, or half of those looked for, are an error: data_prefix is probably wrong.

    Raises:
        DataError: every problem at once, each with file and line: the first ten in full, or three where all have one
            cause, which is told first.
    """
    ann_file = Path(ann_file)
    lines = [(number, line if labelled else f"{line} 0") for number, line in _read_lines(ann_file)]
    if check_files and data_prefix:
        _check_prefix(data_prefix, ann_file)
    records: list[Record] = []
    numbers: list[int] = []
    problems: list[str] = []
    for number, line in lines:
        try:
            records.append(_parse(line, data_prefix=data_prefix, format=format, num_classes=num_classes))
            numbers.append(number)
        except ValueError as error:
            problems.append(f"{ann_file}:{number}: {error}")
    cause = _cause_in_lines(ann_file, [line for _, line in lines], len(problems), format, num_classes)
    if check_files and len(problems) < SHOWN_PROBLEMS:
        missing = _missing_files(ann_file, numbers, records, format, max_missing=max_missing)
        if len(missing) > 1 and not problems and not cause:
            cause = _cause_of_missing(records, len(missing), data_prefix)
        problems += missing
    if problems:
        raise DataError(list_problems(problems, cause=cause))
    return records


def read_labels(ann_file: str | Path) -> list[int]:
    """The labels of a list file of either format, in its order. Raises DataError for a line that ends with none."""
    labels: list[int] = []
    for number, line in _read_lines(Path(ann_file)):
        label = line.split()[-1]
        if not re.fullmatch(r"[+-]?\d+", label):
            raise DataError(f"{ann_file}:{number}: expected a label at the end of the line, got {shown(repr(line))}")
        labels.append(int(label))
    return labels


def read_names(ann_file: str | Path, *, format: Format) -> list[str]:
    """The videos or folders of a list file by their names in it, in its order; of a line that has none, all of it."""
    fields = len(LINE[format].split()) - 1
    return [PurePath(line.rsplit(maxsplit=fields)[0]).as_posix() for _, line in _read_lines(Path(ann_file))]


def name_in_list(record: Record, data_prefix: str | Path) -> str:
    """What a list calls a record that was read with this data_prefix."""
    return PurePath(os.path.relpath(record.path, data_prefix) if data_prefix else record.path).as_posix()


def list_hash(ann_file: str | Path) -> str:
    """The list's fingerprint: SHA-256 of the file's bytes, in hexadecimal."""
    return hashlib.sha256(_read_bytes(Path(ann_file))).hexdigest()


def _read_bytes(ann_file: Path) -> bytes:
    kind = kind_of(ann_file)
    if kind == "out of reach":
        raise DataError(f"the list file {out_of_reach(ann_file)}")
    if kind == "pipe or device":  # the one would never answer, the other never end
        raise DataError(f"the list file {ann_file} is a pipe or a device; correct ann_file")
    try:
        with ann_file.open("rb") as file:
            fits = os.fstat(file.fileno()).st_size <= MAX_BYTES
            data = file.read() if fits else b""  # read(MAX_BYTES) would take that much memory for the smallest list
    except (OSError, ValueError) as error:
        if problem := address_problem(ann_file):
            raise DataError(f"{problem} as ann_file") from None
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"the list file {shown(ann_file)} cannot be read ({reason}); correct ann_file") from None
    if not fits:
        raise DataError(f"the list file {ann_file} has more than {MAX_BYTES:,} bytes; split it, or correct ann_file")
    return data


def _read_lines(ann_file: Path) -> list[tuple[int, str]]:
    """Line numbers from 1, and the lines that are not blank; of a .json file the lines its records stand for."""
    data = _read_bytes(ann_file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{ann_file}:{number}: byte 0x{data[error.start]:02x} is not UTF-8 text; save the list file as UTF-8"
        ) from None
    rows = _json_lines(ann_file, text) if ann_file.suffix == ".json" else text.split("\n")
    lines = [(number, line.strip()) for number, line in enumerate(rows, 1) if line.strip()]
    if not lines:
        raise DataError(f"the list file {ann_file} holds no records; expected lines like `{LINE['videos']}`")
    return lines


def _json_lines(ann_file: Path, text: str) -> list[str]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{ann_file} is not JSON ({error}); correct it, or save the list as text") from None
    if not isinstance(items, list):
        raise DataError(f"{ann_file} holds a JSON {type(items).__name__}, not a list of records")
    return [_json_line(item) for item in items]


def _json_line(item: Any) -> str:
    """The line of text that a JSON record stands for; what is no such record becomes a line that is none either."""
    if not isinstance(item, dict):
        return repr(item)
    label = item.get("label")
    if isinstance(label, list):
        label = ",".join(map(str, label))  # of several labels no line is made
    fields = [item.get("frame_dir", item.get("filename")), item.get("total_frames"), label]
    return " ".join(str(field) for field in fields if field is not None)


def _parse(line: str, *, data_prefix: str | Path, format: Format, num_classes: int) -> Record:
    """One line as a record; ValueError says what is wrong with it."""
    fields = line.rsplit(maxsplit=2 if format == "rawframes" else 1)
    if "\0" in line or len(fields) != len(LINE[format].split()):
        raise ValueError(f"expected `{LINE[format]}`, got {shown(repr(line))}")
    name, *numbers = fields
    if "://" in name and (problem := address_problem(shown(name))):
        raise ValueError(problem)
    if not is_utf8(name):  # an escape of JSON can say so
        raise ValueError(f"the name {shown(ascii(name))} is not UTF-8 text; rename the file")
    try:
        *frames, label = map(int, numbers)
    except ValueError:
        raise ValueError(f"expected `{LINE[format]}`, got {shown(repr(line))}") from None
    if not 0 <= label < num_classes:
        problem = f"label {shown(label)} of {shown(repr(name))} is outside 0..{num_classes - 1}"
        raise ValueError(f"{problem}; correct it or num_classes")
    if frames and not 0 < frames[0] <= MAX_FRAMES:
        raise ValueError(f"{shown(repr(name))} has {shown(frames[0])} frames; extract them or take the line out")
    if format == "videos" and (others := _other_labels(name)) and kind_of(Path(data_prefix, name)) != "file":
        told = f"{shown(repr(line))} has {len(others) + 1} labels, a video has one here; leave one of them"
        raise ValueError(f"{told} (or set data.format=rawframes, if {others[0]} is a number of frames)")
    if data_prefix and leads_out(name, data_prefix):
        raise ValueError(f"{shown(repr(name))} leads out of data_prefix {data_prefix}; correct the wrong one")
    return Record(str(Path(data_prefix, name)), label, frames[0] if frames else None)


def _other_labels(name: str) -> list[str]:
    """Numbers after the name of a video, as in 'a.mp4 1' of the line 'a.mp4 1 2': labels in lists of several."""
    words = name.rsplit(maxsplit=MAX_LABELS)
    numbers = list(takewhile(str.isdecimal, reversed(words)))[::-1]
    return numbers if is_video_name(words[len(words) - len(numbers) - 1]) else []


def spread_places(total: int) -> list[int]:
    """The records that are looked at before any is needed: the first, the last and 64 spread evenly in between."""
    step = max(1, (total - 1) / (CHECKED_FILES - 1))
    return sorted({round(i * step) for i in range(min(CHECKED_FILES, total))})


def are_too_many(found: int, total: int, *, looked_at: int, max_bad: float) -> bool:
    """Whether so many bad ones among those looked at are more than the whole list may have, or half of the former."""
    return found > int(max_bad * total + 1e-9) or 0 < looked_at <= 2 * found


def _missing_files(
    ann_file: Path, numbers: list[int], records: list[Record], format: Format, *, max_missing: float
) -> list[str]:
    """A problem for each missing file among some spread over the whole list, if they are too many.

    Args:
        numbers: the lines of the records.
        max_missing: the share of the whole list that may be missing.
    """
    places = spread_places(len(records))
    kind = "folder" if format == "rawframes" else "file"
    missing = [at for at in places if kind_of(records[at].path) != kind]
    if not are_too_many(len(missing), len(records), looked_at=len(places), max_bad=max_missing):
        return []
    return [f"{ann_file}:{numbers[at]}: {_missing(records[at].path, kind)}" for at in missing]


def _check_prefix(data_prefix: str | Path, ann_file: Path) -> None:
    """Raise DataError unless there is a folder."""
    kind = kind_of(data_prefix)
    if kind == "out of reach":
        raise DataError(f"data_prefix {out_of_reach(data_prefix)}")
    if kind != "folder":
        raise DataError(
            address_problem(data_prefix)
            or f"data_prefix {data_prefix} is not a folder; set it to the folder the paths in {ann_file} start from"
        )


def _cause_of_missing(records: list[Record], num_missing: int, data_prefix: str | Path) -> str:
    """A sentence on why so many of the files looked for are not there."""
    looked_at = [records[place].path for place in spread_places(len(records))]
    if barred := [path for path in looked_at if kind_of(path) == "out of reach"]:
        folder = closed_folder(barred[0])
        return f"{len(barred)} of {len(looked_at)} paths looked for are in folders that may not be entered, as {folder}"
    share = f"{num_missing} of {len(looked_at)}"
    return f"{share} files looked for are not there: is data_prefix={str(data_prefix)!r} right?"


def _missing(path: str, kind: str) -> str:
    """What is wrong with a path at which there is no such file or folder."""
    if kind_of(path) == "out of reach":
        return out_of_reach(path)
    name, _, number = path.rpartition(" ")
    if number.isdecimal() and kind_of(name.rstrip()) == kind:
        return f"{shown(name)} is there, but {number} follows it: a video has one label; take the others out"
    return f"there is no {kind} {shown(path)}; correct data_prefix or the list"


def _cause_in_lines(ann_file: Path, lines: list[str], num_problems: int, format: Format, num_classes: int) -> str:
    """A sentence, if all problems of a list's lines have one cause: the other format, or another number of classes."""
    if other := _other_format(lines, format):
        return other
    labels = [int(match[1]) for line in lines if (match := re.search(r"\s(-?\d{1,18})$", line))]
    if not 1 < num_problems == sum(not 0 <= label < num_classes for label in labels):
        return ""
    return (
        f"{ann_file} has labels {min(labels)} to {max(labels)}, but num_classes = {num_classes} means "
        f"0 to {num_classes - 1}: set model.cls_head.num_classes={max(labels) + 1}, or correct the list"
    )


def _other_format(lines: list[str], format: Format) -> str:
    """A hint if the lines look like the other of the two formats."""
    ends = [line.rsplit(maxsplit=2) for line in lines[:100]]
    two_numbers = [
        len(end) == 3 and end[1].isdecimal() and end[2].isdecimal() and not is_video_name(end[0]) for end in ends
    ]
    if format == "videos" and all(two_numbers):
        return f"The lines look like `{LINE['rawframes']}`: is format 'rawframes' meant?"
    if format == "rawframes" and not any(two_numbers):
        return f"The lines look like `{LINE['videos']}`: is format 'videos' meant?"
    return ""


def list_problems(problems: list[str], hint: str = "", *, cause: str = "") -> str:
    """The first ten problems and how many more there are, then the hint: one a line.

    Where all have one cause, that comes first and three of them are enough.
    """
    shown = problems[: 3 if cause else SHOWN_PROBLEMS]
    if len(problems) > len(shown):
        shown.append(f"... and {len(problems) - len(shown)} more problems")
    return "\n".join(part for part in (cause, *shown, hint) if part)

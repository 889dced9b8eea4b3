"""Which frames a folder has, by the names of its images: what is missing, and the number they begin with."""

import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from tpn.data.annotations import Record, are_too_many, list_problems, spread_places
from tpn.data.paths import kind_of
from tpn.errors import DataError

SHOWN_NAMES = 5
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".jp2"}


def frame_numbers(folder: str | Path, filename_tmpl: str) -> list[int]:
    """The numbers of the images that are named as the template says, rising; other files do not count.

    Raises DataError where the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        raise DataError(f"{folder}: the folder of frames cannot be read ({error.strerror})") from None
    before, after = filename_tmpl.partition("{")[0], filename_tmpl.rpartition("}")[2]
    numbers = [(name, name.removeprefix(before).removesuffix(after).strip()) for name in names]
    return sorted(int(text) for name, text in numbers if text.isdecimal() and filename_tmpl.format(int(text)) == name)


def count_frames(folder: str | Path, *, filename_tmpl: str, start_index: int) -> int:
    """How many frames a folder has; 0 where no image in it is named so.

    Raises DataError where they begin with another number than `start_index`, or one of them is missing.
    """
    numbers = frame_numbers(folder, filename_tmpl)
    if not numbers:
        return 0
    if numbers[0] != start_index:
        first, expected = filename_tmpl.format(numbers[0]), filename_tmpl.format(start_index)
        raise DataError(
            f"{folder}: its first frame is {first}, not {expected}: set data.start_index={numbers[0]} (it is "
            f"{start_index}), or extract the frames again"
        )
    num_frames = numbers[-1] + 1 - start_index
    check_frames(folder, num_frames=num_frames, filename_tmpl=filename_tmpl, start_index=start_index)
    return num_frames


def check_frames(folder: str | Path, *, num_frames: int, filename_tmpl: str, start_index: int) -> None:
    """Raise DataError unless a folder has all the frames that it should have: the first that are missing are named."""
    numbers = frame_numbers(folder, filename_tmpl)
    expected, present = range(start_index, start_index + num_frames), set(numbers)
    num_missing = num_frames - sum(number in expected for number in numbers)
    if not num_missing:
        return
    names = [filename_tmpl.format(number) for number in islice((n for n in expected if n not in present), SHOWN_NAMES)]
    more = f", … ({num_missing} of {num_frames} frames)" if num_missing > SHOWN_NAMES else ""
    fix = numbering_fix(folder, numbers, num_frames, filename_tmpl, start_index) or "extract the frames again"
    raise DataError(f"{folder} lacks {', '.join(names)}{more}; {fix}")


def no_frame(folder: str | Path, filename_tmpl: str, start_index: int) -> str:
    """In words, that no image of a folder is named as the template says, and what its first file is called."""
    name = first_file(folder)
    example = f", its first file is {name}" if name else ""
    return f"{folder}: there is no frame {filename_tmpl.format(start_index)} in this folder{example}"


def first_file(folder: str | Path) -> str:
    """The name of the first file in a folder; '' where there is none that is not hidden."""
    names = (file.name for file in Path(folder).iterdir() if kind_of(file) == "file")
    return min((name for name in names if not name.startswith(".")), default="")


def naming_fix(name: str) -> str:
    """What to set where images are called like this one; '' where it is no image with a number in its name."""
    template, number = template_of(name)
    other_start = "" if number in (0, 1) else f" data.start_index={number}"
    return f"set data.filename_tmpl='{template}'{other_start}" if template else ""


def template_of(name: str) -> tuple[str, int]:
    """'img_00001.png' -> ('img_{:05}.png', 1); of a name that is no numbered image ('', 0)."""
    suffix = Path(name).suffix
    match = re.fullmatch(r"([^{}]*?)([0-9]+)([^{}0-9]*)", Path(name).stem)
    if match is None or suffix.lower() not in IMAGES:
        return "", 0
    before, digits, after = match.groups()
    return f"{before}{f'{{:0{len(digits)}}}' if len(digits) > 1 else '{}'}{after}{suffix}", int(digits)


def numbering_fix(
    folder: str | Path, numbers: Sequence[int], num_frames: int, filename_tmpl: str, start_index: int
) -> str:
    """What to set for a folder whose images are named otherwise, or begin with another number; '' if that is not it."""
    if not numbers:
        name = first_file(folder)
        naming = naming_fix(name)
        return naming and f"its first file is {name}: {naming}"
    first = numbers[0]
    if first == start_index or not set(range(first, first + num_frames)) <= set(numbers):
        return ""
    return f"its frames begin with {filename_tmpl.format(first)}: set data.start_index={first}"


def check_first_frames(
    ann_file: str, records: Sequence[Record], *, filename_tmpl: str, start_index: int, max_bad: float
) -> None:
    """Raise DataError if folders spread over a list have frames named otherwise, or from another number on.

    One that begins with another number lacks a single file, its last, and every clip of it would be one frame late.

    Args:
        max_bad: share of the records that may be left to be found when they are read.
    """
    places = spread_places(len(records))
    problems = [wrong_start(records[place], filename_tmpl, start_index) for place in places]
    problems = [f"{ann_file}: {problem}" for problem in problems if problem]
    if are_too_many(len(problems), len(records), looked_at=len(places), max_bad=max_bad):
        raise DataError(list_problems(problems))


def wrong_start(record: Record, filename_tmpl: str, start_index: int) -> str:
    """What is wrong with a record whose frames are named otherwise, or begin with another number; else ''.

    The folder is listed only where one of the two is not.
    """
    num_frames = record.num_frames or 0
    ends = [filename_tmpl.format(number) for number in (start_index, start_index + num_frames - 1)]
    missing = [name for name in ends if kind_of(Path(record.path, name)) is None]
    if not missing:
        return ""
    try:
        numbers = frame_numbers(record.path, filename_tmpl)
    except DataError:  # a bad video, when its turn comes
        return ""
    fix = numbering_fix(record.path, numbers, num_frames, filename_tmpl, start_index)
    return fix and f"{record.path} lacks {missing[0]}; {fix}"


def unused_first_frames(records: Sequence[Record], *, filename_tmpl: str, start_index: int) -> str:
    """A remark if folders spread over a list have a frame before the first that is read, one number lower; or ''."""
    if start_index == 0 or not records or records[0].num_frames is None:
        return ""
    name = filename_tmpl.format(start_index - 1)
    places = spread_places(len(records))
    folders = [records[place].path for place in places if kind_of(Path(records[place].path, name)) == "file"]
    if not folders:
        return ""
    return (
        f"{len(folders)} of {len(places)} folders looked at hold {name} (the first is {folders[0]}), which is not read "
        f"with data.start_index={start_index}; if it is their first frame, set data.start_index={start_index - 1}"
    )

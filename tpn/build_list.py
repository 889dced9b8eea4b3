"""A list file written from a data set's annotations, or from class folders, and from what is on the disk."""

import random
from pathlib import Path
from typing import Literal

from rich.console import Console

from tpn.data.annotations import Format
from tpn.data.file_lists import (
    Annotation,
    DatasetName,
    Level,
    Subset,
    class_names_of,
    find_videos,
    label_by_folder,
    list_records,
    read_annotations,
    read_text,
    split_records,
    to_json,
    to_text,
)
from tpn.engine.progress import ProgressBar, print_line
from tpn.engine.results import check_output_path, write_atomically
from tpn.errors import DataError

SHOWN_CLASSES = 10


def run_build_list(
    dataset: DatasetName,
    source: Path,
    *,
    subset: Subset,
    format: Format,
    level: Level,
    rgb_prefix: str,
    out_folder: Path,
    output_format: Literal["txt", "json"],
    annotations: Path,
    shuffle: bool,
    seed: int | None,
    val_share: float,
    console: Console,
) -> None:
    """Write {dataset}_{subset}_list_{format}.{output_format} into `out_folder`, and say what it holds.

    Arguments are those of `tpn build-list`; with a val_share there are two lists, the second of the subset val. With a
    seed the order of the training list is MMAction2's, too.

    Raises:
        UserError: annotations or videos cannot be used, or the list cannot be written; before any frame is counted,
            where that is known.
    """
    names = {subset} | ({"val"} if val_share else set())
    paths = {name: out_folder / f"{dataset}_{name}_list_{format}.{output_format}" for name in sorted(names)}
    for path in paths.values():
        check_output_path(path, suffixes=[".txt", ".json"], what="lists")
    if seed is not None:
        print_line(f"Set random seed to {seed}", console)
    found = find_videos(source, format=format, level=level, by_class=not dataset.startswith("sth"))
    if dataset == "folders":
        wanted = label_own_videos(found, level=level, names_file=out_folder / "labels.txt")
    else:
        wanted = read_annotations(dataset, annotations, subset, level=level)
    with ProgressBar(len(wanted), console=console, description="frames", unit="video") as bar:
        records = list_records(
            wanted, found, source, format=format, rgb_prefix=rgb_prefix, progress=bar.advance
        )  # fmt: skip
    if shuffle:
        random.Random(seed).shuffle(records)
    parts = (
        dict(zip((subset, "val"), split_records(records, val_share), strict=True)) if val_share else {subset: records}
    )
    for name, part in parts.items():
        write_atomically(paths[name], (to_text(part) if output_format == "txt" else to_json(part)).encode())
        print_line(f"{paths[name]}: {len(part)} videos, {len({record.label for record in part})} classes", console)
    if dataset == "folders":
        print_line(describe_classes(out_folder / "labels.txt"), console)
    if missing := [video for video, _ in wanted if video not in found]:
        print_line(f"{len(missing)} of {len(wanted)} videos are not in {source}, the first is {missing[0]}", console)


def describe_classes(names_file: Path) -> str:
    """The classes of a data set of folders with their numbers, which are those of the lines of `names_file`, from 0."""
    names = read_text(names_file).split("\n")[:-1]
    shown = [f"{number} {name}" for number, name in enumerate(names[:SHOWN_CLASSES])]
    more = ["…"] if len(names) > SHOWN_CLASSES else []
    return f"{names_file}: {len(names)} classes, numbered by line: {', '.join(shown + more)}"


def label_own_videos(found: dict[str, str], *, level: Level, names_file: Path) -> list[Annotation]:
    """Label videos by their folders, the classes being those of `names_file`, which the first list of a data set makes.

    So training and validation videos get the same labels, even where a class has no videos in one of them.
    """
    if level == 1:
        raise DataError("folders are the classes, so videos lie at --level 2: SRC_FOLDER/CLASS/VIDEO")
    if not names_file.exists():
        write_atomically(names_file, "".join(f"{name}\n" for name in class_names_of(found)).encode())
    names = [name.strip() for name in read_text(names_file).splitlines() if name.strip()]
    try:
        return label_by_folder(found, names)
    except DataError as error:
        raise DataError(
            f"{error} of {names_file}; add it at the end there, or delete that file to number anew"
        ) from None

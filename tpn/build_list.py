"""A list file written from a data set's annotations, or from class folders, and from what is on the disk."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console

from tpn.data.annotations import Format, Record
from tpn.data.file_lists import (
    Annotation,
    DatasetName,
    Subset,
    by_annotated_name,
    class_names_of,
    label_by_folder,
    list_records,
    read_annotations,
    read_text,
    split_records,
    to_json,
    to_text,
)
from tpn.data.on_disk import Level, find_videos, naming_remarks, numbering_remarks
from tpn.data.paths import kind_of
from tpn.engine.progress import ProgressBar, print_line
from tpn.engine.results import check_output_path, write_atomically
from tpn.errors import DataError
from tpn.words import counted

SHOWN_CLASSES = 10
RECIPES_NAMES = {"sthv1": "{:05}.jpg"}  # of frames, where they are not the usual ones


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
    subsets = ["train", "val"] if val_share else [str(subset)]
    paths = {name: out_folder / f"{dataset}_{name}_list_{format}.{output_format}" for name in subsets}
    if seed is not None:
        print_line(f"Set random seed to {seed}", console)
    on_disk = find_videos(source, format=format, level=level)
    names_file = out_folder / "labels.txt" if dataset == "folders" else None
    if names_file is not None:
        found, class_names = {path: path for path in on_disk.paths}, class_names_for(on_disk.paths, names_file, level)
        wanted = label_own_videos(on_disk.paths, class_names, names_file)
    else:
        found = by_annotated_name(on_disk.paths, format=format, by_class=level == 2 and not dataset.startswith("sth"))
        wanted, class_names = read_annotations(dataset, annotations, subset, level=level), []
    for path in paths.values():  # from here on it makes their folder
        check_output_path(path, suffixes=[".txt", ".json"], what="lists")
    with ProgressBar(len(wanted), console=console, description="frames", unit="video") as bar:
        records, spans = list_records(
            wanted, found, source, format=format, rgb_prefix=rgb_prefix, progress=bar.advance
        )  # fmt: skip
    if shuffle:
        random.Random(seed).shuffle(records)
    parts = dict(zip(paths, split_records(records, val_share), strict=True)) if val_share else {str(subset): records}
    if names_file is not None and kind_of(names_file) is None:
        write_atomically(names_file, "".join(f"{name}\n" for name in class_names).encode())
    for name, part in parts.items():
        write_atomically(paths[name], (to_text(part) if output_format == "txt" else to_json(part)).encode())
        classes = counted(len({record.label for record in part}), "class")
        print_line(f"{paths[name]}: {counted(len(part), 'video')}, {classes}", console)
    remarks = naming_remarks(spans, RECIPES_NAMES.get(dataset, "img_{:05}.jpg"))
    remarks += numbering_remarks(spans) + on_disk.left_out
    if names_file is not None:
        remarks = [*describe_classes(names_file, class_names, parts), *remarks]
    if missing := [video for video, _ in wanted if video not in found]:
        remarks.append(f"{len(missing)} of {len(wanted)} videos are not in {source}, the first is {missing[0]}")
    for remark in remarks:
        print_line(remark, console)


def describe_classes(names_file: Path, names: Sequence[str], parts: Mapping[str, Sequence[Record]]) -> list[str]:
    """The classes of a data set of folders with their numbers, which are those of the lines of `names_file`, from 0.

    And for each part of the data set, which of them it has no video of.
    """
    numbered = [f"{number} {name}" for number, name in enumerate(names)]
    lines = [f"{names_file}: {counted(len(names), 'class')}, numbered by line: {in_brief(numbered)}"]
    for subset, records in parts.items():
        labels = {record.label for record in records}
        if lacking := [name for label, name in enumerate(numbered) if label not in labels]:
            lines.append(f"the {subset} list has no video of {counted(len(lacking), 'class')}: {in_brief(lacking)}")
    return lines


def in_brief(names: Sequence[str]) -> str:
    return ", ".join([*names[:SHOWN_CLASSES], *(["…"] if len(names) > SHOWN_CLASSES else [])])


def class_names_for(paths: Sequence[str], names_file: Path, level: Level) -> list[str]:
    """The class names of a data set of folders: those of `names_file`, which its first list makes of the folders'.

    So training and validation videos get the same labels, even where a class has no videos in one of them.
    """
    if level == 1:
        raise DataError("folders are the classes, so videos lie at --level 2: SRC_FOLDER/CLASS/VIDEO")
    return read_text(names_file).rstrip("\n").split("\n") if kind_of(names_file) else class_names_of(paths)


def label_own_videos(paths: Sequence[str], class_names: Sequence[str], names_file: Path) -> list[Annotation]:
    """Videos with the labels of their folders. Raises DataError for a folder that is none of the classes."""
    try:
        return label_by_folder(paths, class_names)
    except DataError as error:
        raise DataError(
            f"{error} of {names_file}; add it at the end there, or delete that file to number anew"
        ) from None

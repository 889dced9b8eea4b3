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
    to_json,
    to_text,
)
from tpn.engine.progress import ProgressBar, print_line
from tpn.engine.results import check_output_path, write_atomically
from tpn.errors import DataError


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
    console: Console,
) -> Path:
    """Write {dataset}_{subset}_list_{format}.{output_format} into `out_folder`, say what it holds, return its path.

    Arguments are those of `tpn build-list`. With a seed the order of the training list is MMAction2's, too.

    Raises:
        UserError: annotations or videos cannot be used, or the list cannot be written; before any frame is counted,
            where that is known.
    """
    path = out_folder / f"{dataset}_{subset}_list_{format}.{output_format}"
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
    write_atomically(path, (to_text(records) if output_format == "txt" else to_json(records)).encode())
    print_line(f"{path}: {len(records)} videos, {len({record.label for record in records})} classes", console)
    if missing := [video for video, _ in wanted if video not in found]:
        print_line(f"{len(missing)} of {len(wanted)} videos are not in {source}, the first is {missing[0]}", console)
    return path


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

"""List files made from a data set's annotations, or its class folders, and from what is on the disk."""

import csv
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, TypeVar

from tpn.data.annotations import Format, Record, list_problems
from tpn.data.on_disk import FrameSpan, Level, frame_span
from tpn.errors import DataError
from tpn.words import counted

DatasetName = Literal["kinetics400", "kinetics600", "kinetics700", "sthv1", "sthv2", "folders"]
Subset = Literal["train", "val", "test"]
Rows = list[tuple[int, dict[str, str]]]  # each with the number of its line
T = TypeVar("T")
NO_LABEL = -1  # of the videos of a test set whose labels were never published
VIDEO_COLUMNS = ("youtube_id", "time_start", "time_end")
OFFICIAL_SUBSET = {"train": "train", "val": "validation", "test": "test"}  # Something-Something's word


class Annotation(NamedTuple):
    """A video of a data set by its name, without folder (but its class) and suffix, and its label."""

    video: str
    label: int


# -------------------------------------------------------------------------------------------------------- annotations


def read_annotations(dataset: DatasetName, folder: Path, subset: Subset, *, level: Level) -> list[Annotation]:
    """What the authors of a data set say is in a subset, in their order, with MMAction2's class ids.

    Args:
        folder: with the files as published: kinetics_train.csv …, or something-something-v1-labels.csv ….
        level: 2 where the videos lie in folders of their classes, which Kinetics' names then begin with.

    Raises:
        DataError: a file is missing, or lines of it are wrong: the first ten, each with file and line.
    """
    if dataset == "sthv1":
        return read_sthv1(folder, subset)
    if dataset == "sthv2":
        return read_sthv2(folder, subset)
    return read_kinetics(folder, subset, level=level)


def read_kinetics(folder: Path, subset: Subset, *, level: Level) -> list[Annotation]:
    """Class ids are the places of the class names of the training set in alphabetical order."""
    train = read_kinetics_csv(folder / "kinetics_train.csv", columns=("label", *VIDEO_COLUMNS))
    class_ids = {name: index for index, name in enumerate(sorted({class_folder(row["label"]) for _, row in train}))}
    path = folder / f"kinetics_{subset}.csv"
    if subset == "test":
        rows = read_kinetics_csv(path, columns=VIDEO_COLUMNS)
        return parse_each(path, rows, lambda row: Annotation(kinetics_video(row), NO_LABEL))

    def parse(row: dict[str, str]) -> Annotation:
        name, video = class_folder(row["label"]), kinetics_video(row)
        if name not in class_ids:
            raise ValueError(f"{name!r} is not a class of kinetics_train.csv")
        return Annotation(f"{name}/{video}" if level == 2 else video, class_ids[name])

    return parse_each(
        path, train if subset == "train" else read_kinetics_csv(path, columns=("label", *VIDEO_COLUMNS)), parse
    )


def read_kinetics_csv(path: Path, *, columns: Collection[str]) -> Rows:
    """Rows by the names of the columns: label (but in test sets), youtube_id, time_start, time_end, split."""
    reader = csv.DictReader(read_text(path).splitlines(), restval="")
    if lacking := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise DataError(f"{path}: its first line names no column {', '.join(lacking)}; is this Kinetics' file?")
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from None


def kinetics_video(row: dict[str, str]) -> str:
    start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
    return f"{row['youtube_id']}_{start:06d}_{end:06d}"


def class_folder(name: str) -> str:
    """A class name as the folder of its videos is called: without quotes, spaces as underscores."""
    return name.replace('"', "").replace(" ", "_")


def read_sthv1(folder: Path, subset: Subset) -> list[Annotation]:
    """Lines `id;class name` (test: `id`); a class id is the number of the line in the file of labels, from 0."""
    prefix = "something-something-v1"
    names = [line.strip() for line in read_text(folder / f"{prefix}-labels.csv").splitlines()]
    class_ids = {name: index for index, name in enumerate(names)}
    path = folder / f"{prefix}-{OFFICIAL_SUBSET[subset]}.csv"

    def parse(line: str) -> Annotation:
        video, _, name = line.strip().partition(";")
        if subset == "test":
            return Annotation(video, NO_LABEL)
        if name not in class_ids:
            raise ValueError(f"{name!r} is not a class of {prefix}-labels.csv")
        return Annotation(video, class_ids[name])

    return parse_each(
        path, [(n, line) for n, line in enumerate(read_text(path).splitlines(), 1) if line.strip()], parse
    )


def read_sthv2(folder: Path, subset: Subset) -> list[Annotation]:
    """[{"id", "template"}, …]; the template, without its brackets, is a class name of {class name: id}."""
    prefix = "something-something-v2"
    class_ids = read_json(folder / f"{prefix}-labels.json", dict)
    path = folder / f"{prefix}-{OFFICIAL_SUBSET[subset]}.json"

    def parse(item: Any) -> Annotation:
        needed = ("id",) if subset == "test" else ("id", "template")
        if not isinstance(item, dict) or any(key not in item for key in needed):
            raise ValueError(f"a record has {' and '.join(needed)}, got {item!r}")
        if subset == "test":
            return Annotation(str(item["id"]), NO_LABEL)
        name = str(item["template"]).replace("[", "").replace("]", "")
        if name not in class_ids:
            raise ValueError(f"{name!r} is not a class of {prefix}-labels.json")
        return Annotation(str(item["id"]), int(class_ids[name]))

    return parse_each(path, list(enumerate(read_json(path, list), 1)), parse)


def parse_each(path: Path, rows: Iterable[tuple[int, T]], parse: Callable[[T], Annotation]) -> list[Annotation]:
    """Every row parsed; the ValueErrors of all rows together as one DataError, each with file and line (or record)."""
    annotations, problems = [], []
    for number, row in rows:
        try:
            annotations.append(parse(row))
        except (ValueError, OverflowError) as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        raise DataError(list_problems(problems))
    return annotations


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(f"{path} cannot be read ({reason}); put the data set's annotations there") from None


def read_json(path: Path, kind: type) -> Any:
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error})") from None
    if not isinstance(value, kind):
        raise DataError(f"{path} holds a JSON {type(value).__name__}, not a {kind.__name__}")
    return value


# ------------------------------------------------------------------------------------------ what of it is on the disk


def by_annotated_name(paths: Iterable[str], *, format: Format, by_class: bool) -> dict[str, str]:
    """Paths of videos under the names that annotations have for them: without suffix, `by_class` with the class.

    Raises DataError for two videos of one name.
    """
    found: dict[str, str] = {}
    for path in map(PurePosixPath, paths):
        name = path.name if format == "rawframes" else path.stem
        if by_class and path.parent.name:
            name = f"{class_folder(path.parent.name)}/{name}"
        if name in found:
            raise DataError(f"{found[name]} and {path} are both called {name}; keep one of them")
        found[name] = str(path)
    return found


class Listed(NamedTuple):
    """The records of a list and, of folders of frames, what each holds, by its path."""

    records: list[Record]
    spans: dict[str, FrameSpan]


def list_records(
    annotations: Iterable[Annotation],
    found: Mapping[str, str],
    source: Path,
    *,
    format: Format,
    rgb_prefix: str,
    progress: Callable[[], None] | None = None,
) -> Listed:
    """The records of the annotated videos that were found, in the order of the annotations.

    Args:
        found: paths from `source` by the names that the annotations have for them.
        rgb_prefix: what the names of frames begin with; the others in a folder (optical flow) are not counted.
        progress: called after each video.

    Raises:
        DataError: folders that may not be read or have no frame of that name, or not one of the videos was found.
    """
    annotations = list(annotations)
    listed, problems = Listed([], {}), []
    for video, label in annotations:
        if (path := found.get(video)) is not None:
            try:
                num_frames = count_into(listed.spans, source, path, rgb_prefix) if format == "rawframes" else None
                listed.records.append(Record(path, label, num_frames))
            except DataError as error:
                problems.append(str(error))
        if progress is not None:
            progress()
    if problems:
        raise DataError(list_problems(problems, "Extract the frames, or say how they are called: --rgb-prefix."))
    if annotations and not listed.records:
        raise DataError(
            f"{source} holds none of the {len(annotations)} annotated videos: there is {next(iter(found))!r}, they are "
            f"called like {annotations[0].video!r}; correct the folder or --level"
        )
    return listed


def count_into(spans: dict[str, FrameSpan], source: Path, path: str, rgb_prefix: str) -> int:
    """The number of frames in a folder, which is also noted. Raises DataError where there is none."""
    spans[path] = frame_span(source / path, rgb_prefix)
    if not spans[path].num_frames:
        raise DataError(f"{source / path} holds no frame whose name begins with {rgb_prefix!r}")
    return spans[path].num_frames


def split_records(records: Sequence[Record], val_share: float) -> tuple[list[Record], list[Record]]:
    """Records for training and for validation: of each class this share, rounded, for the latter, both in list order.

    Which ones follows from the names alone (their hashes), so the same videos give the same split. The last video of a
    class stays in training.
    """
    val: set[Record] = set()
    for label in {record.label for record in records}:
        ours = [record for record in records if record.label == label]
        ours.sort(key=lambda record: hashlib.sha256(record.path.encode()).digest())
        val.update(ours[: min(int(val_share * len(ours) + 0.5), len(ours) - 1)])
    return [record for record in records if record not in val], [record for record in records if record in val]


def label_by_folder(paths: Iterable[str], class_names: Sequence[str]) -> list[Annotation]:
    """Videos in folders of their classes: label i is class_names[i]. Raises DataError for a folder of no class.

    A class may be called as Kinetics' are, `high_jump`, where its folder is `high jump`.
    """
    folders = {path: path.split("/")[0] for path in paths}
    class_ids = {folder: class_id(folder, class_names) for folder in sorted(set(folders.values()))}
    if strangers := [folder for folder, label in class_ids.items() if label is None]:
        raise DataError(f"the folder {strangers[0]} is not among the {counted(len(class_names), 'class')}")
    if twins := [folder for folder in class_ids if folder not in class_names and class_folder(folder) in class_ids]:
        raise DataError(
            f"the folder {twins[0]} is not {class_folder(twins[0])}, and not among the "
            f"{counted(len(class_names), 'class')}"
        )
    return [Annotation(path, label) for path, folder in folders.items() if (label := class_ids[folder]) is not None]


def class_id(folder: str, class_names: Sequence[str]) -> int | None:
    """The label of a class folder; None where it is no class."""
    return next((class_names.index(name) for name in (folder, class_folder(folder)) if name in class_names), None)


def class_names_of(paths: Iterable[str]) -> list[str]:
    """The class folders in alphabetical order."""
    return sorted({path.split("/")[0] for path in paths})


# ---------------------------------------------------------------------------------------------------------- the list


def to_text(records: Iterable[Record]) -> str:
    """`folder num_frames label` or `path label`, one a line."""
    fields = ((record.path, record.num_frames, record.label) for record in records)
    return "".join(" ".join(str(field) for field in row if field is not None) + "\n" for row in fields)


def to_json(records: Iterable[Record]) -> str:
    """[{"frame_dir", "total_frames", "label": [label]}, …] or [{"filename", "label": [label]}, …], in one line."""
    return json.dumps(
        [
            {"filename": record.path, "label": [record.label]}
            if record.num_frames is None
            else {"frame_dir": record.path, "total_frames": record.num_frames, "label": [record.label]}
            for record in records
        ]
    )

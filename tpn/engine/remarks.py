"""What a run says of its data before it begins: nothing of it is wrong for certain, all of it is worth a look."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tpn.config import Config
from tpn.data.annotations import Record
from tpn.data.dataset import VideoDataset
from tpn.data.frame_folders import unused_first_frames
from tpn.data.marks import marks_remark
from tpn.data.paths import kind_of
from tpn.data.workers import usable_workers

WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")  # of 'turn_left', 'turn left' and 'turnLeft'
SIDES = {"left", "right", "leftward", "rightward", "leftwards", "rightwards", "lefthand", "righthand"}
TURNS = {"clockwise", "counterclockwise", "anticlockwise"}
OTHER_SIDE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT",
              "左": "右", "右": "左"}  # fmt: skip
SHOWN_CLASSES = 5


def training_remarks(config: Config, train_set: VideoDataset) -> list[str]:
    """What the log of a training begins with."""
    mirrored = mirror_remark(config, train_set.flip_label_map)
    return [*data_remarks(config, train_set), *filter(None, [mirrored])]


def data_remarks(config: Config, dataset: VideoDataset) -> list[str]:
    """What training and test say of the videos or folders of their list."""
    marks = marks_remark(
        dataset.records,
        rotation=config.data.rotation,
        read_timeout=config.data.read_timeout,
        processes=usable_workers(config.data.workers_per_gpu) or 1,
    )
    labels = [record.label for record in dataset.records]
    classes = classes_remark(labels, num_classes=config.model.cls_head.num_classes)
    return [remark for remark in (classes, frames_remark(dataset), single_remark(dataset.records), marks) if remark]


def classes_remark(labels: Sequence[int], *, num_classes: int) -> str:
    """A remark if a list has labels of the lower half of the classes only: it may be of another data set; or ''."""
    highest = max(labels, default=0)
    if 2 * (highest + 1) > num_classes:
        return ""
    return (
        f"the network has {num_classes} classes, but the highest label of the list is {highest}: if the list has all "
        f"classes there are, set model.cls_head.num_classes={highest + 1}"
    )


def single_remark(records: Sequence[Record]) -> str:
    """A remark if folders have one frame alone; or ''."""
    single = [record.path for record in records if record.num_frames == 1]
    if not single:
        return ""
    return (
        f"{len(single)} of {len(records)} folders have a single frame ({single[0]}), which every clip of them repeats"
    )


def frames_remark(dataset: VideoDataset) -> str:
    """A remark if folders of frames have one more before the first that is read; or ''."""
    return unused_first_frames(
        dataset.records, filename_tmpl=dataset.filename_tmpl, start_index=dataset.start_index
    )  # fmt: skip


def mirror_remark(config: Config, flip_label_map: Mapping[int, int]) -> str:
    """A remark if training mirrors classes whose names are about left and right and keeps their labels; or ''.

    The names are those of labels.txt beside the training list, where `tpn build-list` writes it.
    """
    names = names_beside(config.data.train.ann_file)
    if not config.data.flip_ratio or len(names) != config.model.cls_head.num_classes:
        return ""
    labels = [label for label, name in enumerate(names) if is_directional(name) and label not in flip_label_map]
    if not labels:
        return ""
    others = {label: mirrored(names[label]) for label in labels}
    pairs = {label: names.index(name) for label, name in others.items() if name in names and name != names[label]}
    more = ", …" if len(labels) > SHOWN_CLASSES else ""
    shown = ", ".join(f"{label} {names[label]}" for label in labels[:SHOWN_CLASSES]) + more
    by_map = f"set data.flip_label_map={pairs}, or " if pairs else "set "
    return (
        f"videos are mirrored (data.flip_ratio={config.data.flip_ratio:g}) and keep their labels, but to these classes "
        f"left and right matter, as their names say: {shown}; {by_map}data.flip_ratio=0"
    )


def names_beside(ann_file: str) -> Sequence[str]:
    """The class names in labels.txt in the folder of a list, in label order; none where there is no such text."""
    path = Path(ann_file).with_name("labels.txt")
    try:
        text = path.read_text(encoding="utf-8-sig") if kind_of(path) == "file" else ""
    except (OSError, ValueError):  # a name for people is not worth an error
        return []
    return text.rstrip("\n").split("\n")


def is_directional(name: str) -> bool:
    """Whether a class name is about a side or a sense of rotation: 'turn_left', 'move right', '向左转'."""
    words = {word.lower() for word in WORD.findall(name)}
    return bool(words & (SIDES | TURNS)) or "左" in name or "右" in name


def mirrored(name: str) -> str:
    """The class name with left and right exchanged."""
    return re.sub("|".join(OTHER_SIDE), lambda side: OTHER_SIDE[side[0]], name)

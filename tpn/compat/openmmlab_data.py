"""The data sets of an MMAction2 config, 0.x or 1.x: their lists, folders and file names."""

from tpn.compat.foreign import Foreign, shown
from tpn.compat.openmmlab_pipelines import Pipeline, Split, translate_pipeline

FORMATS = {"RawframeDataset": "rawframes", "VideoDataset": "videos"}
# Classes of Something-Something that mirroring exchanges (MMAction2 1.x's maps), by what is in the paths.
MIRRORED = {
    "sthv1": {2: 4, 4: 2, 30: 41, 41: 30, 52: 66, 66: 52},
    "sthv2": {86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166},
}


def translate_dataset(dataset: Foreign, split: Split, kind: str, *, num_classes: object) -> None:
    """Put `data.<split>`, and state what all three have in common."""
    name = dataset.take("type")
    if not isinstance(name, str) or name not in FORMATS:
        dataset.refuse("type", f"{shown(name)} is not supported, only {' and '.join(FORMATS)} are")
        dataset.forgo()
        return
    dataset.fact("type", "data.format", FORMATS[name])
    to = f"data.{split}"
    ann_file = dataset.take("ann_file")
    if ann_file is None:
        dataset.translate("ann_file", f"{to}.ann_file", "", "no list: for prediction, or give it with --cfg-options")
    else:
        dataset.honour("ann_file", f"{to}.ann_file")
    translate_prefix(dataset, f"{to}.data_prefix", "img" if name == "RawframeDataset" else "video")
    something = next((key for key in MIRRORED if key in str(ann_file).lower() and num_classes == 174), None)
    translate_files(dataset, name, sthv1=something == "sthv1")
    pipeline = translate_pipeline(dataset, split, kind)
    if pipeline.train and "flip" in pipeline.seen:
        translate_mirroring(pipeline, something)
    dataset.only("modality", "RGB", fix="optical flow is not read")
    dataset.only("multi_class", False, fix="a video has one label")
    for key, value in {
        "with_offset": False,
        "sample_by_class": False,
        "dynamic_length": False,
        "delimiter": " ",
    }.items():
        dataset.only(key, value)
    dataset.ignore("of sample_by_class", "power")
    dataset.ignore("follows from the split", "test_mode")
    dataset.ignore("the head knows it", "num_classes")


def translate_prefix(dataset: Foreign, to: str, kind: str) -> None:
    """0.x: a folder; 1.x: dict(img=folder) or dict(video=folder)."""
    value = dataset.take("data_prefix")
    if isinstance(value, dict):
        prefix = dataset.child("data_prefix")
        prefix.honour(kind, to, default="")
    elif value is None:
        dataset.translate("data_prefix", to, "", "the list's paths are complete")
    else:
        dataset.honour("data_prefix", to)


def translate_files(dataset: Foreign, name: str, *, sthv1: bool) -> None:
    """How frames are named and counted."""
    if name == "VideoDataset":
        dataset.only("start_index", 0)
        dataset.ignore("of frame folders", "filename_tmpl")
        return
    dataset.fact("start_index", "data.start_index", dataset.take("start_index", 1))
    template = dataset.take("filename_tmpl", "img_{:05}.jpg")
    if sthv1 and "filename_tmpl" not in dataset.section and not dataset.translation.compat.reference_bugs:
        template = "{:05}.jpg"
        note = f"missing; Something-Something V1's frames are named {template}, or set it to yours"
        dataset.tell("filename_tmpl", "translated", note, notable=True)
    dataset.fact("filename_tmpl", "data.filename_tmpl", template)


def translate_mirroring(pipeline: Pipeline, something: str | None) -> None:
    """The reference lets 'left to right' keep its label when mirrored, where a config has no map."""
    translation, line = pipeline.dataset.translation, pipeline.dataset.where("pipeline")
    if pipeline.flip_label_map or something is None:
        translation.put("compat.flip_without_label_map", False, line)
        return
    translation.put("data.flip_label_map", MIRRORED[something], line)
    if not translation.compat.restores("flip_without_label_map"):
        note = f"no flip_label_map: mirrored videos get the label of their counterpart, {MIRRORED[something]} "
        note += "(compat.flip_without_label_map=True leaves them theirs)"
        translation.tell(pipeline.dataset.name("pipeline"), "translated", note, notable=True)

"""The steps of an MMAction2 data set, 0.x or 1.x, from the frames of a video to the views a network is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from tpn.compat.foreign import Foreign, shown

Split = Literal["train", "val", "test"]


@dataclass
class Pipeline:
    """The steps of one data set, as far as they are read."""

    split: Split
    dataset: Foreign
    kind: str
    """'Recognizer2D' or 'Recognizer3D'."""
    seen: set[str] = field(default_factory=set)
    """What the steps do: 'sample', 'short side', 'crop', 'square', 'flip', 'jitter', 'normalize', 'format'."""
    flip_label_map: bool = False

    @property
    def train(self) -> bool:
        return self.split == "train"


def translate_pipeline(dataset: Foreign, split: Split, kind: str) -> Pipeline:
    """Read the steps, which must come in the order our data sets have."""
    pipeline, rank = Pipeline(split, dataset, kind), 0
    for step in dataset.children("pipeline"):
        name = step.take("type")
        rule = STEPS.get(name) if isinstance(name, str) else None
        if rule is None:
            step.refuse("type", f"{shown(name)} is not supported; take the step out, or train elsewhere")
            step.forgo()
            continue
        step.tell("type", "honoured")
        before = len(step.translation.problems)
        rule.read(step, pipeline)
        new_rank = 5 if name == "Resize" and "crop" in pipeline.seen else rule.rank
        if new_rank < rank and len(step.translation.problems) == before:
            step.refuse("type", f"{name} comes too late: the order here is {', '.join(STEPS)}")
        rank = max(rank, new_rank)
    check_complete(pipeline)
    return pipeline


def check_complete(pipeline: Pipeline) -> None:
    dataset, seen, to = pipeline.dataset, pipeline.seen, f"data.{pipeline.split}"
    needed = {"sample": "SampleFrames", "decode": "RawFrameDecode or DecordDecode", "crop": "crop"}
    if pipeline.train:
        needed["square"] = "Resize to a square after the crop"
        dataset.translation.put("data.color_jitter", "jitter" in seen, dataset.where("pipeline"))
        if "flip" not in seen:
            dataset.translation.put("data.flip_ratio", 0.0, dataset.where("pipeline"))
    elif "short side" not in seen:
        dataset.fact("pipeline.Resize", "data.short_side", None)
    if missing := [step for what, step in needed.items() if what not in seen]:
        dataset.refuse("pipeline", f"has no {' and no '.join(missing)}")
    if pipeline.split == "val" and "jitter" not in seen:
        dataset.translation.put("compat.val_color_jitter", False, dataset.where("pipeline"))
    if dataset.translation.version == 0 and "normalize" not in seen and not dataset.translation.normalized_on_gpu:
        dataset.refuse("pipeline", f"has no Normalize; {to} would show the network raw pixels")


def read_init(step: Foreign, pipeline: Pipeline) -> None:
    step.only("io_backend", "disk")
    step.ignore("changes no frame", "num_threads")


def read_sample(step: Foreign, pipeline: Pipeline) -> None:
    step.only("sample_range", None)
    step.fact("sample_range", "data.dense_range", None)
    read_clips(step, pipeline)


def read_dense(step: Foreign, pipeline: Pipeline) -> None:
    step.only("twice_sample", False)
    step.fact("sample_range", "data.dense_range", step.take("sample_range", 64))
    windows = step.take("num_sample_positions", 10)
    if not pipeline.train:
        step.fact("num_sample_positions", "data.dense_windows", windows)
    read_clips(step, pipeline)


def read_clips(step: Foreign, pipeline: Pipeline) -> None:
    pipeline.seen.add("sample")
    clip_len, frame_interval = step.take("clip_len", ...), step.take("frame_interval", 1)
    step.required("clip_len")
    if clip_len is not ...:
        step.fact("clip_len", "data.clip_len", clip_len)
    step.fact("frame_interval", "data.frame_interval", frame_interval)
    step.fact("out_of_bound_opt", "data.out_of_bound", step.take("out_of_bound_opt", "loop"))
    step.honour("num_clips", "data.num_clips" if pipeline.train else f"data.{pipeline.split}.num_clips", default=1)
    step.only("test_mode", not pipeline.train, fix="training takes random clips, validation and test fixed ones")
    if not pipeline.train:
        step.required("test_mode", fix="set test_mode=True, or its clips are random")
    for key, value in {"temporal_jitter": False, "keep_tail_frames": False, "target_fps": None}.items():
        step.only(key, value)
    step.ignore("the data set has it", "start_index")
    if pipeline.train:
        step.ignore("of validation and test", "twice_sample")
    else:
        step.honour("twice_sample", f"data.{pipeline.split}.twice_sample", default=False)
    if step.translation.version == 1 and not pipeline.train:
        read_v1_clips(step, clip_len, frame_interval)


def read_v1_clips(step: Foreign, clip_len: object, frame_interval: object) -> None:
    """1.x places test clips of several frames differently from 0.x; for those of one frame the rule is the same."""
    if clip_len != 1:
        step.only("twice_sample", False, fix="1.x samples beyond the end of the video then")
        step.fact("num_clips", "data.test_clips", "spread")
    elif frame_interval != 1:
        step.refuse("frame_interval", f"{shown(frame_interval)} does nothing for clips of one frame; set it to 1")


def read_decode(step: Foreign, pipeline: Pipeline) -> None:
    pipeline.seen.add("decode")
    raw = step.section["type"] == "RawFrameDecode"
    step.fact("type", "data.format", "rawframes" if raw else "videos")
    if not raw:
        step.fact("type", "data.rotation", "ignore" if step.section["type"] == "PyAVDecode" else "apply")
    step.only("io_backend", "disk")
    step.only("mode", "accurate", fix="'efficient' shows neighbouring keyframes instead of the frames sampled")
    step.ignore("changes no frame", "multi_thread")
    step.only("decoding_backend", "cv2", "turbojpeg")


def read_resize(step: Foreign, pipeline: Pipeline) -> None:
    """Before the crop: the short side. After it: the square the network trains on."""
    step.only("interpolation", "bilinear")
    step.only("lazy", False)
    square = "crop" in pipeline.seen
    step.only("keep_ratio", not square)
    match step.take("scale"):
        case [width, height] if width == height and square and pipeline.train:
            pipeline.seen.add("square")
            step.required("keep_ratio")
            step.fact("scale", "data.crop_size", width)
        case [-1, short_side] | [short_side, -1] if not square and pipeline.train:
            pipeline.seen.add("short side")
            step.translate("scale", "data.train_short_side", short_side, f"the shorter side becomes {short_side}")
        case [-1, short_side] | [short_side, -1] if not square:
            pipeline.seen.add("short side")
            step.fact("scale", "data.short_side", short_side)
        case scale:
            step.refuse("scale", f"{shown(scale)} is not supported here, only (-1, short side) before the crop and, "
                        "in training, a square (size, size) after it")  # fmt: skip


def read_crop(step: Foreign, pipeline: Pipeline) -> None:
    """CenterCrop, ThreeCrop, TenCrop."""
    name, to = step.section["type"], f"data.{pipeline.split}"
    if pipeline.train or "crop" in pipeline.seen:
        step.refuse("type", f"{name} is the one crop of validation or test, not of training")
        step.forgo()
        return
    pipeline.seen.add("crop")
    size = side(step.take("crop_size"))
    step.translation.put(f"{to}.num_crops", {"CenterCrop": 1, "ThreeCrop": 3, "TenCrop": 10}[name], step.where("type"))
    step.translate("crop_size", f"{to}.crop_size", size)
    step.only("lazy", False)


def side(size: Any) -> Any:
    """224 of (224, 224)."""
    return size[0] if isinstance(size, list | tuple) and len(size) == 2 and size[0] == size[1] else size


def read_random_resized_crop(step: Foreign, pipeline: Pipeline) -> None:
    if starts_training_crop(step, pipeline):
        step.honour("area_range", "data.area_range", default=(0.08, 1.0))
        step.honour("aspect_ratio_range", "data.aspect_ratio_range", default=(3 / 4, 4 / 3))


def read_multi_scale_crop(step: Foreign, pipeline: Pipeline) -> None:
    if starts_training_crop(step, pipeline):
        step.honour("scales", "data.multi_scale_crop", default=(1,))
        step.required("num_fixed_crops")
        for key, value in {"max_wh_scale_gap": 1, "random_crop": False, "num_fixed_crops": 13}.items():
            step.only(key, value)
        step.fact("input_size", "data.crop_size", side(step.take("input_size")))


def starts_training_crop(step: Foreign, pipeline: Pipeline) -> bool:
    step.only("lazy", False)
    if not pipeline.train or "crop" in pipeline.seen:
        step.refuse("type", f"{step.section['type']} is the one crop of training, not of validation or test")
        step.forgo()
        return False
    pipeline.seen.add("crop")
    return True


def read_flip(step: Foreign, pipeline: Pipeline) -> None:
    step.only("direction", "horizontal")
    step.only("lazy", False)
    step.ignore("of skeletons", "left_kp", "right_kp")
    if not pipeline.train:
        step.required("flip_ratio")
        step.only("flip_ratio", 0, fix="validation and test are not random here")
        step.ignore("nothing is mirrored", "flip_label_map")
        return
    pipeline.seen.add("flip")
    step.honour("flip_ratio", "data.flip_ratio", default=0.5)
    if step.take("flip_label_map") is not None:
        pipeline.flip_label_map = True
        step.honour("flip_label_map", "data.flip_label_map")


def read_jitter(step: Foreign, pipeline: Pipeline) -> None:
    pipeline.seen.add("jitter")
    for key, value in {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.1}.items():
        step.only(key, value)
    if pipeline.split == "test":
        step.refuse("type", "ColorJitter in the test pipeline makes the test random; take it out")
    elif pipeline.split == "val" and not step.translation.compat.restores("val_color_jitter"):
        note = "ColorJitter makes the reference's validation random; left out (compat.val_color_jitter=True keeps it)"
        step.tell("type", "translated", note, notable=True)


def read_normalize(step: Foreign, pipeline: Pipeline) -> None:
    pipeline.seen.add("normalize")
    for key in ("mean", "std"):
        step.required(key)
        step.fact(key, f"data.{key}", step.take(key))
    step.only("to_bgr", False)
    step.only("adjust_magnitude", False)


def read_format(step: Foreign, pipeline: Pipeline) -> None:
    step.required("input_format")
    step.only("input_format", "NCHW" if pipeline.kind == "Recognizer2D" else "NCTHW")
    step.only("collapse", False)


def read_collect(step: Foreign, pipeline: Pipeline) -> None:
    step.ignore("how the reference hands tensors on", *step.section)


class Step(NamedTuple):
    """How a step is read, and where in the order it stands."""

    rank: int
    read: Callable[[Foreign, Pipeline], None]


STEPS = {
    **dict.fromkeys(("DecordInit", "PyAVInit", "OpenCVInit"), Step(0, read_init)),
    "SampleFrames": Step(1, read_sample),
    "DenseSampleFrames": Step(1, read_dense),
    **dict.fromkeys(("RawFrameDecode", "DecordDecode", "PyAVDecode", "OpenCVDecode"), Step(2, read_decode)),
    "Resize": Step(3, read_resize),
    "RandomResizedCrop": Step(4, read_random_resized_crop),
    "MultiScaleCrop": Step(4, read_multi_scale_crop),
    **dict.fromkeys(("CenterCrop", "ThreeCrop", "TenCrop"), Step(4, read_crop)),
    "Flip": Step(6, read_flip),
    "ColorJitter": Step(6, read_jitter),
    "Normalize": Step(7, read_normalize),
    "FormatShape": Step(8, read_format),
    **dict.fromkeys(("Collect", "ToTensor", "PackActionInputs"), Step(9, read_collect)),
}

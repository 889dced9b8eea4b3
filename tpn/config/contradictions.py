"""What each setting allows by itself and several together do not: every contradiction in a sentence, with the fix."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tpn.config.settings import Config

IMAGENET_DEPTHS = (50, 101)


def contradictions(config: "Config") -> list[str]:
    """Every contradiction of a config; a sentence begins with the dotted path of the setting that is to be mended."""
    checks = (network, optimizer, clips, crops, ranges, labels)
    return [sentence for check in checks for sentence in check(config)]


def network(config: "Config") -> Iterator[str]:
    """The pyramid's grouped convolutions need an even width; ImageNet weights are of two networks only."""
    backbone = config.model.backbone
    if config.model.neck is not None and backbone.base_channels % 2:
        yield (
            f"model.backbone.base_channels = {backbone.base_channels} gives the pyramid an odd width; "
            f"set it to {backbone.base_channels + 1}, or model.neck=None"
        )
    if backbone.pretrained == "imagenet" and (backbone.depth not in IMAGENET_DEPTHS or backbone.base_channels != 64):
        yield (
            "model.backbone.pretrained = 'imagenet' has weights for depth 50 and 101 with base_channels 64, not for "
            f"depth {backbone.depth} with {backbone.base_channels}; set model.backbone.pretrained=None"
        )


def optimizer(config: "Config") -> Iterator[str]:
    """Nesterov's step looks ahead along the momentum."""
    if config.optimizer.nesterov and not config.optimizer.momentum:
        yield "optimizer.nesterov = True needs optimizer.momentum above 0; set optimizer.nesterov=False"


def clips(config: "Config") -> Iterator[str]:
    """The frames of the clips fill whole views: one in training, one or more in validation and test."""
    data, view = config.data, config.frames_per_view
    if data.clip_len * data.num_clips != view:
        yield (
            f"data.clip_len x data.num_clips must be the {view} frames of one view in training, "
            f"got {data.clip_len} x {data.num_clips}"
        )
    for name, split in (("val", data.val), ("test", data.test)):
        if split.num_clips and data.clip_len * split.num_clips % view:
            yield (
                f"data.{name}.num_clips x data.clip_len is {data.clip_len * split.num_clips} frames, "
                f"which do not fill views of {view} frames; make it a multiple of {view}"
            )
        if split.twice_sample and (data.test_clips == "spread" or data.dense_range is not None):
            other = "data.test_clips='spread'" if data.dense_range is None else "data.dense_range"
            yield f"data.{name}.twice_sample = True has no meaning with {other}; set data.{name}.twice_sample=False"


def crops(config: "Config") -> Iterator[str]:
    """Validation and test cut their crops out of frames resized to `short_side`; training scales what it cuts."""
    data, side = config.data, config.data.short_side
    sizes = {"data.val.crop_size": data.val.crop_size, "data.test.crop_size": data.test.crop_size}
    if None in sizes.values():
        sizes = {"data.crop_size": data.crop_size} | sizes
    for name, size in sizes.items():
        if size is not None and side is not None and size > side:
            yield (
                f"{name} = {size} does not fit into frames of data.short_side = {side}; "
                f"set data.short_side={size} or more, or {name}={side} or less"
            )


def ranges(config: "Config") -> Iterator[str]:
    """A range is written with its lower end first."""
    for name in ("area_range", "aspect_ratio_range"):
        low, high = getattr(config.data, name)
        if low > high:
            yield f"data.{name} = {(low, high)} has its ends exchanged; set data.{name}=({high}, {low})"


def labels(config: "Config") -> Iterator[str]:
    """A map inherited from a recipe for other classes would train labels that the classifier has not, or wrong ones."""
    num_classes = config.model.cls_head.num_classes
    named = {label for pair in config.data.flip_label_map.items() for label in pair}
    if outside := sorted(label for label in named if not 0 <= label < num_classes):
        yield (
            f"data.flip_label_map names label {outside[-1]}, but model.cls_head.num_classes = {num_classes} has "
            f"labels 0..{num_classes - 1} only; "
            "drop the map in your recipe, data=dict(flip_label_map=dict(_delete_=True)), or write your own: "
            'flip_label_map={"_delete_": True, 0: 1, 1: 0}'
        )

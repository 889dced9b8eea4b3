"""The `model` section of an MMAction2 config, 0.x or 1.x: SlowOnly or TSM, with or without TPN, and an average head."""

from tpn.compat.foreign import Foreign, is_positive, plain, shown

RECOGNIZERS = {"ResNet3dSlowOnly": "Recognizer3D", "ResNetTSM": "Recognizer2D"}
HEADS = {  # (recognizer, with a neck): {head: (dropout_ratio, init_std) where the file does not say}
    ("Recognizer3D", True): {"TPNHead": (0.4, 0.01), "I3DHead": (0.5, 0.01)},
    ("Recognizer3D", False): {"I3DHead": (0.5, 0.01), "TPNHead": (0.4, 0.01)},
    ("Recognizer2D", True): {"TPNHead": (0.4, 0.01)},
    ("Recognizer2D", False): {"TSMHead": (0.8, 0.001)},
}
HUB = "https://download.pytorch.org/models/"
IMAGENET = {  # torchvision's V1 weights, by all their names, and the depth they are of
    **{"torchvision://resnet50": 50, f"{HUB}resnet50-0676ba61.pth": 50, f"{HUB}resnet50-19c8e357.pth": 50},
    **{"torchvision://resnet101": 101, f"{HUB}resnet101-63fe2227.pth": 101, f"{HUB}resnet101-5d3b4d8f.pth": 101},
}
AUTHORS = "it is of the paper's authors (decisionforce/TPN): their weights load with a recipe of ours, see `tpn zoo`"
WIDTHS = (256, 512, 1024, 2048)  # of the stages, at the published base_channels = 64
FEATURES_ONLY = 400  # classes of a head that a config for feature extraction leaves out; Kinetics-400's


def translate_model(model: Foreign) -> str:
    """Put our `model` section, and `average_clips`; returns 'Recognizer2D' or '…3D', or '' for any other network."""
    kind, backbone = model.take("type"), model.child("backbone")
    name = backbone.take("type")
    if not isinstance(name, str) or RECOGNIZERS.get(name) != kind or kind is None:
        pairs = " or ".join(f"{recognizer} on {backbone}" for backbone, recognizer in RECOGNIZERS.items())
        network = f"{shown(kind)} on {shown(name)}"
        hint = AUTHORS if kind in ("TSN2D", "TSN3D") else f"only {pairs} are; train and test it with MMAction2"
        (backbone if kind in RECOGNIZERS.values() else model).refuse("type", f"{network} is not supported, {hint}")
        model.forgo()
        backbone.forgo()
        return ""
    model.tell("type", "translated", "follows from the backbone")
    translate_backbone(backbone, name)
    has_neck = model.take("neck") is not None
    if has_neck:
        translate_neck(model.child("neck"), backbone)
    else:
        model.translate("neck", "model.neck", None, "the baseline, without a pyramid")
        backbone.only("out_indices", (3,))
    translate_head(model, str(kind), has_neck=has_neck)
    translate_preprocessor(model)
    return str(kind)


# ------------------------------------------------------------------------------------------------------- the backbone


def translate_backbone(backbone: Foreign, name: str) -> None:
    """ResNet3dSlowOnly or ResNetTSM. What is only allowed one value is what our networks are built with."""
    three_d = name == "ResNet3dSlowOnly"
    backbone.honour("type", "model.backbone.type")
    depth = backbone.honour("depth", "model.backbone.depth")
    translate_pretrained(backbone, depth)
    backbone.honour("norm_eval", "model.backbone.norm_eval", default=False)
    for key, value in {
        "in_channels": 3, "num_stages": 4, "dilations": (1, 1, 1, 1), "style": "pytorch", "frozen_stages": -1,
        "act_cfg": {"type": "ReLU", "inplace": True},
    }.items():  # fmt: skip
        backbone.only(key, value)
    backbone.only("conv_cfg", {"type": "Conv3d" if three_d else "Conv"}, {"type": "Conv3d" if three_d else "Conv2d"})
    norm = {"type": "BN3d" if three_d else "BN2d"}
    backbone.only("norm_cfg", {**norm, "requires_grad": True}, norm)
    backbone.only("non_local", (0, 0, 0, 0), 0, fix="non-local blocks are not built here")
    backbone.only("non_local_cfg", {})
    backbone.honour("with_cp", "model.backbone.with_cp", default=False)
    (translate_slow_only if three_d else translate_tsm)(backbone)


def translate_slow_only(backbone: Foreign) -> None:
    backbone.honour("base_channels", "model.backbone.base_channels", default=64)
    backbone.honour("inflate", "model.backbone.inflate", default=(0, 0, 1, 1))
    backbone.honour("with_pool1", "model.backbone.stem_pool", default=True)
    for key, value in {
        "lateral": False, "conv1_kernel": (1, 7, 7), "conv1_stride_s": 2, "conv1_stride_t": 1, "pool1_stride_s": 2,
        "pool1_stride_t": 1, "with_pool2": False, "spatial_strides": (1, 2, 2, 2), "temporal_strides": (1, 1, 1, 1),
        "inflate_style": "3x1x1", "zero_init_residual": True, "pretrained2d": True, "stage_blocks": None,
    }.items():  # fmt: skip
        backbone.only(key, value)
    backbone.ignore("of lateral connections", "lateral_norm", "speed_ratio", "channel_ratio", "fusion_kernel")


def translate_tsm(backbone: Foreign) -> None:
    backbone.fact("num_segments", "model.backbone.num_segments", backbone.take("num_segments", 8))
    backbone.honour("shift_div", "model.backbone.shift_div", default=8)
    for key, value in {
        "is_shift": True, "shift_place": "blockres", "temporal_pool": False, "strides": (1, 2, 2, 2),
        "partial_bn": False, "torchvision_pretrain": True,
    }.items():  # fmt: skip
        backbone.only(key, value)


def translate_pretrained(backbone: Foreign, depth: object) -> None:
    to, value = "model.backbone.pretrained", backbone.take("pretrained")
    if not isinstance(value, str) or "://" not in value:
        backbone.honour("pretrained", to, default=None)
    elif value in IMAGENET and IMAGENET[value] != depth:
        backbone.refuse("pretrained", f"{value} is of depth {IMAGENET[value]}, the backbone of depth {shown(depth)}")
    elif value in IMAGENET:
        backbone.translate("pretrained", to, "imagenet", "torchvision's V1 weights, from the torch hub cache")
    else:
        note = f"{value} is not downloaded; before training, get it and set --cfg-options {backbone.path}.pretrained="
        backbone.translate("pretrained", to, value, note + "FILE", notable=True)


# ----------------------------------------------------------------------------------------------------------- the neck


def translate_neck(neck: Foreign, backbone: Foreign) -> None:
    """TPN: two dozen widths and scales that all follow from the temporal scales; each is checked against them."""
    levels = neck.take("in_channels", ())
    levels = len(levels) if isinstance(levels, list | tuple) and 2 <= len(levels) <= 4 else 2
    backbone.only("base_channels", 64, fix="MMAction2's TPN is 2048 wide")
    backbone.only("out_indices", tuple(range(4 - levels, 4)))
    neck.only("type", "TPN")
    neck.only("in_channels", WIDTHS[-levels:])
    neck.only("out_channels", 1024)
    neck.honour("flow_type", "model.neck.flow_type", default="cascade")
    spatial = neck.child("spatial_modulation_cfg")
    spatial.only("in_channels", WIDTHS[-levels:])
    spatial.only("out_channels", 2048)
    translate_scales(neck, levels)
    aux_head = neck.child("aux_head_cfg")
    if neck.take("aux_head_cfg") is None:
        neck.translate("aux_head_cfg", "model.neck.aux_loss_weight", None, "no auxiliary head")
    else:
        classes = aux_head.take("out_channels", ...)
        if classes is not ...:
            aux_head.fact("out_channels", "model.cls_head.num_classes", classes)
        aux_head.honour("loss_weight", "model.neck.aux_loss_weight", default=0.5)
        only_cross_entropy(aux_head)


def translate_scales(neck: Foreign, levels: int) -> None:
    temporal, upsample, downsample, fusion = map(
        neck.child, ("temporal_modulation_cfg", "upsample_cfg", "downsample_cfg", "level_fusion_cfg")
    )
    scales = temporal.take("downsample_scales")
    if not (isinstance(scales, list | tuple) and len(scales) == levels and all(map(is_positive, scales))):
        temporal.refuse("downsample_scales", f"expected one temporal scale per level, {levels}, got {shown(scales)}")
        for section in (upsample, downsample, fusion):
            section.forgo()
        return
    temporal.honour("downsample_scales", "model.neck.temporal_scales")
    step, widths = scales[1] // scales[0], (1024,) * levels
    follows = f"follows from temporal scales {shown(tuple(scales))}"
    for section, key in ((upsample, "scale_factor"), (downsample, "downsample_scale")):
        section.required(key)
        section.only(key, (step, 1, 1), *([1] if step == 1 else []), fix=follows)
    upsample.only("mode", "nearest")
    fusion.only("in_channels", widths)
    fusion.only("mid_channels", widths)
    fusion.only("out_channels", 2048)
    to_coarsest = tuple((scales[-1] // scale, 1, 1) for scale in scales)
    if "downsample_scales" not in fusion.section and plain(to_coarsest) != ((1, 1, 1),) * 2:
        fusion.required("downsample_scales")
    fusion.only("downsample_scales", to_coarsest, *([(1,) * levels] if step == 1 else []), fix=follows)


# ----------------------------------------------------------------------------------------------------------- the head


def translate_head(model: Foreign, kind: str, *, has_neck: bool) -> None:
    """The classifier, and how the views' scores are averaged."""
    test, heads = model.child("test_cfg"), HEADS[kind, has_neck]
    head = model.child("cls_head")
    if model.take("cls_head") is None and test.take("feature_extraction"):
        note = f"features only: a head of {FEATURES_ONLY} classes is built but not used"
        model.translate("cls_head", "model.cls_head.num_classes", FEATURES_ONLY, note)
        test.tell("feature_extraction", "translated", note, notable=True)
    else:
        name = head.take("type")
        head.only("type", *heads)
        dropout_ratio, init_std = heads.get(name if isinstance(name, str) else "", (0.5, 0.01))
        head.honour("dropout_ratio", "model.cls_head.dropout_ratio", default=dropout_ratio)
        head.honour("init_std", "model.cls_head.init_std", default=init_std)
        if (classes := head.take("num_classes", ...)) is not ...:
            head.fact("num_classes", "model.cls_head.num_classes", classes, leads=True)
        if name == "TSMHead":
            model.translation.put("model.cls_head.dropout_per_frame", True, head.where("type"))
            head.fact("num_segments", "model.backbone.num_segments", head.take("num_segments", 8))
        base_channels = model.section["backbone"].get("base_channels", 64)
        head.only("in_channels", base_channels * 32 if is_positive(base_channels) else 2048)
        only_average(head)
        test.only("feature_extraction", False)
    translate_test(model, test, head, stale=kind == "Recognizer2D" and has_neck)


def only_average(head: Foreign) -> None:
    """What our head, which averages and is trained on one label per video, has no other value for."""
    head.only("spatial_type", "avg")
    head.only("consensus", {"type": "AvgConsensus", "dim": 1}, {"type": "AvgConsensus"})
    head.only("multi_class", False, fix="a video has one label here")
    head.only("temporal_pool", False)
    only_cross_entropy(head)
    if head.translation.version == 0:
        head.ignore("0.x smooths the labels of multi-label data only", "label_smooth_eps")
    else:
        head.only("label_smooth_eps", 0)
    head.ignore("changes nothing without temporal_pool", "is_shift")
    head.ignore("top-1 and top-5 are logged", "topk")


def only_cross_entropy(section: Foreign) -> None:
    cross_entropy = {"type": "CrossEntropyLoss"}
    section.only("loss_cls", cross_entropy, {**cross_entropy, "loss_weight": 1})


def translate_test(model: Foreign, test: Foreign, head: Foreign, *, stale: bool) -> None:
    """`test_cfg` and `train_cfg`; `average_clips` is in the former in 0.x, in the head in 1.x."""
    owner = head if "average_clips" in head.section else test
    if owner.take("average_clips", "prob") is None:
        note = "None keeps one row of scores per view; here the views' logits are averaged"
        owner.translate("average_clips", "evaluation.average_clips", "score", note, notable=True)
    else:
        owner.honour("average_clips", "evaluation.average_clips", default="prob")
    if not (stale and test.take("fcn_test")):
        model.translation.put("compat.stale_classifier", False, model.where("test_cfg"))
    test.ignore("pooling before the classifier gives the same scores", "fcn_test", "num_segs")
    test.ignore("views are scored in chunks that fit into memory", "max_testing_views")
    test.only("flip", False)
    train = model.child("train_cfg")
    train.only("blending", None, fix="mixup and cutmix are not supported")
    train.only("aux_info", ())


def translate_preprocessor(model: Foreign) -> None:
    """1.x normalises in the model."""
    preprocessor = model.child("data_preprocessor")
    preprocessor.only("type", "ActionDataPreprocessor")
    for key in ("mean", "std"):
        if key in preprocessor.section:
            preprocessor.fact(key, f"data.{key}", preprocessor.take(key))
        elif model.translation.version == 1:
            preprocessor.required(key)
    preprocessor.only("to_rgb", False)
    preprocessor.only("to_float32", True)
    preprocessor.only("blending", None, fix="mixup and cutmix are not supported")
    preprocessor.ignore("follows from the backbone", "format_shape")

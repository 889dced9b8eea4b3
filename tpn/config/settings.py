"""The settings of a run: frozen typed models, every fact written once, everything derivable derived."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tpn.config.contradictions import contradictions
from tpn.config.frame_names import frame_name

Positive = Annotated[int, Field(gt=0)]
PositiveNumber = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
RGB = tuple[float, float, float]


class Settings(BaseModel):
    """Immutable; an unknown key or a wrong type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


# --------------------------------------------------------------------------------------------------------- the model


class Backbone(Settings):
    """What both ResNets share."""

    depth: Literal[14, 50, 101] = 50
    """Bottleneck ResNet: 14 is blocks (1, 1, 1, 1), for small data; 50 and 101 as published."""
    base_channels: Positive = 64
    """Width of the stem; stage k has base_channels * 4 * 2**(k-1) channels."""
    stem_pool: bool = True
    """The stem's max pooling; off for very small frames."""
    pretrained: str | None = None
    """'imagenet' (torchvision's ResNet, V1 weights) or the path of a 2-D ResNet state dict; kernels are inflated."""
    norm_eval: bool = False
    """Freeze the running statistics of batch normalisation while training."""
    with_cp: bool = False
    """Keep only the input of each block and compute the block again in the backward pass: less memory, slower."""


class SlowOnlyBackbone(Backbone):
    """ResNet whose later stages look along time: SlowFast's slow pathway alone (Feichtenhofer et al., ICCV 2019)."""

    type: Literal["ResNet3dSlowOnly"]
    inflate: tuple[bool, bool, bool, bool] = (False, False, True, True)
    """Per stage: whether conv1 of each block is 3x1x1. All False is TSN, which cannot see order."""


class TSMBackbone(Backbone):
    """2-D ResNet with temporal shift before conv1 of each block (Lin et al., ICCV 2019)."""

    type: Literal["ResNetTSM"]
    num_segments: Positive = 8
    """Frames in one view (T)."""
    shift_div: Positive = 8
    """1/shift_div of the channels move one frame back, as many one frame forward."""
    shift_downsample: bool = False
    """Also shift what the convolutions of the shortcuts see, as the paper's authors do and MMAction2 does not."""


class Neck(Settings):
    """The Temporal Pyramid Network (section 3). One level per entry of `temporal_scales`, of the last ResNet stages."""

    temporal_scales: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=4)] = (8, 8)
    """Temporal max-pooling of each level, finest first: the tempo each level sees."""
    flow_type: Literal["cascade", "parallel"] = "cascade"
    """'cascade': bottom-up starts from the top-down result (as published); 'parallel': both start from the levels."""
    aux_loss_weight: PositiveNumber | None = 0.5
    """Weight of the auxiliary head's loss; None builds no auxiliary head."""

    @model_validator(mode="after")
    def scales_divide(self) -> "Neck":
        for fine, coarse in zip(self.temporal_scales, self.temporal_scales[1:], strict=False):
            if coarse % fine:
                raise ValueError(
                    f"each temporal scale must be a multiple of the one before it, got {self.temporal_scales}"
                )
        return self


class Head(Settings):
    """Average over time and space, dropout, one linear layer."""

    num_classes: Positive
    dropout_ratio: Fraction = 0.5
    dropout_per_frame: bool = False
    """Drop out each frame's feature by itself, before the average over time (TSM's head), not the averaged one."""
    init_std: NonNegative = 0.01


class Model(Settings):
    """A recognizer: backbone, optional TPN neck, head."""

    backbone: Annotated[SlowOnlyBackbone | TSMBackbone, Field(discriminator="type")]
    neck: Neck | None = Neck()
    """None is the paper's baseline: the backbone with a plain average-pool head."""
    cls_head: Head


# ---------------------------------------------------------------------------------------------------------- the data


class TrainSplit(Settings):
    """Training videos: random clips, random resized crop, flip, colour jitter."""

    ann_file: str
    """List file: `path label` (videos) or `folder num_frames label` (rawframes), one record per line."""
    data_prefix: str = ""
    """Folder the paths of the list file start from."""


class EvalSplit(TrainSplit):
    """Validation or test videos: fixed clips and crops. What is None is taken from `data`."""

    num_clips: Positive | None = None
    twice_sample: bool = False
    """Segment sampling only: also take the segments' first frames, which doubles the views (TSM's 'accurate' test)."""
    num_crops: Literal[1, 3, 10] = 1
    """1: centre. 3: left, right, middle along the longer side. 10: the corners and the centre, each also mirrored."""
    crop_size: Positive | None = None
    max_bad: Fraction = 0.0
    """Share of these videos that may be bad; such a video counts as wrong, its scores are NaN. Above it, the scoring
    fails once it has seen all videos, and names every bad one."""


class Data(Settings):
    """Where the videos are and what one view of a video is."""

    format: Literal["rawframes", "videos"]
    filename_tmpl: Annotated[str, AfterValidator(frame_name)] = "img_{:05}.jpg"
    """File name of a frame in a rawframes folder."""
    start_index: Annotated[int, Field(ge=0)] = 1
    """Number of the first frame in a rawframes folder."""
    rotation: Literal["apply", "ignore"] = "apply"
    """Videos that ask to be turned or mirrored: 'apply' does it, as the reference's decord does, 'ignore' does not."""

    clip_len: Positive
    """Frames of one clip (the first 8 of 8x8x1)."""
    frame_interval: Positive = 1
    """Frames from one sampled frame to the next (the second)."""
    num_clips: Positive = 1
    """Clips of one training sample (the third); 1x1x8 means eight segments of one frame, which form one view."""
    test_clips: Literal["middle", "spread"] = "middle"
    """Validation and test clips: in the middle of equal segments (MMAction2 0.x), or spread from end to end (1.x)."""
    dense_range: Positive | None = None
    """TSM's dense sampling: the segments divide a window of this many frames (64 in TSM); None: the whole video."""
    dense_windows: Positive = 10
    """Dense sampling in validation and test: windows spread over the video, each a view."""
    out_of_bound: Literal["loop", "repeat_last"] = "loop"
    """What a clip longer than its video shows after the last frame."""

    short_side: Positive | None = 256
    """Validation and test: the shorter side after resizing; None keeps the frames' size."""
    train_short_side: Positive | None = None
    """Training: the shorter side before the random crop; None crops the frames as they are."""
    crop_size: Positive = 224
    """Side of the square the network trains on."""
    area_range: tuple[Fraction, Fraction] = (0.08, 1.0)
    """RandomResizedCrop: share of the frame's area."""
    aspect_ratio_range: tuple[PositiveNumber, PositiveNumber] = (3 / 4, 4 / 3)
    multi_scale_crop: Annotated[tuple[PositiveFraction, ...], Field(min_length=1)] | None = None
    """TSM's MultiScaleCrop instead: scales of the shorter side, (1, 0.875, 0.75, 0.66); one of 13 fixed places."""
    flip_ratio: Fraction = 0.5
    flip_label_map: dict[int, int] = Field(default_factory=dict)
    """Labels that change when a clip is mirrored ('left to right' becomes 'right to left')."""
    color_jitter: bool = True
    mean: RGB = (123.675, 116.28, 103.53)
    std: tuple[PositiveNumber, PositiveNumber, PositiveNumber] = (58.395, 57.12, 57.375)

    videos_per_gpu: Positive = 8
    workers_per_gpu: Annotated[int, Field(ge=0)] = 8

    on_error: Literal["skip", "fail"] = "skip"
    """A video that cannot be read: 'skip' it (training shows another one instead) while no more are bad than `max_bad`
    allows, or 'fail' at the first."""
    max_bad: Fraction = 0.01
    """Training: share of the videos that may be bad. They are listed in work_dir/bad_videos.txt."""
    read_timeout: PositiveNumber | None = 60
    """Seconds that reading one video may take before it counts as bad; None: any."""

    train: TrainSplit
    val: EvalSplit
    test: EvalSplit


# -------------------------------------------------------------------------------------------------------- the engine


class Optimizer(Settings):
    """SGD with momentum."""

    lr: NonNegative = 0.01
    """For a total batch of `lr_batch_size` videos; `--autoscale-lr` scales it to the batch of the run."""
    lr_batch_size: Positive = 64
    """8 GPUs x 8 videos, as published."""
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 0.0
    nesterov: bool = True
    max_grad_norm: PositiveNumber | None = None
    """Clip the gradient to this 2-norm; None does not clip."""
    accumulation_steps: Positive = 1
    """A step is made of so many batches of `data.videos_per_gpu`, one after another, whose gradients are added up."""
    policies: Literal["uniform", "tsm", "tsm_fc_lr5"] = "uniform"
    """'tsm': norms and biases do not decay, biases learn at 2 lr; 'tsm_fc_lr5': the last layer at 5 lr, its bias 10."""


class Schedule(Settings):
    """What every schedule begins with: a linear warm-up, whose factor multiplies the schedule's learning rate."""

    warmup_epochs: NonNegative = 0
    warmup_ratio: Fraction = 0.1
    """The factor of the first step."""
    warmup_by_epoch: bool = False
    """Whether the factor changes from epoch to epoch, not from step to step."""


class StepSchedule(Schedule):
    """Multiply the learning rate by gamma at the given epochs."""

    policy: Literal["step"] = "step"
    step: tuple[Positive, ...]
    gamma: Fraction = 0.1


class CosineSchedule(Schedule):
    """Half a cosine from lr to min_lr."""

    policy: Literal["cosine"]
    begin: NonNegative | None = None
    """The epoch in which the cosine begins; None: after the warm-up."""
    min_lr: NonNegative = 0
    by_epoch: bool = False
    """Whether the cosine falls from epoch to epoch, not from step to step."""


class Evaluation(Settings):
    """How scores become numbers."""

    interval: Positive = 5
    """Epochs between validations with --validate."""
    metrics: Annotated[tuple[Literal["top_k_accuracy", "mean_class_accuracy"], ...], Field(min_length=1)] = (
        "top_k_accuracy",
        "mean_class_accuracy",
    )
    """The first figure of the first of them decides which checkpoint is best."""
    average_clips: Literal["prob", "score"] = "prob"
    """Views are averaged after the softmax ('prob') or before it ('score')."""


DURATION = r"([1-9]\d*)(s|min|h)"


def steps_or_time(every: str) -> str:
    if not re.fullmatch(rf"[1-9]\d*|{DURATION}", every):
        raise ValueError(f"expected steps, as '200', or a time, as '90s', '10min' or '1h', got {every!r}")
    return every


class CheckpointConfig(Settings):
    """When a checkpoint is written, and how many are kept."""

    interval: Positive = 1
    """Epochs between checkpoints."""
    every: Annotated[str, Field(coerce_numbers_to_str=True), AfterValidator(steps_or_time)] | None = "30min"
    """Between checkpoints within an epoch: steps ('200') or time ('90s', '10min', '1h'); None writes none."""
    max_keep_ckpts: Positive | None = None
    """How many checkpoints of epochs are kept, the newest; None keeps all."""

    @property
    def every_steps(self) -> int | None:
        return int(self.every) if self.every and self.every.isdecimal() else None

    @property
    def every_seconds(self) -> int | None:
        match = re.fullmatch(DURATION, self.every or "")
        return int(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2]] if match else None


class LogConfig(Settings):
    """What is logged, and how often."""

    interval: Positive = 20
    """Steps between log lines; the values are means over them."""
    tensorboard: bool = False
    """Also write TensorBoard events to work_dir/tf_logs (needs `pip install tpn[tensorboard]`)."""


Bug = Literal["val_color_jitter", "fixed_jitter_order", "flip_without_label_map", "stale_classifier"]


class Compat(Settings):
    """Bugs of MMAction2 that are mended here, restored to reproduce a published number (docs/en/compatibility.md)."""

    reference_bugs: bool = False
    """Restore every one of them whose own switch below is None."""
    val_color_jitter: bool | None = None
    """Colour jitter in validation, too (Kinetics): its accuracy is then that of disturbed videos."""
    fixed_jitter_order: bool | None = None
    """Colour jitter's four operations in one order, drawn once per seed, not once per sample."""
    flip_without_label_map: bool | None = None
    """Mirrored 'left to right' videos keep that label (Something-Something): `data.flip_label_map` is not used."""
    stale_classifier: bool | None = None
    """Every validation of TPN on TSM uses the classifier as it was in the first one of the run."""

    def restores(self, bug: Bug) -> bool:
        """Whether the reference's behaviour is wanted: the bug's own switch, else `reference_bugs`."""
        switch = getattr(self, bug)
        return self.reference_bugs if switch is None else switch


class Config(Settings):
    """A recipe: everything a run needs to know."""

    model: Model
    data: Data
    optimizer: Optimizer = Optimizer()
    lr_config: Annotated[StepSchedule | CosineSchedule, Field(discriminator="policy")]
    total_epochs: Positive
    evaluation: Evaluation = Evaluation()
    checkpoint_config: CheckpointConfig = CheckpointConfig()
    log_config: LogConfig = LogConfig()
    compat: Compat = Compat()
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the forward pass (autocast); weights stay float32."""
    work_dir: str | None = None
    """Folder of the run; None: ./work_dirs/<config name>."""
    load_from: str | None = None
    """Checkpoint whose weights training starts from."""

    @property
    def frames_per_view(self) -> int:
        """T: the frames the network sees at once."""
        backbone = self.model.backbone
        return backbone.num_segments if isinstance(backbone, TSMBackbone) else self.data.clip_len

    @model_validator(mode="after")
    def nothing_contradicts(self) -> "Config":
        """One error for all contradictions, a line each."""
        if sentences := contradictions(self):
            raise ValueError("\n".join(sentences))
        return self

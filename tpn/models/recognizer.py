"""The recognizer: clips in, logits out; built from the `model` section of a recipe."""

import torch
from torch import Tensor, nn

from tpn.config.settings import Backbone, Model, SlowOnlyBackbone, TSMBackbone
from tpn.models.heads import Head
from tpn.models.pyramid import TPN
from tpn.models.resnet import ResNet, slow_only, tsm
from tpn.models.weights import initialize, load_imagenet


class Recognizer(nn.Module):
    """Backbone, optional TPN neck, head.

    Labels and losses live in the engine, so training, export and benchmarks run the same module.
    """

    def __init__(self, *, backbone: ResNet, neck: TPN | None, cls_head: Head) -> None:
        super().__init__()
        self.backbone, self.neck, self.cls_head = backbone, neck, cls_head

    def forward(self, clips: Tensor) -> Tensor | tuple[Tensor, Tensor | None]:
        """Classify clips.

        Args:
            clips: (N, 3, T, H, W), normalised RGB, of any floating type: they are converted to that of the weights.
        Returns:
            logits (N, num_classes) in eval mode; in training mode (logits, aux_logits), where aux_logits is None
            without an auxiliary head.
        """
        features = self.extract_features(clips)
        logits = self.cls_head(features[-1] if self.neck is None else self.neck(features))
        if not self.training:
            return logits
        aux_head = self.neck.aux_head if self.neck is not None else None
        return logits, None if aux_head is None else aux_head(features[-2])

    def extract_features(self, clips: Tensor) -> list[Tensor]:
        """(N, 3, T, H, W) -> the backbone's features, finest tempo first; TypeError for clips of whole numbers."""
        if not clips.is_floating_point():
            raise TypeError(
                f"clips are normalised RGB of a floating type, got {clips.dtype}; see tpn.data.augment.normalize"
            )
        clips = clips.to(next(self.parameters()).dtype)
        return self.backbone(clips.contiguous(memory_format=torch.channels_last_3d))


def build_backbone(settings: Backbone, *, num_levels: int) -> ResNet:
    shared = {
        "depth": settings.depth,
        "base_channels": settings.base_channels,
        "stem_pool": settings.stem_pool,
        "norm_eval": settings.norm_eval,
        "with_cp": settings.with_cp,
        "num_levels": num_levels,
    }
    match settings:
        case SlowOnlyBackbone():
            return slow_only(**shared, inflate=settings.inflate)
        case TSMBackbone():
            return tsm(
                **shared,
                num_segments=settings.num_segments,
                shift_div=settings.shift_div,
                shift_downsample=settings.shift_downsample,
            )
    raise TypeError(f"no backbone is built from {type(settings).__name__}")


def build_recognizer(model: Model, *, pretrained: bool = True) -> Recognizer:
    """Build and initialise a recognizer from `config.model`.

    Args:
        model: the `model` section of a recipe.
        pretrained: False leaves out `backbone.pretrained`, for a model whose weights are loaded right after.
    Raises:
        CheckpointError: the ImageNet weights are not where they should be, or are of another network.
    """
    neck_settings = model.neck
    backbone = build_backbone(model.backbone, num_levels=len(neck_settings.temporal_scales) if neck_settings else 1)
    neck = None
    if neck_settings is not None:
        neck = TPN(
            in_channels=backbone.out_channels,
            temporal_scales=neck_settings.temporal_scales,
            flow_type=neck_settings.flow_type,
            num_classes=model.cls_head.num_classes if neck_settings.aux_loss_weight else None,
        )
    cls_head = Head(
        backbone.out_channels[-1],
        num_classes=model.cls_head.num_classes,
        dropout_ratio=model.cls_head.dropout_ratio,
        dropout_per_frame=model.cls_head.dropout_per_frame,
    )
    recognizer = Recognizer(backbone=backbone, neck=neck, cls_head=cls_head)
    initialize(recognizer, init_std=model.cls_head.init_std)
    if pretrained and model.backbone.pretrained is not None:
        load_imagenet(recognizer.backbone, model.backbone.pretrained, depth=model.backbone.depth)
    return recognizer

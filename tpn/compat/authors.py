"""State dicts of the paper's authors (decisionforce/TPN) under our names."""

import re
from collections.abc import Mapping

from torch import Tensor

from tpn.models.weights import backbone_name

NECK_NAMES = [
    (r"necks\.", "neck."),
    (r"level_fusion_op2\b", "level_fusion_1"),  # their second fusion is of the top-down flow, which comes first here
    (r"level_fusion_op\b", "level_fusion_2"),
    (r"\bops\.(\d+)\.conv\b", r"downsamples.\1.conv.conv"),
    (r"\bops\.(\d+)\.norm\b", r"downsamples.\1.conv.bn"),
    (r"\bfusion_conv\.0\b", "fusion_conv.conv"),
    (r"\bfusion_conv\.1\b", "fusion_conv.bn"),
    (r"\bpyramid_fusion_op\.0\b", "pyramid_fusion.conv"),
    (r"\bpyramid_fusion_op\.1\b", "pyramid_fusion.bn"),
    (r"\bdownsampling_ops\.(\d+)\.conv\b", r"downsample_ops.\1.conv.conv"),
    (r"\btemporal_modulation_ops\.(\d+)\.conv\b", r"temporal_modulation_ops.\1.conv.conv"),
    (r"\baux_head\.convs\b", "aux_head.conv"),
]
SHIFTED = re.compile(r"(backbone\.layer\d\.\d+\.(conv1|downsample)\.conv)\.weight")


def is_authors(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the names are the authors': with TPN they have `necks`, without it the ResNet's are torchvision's."""
    return "backbone.bn1.weight" in state_dict or any(key.startswith("necks.") for key in state_dict)


def from_authors(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names; a name that is not of their networks stays as it is."""
    return {our_name(key, value): value for key, value in state_dict.items()}


def our_name(key: str, value: Tensor) -> str:
    """Their name of a tensor -> ours.

    A 2-D ResNet of theirs is TSM, shifted 'inplace': the first convolution of each block, and that of the shortcut.
    """
    if key.startswith("backbone."):
        name = backbone_name(key)
        return SHIFTED.sub(r"\1.net.weight", name) if value.dim() == 4 else name
    if key.startswith("necks."):
        for theirs, ours in NECK_NAMES:
            key = re.sub(theirs, ours, key)
    return key

"""What MMAction2 0.24.1 misses in today's packages, put in its place: imported before it, in its own Python."""

import sys
import types
import warnings

import numpy as np

warnings.simplefilter("ignore")
np.int, np.float = int, float  # removed from NumPy since
if not hasattr(np, "bool"):  # removed, and come back in NumPy 2
    np.bool = bool
sys.modules.setdefault("torchvision", types.ModuleType("torchvision"))  # imported for a weights table that is not used

import mmcv  # noqa: E402

mmcv.__version__ = "1.7.0"  # 1.7.2 differs in bug fixes alone; MMAction2 refuses its number

import cv2  # noqa: E402
import mmaction  # noqa: E402
from mmaction.datasets.pipelines import ColorJitter  # noqa: E402
from mmcv import Config  # noqa: E402


def adjust_hue(image, factor):
    """ColorJitter's, with the sum in 16 bits that NumPy 1 made of uint8 and a negative number; NumPy 2 refuses it."""
    hue, saturation, value = cv2.split(cv2.cvtColor(image.clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV))
    turned = (hue.astype(np.int16) + int(factor * 255)) % 180
    return cv2.cvtColor(cv2.merge([turned.astype(np.uint8), saturation, value]), cv2.COLOR_HSV2RGB).astype(np.float32)


ColorJitter.adjust_hue = staticmethod(adjust_hue)


def published(recipe):
    """MMAction2's config of this name, from inside its package; random weights."""
    config = Config.fromfile(f"{mmaction.__path__[0]}/.mim/configs/recognition/tpn/{recipe}.py")
    config.model.backbone.pretrained = None
    return config

"""The Temporal Pyramid Network (CVPR 2020) for action recognition in video: train, test, benchmark, predict."""

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["build_recognizer", "load_checkpoint", "load_config", "optimize"]

if TYPE_CHECKING:
    from tpn.compat import load_config
    from tpn.compat.checkpoints import load_checkpoint
    from tpn.models.optimize import optimize
    from tpn.models.recognizer import build_recognizer

# Of a frame, twice those of 8K: a small file may hold larger ones, which fill the memory. Read when OpenCV is imported.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 26))

_HOMES = {
    "load_config": "tpn.compat",
    "build_recognizer": "tpn.models.recognizer",
    "load_checkpoint": "tpn.compat.checkpoints",
    "optimize": "tpn.models.optimize",
}


def __getattr__(name: str) -> Any:
    """Import the public functions when they are first used: `import tpn` and `tpn --help` need not wait for torch."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tpn' has no attribute {name!r}")

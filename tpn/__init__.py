"""The Temporal Pyramid Network (CVPR 2020) for action recognition in video: train, test, benchmark, predict."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["build_recognizer", "load_checkpoint", "load_config"]

if TYPE_CHECKING:
    from tpn.config import load_config
    from tpn.models.recognizer import build_recognizer
    from tpn.models.weights import load_checkpoint

_HOMES = {
    "load_config": "tpn.config",
    "build_recognizer": "tpn.models.recognizer",
    "load_checkpoint": "tpn.models.weights",
}


def __getattr__(name: str) -> Any:
    """Import the public functions when they are first used: `import tpn` and `tpn --help` need not wait for torch."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tpn' has no attribute {name!r}")

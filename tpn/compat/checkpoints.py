"""Checkpoints of any origin (ours, MMAction2 0.x and 1.x, the paper's authors), read as data, under our names."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tpn.compat.authors import from_authors, is_authors
from tpn.models.weights import load_weights, read_checkpoint

# What other programs leave in a state dict and no network has a use for, and why.
DROPPED = [
    (re.compile(r"cls_head\.new_cls\.(weight|bias)"), "a stale copy of cls_head.fc_cls"),
    (re.compile(r"data_preprocessor\.(mean|std)"), "normalisation constants, which the recipe has"),
]
CLASSIFIERS = ("cls_head.fc_cls", "neck.aux_head.fc")
logger = logging.getLogger("tpn")
WRAPPERS = ("module.", "_orig_mod.")  # DistributedDataParallel's and torch.compile's


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds. Every key of its state dict is in `state_dict`, under our name, or in `dropped`."""

    path: Path
    origin: str
    """Whose file it is, for people."""
    state_dict: dict[str, Tensor]
    meta: dict[str, Any]
    """What the file says about itself: epoch, versions, the config's text; {} where it says nothing."""
    dropped: dict[str, str]
    """Names of the file that no network needs, and why."""

    def __str__(self) -> str:
        reasons: dict[str, list[str]] = {}
        for name, reason in self.dropped.items():
            reasons.setdefault(reason, []).append(name)
        dropped = "".join(f"; left out {', '.join(names)} ({reason})" for reason, names in reasons.items())
        return f"{self.path}: {len(self.state_dict)} tensors of {self.origin}{dropped}"


def load_checkpoint(model: nn.Module, path: str | Path) -> Checkpoint:
    """Load a checkpoint's weights strictly: every tensor of the file and of the model is accounted for.

    Args:
        model: a recognizer as `build_recognizer` makes it.
        path: .pth (ours, MMAction2's of any version, the paper's authors') or .safetensors. The file is read as data,
            nothing in it is executed; a name ending in -<8 hex digits> is checked against the file's SHA-256.
    Returns:
        what the file held, its `meta` and the names that were left out among it; the logger 'tpn' tells the latter.
    Raises:
        CheckpointError: no such file, a wrong hash, an unsafe or damaged file, or weights of another network, whose
            differences are listed.
    """
    checkpoint = open_checkpoint(path)
    fill(model, checkpoint)
    return checkpoint


def start_from(model: nn.Module, path: str | Path) -> list[str]:
    """Load the weights that a new training begins with: as `load_checkpoint`, but they may be of other classes.

    A classifier of another number of classes stays as it was initialised, as with MMAction2's load_from, which leaves
    out whatever does not fit; here every other difference is an error.

    Returns:
        a remark that names such classifiers; none where there are none.
    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    checkpoint, own = open_checkpoint(path), model.state_dict()
    fresh = {layer: classes for layer in CLASSIFIERS if (classes := other_classes(layer, checkpoint.state_dict, own))}
    kept = {key: own[key] for layer in fresh for key in (f"{layer}.weight", f"{layer}.bias")}
    fill(model, replace(checkpoint, state_dict=checkpoint.state_dict | kept))
    layers = ", ".join(f"{layer} ({there} there, {here} here)" for layer, (there, here) in fresh.items())
    return [f"{path} has another number of classes, so these layers start anew: {layers}"] if fresh else []


def other_classes(layer: str, found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """The classes of a linear layer in a file and in a model, where nothing but their number differs."""
    weight, bias = f"{layer}.weight", f"{layer}.bias"
    if not {weight, bias} <= found.keys() & own.keys() or found[weight].shape[1:] != own[weight].shape[1:]:
        return None
    there, here = len(found[weight]), len(own[weight])
    return (there, here) if there != here and found[bias].shape == (there,) else None


def fill(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Give the model a checkpoint's weights, and tell what was left out of the file."""
    load_weights(model, checkpoint.state_dict, checkpoint.path)
    if checkpoint.dropped and os.environ.get("RANK", "0") == "0":  # torchrun's: one of several processes tells
        logger.warning(checkpoint)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint file and translate its names; raises CheckpointError as `load_checkpoint` does."""
    path = Path(path)
    content = read_checkpoint(path, stand_ins=MMENGINE_STAND_INS)
    state_dict = unwrapped(content["state_dict"])
    origin = name_origin(content, state_dict)
    if is_authors(state_dict):
        state_dict = from_authors(state_dict)
    dropped = {key: reason for key in state_dict if (reason := reason_to_drop(key))}
    return Checkpoint(
        path=path,
        origin=origin,
        state_dict={key: value for key, value in state_dict.items() if key not in dropped},
        meta=content.get("meta") or {},
        dropped=dropped,
    )


def reason_to_drop(key: str) -> str:
    """Why no network needs a tensor of this name that other programs leave in their files; '' for every other."""
    return next((reason for pattern, reason in DROPPED if pattern.fullmatch(key)), "")


def unwrapped(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the prefix that a wrapper around the whole network gave to all of them."""
    state_dict = dict(state_dict)
    while state_dict and (prefix := next((p for p in WRAPPERS if all(key.startswith(p) for key in state_dict)), None)):
        state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    return state_dict


def name_origin(content: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> str:
    meta = content.get("meta") or {}
    if is_authors(state_dict):
        return "decisionforce/TPN"
    if "tpn_version" in meta:
        return f"tpn {meta['tpn_version']}"
    if "message_hub" in content or "mmengine_version" in meta or any("data_preprocessor" in key for key in state_dict):
        return "MMAction2 1.x"
    return "MMAction2 0.x" if "mmcv_version" in meta else "no named origin"


# ----------------------------------------------------------------------------- classes that files of MMAction2 1.x name


class HistoryBuffer:
    """Stands for mmengine's running means of the log, which are of no use here: forgets what it is given."""

    def __setstate__(self, state: object) -> None:
        pass


def no_method(*_: object) -> None:
    """Stands for getattr, by which a HistoryBuffer's pickle names its own methods: nothing is looked up."""


MMENGINE_STAND_INS = [
    (HistoryBuffer, "mmengine.logging.history_buffer.HistoryBuffer"),
    (no_method, "builtins.getattr"),
]

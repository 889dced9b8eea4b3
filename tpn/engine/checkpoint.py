"""Checkpoints of a run: written atomically in MMAction2's layout, sealed with their own hash, resumed exactly."""

import math
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tpn.compat.checkpoints import MMENGINE_STAND_INS, reason_to_drop
from tpn.config.settings import CheckpointConfig
from tpn.data.paths import kind_of
from tpn.engine.folder import Place, read_place
from tpn.engine.momenta import load_in_order, optimizer_in_order, published_order
from tpn.engine.optim import begin_momenta
from tpn.errors import CheckpointError, UserError
from tpn.models.recognizer import Recognizer
from tpn.models.seal import seal
from tpn.models.weights import check_keys, read_checkpoint


@dataclass
class TrainState:
    """Everything a run needs to go on where it stopped. Data order and learning rate follow from the position."""

    model: Recognizer
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    seed: int
    """Of weights, data order, augmentation and dropout."""
    run: str = "unnamed"
    """The name of the run, which tells its checkpoints from those of others in its folder."""
    autoscale_lr: bool = False
    """Whether the learning rate follows the videos of one step (the linear scaling rule)."""
    epoch: int = 0
    """Epochs completed."""
    position: int = 0
    """Videos of the epoch under way that all processes together have been trained on."""
    train_list: str | None = None
    """SHA-256 of the list file whose videos `position` counts; None: of a checkpoint that does not say."""
    step: int = 0
    """Optimizer steps done since the start of the run."""
    skipped: int = 0
    """Steps left out because their loss was not finite."""
    overflows: int = 0
    """Steps left out because their gradient, scaled for float16, was too large for it."""
    window: dict[str, Tensor] = field(default_factory=dict)
    """What the next line of the log is the mean of: `RecentMeans.window`. Only where a checkpoint is written."""
    first_classifier: nn.Linear | None = None
    """As it was in the first validation, where `compat.stale_classifier` is wanted."""
    hook_msgs: dict[str, Any] = field(default_factory=dict)
    """The reference's name for last_ckpt, best_score and best_ckpt."""

    @property
    def place(self) -> Place:
        return Place(self.epoch, self.position, self.step, self.run)


class SaveClock:
    """When a checkpoint within an epoch is due: every so many steps, or so long after the last checkpoint."""

    def __init__(self, settings: CheckpointConfig) -> None:
        self.steps, self.seconds = settings.every_steps, settings.every_seconds
        self.reset()

    def reset(self) -> None:
        self.saved = time.monotonic()

    def is_due(self, step: int) -> bool:
        by_step = self.steps is not None and step % self.steps == 0
        return by_step or (self.seconds is not None and time.monotonic() - self.saved >= self.seconds)


def save_checkpoint(state: TrainState, path: Path, *, meta: Mapping[str, Any]) -> None:
    """Write {meta, state_dict, optimizer, scaler, …} with a seal; the file appears whole or not at all.

    Raises UserError, which names the bytes free, where the disk refuses, or the tensor that is not finite; what was at
    `path` is still there then.
    """
    check_finite(state, path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w+b") as file:
            torch.save(as_checkpoint(state, meta), file)
            seal(file, str(state.place))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        is_there = kind_of(path.parent) == "folder"
        free = f"{shutil.disk_usage(path.parent).free:,} bytes free" if is_there else "the folder is gone"
        raise UserError(
            f"{path}: the checkpoint could not be written ({reason(error)}; {free}); what was saved before is intact: "
            "free some space, or choose another --work-dir, and go on with --auto-resume or --resume-from"
        ) from error


def check_finite(state: TrainState, path: Path) -> None:
    """Raise UserError that names the first weight, running statistic or momentum which is not finite."""
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    momenta = {
        f"{kind} of {names[parameter]}": value
        for parameter in names
        for kind, value in state.optimizer.state.get(parameter, {}).items()
    }
    for name, value in {**state.model.state_dict(), **momenta}.items():
        if isinstance(value, Tensor) and not value.isfinite().all():
            raise UserError(
                f"{path}: not written, because {name} is not finite; what was saved before is intact: lower "
                "optimizer.lr or set optimizer.max_grad_norm, look at the videos, and go on with --auto-resume or "
                "--resume-from"
            )


def as_checkpoint(state: TrainState, meta: Mapping[str, Any]) -> dict[str, Any]:
    """What the file holds, in MMAction2's layout as far as that goes."""
    tensors = state.model.state_dict()
    order = published_order(tensors)
    checkpoint: dict[str, Any] = {
        "meta": {
            **meta,
            "autoscale_lr": state.autoscale_lr,
            "epoch": state.epoch,
            "position": state.position,
            "train_list": state.train_list,
            "iter": state.step,
            "skipped": state.skipped,
            "overflows": state.overflows,
            "time": time.asctime(),
            "hook_msgs": dict(state.hook_msgs),
        },
        "state_dict": {key: tensors[key].cpu() for key in order},
        "optimizer": optimizer_in_order(state.optimizer, state.model, order),
        "scaler": state.scaler.state_dict(),
        "window": state.window,
        "sealed": True,  # so that a file that has lost its seal is told from one that never had any
    }
    if state.first_classifier is not None:
        checkpoint["first_classifier"] = state.first_classifier.state_dict()
    return checkpoint


def reason(error: OSError | RuntimeError) -> str:
    """Why a write failed: torch wraps what the system says."""
    cause = error if isinstance(error, OSError) else error.__context__
    return cause.strerror or str(cause) if isinstance(cause, OSError) else str(error).splitlines()[0]


def sync_folder(folder: Path) -> None:
    """Have the new name on the disk, too, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def resume(state: TrainState, path: Path) -> str | None:
    """Restore weights, optimizer, seed, scaling of the learning rate and position from a checkpoint, also MMAction2's.

    Returns:
        the dump of the settings that it was trained with; None where it holds none of this project.
    Raises:
        CheckpointError: the file is missing or damaged, of another network, or holds weights only.
    """
    checkpoint = read_checkpoint(path, stand_ins=MMENGINE_STAND_INS)
    state_dict = {key: value for key, value in checkpoint["state_dict"].items() if not reason_to_drop(key)}
    check_keys(state.model.state_dict(), state_dict, path, network="the model of this config")
    meta = checkpoint.get("meta") or {}
    if "optimizer" not in checkpoint or "epoch" not in meta:
        raise CheckpointError(
            f"{path}: holds weights only, so training cannot resume from it; to start from these weights, "
            f"use --cfg-options load_from={path}"
        )
    state.model.load_state_dict(state_dict)
    try:
        load_in_order(state.optimizer, state.model, checkpoint["optimizer"], state_dict)
        check_momentum(state.optimizer)
        begin_momenta(state.optimizer)
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: its optimizer state is of another network ({error})") from error
    if checkpoint.get("scaler"):
        state.scaler.load_state_dict(checkpoint["scaler"])
    if checkpoint.get("first_classifier"):
        state.first_classifier = deepcopy(state.model.cls_head.fc_cls)
        state.first_classifier.load_state_dict(checkpoint["first_classifier"])
    state.window = checkpoint.get("window") or {}
    state.epoch, state.position, state.step = meta["epoch"], meta.get("position", 0), meta["iter"]
    state.train_list = meta.get("train_list")
    state.skipped, state.overflows = meta.get("skipped", 0), meta.get("overflows", 0)
    state.autoscale_lr |= bool(meta.get("autoscale_lr"))
    if meta.get("seed") is not None:
        state.seed = meta["seed"]
    state.hook_msgs = dict(meta.get("hook_msgs") or {})
    settings = meta.get("config")
    return settings if "tpn_version" in meta and isinstance(settings, str) else None


def recall_files(state: TrainState, checkpoint: Path, *, validates: bool) -> str | None:
    """Note where the last and the best checkpoint are that a run resumed has so far, and with which score.

    The best is looked for beside the checkpoint first, since a run's folder may have been moved. A checkpoint is saved
    before its own validation: unless the run that goes on `validates` it again, the best may have been found then.

    Returns:
        a remark if the best is gone, and is therefore looked for anew; None otherwise.
    """
    messages, checkpoint = state.hook_msgs, checkpoint.resolve() if checkpoint.is_symlink() else checkpoint
    messages["last_ckpt"] = str(checkpoint)
    place = read_place(checkpoint)
    best = [path for path in checkpoint.parent.glob("best_*.pth") if place is not None and os.access(path, os.R_OK)]
    same = [path for path in best if read_place(path) == place]
    if same and not validates:
        score = read_checkpoint(same[0])["meta"]["hook_msgs"]["best_score"]
        messages |= {"best_score": score, "best_ckpt": str(same[0])}
        return None
    if "best_ckpt" not in messages:
        return None
    named = Path(messages["best_ckpt"])
    for path in (checkpoint.with_name(named.name), named):
        if kind_of(path) == "file":
            messages["best_ckpt"] = str(path)
            return None
    del messages["best_ckpt"]
    score = messages.pop("best_score", math.nan)
    return f"the best checkpoint until then, {named} ({score:.4f}), is not there any more: the best from here on counts"


def check_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError where a momentum is not of its parameter's shape, which `load_state_dict` does not look at."""
    for parameter, kept in optimizer.state.items():
        momentum = kept.get("momentum_buffer")
        if momentum is not None and momentum.shape != parameter.shape:
            raise ValueError(f"a momentum of shape {tuple(momentum.shape)} for weights of {tuple(parameter.shape)}")

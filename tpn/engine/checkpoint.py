"""Checkpoints of a run: written atomically in MMAction2's layout, resumed exactly."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tpn.errors import CheckpointError, UserError
from tpn.models.recognizer import Recognizer
from tpn.models.weights import check_keys, read_checkpoint


@dataclass
class TrainState:
    """Everything a run needs to go on where it stopped. Data order and learning rate follow from the position."""

    model: Recognizer
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    seed: int
    """Of weights, data order, augmentation and dropout."""
    autoscale_lr: bool = False
    """Whether the learning rate follows the videos of one step (the linear scaling rule)."""
    epoch: int = 0
    """Epochs completed."""
    step: int = 0
    """Optimizer steps done since the start of the run."""
    hook_msgs: dict[str, Any] = field(default_factory=dict)
    """The reference's name for last_ckpt, best_score and best_ckpt."""


def save_checkpoint(state: TrainState, path: Path, *, meta: Mapping[str, Any]) -> None:
    """Write {meta, state_dict, optimizer, scaler}; the file appears whole or not at all."""
    checkpoint = {
        "meta": {
            **meta,
            "autoscale_lr": state.autoscale_lr,
            "epoch": state.epoch,
            "iter": state.step,
            "time": time.asctime(),
            "hook_msgs": dict(state.hook_msgs),
        },
        "state_dict": {key: value.cpu() for key, value in state.model.state_dict().items()},
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise UserError(
            f"{path}: the checkpoint could not be written ({error}); free some space or change --work-dir"
        ) from error


def link_latest(path: Path) -> None:
    """Point latest.pth beside `path` at it, atomically."""
    partial = path.with_name(f".latest.{os.getpid()}.tmp")
    partial.unlink(missing_ok=True)
    partial.symlink_to(path.name)
    partial.replace(path.with_name("latest.pth"))


def resume(state: TrainState, path: Path) -> None:
    """Restore weights, optimizer, seed, scaling of the learning rate and position from a checkpoint of this project.

    Raises:
        CheckpointError: the file is missing or damaged, of another network, or holds weights only.
    """
    checkpoint = read_checkpoint(path)
    check_keys(state.model.state_dict(), checkpoint["state_dict"], path, network="the model of this config")
    meta = checkpoint.get("meta") or {}
    if "optimizer" not in checkpoint or "epoch" not in meta:
        raise CheckpointError(
            f"{path}: holds weights only, so training cannot resume from it; to start from these weights, "
            f"use --cfg-options load_from={path}"
        )
    state.model.load_state_dict(checkpoint["state_dict"])
    try:
        state.optimizer.load_state_dict(checkpoint["optimizer"])
        check_momentum(state.optimizer)
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: its optimizer state is of another network ({error})") from error
    if checkpoint.get("scaler"):
        state.scaler.load_state_dict(checkpoint["scaler"])
    state.epoch, state.step = meta["epoch"], meta["iter"]
    state.autoscale_lr |= bool(meta.get("autoscale_lr"))
    if meta.get("seed") is not None:
        state.seed = meta["seed"]
    state.hook_msgs = dict(meta.get("hook_msgs") or {})


def check_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError where a momentum is not of its parameter's shape, which `load_state_dict` does not look at."""
    for parameter, kept in optimizer.state.items():
        momentum = kept.get("momentum_buffer")
        if momentum is not None and momentum.shape != parameter.shape:
            raise ValueError(f"a momentum of shape {tuple(momentum.shape)} for weights of {tuple(parameter.shape)}")

"""SGD, the learning rate as a pure function of progress, and the loss."""

import math
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpn.config.settings import CosineSchedule, Optimizer, Schedule, StepSchedule


def build_optimizer(model: nn.Module, settings: Optimizer) -> torch.optim.SGD:
    """SGD over every parameter, norms and biases included, as the reference does; TSM's `policies` set them apart."""
    optimizer = torch.optim.SGD(
        model.parameters() if settings.policies == "uniform" else tsm_policies(model, settings),
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
        fused=True,  # one sweep over weights, gradients and momenta, no temporary copies of them
    )
    begin_momenta(optimizer)
    return optimizer


def begin_momenta(optimizer: torch.optim.Optimizer) -> None:
    """Give every parameter that has no momentum yet one of zero.

    Where float16's gradient scaler leaves out the first step, PyTorch's fused kernel (2.13) would take memory that
    nobody has written for the momenta (findings/fused_sgd_first_overflow.sh).
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            if optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def tsm_policies(model: nn.Module, settings: Optimizer) -> list[dict[str, Any]]:
    """TSM's parameter groups (MMAction2's TSMOptimizerConstructor); `lr_factor` multiplies the learning rate."""
    norms = [*chain.from_iterable(m.parameters() for m in model.modules() if isinstance(m, nn.BatchNorm2d))]
    last = model.get_submodule("cls_head.fc_cls")
    apart = {id(parameter) for parameter in [*norms, *last.parameters()]}
    others = [(name, parameter) for name, parameter in model.named_parameters() if id(parameter) not in apart]
    times = 5 if settings.policies == "tsm_fc_lr5" else 1
    decay = settings.weight_decay
    groups: list[tuple[list[Any], int, float]] = [
        ([parameter for name, parameter in others if name.endswith("weight")], 1, decay),
        ([parameter for name, parameter in others if name.endswith("bias")], 2, 0),
        (norms, 1, 0),
        ([last.weight], times, decay),
        ([last.bias], times * 2, 0),
    ]
    return [
        {"params": params, "lr": settings.lr * factor, "lr_factor": factor, "weight_decay": weight_decay}
        for params, factor, weight_decay in groups
        if params
    ]


def learning_rate(schedule: StepSchedule | CosineSchedule, *, lr: float, progress: float, total_epochs: int) -> float:
    """The learning rate at `progress` epochs: the schedule's, times the warm-up's factor."""
    if isinstance(schedule, CosineSchedule):
        scheduled = cosine_rate(schedule, lr=lr, progress=progress, total_epochs=total_epochs)
    else:
        scheduled = lr * schedule.gamma ** sum(int(progress) >= milestone for milestone in schedule.step)
    return scheduled * warmup_factor(schedule, progress)


def cosine_rate(schedule: CosineSchedule, *, lr: float, progress: float, total_epochs: int) -> float:
    begin = schedule.warmup_epochs if schedule.begin is None else schedule.begin
    done = (int(progress) if schedule.by_epoch else progress) - begin
    if done <= 0:
        return lr
    return schedule.min_lr + (lr - schedule.min_lr) * 0.5 * (1 + math.cos(math.pi * done / (total_epochs - begin)))


def warmup_factor(schedule: Schedule, progress: float) -> float:
    done = int(progress) if schedule.warmup_by_epoch else progress
    if done >= schedule.warmup_epochs:
        return 1.0
    return schedule.warmup_ratio + (1 - schedule.warmup_ratio) * done / schedule.warmup_epochs


def scaled_lr(settings: Optimizer, *, total_batch: int) -> float:
    """The linear scaling rule (Goyal et al., 2017): lr in proportion to the videos of one step, over all processes."""
    return settings.lr * total_batch / settings.lr_batch_size


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1)


def recognition_losses(
    logits: Tensor, aux_logits: Tensor | None, labels: Tensor, *, aux_weight: float | None
) -> dict[str, Tensor]:
    """Cross entropy of the head and the weighted one of the auxiliary head (section 3.3), under the reference's names.

    Args:
        logits, aux_logits: (B, num_classes).
        labels: (B,) int64.
    Returns:
        loss_aux (where there is one), loss_cls and their sum, loss: means over the batch.
    """
    losses: dict[str, Tensor] = {}
    if aux_logits is not None and aux_weight is not None:
        losses["loss_aux"] = aux_weight * F.cross_entropy(aux_logits.float(), labels)
    losses["loss_cls"] = F.cross_entropy(logits.float(), labels)
    losses["loss"] = torch.stack(list(losses.values())).sum()
    return losses


def hits(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """The share of the batch whose label is among the k largest logits; of equal ones the lower class comes first."""
    labels = labels[:, None]
    own = logits.gather(1, labels)
    ties_before = (logits == own) & (torch.arange(logits.shape[1], device=labels.device) < labels)
    rank = (logits > own).sum(dim=1) + ties_before.sum(dim=1)
    return (rank < k).float().mean()

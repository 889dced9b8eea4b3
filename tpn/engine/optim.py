"""SGD, the learning rate as a pure function of progress, and the loss."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpn.config.settings import CosineSchedule, Optimizer, StepSchedule


def build_optimizer(model: nn.Module, settings: Optimizer) -> torch.optim.SGD:
    """SGD over every parameter, norms and biases included, as the reference does."""
    return torch.optim.SGD(
        model.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
    )


def learning_rate(schedule: StepSchedule | CosineSchedule, *, lr: float, progress: float, total_epochs: int) -> float:
    """The learning rate at `progress` epochs (a fraction inside an epoch counts for the cosine only)."""
    if isinstance(schedule, StepSchedule):
        return lr * schedule.gamma ** sum(int(progress) >= milestone for milestone in schedule.step)
    if progress < schedule.warmup_epochs:
        return lr * (0.1 + 0.9 * progress / schedule.warmup_epochs)
    done = (progress - schedule.warmup_epochs) / (total_epochs - schedule.warmup_epochs)
    return lr * 0.5 * (1 + math.cos(math.pi * done))


def scaled_lr(settings: Optimizer, *, total_batch: int) -> float:
    """The linear scaling rule (Goyal et al., 2017): lr in proportion to the videos of one step, over all processes."""
    return settings.lr * total_batch / settings.lr_batch_size


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


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
    """The share of the batch whose label is among the k largest logits."""
    top = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (top == labels[:, None]).any(dim=1).float().mean()

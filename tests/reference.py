"""Cases of the reference implementation (shared/parity/model.json) run on our networks: what several suites compare."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CPU = torch.device("cpu")
TEST_CASES = ["slowonly_224_1view", "slowonly_256_3views_prob", "tsm_256_2x3views_prob"]
TRAIN_CASES = ["slowonly_train", "tsm_train"]


def as_clips(x: Tensor) -> Tensor:
    """The reference's input layout -> (N, 3, T, H, W): TSM's frames come as (B, clips*crops*8, 3, H, W)."""
    if x.dim() == 6:
        return x.flatten(0, 1)
    return x.reshape(-1, 8, *x.shape[2:]).transpose(1, 2)


def video_scores(logits: Tensor, spec: dict) -> Tensor:
    """Of a test case: logits of its views -> scores of its videos."""
    views = logits.reshape(spec["input"][0], -1, logits.shape[1])
    return views.softmax(2).mean(1) if spec["average_clips"] == "prob" else views.mean(1)


def relative(ours: Tensor, theirs) -> float:
    theirs = torch.as_tensor(theirs)
    return ((ours - theirs).norm() / theirs.norm()).item()


def without_dropout(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def train_once(spec, build, seeded, dtype=torch.float32, device=CPU):
    """Losses and gradients of one step of a train case: (losses, model)."""
    model, config = build(spec["config"])
    seeded.fill(model, spec["salt"])
    without_dropout(model).to(device, dtype).train()
    logits, aux_logits = model(as_clips(seeded.clip(spec["input"], spec["seed"])).to(device, dtype))
    labels, weight = torch.tensor(spec["labels"], device=device), config.model.neck.aux_loss_weight
    losses = {"loss_aux": weight * F.cross_entropy(aux_logits, labels), "loss_cls": F.cross_entropy(logits, labels)}
    losses["loss"] = losses["loss_aux"] + losses["loss_cls"]
    losses["loss"].backward()
    return losses, model

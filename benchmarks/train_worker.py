"""One training step of ours on random clips, in its own process, on command (worker.py): started by train_step.py."""

import os
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is imported

import torch
from torch import Tensor
from worker import serve

from tpn.config import Config, load_config
from tpn.config.recipes import find_recipe
from tpn.engine.evaluate import DTYPES
from tpn.engine.optim import build_optimizer, recognition_losses
from tpn.memory import keep_freed_memory
from tpn.models.optimize import compile_training
from tpn.models.recognizer import build_recognizer


def prepare(job: dict) -> Callable[[], None]:
    keep_freed_memory()  # as the command does
    torch.set_num_threads(job["threads"])
    changes = {"model.backbone.pretrained": None, "model.backbone.with_cp": job["with_cp"], "dtype": job["dtype"]}
    config = load_config(find_recipe(job["recipe"]), changes)
    batch, channels, *sizes = job["shape"]
    clips = torch.randn(batch, *sizes, channels).movedim(-1, 1)  # in the memory order that the data come in
    return trainer(config, clips, compile=job["compile"])


def trainer(config: Config, clips: Tensor, *, compile: bool = False, parts: int = 1) -> Callable[[], None]:
    """The optimisation step as tpn/engine/train.py has it, without data and log, on the device of the clips.

    parts: how many backward passes share the clips of a step.
    """
    device, dtype = clips.device, DTYPES[config.dtype]
    model = build_recognizer(config.model).to(device).train()
    network = compile_training(model, device) if compile else model
    optimizer = build_optimizer(model, config.optimizer)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    labels = torch.arange(len(clips), device=device) % config.model.cls_head.num_classes
    aux_weight = config.model.neck.aux_loss_weight if config.model.neck else None

    def step() -> None:
        optimizer.zero_grad()
        for part, answers in zip(clips.chunk(parts), labels.chunk(parts), strict=True):
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                logits, aux_logits = network(part)
            losses = recognition_losses(logits, aux_logits, answers, aux_weight=aux_weight)
            scaler.scale(losses["loss"] / parts).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.max_grad_norm or float("inf"))
        scaler.step(optimizer)
        scaler.update()

    return step


if __name__ == "__main__":
    serve(prepare)

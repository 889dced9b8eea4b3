"""One training step of ours on random clips, on command: started by train_step.py, in a process of its own.

Reads one JSON line with what to build, then one line per run; answers each with the seconds it took, and `memory` with
the process's memory in MiB: at its peak, and before the first step.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is imported

import torch

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.engine.optim import build_optimizer, recognition_losses
from tpn.memory import keep_freed_memory
from tpn.models.recognizer import build_recognizer


def main() -> None:
    keep_freed_memory()  # as the command does
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    step = trainer(job)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        if line.strip() == "memory":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, before, flush=True)
        else:
            started = time.perf_counter()
            step()
            print(time.perf_counter() - started, flush=True)


def trainer(job: dict) -> Callable[[], None]:
    """The optimisation step as tpn/engine/train.py has it, without data and log."""
    changes = {"model.backbone.pretrained": None, "model.backbone.with_cp": job["with_cp"]}
    config = load_config(find_recipe(job["recipe"]), changes)
    model = build_recognizer(config.model).train()
    network = torch.compile(model) if job["compile"] else model
    optimizer = build_optimizer(model, config.optimizer)
    batch, channels, *sizes = job["shape"]
    clips = torch.randn(batch, *sizes, channels).movedim(-1, 1)  # in the memory order that the data come in
    labels, dtype = torch.arange(batch), getattr(torch, job["dtype"])
    aux_weight = config.model.neck.aux_loss_weight if config.model.neck else None

    def step() -> None:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            logits, aux_logits = network(clips)
        losses = recognition_losses(logits, aux_logits, labels, aux_weight=aux_weight)
        optimizer.zero_grad()
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.max_grad_norm or float("inf"))
        optimizer.step()

    return step


if __name__ == "__main__":
    main()

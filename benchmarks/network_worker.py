"""Runs one of our ways to the logits in a process of its own, on command (worker.py): started by model.py."""

import os
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is imported

import torch
from worker import serve

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.memory import keep_freed_memory
from tpn.models.optimize import compile_network, optimize
from tpn.models.recognizer import build_recognizer


def prepare(job: dict) -> Callable[[], None]:
    torch.set_num_threads(job["threads"])
    keep_freed_memory()  # as the command does
    network = build(job)
    clips = torch.randn(job["shape"]).to(getattr(torch, job["dtype"]))

    def run() -> None:
        with torch.inference_mode():
            network(clips)

    return run


def build(job: dict) -> torch.nn.Module:
    config = load_config(find_recipe(job["recipe"]), {"model.backbone.pretrained": None})
    model = build_recognizer(config.model).eval()
    if job["way"] == "plain":
        return model
    model = optimize(model, dtype=getattr(torch, job["dtype"]))
    if job["way"] == "compiled":
        compile_network(model, torch.device("cpu"))
    return model


if __name__ == "__main__":
    serve(prepare)

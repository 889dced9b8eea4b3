"""Runs one of our ways to the logits in a process of its own, on command: started by model.py.

Reads one JSON line with what to run, then one line per run; answers each with the seconds it took, and `memory` with
the process's memory in MiB: at its peak, and before the first run.
"""

import json
import os
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is imported

import torch

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.memory import keep_freed_memory, peak_resident
from tpn.models.optimize import compile_network, optimize
from tpn.models.recognizer import build_recognizer


def main() -> None:
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    keep_freed_memory()  # as the command does
    network, dtype = build(job), getattr(torch, job["dtype"])
    clips = torch.randn(job["shape"]).to(dtype)
    before = peak_resident()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        if line.strip() == "memory":
            print(peak_resident(), before, flush=True)
            continue
        started = time.perf_counter()
        with torch.inference_mode():
            network(clips)
        print(time.perf_counter() - started, flush=True)


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
    main()

#!/usr/bin/env bash
# Fused SGD after a first float16 step that overflowed: its momentum is whatever lay in that memory, and the weights follow.
#
# Seen on 27 November 2026 with PyTorch 2.13.0 on a CPU: where GradScaler leaves out the very first step, which is how
# float16 trainings usually begin, torch.optim.SGD(fused=True, momentum=0.9) has allocated its momenta without filling
# them, the kernel has not written them either, and the second step takes them for real. SGD without `fused` has no
# momentum yet after such a step, and is right. No error, no warning; 1e24 in a weight, or a little noise, or (in fresh
# memory) nothing. Exits 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy
venv/bin/python - <<'P'
import sys

import torch

SIZE = 10_000
weights = {}
for fused in (False, True):
    parameter = torch.nn.Parameter(torch.ones(SIZE))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    for step, factor in enumerate([float("inf"), 1.0]):
        optimizer.zero_grad()
        scaler.scale((parameter * factor).sum()).backward()
        used = [torch.full((SIZE,), 7.0) for _ in range(64)]  # memory as a training leaves it: used before, and freed
        del used
        scaler.step(optimizer)
        scaler.update()
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        told = "none" if momentum is None else f"from {momentum.min().item():g} to {momentum.max().item():g}"
        print(f"fused={fused}, step {step}, {'left out' if step == 0 else 'done'}: momentum {told}")
    weights[fused] = parameter.detach().clone()
right = torch.full((SIZE,), 0.9)
print("weights after the first real step, all to be 0.9:", {fused: (w.min().item(), w.max().item()) for fused, w in weights.items()})
sys.exit(not (torch.allclose(weights[False], right) and not torch.allclose(weights[True], right)))
P
echo "as seen: the fused optimizer took used memory for momenta"

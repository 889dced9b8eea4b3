"""Runs MMAction2 0.24.1's own TPN in its own Python, on command: started by peers.py, knows nothing of tpn.

Reads one JSON line with what to build, then one line per run; answers each with the seconds it took, and
`memory` with the process's memory in MiB: at its peak, and before the first run.
"""

import json
import resource
import sys
import time
import types
import warnings

import numpy as np

warnings.simplefilter("ignore")
np.int, np.float = int, float  # removed from NumPy since
if not hasattr(np, "bool"):  # removed, and come back in NumPy 2
    np.bool = bool
sys.modules.setdefault("torchvision", types.ModuleType("torchvision"))  # imported for a weights table that is not used

import mmcv  # noqa: E402

mmcv.__version__ = "1.7.0"  # 1.7.2 differs in bug fixes alone; MMAction2 refuses its number

import torch  # noqa: E402
from mmaction.models import build_model  # noqa: E402
from mmcv import Config  # noqa: E402


def main() -> None:
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    config = Config.fromfile(job["config"])
    config.model.backbone.pretrained = None
    model = build_model(config.model)
    clips = torch.randn(job["shape"])
    if job["mode"] == "train":
        work = trainer(model, clips, config)
    else:
        model.eval()

        def work():
            with torch.no_grad():
                model(clips, return_loss=False)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        if line.strip() == "memory":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, before, flush=True)
            continue
        started = time.perf_counter()
        work()
        print(time.perf_counter() - started, flush=True)


def trainer(model, clips, config):
    """One optimisation step as mmcv's runner does it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True)
    labels = torch.arange(len(clips))[:, None]
    model.train()

    def step():
        losses = model(clips, labels, return_loss=True)
        loss, _ = model._parse_losses(losses)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer_config.grad_clip.max_norm)
        optimizer.step()

    return step


if __name__ == "__main__":
    main()

"""Runs MMAction2 0.24.1's own test or training from video files in its own Python, on command; knows nothing of tpn.

Reads one JSON line with what to run, then one line per run; answers each with its seconds and the peak memory so far.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import mmaction2_worker  # noqa: F401 (its stand-ins let MMAction2 be imported)

# isort: split
import cv2
import mmaction
import numpy as np
import torch
from mmaction.datasets import build_dataloader, build_dataset
from mmaction.datasets.pipelines import ColorJitter
from mmaction.models import build_model
from mmaction.utils import build_dp
from mmcv import Config
from mmcv.engine import single_gpu_test


def adjust_hue(image, factor):
    """ColorJitter's, with the sum in 16 bits that NumPy 1 made of uint8 and a negative number; NumPy 2 refuses it."""
    hue, saturation, value = cv2.split(cv2.cvtColor(image.clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV))
    turned = (hue.astype(np.int16) + int(factor * 255)) % 180
    return cv2.cvtColor(cv2.merge([turned.astype(np.uint8), saturation, value]), cv2.COLOR_HSV2RGB).astype(np.float32)


ColorJitter.adjust_hue = staticmethod(adjust_hue)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where mmcv's progress bar goes
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    cv2.setNumThreads(0)  # as its tools set it
    config = Config.fromfile(str(Path(mmaction.__file__).parent / f".mim/configs/recognition/tpn/{job['recipe']}.py"))
    config.model.backbone.pretrained = None
    model = build_dp(build_model(config.model), "cpu", default_args={"device_ids": [0]})
    work = tester(model, config, job) if job["mode"] == "test" else trainer(model, config, job)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        work()
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(json.dumps({"seconds": time.perf_counter() - started, "peak_mib": peak_mib}), file=answers, flush=True)


def from_files(split, job):
    """The recipe's data set, whose frames come from video files by decord, MMAction2's usual reader of them."""
    split.type = "VideoDataset"
    split.ann_file, split.data_prefix = job["ann_file"], job["data_prefix"]
    pipeline = [{"type": "DecordInit"}]
    for step in split.pipeline:
        pipeline.append({"type": "DecordDecode"} if step["type"] == "RawFrameDecode" else step)
    split.pipeline = pipeline
    return split


def tester(model, config, job):
    """The test of the whole list, as tools/test.py runs it."""
    split = from_files(config.data.test, job)
    for step in split.pipeline:
        if step["type"] == "SampleFrames":
            step["num_clips"] = job["num_clips"]
        elif step["type"] == "Resize":
            step["scale"] = (-1, job["size"])
        elif step["type"].endswith("Crop"):
            step["type"] = {1: "CenterCrop", 3: "ThreeCrop"}[job["num_crops"]]
            step["crop_size"] = job["size"]
    dataset = build_dataset(split, {"test_mode": True})
    loader = build_dataloader(dataset, videos_per_gpu=1, workers_per_gpu=job["workers"], dist=False, shuffle=False)
    return lambda: single_gpu_test(model, loader)


def trainer(model, config, job):
    """An epoch over the list, as its train_model and mmcv's EpochBasedRunner with OptimizerHook run it."""
    split = from_files(config.data.train, job)
    for step in split.pipeline:
        if step["type"] == "Resize":
            step["scale"] = (job["train_size"], job["train_size"])
    loader = build_dataloader(
        build_dataset(split), videos_per_gpu=job["batch"], workers_per_gpu=job["workers"], dist=False, seed=0
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4, nesterov=True)

    def epoch():
        model.train()
        for batch in loader:
            loss = model.train_step(batch, optimizer)["loss"]
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer_config.grad_clip.max_norm)
            optimizer.step()

    return epoch


if __name__ == "__main__":
    main()

"""Runs MMAction2 0.24.1's own test or training from video files, in its own Python, on command (worker.py)."""

from mmaction2_stand_ins import published
from worker import serve

# isort: split
import cv2
import torch
from mmaction.datasets import build_dataloader, build_dataset
from mmaction.models import build_model
from mmaction.utils import build_dp
from mmcv.engine import single_gpu_test


def prepare(job):
    torch.set_num_threads(job["threads"])
    cv2.setNumThreads(0)  # as its tools set it
    config = published(job["recipe"])
    model = build_dp(build_model(config.model), "cpu", default_args={"device_ids": [0]})
    return tester(model, config, job) if job["mode"] == "test" else trainer(model, config, job)


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
    serve(prepare)

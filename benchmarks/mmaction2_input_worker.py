"""Runs MMAction2 0.24.1's own input pipelines in its own Python, on command: started by input.py, knows nothing of tpn.

Reads a JSON line with the config's name, then one per run: what to read, and the seed of each sample; answers it with
the seconds of a sample on average, of processor time (all threads) and of the clock, and with the first frame of each.
"""

import json
import sys
import time

from mmaction2_stand_ins import published

# isort: split
import cv2
import numpy as np
import torch
from mmaction.datasets.pipelines import Compose


def main() -> None:
    config = published(json.loads(sys.stdin.readline())["recipe"])
    cv2.setNumThreads(0)  # as in a loader's worker
    torch.set_num_threads(1)
    pipelines = {}
    for access, steps in (("train", config.train_pipeline), ("test", config.test_pipeline)):
        pipelines[access, "rawframes"] = Compose(steps)
        pipelines[access, "videos"] = Compose(from_video(steps))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(pipelines, **json.loads(line))), flush=True)


def from_video(steps):
    """The same pipeline on decord, as MMAction2's configs for video files have it."""
    steps = [{"type": "DecordDecode"} if step["type"] == "RawFrameDecode" else step for step in steps]
    return [{"type": "DecordInit"}, *steps]


def run(pipelines, *, access, path, frames, seeds, decode_only):
    """Read one sample per seed: of a video file, or of a folder of so many frames."""
    pipeline = pipelines[access, "rawframes" if frames else "videos"]
    firsts, cpu, wall = [], time.process_time(), time.perf_counter()
    for seed in seeds:
        np.random.seed(seed)
        results = {"filename": path, "label": 0, "start_index": 0, "modality": "RGB"}
        if frames:
            results.update(frame_dir=path, total_frames=frames, filename_tmpl="img_{:05}.jpg", start_index=1)
        for step in pipeline.transforms:
            results = step(results)
            if type(step).__name__ == "SampleFrames":
                firsts.append(int(results["frame_inds"].min()) - results["start_index"])
            if decode_only and type(step).__name__ == "DecordDecode":
                break
    count = len(seeds)
    return {"cpu": (time.process_time() - cpu) / count, "wall": (time.perf_counter() - wall) / count, "firsts": firsts}


if __name__ == "__main__":
    main()

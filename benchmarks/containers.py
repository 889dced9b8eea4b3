"""From file to frames in containers whose packets do not number the frames: AVI, MPEG-TS, MPEG-PS, WMV, stream copies.

python benchmarks/containers.py                                   # ours, and PyAV from the start
DECODERS_PYTHON=…/bin/python python benchmarks/containers.py      # with decord and torchcodec, which it has
TODAY=…/checkout python benchmarks/containers.py                  # with an earlier checkout of this project

Videos are made here. Processor time of one thread to open the file and read one clip of 8 frames, every 8th, from the
middle, or ten such clips spread over the video. Frames are exact in ours; the others' are not compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
from peers import ask, start
from timing import interleave, report, write_tables
from videos import moving_picture

from tpn.data.decode import VideoFile

DECODERS = "DECODERS_PYTHON"
EARLIER = "TODAY"
LONGEST = 5.0  # seconds of one reading from which a contender is left out
FILES = {
    "mpeg4_320x240.avi": ("mpeg4", 320, 240, 800, {"max_b_frames": 2}),
    "mpeg4_1080p.avi": ("mpeg4", 1920, 1080, 300, {"max_b_frames": 2}),
    "h264_340x256.avi": ("libx264", 340, 256, 300, {}),
    "h264_720p.ts": ("libx264", 1280, 720, 300, {}),
    "mpeg2_720x576.mpg": ("mpeg2video", 720, 576, 300, {"max_b_frames": 2}),
    "wmv2_640x480.wmv": ("wmv2", 640, 480, 300, {}),
    "h264_340x256.mp4": ("libx264", 340, 256, 300, {}),
    "hevc_640x360.mkv": ("libx265", 640, 360, 300, {}),
}  # fmt: skip
CHILD = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from tpn.data.decode import VideoFile
for line in sys.stdin:
    job = json.loads(line)
    started = time.process_time()
    with VideoFile(job["path"]) as video:
        video.read(job["numbers"])
    print(json.dumps({"cpu": time.process_time() - started}), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="short videos and one round: does it run?")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        contenders = find_contenders()
        for name, (codec, width, height, frames, how) in FILES.items():
            path = Path(folder, name)
            count = 20 if options.quick else frames
            write(path, codec, width, height, count, **how)
            slow: set[str] = set()
            for title, numbers in (("one clip", clips(count, 1)), ("ten clips", clips(count, 10))):
                runs = {}
                for who, read in contenders.items():
                    if who not in slow and not (taken := read(path, numbers)) < LONGEST:  # nan: it cannot read them
                        print(f"{who} is left out of {name} from {title} on: it takes {taken:.1f} s")
                        slow.add(who)
                    if who not in slow:
                        runs[who] = reading(read, path, numbers)
                seconds = interleave(runs, rounds=1 if options.quick else options.rounds)
                text = f"processor time of {title} of {name}, {count} frames"
                tables.append(report(text, seconds, columns={}, out=None))
    write_tables(tables, options.out)


def clips(num_frames: int, number: int) -> list[int]:
    """Frame numbers of clips of 8 frames, every 8th, spread over a video, each once and rising."""
    length = min(57, num_frames)
    starts = (
        np.linspace(0, num_frames - length, number + 2)[1:-1]
        if number == 1
        else np.linspace(0, num_frames - length, number)
    )
    return sorted({int(start) + step for start in starts for step in range(0, length, 8)})


def write(path: Path, codec: str, width: int, height: int, frames: int, *, max_b_frames: int | None = None) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options={"b": "4M"} if codec == "wmv2" else {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if max_b_frames is not None:
            stream.codec_context.max_b_frames = max_b_frames
            stream.bit_rate = width * height * 12
        for image in moving_picture(frames, seed=0):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


# ------------------------------------------------------------------------------------------------------- the contenders

Read = Callable[[Path, list[int]], float]


def find_contenders() -> dict[str, Read]:
    """What reads frames of a file by number, the first being the baseline: each gives seconds of the processor."""
    contenders: dict[str, Read] = {}
    if python := os.environ.get(DECODERS):
        for decoder in ("decord", "torchcodec"):
            process = start(python, "decoders_worker.py")
            ask(process, json.dumps({"decoder": decoder}))
            contenders[decoder] = asked(process)
    if checkout := os.environ.get(EARLIER):
        contenders["earlier checkout"] = asked(child(checkout))
    return contenders | {"ours": ours, "PyAV from the start": in_order}


def child(checkout: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, checkout], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def asked(process: subprocess.Popen) -> Read:
    def read(path: Path, numbers: list[int]) -> float:
        answer = json.loads(ask(process, json.dumps({"path": str(path), "numbers": numbers})))
        return answer.get("cpu", float("nan"))

    return read


def ours(path: Path, numbers: list[int]) -> float:
    started = time.process_time()
    with VideoFile(path) as video:
        video.read(numbers)
    return time.process_time() - started


def in_order(path: Path, numbers: list[int]) -> float:
    """What is simplest: decode from the start, convert the frames wanted, stop at the last."""
    started = time.process_time()
    wanted = set(numbers)
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                frame.reformat(format="rgb24", threads=1).to_ndarray()
            if number == numbers[-1]:
                break
    return time.process_time() - started


def reading(read: Read, path: Path, numbers: list[int]) -> Callable[[], float]:
    return lambda: read(path, numbers)


if __name__ == "__main__":
    main()

"""From file to network input: processor time of a training clip and of a test video, ours and beside MMAction2's.

python benchmarks/input.py                                   # H.264, the same packed, and folders of JPEG frames
MMACTION2_PYTHON=…/bin/python python benchmarks/input.py     # with the reference as the first row

Videos: those of shared/videos beside the checkout if it is there, and a synthetic one (H.264 340 x 256, 10 s, GOP 250).
All read the same frames with one thread. "on the device" is what ours leaves to the device that trains, done here by
one thread of the processor: flip, jitter, normalise; it counts in none of the other columns. The last row of a video is
the floor: decoding the whole file, one thread, nothing converted.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from peers import MMACTION2, SLOWONLY, ask, start
from timing import Run, interleave, report, write_tables
from videos import write_videos

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.config.settings import Config
from tpn.data.annotations import Record
from tpn.data.augment import prepare_clips
from tpn.data.dataset import Sample, VideoDataset, Views, build_fixed_views, build_random_views
from tpn.data.decode import VideoFile
from tpn.data.encode import Profile, encode, pictures
from tpn.memory import keep_freed_memory

VIDEOS = Path(__file__).resolve().parents[2] / "shared/videos"
TITLES = {"train": "a training clip", "test": "a test video, 10 clips x 3 crops"}
Seconds = tuple[float, float, float]  # of one sample: of the processor, of the clock, of the processor on the device


class Recorded:
    """A run whose seconds are those of the processor; the others are kept for columns of their own."""

    def __init__(self, measure: Callable[[], Seconds]) -> None:
        self.measure = measure
        self.others: list[tuple[float, float]] = []

    def __call__(self) -> float:
        cpu, *others = self.measure()
        self.others.append((others[0], others[1]))
        return cpu

    def column(self, which: int) -> str:
        return f"{statistics.median(row[which] for row in self.others[1:]) * 1e3:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, default=8, help="training clips per round, spread over the video")
    parser.add_argument("--quick", action="store_true", help="a short video and one round: does it run?")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    keep_freed_memory()  # as the command does
    torch.set_num_threads(1)
    cv2.setNumThreads(0)  # as in a loader's worker
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for video in find_videos(Path(folder), quick=options.quick):
            for access in TITLES:
                tables += compare(video, access, 1 if options.quick else options.rounds, options.clips)
    write_tables(tables, options.out)


def compare(video: Path, access: str, rounds: int, clips: int) -> list[dict]:
    """The tables of one way to read a video: from its file, and from the folder of its frames."""
    frames, packed = video.parent / f"{video.stem}_frames", video.parent / f"{video.stem}_packed.mp4"
    with VideoFile(video) as opened:
        count = len(opened)
    ours = [Record(str(video), 0, None), Record(str(packed), 0, None), Record(str(frames), 0, count)]
    seeds = Seeds(count, clips if access == "train" else 1)
    whole, decoders = {}, {}
    if peer := start_peer():
        whole = {"MMAction2 0.24.1": ask_peer(peer, seeds, access, video, None, decode_only=False)}
        decoders = {"decord, frames alone": ask_peer(peer, seeds, access, video, None, decode_only=True)}
    from_file = {
        **whole,
        "ours": read_sample(seeds, access, ours[0]),
        "ours, packed": read_sample(seeds, access, ours[1]),
        **decoders,
        "ours, frames alone": read_frames(seeds, access, ours[0]),
        "PyAV from the start, frames alone": read_in_order(seeds, access, video),
        **floor(video),
    }
    from_frames = {"ours": read_sample(seeds, access, ours[2])}
    if peer:
        reference = ask_peer(peer, seeds, access, frames, count, decode_only=False)
        from_frames = {"MMAction2 0.24.1": reference, **from_frames}
    tables = [
        print_table(f"{TITLES[access]} of {video.name}, {count} frames", from_file, rounds),
        print_table(f"{TITLES[access]} of {video.name} as JPEG frames", from_frames, rounds),
    ]
    if peer:
        peer.kill()
        peer.wait()
    return tables


def print_table(title: str, contenders: dict[str, Recorded], rounds: int) -> dict:
    runs: dict[str, Run] = dict(contenders)
    return report(
        f"processor time of {title}",
        interleave(runs, rounds=rounds),
        columns={
            "wall": lambda name, median: contenders[name].column(0),
            "on the device": lambda name, median: contenders[name].column(1),
        },
        out=None,
    )


# ----------------------------------------------------------------------------------------------------------- the inputs


def find_videos(folder: Path, *, quick: bool) -> list[Path]:
    """The videos in a folder of their own, each beside its packed form and the folder of its frames."""
    videos = [folder / name for name in write_videos(folder, number=1, seconds=3 if quick else 10)]
    if not quick and VIDEOS.is_dir():
        videos = [Path(shutil.copy(path, folder)) for path in sorted(VIDEOS.iterdir())] + videos
    for path in videos:
        frames = folder / f"{path.stem}_frames"
        frames.mkdir()
        with VideoFile(path) as video:
            profile = Profile(short_side=256, gop=16, crf=20)
            packed = folder / f"{path.stem}_packed.mp4"
            encode(pictures(video), packed, frame_rate=video.frame_rate, profile=profile)
            for number, image in video.each(range(len(video))):
                cv2.imwrite(str(frames / f"img_{number + 1:05}.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return videos


class Seeds:
    """What to seed a sample with so that it begins at a certain frame, ours and MMAction2's."""

    def __init__(self, num_frames: int, count: int) -> None:
        starts = max(num_frames - 64 + 1, 1)  # a clip reserves 8 x 8 frames
        wanted = [int((at + 0.5) * starts / count) for at in range(count)]
        views = build_random_views(load())
        self.ours = [
            search(start, lambda seed: views.indices(num_frames, np.random.default_rng([0, seed, 0])).min())
            for start in wanted
        ]
        self.theirs = [search(start, lambda seed: np.random.RandomState(seed).randint(starts)) for start in wanted]
        self.wanted = wanted


def search(start: int, start_of: Callable[[int], int]) -> int:
    return next(seed for seed in range(1_000_000) if start_of(seed) == start)


def load() -> Config:
    return load_config(find_recipe(SLOWONLY), {"model.backbone.pretrained": None})


# ------------------------------------------------------------------------------------------------------- the contenders


def read_sample(seeds: Seeds, access: str, record: Record) -> Recorded:
    """Ours: all that a worker does, and apart from it what the device does."""
    config = load()
    views: Views = build_random_views(config) if access == "train" else build_fixed_views(config, "test")
    train = access == "train"
    dataset = VideoDataset(
        records=[record],
        views=views,
        seed=0,
        mean=config.data.mean,
        std=config.data.std,
        flip_ratio=config.data.flip_ratio if train else 0.0,
        color_jitter=config.data.color_jitter and train,
    )

    def finish(sample: Sample) -> None:
        flips = torch.tensor([sample.flip])
        jitter = sample.jitter_factors[None], sample.jitter_order[None]
        prepare_clips(sample.views[None], flips, *jitter, mean=dataset.mean, std=dataset.std)

    return Recorded(partial(measure, seeds.ours, lambda seed: dataset[seed, 0], finish))


def read_frames(seeds: Seeds, access: str, record: Record) -> Recorded:
    """Ours: open the file and decode the frames, nothing more."""
    views = build_random_views(load()) if access == "train" else build_fixed_views(load(), "test")

    def read(seed: int) -> None:
        with VideoFile(record.path) as video:
            wanted = np.unique(views.indices(len(video), np.random.default_rng([0, seed, 0])))
            for _ in video.each(wanted):
                pass

    return Recorded(partial(measure, seeds.ours, read, None))


def read_in_order(seeds: Seeds, access: str, path: Path) -> Recorded:
    """What is simplest: decode from the start, convert the frames wanted, stop at the last."""
    views = build_random_views(load()) if access == "train" else build_fixed_views(load(), "test")

    def read(seed: int) -> None:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            wanted = set(views.indices(stream.frames, np.random.default_rng([0, seed, 0])).ravel().tolist())
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    frame.reformat(format="rgb24", threads=1).to_ndarray()
                if number == max(wanted):
                    break

    return Recorded(partial(measure, seeds.ours, read, None))


def floor(path: Path) -> dict[str, Recorded]:
    """The whole file decoded by ffmpeg, where there is one, or else by PyAV."""
    if ffmpeg := shutil.which("ffmpeg"):
        command = [ffmpeg, "-v", "error", "-threads", "1", "-i", str(path), "-f", "null", "-"]

        def run_ffmpeg() -> Seconds:
            before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(command, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            return cpu, time.perf_counter() - wall, 0.0

        return {"the whole file (ffmpeg -f null)": Recorded(run_ffmpeg)}

    def decode(seed: int) -> None:
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for _ in container.decode(video=0):
                pass

    return {"the whole file (PyAV)": Recorded(partial(measure, [0], decode, None))}


def measure(seeds: list[int], read: Callable, finish: Callable | None) -> Seconds:
    """The average over the seeds."""
    cpu = wall = device = 0.0
    for seed in seeds:
        started, clock = time.process_time(), time.perf_counter()
        sample = read(seed)
        cpu += time.process_time() - started
        wall += time.perf_counter() - clock
        if finish is not None:
            started = time.process_time()
            finish(sample)
            device += time.process_time() - started
    return cpu / len(seeds), wall / len(seeds), device / len(seeds)


def start_peer() -> subprocess.Popen | None:
    """MMAction2's pipelines in their own process; None where MMACTION2_PYTHON names no Python."""
    python = os.environ.get(MMACTION2)
    if not python:
        return None
    process = start(python, "mmaction2_input_worker.py")
    ask(process, json.dumps({"recipe": SLOWONLY}))
    return process


def ask_peer(
    process: subprocess.Popen, seeds: Seeds, access: str, path: Path, frames: int | None, *, decode_only: bool
) -> Recorded:
    job = {"access": access, "path": str(path), "frames": frames, "decode_only": decode_only}

    def run() -> Seconds:
        answer = json.loads(ask(process, json.dumps({**job, "seeds": seeds.theirs})))
        assert access == "test" or answer["firsts"] == seeds.wanted, "the two read different frames"
        return answer["cpu"], answer["wall"], 0.0

    return Recorded(run)


if __name__ == "__main__":
    main()

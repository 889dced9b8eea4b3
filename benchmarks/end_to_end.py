"""From video files on the disk to scores, and to trained weights: ours beside MMAction2 where it is at hand.

python benchmarks/end_to_end.py                              # the 30-view test, and training, of SlowOnly-TPN 8x8
python benchmarks/end_to_end.py --mode test --videos FOLDER  # of your own videos
MMACTION2_PYTHON=…/bin/python python benchmarks/end_to_end.py
"""

import argparse
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from peers import SLOWONLY, Contender, mmaction2, ours
from timing import interleave, report, write_tables
from videos import write_videos

from tpn.data.workers import usable_workers


def main() -> None:
    options = arguments()
    with TemporaryDirectory() as folder:
        tables = [compare(mode, options, Path(folder)) for mode in options.mode]
    write_tables(tables, options.out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=SLOWONLY, help="name of a recipe in configs/recognition/tpn")
    parser.add_argument("--mode", nargs="+", choices=["test", "train"], default=["test", "train"])
    parser.add_argument("--videos", type=Path, help="folder of video files; default: made, like those of Kinetics")
    parser.add_argument("--num-videos", type=int, default=2, help="videos in a run of the test")
    parser.add_argument("--num-clips", type=int, default=8, help="clips in a run of the training")
    parser.add_argument("--batch", type=int, default=2, help="clips in a training step")
    parser.add_argument("--views", type=int, default=30, help="views of a test video: three crops where 3 divides it")
    parser.add_argument("--size", type=int, default=256, help="side of a test view; training takes 7/8 of it")
    parser.add_argument("--workers", type=int, default=usable_workers(8), help="data workers, of every contender")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], help="ours run in these")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small views and one round: does it run?")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    if options.quick:
        small = {"num_videos": 1, "num_clips": 2, "views": 3, "size": 64, "workers": 0, "rounds": 1}
        vars(options).update(small)
    return options


def compare(mode: str, options: argparse.Namespace, folder: Path) -> dict:
    """Run every contender in turns over one list; print the table, and give its record."""
    units = options.num_videos if mode == "test" else options.num_clips
    contenders = start(mode, options, folder, units)
    noun = "videos" if mode == "test" else "clips"
    what = f"{options.views} views of {options.size}" if mode == "test" else f"batches of {options.batch}"
    try:
        return report(
            f"{options.recipe}, {mode} from files: {units} {noun} a run, {what}, {options.workers} workers",
            interleave(contenders, rounds=options.rounds),
            columns={
                f"{noun}/s": lambda name, median: f"{units / median:.3g}",
                "peak MiB": lambda name, median: str(contenders[name].peak_mib),
            },
            out=None,
        )
    finally:
        for contender in contenders.values():
            contender.end()


def start(mode: str, options: argparse.Namespace, folder: Path, units: int) -> dict[str, Contender]:
    """The reference where there is one, then ours in each dtype."""
    crops = 3 if options.views % 3 == 0 else 1
    job = {
        "recipe": options.recipe,
        "mode": mode,
        "folder": str(folder),
        "ann_file": str(write_list(folder, options.videos, units)),
        "data_prefix": str(options.videos or folder),
        "size": options.size,
        "train_size": options.size * 7 // 8,
        "num_crops": crops,
        "num_clips": options.views // crops,
        "batch": options.batch,
        "workers": options.workers,
    }
    return {
        **mmaction2("mmaction2_files_worker.py", job),
        **{f"tpn, {dtype}": ours("tpn_worker.py", {**job, "dtype": dtype}) for dtype in options.dtypes},
    }


def write_list(folder: Path, videos: Path | None, units: int) -> Path:
    """A list of as many lines: of the folder's videos, which are repeated if need be, or of videos made for it."""
    if videos is None:
        names = write_videos(folder, number=min(units, 4))
    else:
        names = sorted(path.name for path in videos.iterdir() if path.suffix in {".mp4", ".avi", ".mkv", ".webm"})
    path = folder / f"{units}.txt"
    path.write_text("".join(f"{name} 0\n" for name in islice(cycle(names), units)), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()

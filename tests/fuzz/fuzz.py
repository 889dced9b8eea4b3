"""Fuzzing: damaged configs, list files and videos end in an error of ours, in time, in little memory, never in a crash.

    python tests/fuzz/fuzz.py configs --seed 1 --inputs 100000
    python tests/fuzz/fuzz.py lists --seed 1 --inputs 100000
    python tests/fuzz/fuzz.py videos --seed 1 --inputs 2000
    python tests/fuzz/fuzz.py configs --guided --inputs 100000    (by coverage; needs `pip install atheris`)

Input n of a seed is always the same bytes. What is found is kept in the folder `found`, named by kind, seed and number.
"""

import argparse
import faulthandler
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tpn.config.load import load_config  # noqa: E402
from tpn.data.annotations import read_list  # noqa: E402
from tpn.data.decode import VideoFile  # noqa: E402
from tpn.errors import ConfigError, DataError  # noqa: E402

SECONDS = {"configs": 5.0, "lists": 5.0, "videos": 20.0}  # that one input may take, on a busy machine
MEMORY = 600  # MiB that a process may grow by
CODECS = {
    "mp4": "libx264",
    "avi": "mpeg4",
    "webm": "libvpx",
    "mkv": "libx264",
    "mov": "mjpeg",
    "vp9.webm": "libvpx-vp9",
}

CONFIG_WORDS = r"""_base_ _delete_ dict ( ) [ ] { } = : , ' " # \ ** * // % - ~ not True False None range(9) f'{x}'
9999999999999999999 1e999 -1 0 0.5 model backbone type ResNet3dSlowOnly ResNetTSM neck temporal_scales cls_head lambda
num_classes data ann_file clip_len (8,8) lr_config step policy cosine {{fileDirname}} é x = y; import"""
LIST_WORDS = """-1 0 1e3 99999999999999999999999999999 .. / ../ é a.mp4 " [ {"""
SPACES = ["\n", " ", "\t", "\0", "\n    ", "\r\n", "\ufeff", "\u2028"]
JSON = '[{"frame_dir": "a b", "total_frames": 120, "label": [3]}, {"filename": "b.mp4", "label": 1}]'


# ----------------------------------------------------------------------------------------------------- seeds and damage


def encoded(words: str) -> list[bytes]:
    return [word.encode() for word in [*words.split(), *SPACES]]


def config_seeds() -> list[bytes]:
    recipes = sorted((ROOT / "configs").rglob("*tpn_*.py"))
    return [recipe.read_bytes().replace(b"_base_", b"_nobase_") for recipe in recipes] + [
        b"model = dict(backbone=dict(type='ResNetTSM'), cls_head=dict(num_classes=4))\n"
        b"data = dict(format='videos', clip_len=1, num_clips=8, train=dict(ann_file='a'), val=dict(ann_file='a'), "
        b"test=dict(ann_file='a'))\nlr_config = dict(policy='step', step=(1, 2))\ntotal_epochs = 3\n",
        b"x = [dict(a=i) for i in range(3)]\ny = dict(**x[0], b=f'{x[1]}')\nz = {1: -2.5, 'a': (None, True)}\n",
    ]


def list_seeds() -> list[bytes]:
    return [b"a/1.mp4 3\nb c/2.mp4\t0\n\n", b"a/1 120 3\nb c 7 0\r\n", JSON.encode()]


def video_seeds() -> list[bytes]:
    """Twenty moving frames in each container."""
    frames = np.random.default_rng(0).integers(0, 256, (48, 104, 3), dtype=np.uint8)
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in CODECS.items():
            path = Path(folder, f"a.{suffix}")
            with av.open(str(path), "w") as container:
                stream = container.add_stream(codec, rate=25, options={"threads": "1", "g": "7"})
                stream.width, stream.height = 64, 48
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                for at in range(20):
                    image = np.ascontiguousarray(frames[:, 2 * at : 2 * at + 64])
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                container.mux(stream.encode(None))
            seeds.append(path.read_bytes())
    return seeds


def damaged(data: bytes, other: bytes, words: list[bytes], rng: np.random.Generator) -> bytes:
    """The bytes with one to eight changes: flips, cuts, insertions, repetitions, words, pieces of another file."""
    for _ in range(rng.integers(1, 9)):
        at, length = int(rng.integers(len(data) + 1)), int(2 ** rng.uniform(0, 10))
        piece, start = data[at : at + length], int(rng.integers(max(1, len(other) - length)))
        change = rng.integers(8)
        if change == 0:  # flip bits, in the first bytes (headers) as often as anywhere
            where = int(rng.integers(min(len(data), 2000) if rng.random() < 0.5 else len(data))) if data else 0
            data = (
                data[:where]
                + bytes(byte ^ (1 << int(rng.integers(8))) for byte in data[where : where + 1])
                + data[where + 1 :]
            )
        elif change == 1:
            data = data[:at] + data[at + length :]
        elif change == 2:
            data = data[:at] + rng.bytes(min(length, 64)) + data[at:]
        elif change == 3:
            data = data[:at] + piece * int(rng.integers(2, 5)) + data[at + length :]
        elif change == 4:
            data = data[:at] + other[start : start + length] + data[at + length * int(rng.integers(2)) :]
        elif change == 5 and rng.random() < 0.3:
            data = data[:at]
        elif change == 6:  # a number gone wild, as in a header's sizes and counts
            wild = [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0", rng.bytes(4)]
            data = data[:at] + wild[int(rng.integers(len(wild)))] + data[at + 4 :]
        elif words:
            data = data[:at] + words[int(rng.integers(len(words)))] + data[at:]
    return data


# ---------------------------------------------------------------------------------------------------------- the targets


def read_config(data: bytes, folder: Path) -> None:
    path = folder / "fuzz.py"
    path.write_bytes(data)
    try:
        load_config(path)
    except ConfigError as error:
        assert len(str(error)) < 100_000


def read_lists(data: bytes, folder: Path) -> None:
    path = folder / ("list.json" if data[:1] in b"[{" else "list.txt")
    path.write_bytes(data)
    for format in ("videos", "rawframes"):
        for prefix in ("", folder):
            try:
                records = read_list(
                    path, data_prefix=prefix, format=format, num_classes=10, check_files=len(data) % 2 == 0
                )
                assert all(0 <= record.label < 10 for record in records)
                assert not prefix or all(Path(record.path).is_relative_to(prefix) for record in records)
            except DataError as error:
                assert len(str(error)) < 10_000


def read_video(data: bytes, folder: Path) -> None:
    path = folder / "fuzz.mp4"
    path.write_bytes(data)
    try:
        with VideoFile(path) as video:
            frames = video.read(sorted({0, len(video) // 2, len(video) - 1}))
            assert frames.dtype == np.uint8 and frames.ndim == 4
    except DataError as error:
        assert str(path) in str(error)


Target = Callable[[bytes, Path], None]
TARGETS: dict[str, tuple[Target, Callable[[], list[bytes]], list[bytes]]] = {
    "configs": (read_config, config_seeds, encoded(CONFIG_WORDS)),
    "lists": (read_lists, list_seeds, encoded(LIST_WORDS)),
    "videos": (read_video, video_seeds, []),
}


def make_input(seeds: list[bytes], words: list[bytes], *, seed: int, number: int) -> bytes:
    rng = np.random.default_rng([seed, number])
    first, second = rng.integers(len(seeds), size=2)
    return damaged(seeds[first], seeds[second], words, rng)


# ----------------------------------------------------------------------------------------------------------- the runs


def work(kind: str, seeds: list[bytes], seed: int, numbers: range, pipe: Connection) -> None:
    """In a process of its own: try inputs, tell the number of each before, and what went wrong."""
    target, _, words = TARGETS[kind]
    faulthandler.enable(sys.stderr)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            data, problem = make_input(seeds, words, seed=seed, number=number), ""
            pipe.send((number, None))
            try:
                target(data, Path(folder))
            except BaseException:
                problem = traceback.format_exc()
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
            if grown > MEMORY:
                problem, before = f"the process has grown by {grown} MiB\n{problem}", before + grown * 1024
            if problem:
                pipe.send((number, problem))
    pipe.send((numbers.stop, None))


def fuzz(kind: str, *, seed: int, start: int, inputs: int) -> list[str]:
    """Try the inputs one after the other, in child processes that may crash or hang; return what went wrong."""
    seeds, words, found = TARGETS[kind][1](), TARGETS[kind][2], []
    context, number, stop = multiprocessing.get_context("fork"), start, start + inputs

    def note(number: int, problem: str) -> None:
        found.append(f"{kind}, seed {seed}, input {number}: {problem}")
        print(found[-1], flush=True)
        (ROOT / "found").mkdir(exist_ok=True)
        (ROOT / "found" / f"{kind}_{seed}_{number}").write_bytes(make_input(seeds, words, seed=seed, number=number))

    while number < stop:
        receiving, sending = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(kind, seeds, seed, range(number, stop), sending))
        child.start()
        sending.close()
        try:
            while number < stop:
                if not receiving.poll(SECONDS[kind]):
                    note(number, f"took more than {SECONDS[kind]:g} s")
                    number += 1
                    break
                number, problem = receiving.recv()
                if problem:
                    note(number, problem)
        except EOFError:
            child.join()
            note(number, f"ended the process with {child.exitcode}")
            number += 1
        finally:
            child.kill()
            child.join()
    return found


def guided(kind: str, inputs: int) -> None:
    """Let atheris look for inputs that reach new code; it ends at the first that goes wrong."""
    import atheris

    target, seeds, words = TARGETS[kind]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, data in enumerate(seeds()):
            (corpus / str(number)).write_bytes(data)
        dictionary = Path(folder, "words")
        escaped = ["".join(f"\\x{byte:02x}" for byte in word) for word in words if word]
        dictionary.write_text("".join(f'"{word}"\n' for word in escaped))
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], f"-runs={inputs}", f"-dict={dictionary}", f"-timeout={SECONDS[kind]:g}",
                       "-max_len=8192", str(corpus)], lambda data: target(data, Path(folder)))  # fmt: skip
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=TARGETS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first input")
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--guided", action="store_true")
    arguments = parser.parse_args()
    if arguments.guided:
        guided(arguments.kind, arguments.inputs)
        return
    started = time.monotonic()
    found = fuzz(arguments.kind, seed=arguments.seed, start=arguments.start, inputs=arguments.inputs)
    seconds = time.monotonic() - started
    print(f"{arguments.inputs} {arguments.kind}, seed {arguments.seed}: {len(found)} went wrong, {seconds:.0f} s")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

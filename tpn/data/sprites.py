"""The demo's data set: small videos of a moving sprite whose class is the direction of time, made on disk.

Six classes form three mirror pairs. A video is drawn (sprite, start phase, tempo, background, noise) and rendered
before its direction is known; the mirror class plays what was rendered backwards. The phase is uniform and the noise
independent from frame to frame, so clips of one class are distributed exactly as reversed clips of the other: they
are the same unordered frames, and no model blind to frame order can expect more than 50 %. Coding cannot give time
away either: every frame is an intra frame with a constant quantiser, so its pixels depend on that frame alone, not on
its neighbours.
"""

import colorsys
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np

from tpn.errors import DataError

VERSION = 1  # raise it when the same parameters would give other frames
SIZE = 32  # pixels, height and width
NUM_FRAMES = 128
FRAME_RATE = 30
PERIOD = 64  # frames of one cycle at tempo 1
TEMPO_OCTAVES = 0.75  # tempo = 2**u, |u| <= this: at most 0.42 cycle in 16 frames, so stride 16 does not alias
NOISE = 6.0  # standard deviation, grey levels
DETAIL = 4  # sprites are drawn DETAIL times larger and averaged down
MARGIN = 8  # pixels; more than any sprite sticks out above or below
# Every frame is a key frame with a constant quantiser. Longer groups of pictures would halve the files, but a predicted
# frame carries traces of the one before it, and reading one frame would mean decoding all before it in its group.
ENCODER = {"preset": "veryfast", "qp": "34", "g": "1"}

# ----------------------------------------------------------------------------------------------------- what can be seen


class Motion(NamedTuple):
    """What one cycle changes: how far the sprite goes right, how much it turns clockwise, and how much it grows."""

    shift: float = 0.0  # pixels
    turn: float = 0.0  # radians
    arm: float = 0.0  # from the point it turns about to its centre, in sizes
    growth: float = 0.0  # in sizes, from 1 - growth / 2 to 1 + growth / 2, then the cycle starts again


MOVE = Motion(shift=SIZE)  # wraps around
ROTATE = Motion(turn=2 * np.pi, arm=0.4)  # like the hand of a clock
GROW = Motion(growth=1.0)

CLASSES: dict[str, tuple[Motion, int]] = {
    "move left": (MOVE, -1),
    "move right": (MOVE, +1),
    "rotate clockwise": (ROTATE, +1),
    "rotate counter-clockwise": (ROTATE, -1),
    "grow": (GROW, +1),
    "shrink": (GROW, -1),
}
"""Name, in label order: motion, and +1 as rendered or -1 played backwards."""


def arc(start: float, stop: float, radius: float) -> list[tuple[float, float]]:
    angles = np.linspace(start, stop, 16)
    return [(radius * float(np.cos(angle)), radius * float(np.sin(angle))) for angle in angles]


SHAPES = [
    np.array([(0.5, 0), (0, 0.5), (0, 0.2), (-0.5, 0.2), (-0.5, -0.2), (0, -0.2), (0, -0.5)]),  # arrow
    np.array([(-0.5, -0.5), (-0.1, -0.5), (-0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (-0.5, 0.5)]),  # boot
    np.array(arc(0, np.pi, 0.55)),  # half disc
    np.array([(0.75, 0), *arc(np.pi / 3, 5 * np.pi / 3, 0.35)]),  # drop
]
"""Outlines, about 1 wide, around (0, 0). None looks the same after less than a full turn."""


@dataclass(frozen=True)
class Sprite:
    """A shape, its colour and where it is at the start of a cycle."""

    shape: int
    colour: tuple[float, float, float]  # RGB, 0 to 255
    x: float
    y: float
    size: float
    angle: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Sprite":
        red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.2, 0.7), 1.0)
        return cls(
            shape=int(rng.integers(len(SHAPES))),
            colour=(255 * red, 255 * green, 255 * blue),
            x=rng.uniform(9, SIZE - 9),
            y=rng.uniform(9, SIZE - 9),
            size=rng.uniform(8, 14),
            angle=rng.uniform(0, 2 * np.pi),
        )

    def outlines(self, motion: Motion, phases: np.ndarray) -> np.ndarray:
        """Corners (F, V, 2) as x, y in pixels at each phase (F,), in cycles from 0 to 1."""
        phases = phases[:, None]
        angle = self.angle + motion.turn * phases
        size = self.size * (1 + motion.growth * (phases - 0.5))
        x, y = SHAPES[self.shape].T  # the image's y points down, so a growing angle turns clockwise
        x = x + motion.arm
        columns = (self.x + motion.shift * phases) % SIZE + size * (np.cos(angle) * x - np.sin(angle) * y)
        rows = self.y + size * (np.sin(angle) * x + np.cos(angle) * y)
        return np.stack([columns, rows], axis=-1)


def draw_masks(outlines: np.ndarray) -> np.ndarray:
    """Coverage (F, SIZE, SIZE, 1) float32, 0 to 1, by polygons (F, V, 2); what leaves on one side returns on the other.

    All frames are drawn at once on a film strip, each between two margins: one call is much faster than one per frame.
    """
    pitch = SIZE + 2 * MARGIN
    offsets = np.array(
        [[(wrap, MARGIN + pitch * frame) for frame in range(len(outlines))] for wrap in (-SIZE, 0, SIZE)]
    )
    corners = (outlines + offsets[:, :, None]) * DETAIL - 0.5  # OpenCV's pixel centres lie on whole numbers
    corners = np.rint(16 * corners).astype(np.int32).reshape(-1, *outlines.shape[1:])  # its 4 fractional bits
    strip = np.zeros((len(outlines) * pitch * DETAIL, SIZE * DETAIL), np.uint8)
    cv2.fillPoly(strip, list(corners), 255, shift=4)
    strip = cv2.resize(strip, (SIZE, len(outlines) * pitch), interpolation=cv2.INTER_AREA)
    return strip.reshape(-1, pitch, SIZE, 1)[:, MARGIN:-MARGIN].astype(np.float32) / 255


def draw_background(rng: np.random.Generator) -> np.ndarray:
    """A dark cloudy texture, (SIZE, SIZE, 3) float32."""
    coarse = rng.normal(50, 15, (SIZE // 4, SIZE // 4, 3)).astype(np.float32)
    return cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def draw_phases(rng: np.random.Generator) -> np.ndarray:
    """Phase of each frame (NUM_FRAMES,), in cycles from 0 to 1; uniform at every frame, as the start is."""
    phase, tempo = rng.uniform(), 2 ** rng.uniform(-TEMPO_OCTAVES, TEMPO_OCTAVES)
    return (phase + tempo / PERIOD * np.arange(NUM_FRAMES)) % 1.0


def render(motion: Motion, rng: np.random.Generator, *, noise: float = NOISE) -> np.ndarray:
    """One video played forwards, (NUM_FRAMES, SIZE, SIZE, 3) uint8 RGB."""
    background, distractor, sprite = draw_background(rng), Sprite.draw(rng), Sprite.draw(rng)
    phases = draw_phases(rng)
    still = paint(background, distractor.outlines(Motion(), np.zeros(1)), distractor.colour)
    frames = paint(still, sprite.outlines(motion, phases), sprite.colour)
    frames += noise * rng.standard_normal((NUM_FRAMES, SIZE, SIZE, 1), dtype=np.float32)
    return np.rint(frames).clip(0, 255).astype(np.uint8)


def paint(below: np.ndarray, outlines: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """Fill polygons (F, V, 2) over frames that broadcast with (F, SIZE, SIZE, 3)."""
    return below + draw_masks(outlines) * (np.array(colour, np.float32) - below)


def video_frames(label: int, rng: np.random.Generator, *, noise: float = NOISE) -> np.ndarray:
    """One video of a class, (NUM_FRAMES, SIZE, SIZE, 3) uint8 RGB. The direction is applied last."""
    motion, direction = list(CLASSES.values())[label]
    return render(motion, rng, noise=noise)[::direction]


def write_video(path: Path, frames: np.ndarray) -> None:
    """Write frames (F, H, W, 3) uint8 RGB as H.264 in mp4, every frame on its own."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE, options=ENCODER)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"  # plays everywhere
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


# --------------------------------------------------------------------------------------------------------- the data set


def make_sprites(
    folder: Path,
    *,
    num_train: int,
    num_val: int,
    num_test: int,
    seed: int,
    workers: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Make the data set in `folder`, or leave it as it is when it is already there.

    `folder` receives videos/{train,val,test}/NNNNN.mp4, a list file per split (`videos/train/00000.mp4 label`, to be
    used with `data_prefix=folder`), labels.txt and sprites.json. Labels take turns, so classes are balanced. A video
    depends on seed, split and number alone: not on `workers` (threads), nor on how many others there are.

    progress: called with the number of videos written so far.
    Raises DataError where `folder` holds anything that is not of an older set of sprites, or PyAV cannot write H.264.
    """
    folder = folder.resolve()
    splits = {"train": num_train, "val": num_val, "test": num_test}
    parameters = {"version": VERSION, "seed": seed, "classes": list(CLASSES), **splits}
    if is_complete(folder, parameters):
        return
    check_replaceable(folder)
    if "libx264" not in av.codecs_available:
        raise DataError("PyAV has no libx264 here, so it cannot write H.264: install the `av` wheel with pip")
    part = folder.with_name(f".{folder.name}.sprites.part")  # beside the folder: moving it there at the end is a rename
    shutil.rmtree(part, ignore_errors=True)
    write_set(part / "new", splits=splits, seed=seed, workers=workers, progress=progress)
    (part / "new" / "sprites.json").write_text(json.dumps(parameters, indent=2) + "\n")
    if folder.exists():
        folder.rename(part / "old")
    (part / "new").rename(folder)
    shutil.rmtree(part)


def write_set(
    folder: Path, *, splits: dict[str, int], seed: int, workers: int, progress: Callable[[int], None] | None
) -> None:
    """Videos and lists of a new set. Threads suffice: drawing and encoding spend their time outside Python's lock."""
    folder.mkdir(parents=True)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    for split, count in splits.items():
        (folder / "videos" / split).mkdir(parents=True)
        lines = (f"{video_path(split, number)} {number % len(CLASSES)}\n" for number in range(count))
        (folder / f"{split}.txt").write_text("".join(lines))

    def write(video: tuple[int, str, int]) -> None:
        split_index, split, number = video
        rng = np.random.default_rng([seed, split_index, number])
        write_video(folder / video_path(split, number), video_frames(number % len(CLASSES), rng))

    with ThreadPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(write, list_videos(splits)), start=1):
            if progress is not None:
                progress(done)


def list_videos(splits: dict[str, int]) -> Iterator[tuple[int, str, int]]:
    for split_index, (split, count) in enumerate(splits.items()):
        for number in range(count):
            yield split_index, split, number


def video_path(split: str, number: int) -> str:
    return f"videos/{split}/{number:05}.mp4"


def is_complete(folder: Path, parameters: dict[str, Any]) -> bool:
    """Whether `folder` holds the set of these parameters with every video in place."""
    splits = {split: parameters[split] for split in ("train", "val", "test")}
    return read_parameters(folder) == parameters and all(
        (folder / video_path(split, number)).is_file() for _, split, number in list_videos(splits)
    )


def read_parameters(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "sprites.json").read_text())
    except (OSError, ValueError):
        return None


def check_replaceable(folder: Path) -> None:
    """Only an empty folder or an older set may be replaced: never somebody's files."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file: choose an empty folder for the sprites")
    ours = {"videos", "train.txt", "val.txt", "test.txt", "labels.txt", "sprites.json"}
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    strangers = found - ours if read_parameters(folder) else found
    if strangers:
        raise DataError(f"{folder} holds {min(strangers)!r}, which is not of a set of sprites: choose an empty folder")

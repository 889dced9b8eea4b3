"""Pictures: the curves of a run, a prediction as frames above the five likeliest classes, and where time goes."""

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tpn.errors import DataError
from tpn.plot import BLUE, GREEN, GRID, INK, MUTED, ORANGE, RGB, Canvas, Curve, blend, draw_panel, shorten, text_width

Row = dict[str, Any]


def read_logs(log_jsons: Sequence[Path]) -> tuple[Row, list[Row], list[Row]]:
    """The meta, the train rows and the val rows of the `.log.json` files of one training, ours or MMAction2's.

    The files come oldest first. A run that was resumed, or begun again, repeats steps: its rows replace what was
    written before from its first row on. What is no whole JSON line, such as the last of a killed run, is left out.
    Raises DataError for a file that cannot be read and where there is no row at all.
    """
    meta: Row = {}
    rows: list[Row] = []
    for value in (value for path in log_jsons for value in read_objects(path)):
        if is_row(value):
            while rows and position(rows[-1]) >= position(value):
                rows.pop()
            rows.append(value)
        elif "mode" not in value:
            meta = value
    if not rows:
        raise DataError(f"{', '.join(map(str, log_jsons))}: no line is about a training step or a validation")
    return meta, [row for row in rows if row["mode"] == "train"], [row for row in rows if row["mode"] == "val"]


def read_objects(log_json: Path) -> list[Row]:
    """The lines of the file that are JSON objects."""
    try:
        lines = log_json.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{log_json}: cannot be read ({error.strerror})") from error
    return [value for value in map(parse_line, lines) if isinstance(value, dict)]


def parse_line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def is_row(value: Row) -> bool:
    return value.get("mode") in ("train", "val") and all(isinstance(value.get(key), int) for key in ("epoch", "iter"))


def position(row: Row) -> tuple[int, bool, int]:
    """Where a row stands in the training: a validation comes after the steps of its epoch."""
    return row["epoch"], row["mode"] == "val", row["iter"]


# ------------------------------------------------------------------------------------------------------------- curves


def draw_curves(log_jsons: Sequence[Path], png: Path) -> None:
    """Draw loss, accuracies and learning rate of a training over its epochs, 1400 x 900 pixels.

    `log_jsons` and errors as `read_logs`; UserError where the picture cannot be written.
    """
    meta, train, val = read_logs(log_jsons)
    canvas = Canvas.blank(1400, 900)
    canvas.text(Path(str(meta.get("config_name", log_jsons[0].name.split(".")[0]))).stem, 70, 44, size=26, bold=True)
    canvas.text(summary(train, val), 70, 80, size=15, colour=MUTED)
    mean_class = replace(curve(val, "mean_class_accuracy", ORANGE, "mean class"), width=2)  # thin, as it hides top-1
    accuracies = [curve(val, "top1_acc", BLUE, "top-1"), curve(val, "top5_acc", GREEN, "top-5"), mean_class]
    lr = curve(train, "lr", GREEN)
    panels = [
        ("Training loss", with_means(curve(train, "loss", BLUE)), False),
        ("Validation accuracy (%)", accuracies, False),
        ("Training top-1 accuracy (%)", with_means(curve(train, "top1_acc", BLUE)), False),
        ("Learning rate", [lr], is_stepwise(lr.y)),
    ]
    places = [(70, 160), (760, 160), (70, 560), (760, 560)]
    for (title, curves, is_log), (left, top) in zip(panels, places, strict=True):
        draw_panel(canvas, left, top, left + 590, top + 260, title=title, curves=curves, x_label="epoch",
                   x_high=max(1, *(row["epoch"] for row in train + val)), is_log=is_log)  # fmt: skip
    canvas.save(png)


def summary(train: list[Row], val: list[Row]) -> str:
    """Where the run stands, in a line."""
    facts = [f"epoch {max(row['epoch'] for row in train + val)}"]
    if len(losses := with_means(curve(train, "loss", BLUE))[-1].y):
        facts.append(f"loss {losses[-1]:.3f}")
    top1 = curve(val, "top1_acc", BLUE)
    if len(top1.y):
        best = int(top1.y.argmax())
        facts.append(f"best top-1 {top1.y[best]:.2f}% at epoch {top1.x[best]:.0f}")
    return ",  ".join(facts)


def curve(rows: list[Row], key: str, colour: RGB, legend: str = "") -> Curve:
    """The values of a key over the epochs done; accuracies in per cent; what is absent or not finite is left out."""
    iters_per_epoch = max((row["iter"] for row in rows), default=1) or 1
    points = [
        (row["epoch"] - 1 + row["iter"] / iters_per_epoch, row[key] * (100 if "acc" in key else 1))
        for row in rows
        if isinstance(row.get(key), int | float) and math.isfinite(row[key])
    ]
    x, y = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return Curve(x, y, colour, legend, dots=len(x) <= 60)


def with_means(noisy: Curve) -> list[Curve]:
    """The curve made faint, and the means of its neighbours in front of it."""
    if len(noisy.y) < 20:
        return [noisy]
    kernel = np.ones(2 * max(2, len(noisy.y) // 120) + 1)
    means = np.convolve(noisy.y, kernel, "same") / np.convolve(np.ones_like(noisy.y), kernel, "same")
    return [
        replace(noisy, legend="as logged", faint=True, dots=False, width=2),
        replace(noisy, y=means, legend="smoothed", dots=False),
    ]


def is_stepwise(lr: np.ndarray) -> bool:
    """A schedule of a few steps over orders of magnitude reads best on a logarithmic axis."""
    return 2 <= len(np.unique(lr)) <= 8 and lr.min() > 0 and lr.max() / lr.min() >= 10


# --------------------------------------------------------------------------------------------------------- prediction


FRAMES_PER_ROW, WIDTH, MARGIN, GAP = 8, 1200, 24, 6


def draw_prediction(frames: np.ndarray, names: Sequence[str], probs: np.ndarray, png: Path, *, note: str = "") -> None:
    """Draw the frames of a view above bars of its five most probable classes, 1200 pixels wide.

    frames (T, H, W, 3) uint8 RGB; names and probs (num_classes,), in label order; a note below the frames.
    """
    strip = frame_strip(frames)
    top = np.argsort(-probs, kind="stable")[:5]
    bars_top = MARGIN + strip.shape[0] + (62 if note else 36)
    canvas = Canvas.blank(WIDTH, bars_top + 44 * len(top) + MARGIN // 2)
    canvas.image(strip, (WIDTH - strip.shape[1]) // 2, MARGIN)
    canvas.text(note, MARGIN, MARGIN + strip.shape[0] + 24, size=15, colour=MUTED)
    labels = [shorten(names[int(index)], 420, size=18) for index in top]
    left = MARGIN + max(text_width(label, 18, bold=True) for label in labels) + 20
    right = WIDTH - MARGIN - 90
    for rank, (label, prob) in enumerate(zip(labels, probs[top], strict=True)):
        y, is_first = bars_top + 44 * rank + 12, rank == 0
        canvas.text(label, left - 20, y, size=18, align="right", bold=is_first)
        canvas.box(left, y - 12, right, y + 12, blend(GRID, 0.6))
        canvas.box(left, y - 12, left + (right - left) * float(prob), y + 12, BLUE if is_first else blend(BLUE, 0.45))
        canvas.text(
            f"{prob:.1%}", WIDTH - MARGIN, y, size=18, colour=INK if is_first else MUTED, align="right", bold=is_first
        )
    canvas.save(png)


def frame_strip(frames: np.ndarray) -> np.ndarray:
    """(height, width, 3): the frames in rows of eight. Small ones are enlarged up to 4 times, pixel by pixel."""
    columns = min(len(frames), FRAMES_PER_ROW)
    room = (WIDTH - 2 * MARGIN + GAP) // columns - GAP
    height, width = frames.shape[1:3]
    if width <= room:
        factor = max(1, min(4, room // width))
        scaled = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    else:
        size = room, max(1, round(height * room / width))
        scaled = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
    height, width = scaled.shape[1:3]
    rows = math.ceil(len(frames) / columns)
    strip = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, dtype=np.uint8)
    for index, frame in enumerate(scaled):
        y, x = (index // columns) * (height + GAP), (index % columns) * (width + GAP)
        strip[y : y + height, x : x + width] = frame
    return strip


# ------------------------------------------------------------------------------------------------------------- profile


def draw_profile(title: str, subtitle: str, groups: Mapping[str, Mapping[str, float]], verdict: str, png: Path) -> None:
    """Draw how long phases take, one after the other, 1200 pixels wide: groups, by their headings, of ms by phase."""
    row, heading = 34, 62
    lines = textwrap.wrap(verdict, 120)
    height = 84 + sum(heading + row * len(phases) for phases in groups.values()) + 60 + 26 * len(lines)
    canvas = Canvas.blank(WIDTH, height)
    canvas.text(title, MARGIN, 40, size=26, bold=True)
    canvas.text(subtitle, MARGIN, 74, size=15, colour=MUTED)
    top = 84
    for (name, phases), colour in zip(groups.items(), (BLUE, ORANGE), strict=True):
        canvas.text(f"{name}: {sum(phases.values()):.1f} ms", MARGIN, top + heading - 26, size=17, bold=True)
        draw_phases(canvas, top + heading, row, phases, colour)
        top += heading + row * len(phases)
    for number, line in enumerate(lines):
        canvas.text(line, MARGIN, top + 48 + 26 * number, size=17)
    canvas.save(png)


def draw_phases(canvas: Canvas, top: int, row: int, phases: Mapping[str, float], colour: RGB) -> None:
    """A bar for each phase, beginning where the one before it ends; the longest in full colour."""
    left, right = 250, WIDTH - MARGIN - 190
    total, longest, done = sum(phases.values()), max(phases.values()), 0.0
    for number, (phase, ms) in enumerate(phases.items()):
        y, is_longest = top + row * number + row / 2, ms == longest
        start, stop = (left + (right - left) * moment / total for moment in (done, done + ms))
        canvas.text(phase, left - 20, y, size=16, align="right", bold=is_longest)
        canvas.box(left, y - 11, right, y + 11, blend(GRID, 0.6))
        canvas.box(start, y - 11, stop, y + 11, colour if is_longest else blend(colour, 0.45))
        ink = INK if is_longest else MUTED
        canvas.text(f"{ms:.1f} ms", WIDTH - MARGIN - 76, y, size=16, colour=ink, align="right", bold=is_longest)
        canvas.text(f"{ms / total:.0%}", WIDTH - MARGIN, y, size=16, colour=ink, align="right", bold=is_longest)
        done += ms

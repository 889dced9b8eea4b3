"""What the logs of several runs say side by side: curves of any logged values, and the time of a training step."""

import difflib
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from tpn.engine.progress import print_line
from tpn.engine.results import check_output_path
from tpn.errors import DataError, UserError
from tpn.plot import BLUE, GREEN, ORANGE, Canvas, Curve, draw_panel, shorten
from tpn.report import Row, read_logs

COLOURS = [BLUE, ORANGE, GREEN, (200, 40, 60), (130, 80, 200), (0, 150, 170), (150, 100, 50), (100, 100, 100)]
WIDTH, PLOT_HEIGHT, LEFT, RIGHT, TOP, LEGEND_ROW = 1000, 520, 90, 960, 60, 28


def plot_logs(
    log_jsons: Sequence[Path],
    *,
    keys: Sequence[str],
    title: str | None,
    legend: Sequence[str] | None,
    out: Path | None,
    console: Console,
) -> Path:
    """Draw values of `.log.json` files, ours or MMAction2's, over the iterations, and say where.

    Args:
        keys: names of values, as top1_acc or loss. A name that training and validation share means training's;
            val/top1_acc and train/top1_acc say which.
        legend: a name for each curve: for all keys of the first log, then of the next. Default: {log}_{key}.
        out: .png or .pdf. Default: beside the first log drawn.
    Returns:
        the file drawn.
    Raises:
        UserError: no log can be read or has such a value (some may not: these are named and left out); too few names;
            a picture that cannot be written.
    """
    names = legend or [f"{log}_{key}" for log in log_jsons for key in keys]
    if len(names) != len(log_jsons) * len(keys):
        raise UserError(f"{len(log_jsons)} logs x {len(keys)} keys are drawn, but --legend names {len(names)} curves")
    found, left_out = find_values(log_jsons, keys)
    first = next(iter(found.values())).log
    out = out or first.with_name(f"{first.name.split('.')[0]}.{'_'.join(keys).replace('/', '_')}.png")
    check_output_path(out, suffixes=[".png", ".pdf"], what="curves")
    for problem in left_out:
        print_line(f"left out: {problem}", console)
    curves = []
    for number, (log, key, x, y) in found.items():
        print_line(f"plot curve of {log}, metric is {key}", console)
        colour = COLOURS[len(curves) % len(COLOURS)]
        curves.append(Curve(x, y, colour, names[number], dots=len(x) <= 60, width=3))
    draw(curves, title or ", ".join(keys), out)
    print_line(f"save curve to: {out}", console)
    return out


class Logged(NamedTuple):
    """The values (N,) of a key in a log, and the iterations (N,) they are of."""

    log: Path
    key: str
    x: np.ndarray
    y: np.ndarray


def find_values(log_jsons: Sequence[Path], keys: Sequence[str]) -> tuple[dict[int, Logged], list[str]]:
    """The values of all keys in the first log, then in the next, by their number in that order; and what is not there.

    Raises DataError for the first log if none can be read, and for a key that is in none of those that can.
    """
    found: dict[int, Logged] = {}
    unread: list[str] = []
    lacking: dict[str, list[str]] = {key: [] for key in keys}
    for place, log in enumerate(log_jsons):
        try:
            _, train, val = read_logs([log])
        except DataError as error:
            unread.append(str(error))
            continue
        for number, key in enumerate(keys, start=place * len(keys)):
            try:
                found[number] = Logged(log, key, *logged_values(log, train, val, key))
            except DataError as error:
                lacking[key].append(str(error))
    for key, problems in lacking.items():
        if all(values.key != key for values in found.values()):
            raise DataError((problems or unread)[0])
    return found, [*unread, *(problem for problems in lacking.values() for problem in problems)]


def logged_values(log: Path, train: list[Row], val: list[Row], key: str) -> tuple[np.ndarray, np.ndarray]:
    """The iterations (N,) at which a value was logged, counted from the start of training, and the values (N,)."""
    mode, _, name = key.rpartition("/")
    candidates = {"train": [train], "val": [val], "": [train, val]}.get(mode, [])
    iters_per_epoch = max((row["iter"] for row in train), default=1)
    for rows in candidates:
        points = [
            (row["epoch"] * iters_per_epoch - (iters_per_epoch - row["iter"]) * (row["mode"] == "train"), value)
            for row in rows
            if isinstance(value := row.get(name), int | float) and math.isfinite(value)
        ]
        if points:
            x, y = np.array(points, dtype=np.float64).T
            return x, y
    known = sorted({name for row in train + val for name in row} - {"mode", "epoch", "iter"})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
    raise DataError(f"{log} does not contain metric {key}; {hint}")


def draw(curves: Sequence[Curve], title: str, out: Path) -> None:
    """One plot under its title and its legend, a line for each curve."""
    plot_top = TOP + LEGEND_ROW * len(curves) + 20
    canvas = Canvas.blank(WIDTH, plot_top + PLOT_HEIGHT + 70)
    canvas.text(shorten(title, RIGHT - LEFT, 20), LEFT, 36, size=20, bold=True)
    for row, curve in enumerate(curves):
        y = TOP + LEGEND_ROW * (row + 0.5)
        canvas.line(np.array([(LEFT, y), (LEFT + 26, y)]), curve.colour, width=6)
        canvas.text(shorten(curve.legend, RIGHT - LEFT - 40), LEFT + 40, y)
    unnamed = [Curve(curve.x, curve.y, curve.colour, dots=curve.dots, width=curve.width) for curve in curves]
    x_high = max(1.0, *(float(curve.x.max()) for curve in curves))
    draw_panel(canvas, LEFT, plot_top, RIGHT, plot_top + PLOT_HEIGHT, title="", curves=unnamed, x_label="iter",
               x_high=x_high)  # fmt: skip
    canvas.save(out)


# -------------------------------------------------------------------------------------------------------- step times


def print_step_times(log_jsons: Sequence[Path], *, include_outliers: bool, console: Console) -> None:
    """Print `step_time_lines` of each log; what cannot be said of some is said. Raises DataError if it is of all."""
    lines, problems = [], []
    for log in log_jsons:
        try:
            lines += step_time_lines(log, include_outliers=include_outliers)
        except DataError as error:
            problems.append(str(error))
    if not lines:
        raise DataError(problems[0])
    for line in [*lines, *(f"left out: {problem}" for problem in problems)]:
        print_line(line, console)


def step_time_lines(log: Path, *, include_outliers: bool) -> list[str]:
    """What MMAction2's cal_train_time says of a log: its slowest and fastest epoch and the mean time of a step.

    Times are those logged, in seconds. The first of every epoch, which contains the start of the workers, is left out
    unless `include_outliers`. Raises DataError where nothing is left.
    """
    times: dict[int, list[float]] = defaultdict(list)
    for row in read_logs([log])[1]:
        if isinstance(row.get("time"), int | float):
            times[row["epoch"]].append(row["time"])
    if not include_outliers:
        times = {epoch: values[1:] for epoch, values in times.items() if len(values) > 1}
    if not times:
        raise DataError(f"{log}: no epoch has two logged times, of which the first is left out; use --include-outliers")
    means = {epoch: float(np.mean(values)) for epoch, values in times.items()}
    slowest, fastest = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    return [
        f"-----Analyze train time of {log}-----",
        f"slowest epoch {slowest}, average time is {means[slowest]:.4f}",
        f"fastest epoch {fastest}, average time is {means[fastest]:.4f}",
        f"time std over epochs is {np.std(list(means.values())):.4f}",
        f"average iter time: {np.mean(np.concatenate(list(times.values()))):.4f} s/iter",
        "",
    ]

"""Draws result files of the benchmarks: a bar for each contender, as long as it is fast beside the first.

python benchmarks/plot.py "One view=benchmarks/results/model.json" --out speed.png
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tpn.plot import BLUE, GRID, INK, MUTED, ORANGE, RGB, Canvas, blend

WIDTH, MARGIN, ROW, HEADING = 1200, 48, 34, 70
LEFT, RIGHT = 330, WIDTH - MARGIN - 200  # of the bars
Row = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", metavar="HEADING=FILE", help="a result file (--out of a benchmark)")
    parser.add_argument("--out", type=Path, required=True, help="the picture, .png or .pdf")
    options = parser.parse_args()
    tables, machines, dates = {}, set(), set()
    for table in options.tables:
        heading, _, file = table.rpartition("=")
        record = json.loads(Path(file).read_text(encoding="utf-8"))
        tables[heading] = record["rows"]
        machines.add(record["machine"])
        dates.add(record["date"])
    draw(tables, "; ".join([*sorted(machines), *sorted(dates)]), options.out)


def draw(tables: Mapping[str, Sequence[Row]], source: str, png: Path) -> None:
    """One group of bars for each table; all bars have one scale, the speed of each group's first row being 1."""
    rows = sum(len(table) for table in tables.values())
    canvas = Canvas.blank(WIDTH, 100 + HEADING * len(tables) + ROW * rows + 30)
    canvas.text(f"Speed, as multiples of {next(iter(tables.values()))[0]['name']}", MARGIN, 40, size=26, bold=True)
    canvas.text(source, MARGIN, 74, size=15, colour=MUTED)
    fastest = max(row["ratio"] for table in tables.values() for row in table)
    top = 84
    for heading, table in tables.items():
        canvas.text(heading, MARGIN, top + HEADING - 26, size=17, bold=True)
        top += HEADING
        for row in table:
            draw_row(canvas, top + ROW / 2, row, is_first=row is table[0], scale=(RIGHT - LEFT) / fastest)
            top += ROW
    canvas.save(png)


def draw_row(canvas: Canvas, y: float, row: Row, *, is_first: bool, scale: float) -> None:
    ours = row["name"].startswith(("tpn", "plain", "optimized", "compiled"))
    canvas.text(row["name"], LEFT - 20, y, size=16, align="right", colour=INK if ours else MUTED)
    canvas.box(LEFT, y - 11, RIGHT, y + 11, blend(GRID, 0.6))
    canvas.box(LEFT, y - 11, LEFT + row["ratio"] * scale, y + 11, colour_of(row["name"], ours=ours))
    canvas.text(f"{row['ratio']:.2f}x", WIDTH - MARGIN - 110, y, size=16, align="right", bold=ours and not is_first)
    canvas.text(duration(row["median_s"]), WIDTH - MARGIN, y, size=16, colour=MUTED, align="right")


def colour_of(name: str, *, ours: bool) -> RGB:
    if not ours:
        return blend(MUTED, 0.6)
    return ORANGE if "bfloat16" in name else BLUE


def duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.0f} ms"


if __name__ == "__main__":
    main()

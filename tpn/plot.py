"""Drawing with OpenCV alone: a canvas with anti-aliased lines and text, and a panel of curves with axes."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import cv2
import numpy as np

from tpn.errors import UserError

RGB = tuple[int, int, int]
INK, MUTED, GRID = (38, 43, 51), (112, 118, 128), (229, 231, 235)
BLUE, ORANGE, GREEN = (37, 99, 205), (230, 119, 26), (20, 150, 96)
OVERSAMPLING = 2  # everything is drawn twice as large and averaged, which smooths what OpenCV leaves rough
STROKE = (
    1 if int(cv2.__version__.split(".")[0]) >= 5 else OVERSAMPLING
)  # of letters: OpenCV 5 has real fonts, 4 strokes
FRACTION_BITS = 4  # of the fixed-point coordinates of OpenCV's drawing functions


class Canvas:
    """A picture to draw on; coordinates are pixels from its top left corner and may be fractions."""

    def __init__(self, large: np.ndarray) -> None:
        """large (H, W, 3) uint8 RGB: the pixels, OVERSAMPLING times the size of the picture. `blank` makes them."""
        self.large = large

    @classmethod
    def blank(cls, width: int, height: int) -> Self:
        return cls(np.full((height * OVERSAMPLING, width * OVERSAMPLING, 3), 255, dtype=np.uint8))

    def line(self, points: np.ndarray, colour: RGB, width: int = 1) -> None:
        """A line through points (N, 2) of x and y; its width counts half pixels."""
        cv2.polylines(self.large, [fixed_point(points)], False, colour, width, cv2.LINE_AA, FRACTION_BITS)

    def box(self, left: float, top: float, right: float, bottom: float, colour: RGB) -> None:
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        cv2.fillPoly(self.large, [fixed_point(corners)], colour, cv2.LINE_AA, FRACTION_BITS)

    def dot(self, x: float, y: float, radius: float, colour: RGB) -> None:
        centre, fixed_radius = fixed_point(np.array([x, y])), int(radius * OVERSAMPLING * 2**FRACTION_BITS)
        cv2.circle(self.large, centre.tolist(), fixed_radius, colour, cv2.FILLED, cv2.LINE_AA, FRACTION_BITS)

    def text(
        self, text: str, x: float, y: float, size: int = 14, colour: RGB = INK,
        align: Literal["left", "centre", "right"] = "left", bold: bool = False,
    ) -> None:  # fmt: skip
        """One line whose left end, centre or right end is at x, and whose small letters are centred on y."""
        left = x - {"left": 0.0, "centre": 0.5, "right": 1.0}[align] * text_width(text, size, bold)
        origin = round(left * OVERSAMPLING), round((y + size * 0.36) * OVERSAMPLING)
        cv2.putText(self.large, drawable(text), origin, font(bold), font_scale(size), colour, STROKE, cv2.LINE_AA)

    def image(self, pixels: np.ndarray, left: int, top: int) -> None:
        """An RGB picture (H, W, 3) uint8, pixel for pixel."""
        pixels = pixels.repeat(OVERSAMPLING, axis=0).repeat(OVERSAMPLING, axis=1)
        top, left = top * OVERSAMPLING, left * OVERSAMPLING
        self.large[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels

    def part(self, left: int, top: int, right: int, bottom: int) -> "Canvas":
        """The rectangle as a canvas of its own: what is drawn there appears here, and nothing beyond its edges."""
        return Canvas(
            self.large[top * OVERSAMPLING : bottom * OVERSAMPLING, left * OVERSAMPLING : right * OVERSAMPLING]
        )

    def save(self, path: Path) -> None:
        """Write the picture as PNG, or as PDF where the name ends so; raises UserError where that fails."""
        height, width = self.large.shape[:2]
        pixels = cv2.resize(self.large, (width // OVERSAMPLING, height // OVERSAMPLING), interpolation=cv2.INTER_AREA)
        pdf = path.suffix.lower() == ".pdf"
        try:
            path.write_bytes(to_pdf(pixels) if pdf else cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
        except OSError as error:
            raise UserError(f"{path}: the picture cannot be written ({error.strerror})") from error


def to_pdf(pixels: np.ndarray) -> bytes:
    """A PDF of one page that shows the picture (H, W, 3) uint8 RGB, a pixel being 1/96 inch."""
    height, width = pixels.shape[:2]
    box = f"{width * 0.75:g} {height * 0.75:g}"  # in points of 1/72 inch
    image = zlib.compress(np.ascontiguousarray(pixels).tobytes())
    page = f"{box.replace(' ', ' 0 0 ')} 0 0 cm /Picture Do".encode()
    objects = [
        b"<</Type /Catalog /Pages 2 0 R>>",
        b"<</Type /Pages /Kids [3 0 R] /Count 1>>",
        f"<</Type /Page /Parent 2 0 R /MediaBox [0 0 {box}] /Contents 4 0 R".encode()
        + b" /Resources <</XObject <</Picture 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(page), page),
        b"<</Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceRGB /BitsPerComponent 8"
        b" /Filter /FlateDecode /Length %d>>stream\n%b\nendstream" % (width, height, len(image), image),
    ]
    content, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(b"%010d 00000 n \n" % len(content))
        content += b"%d 0 obj%b\nendobj\n" % (number, body)
    table = b"xref\n0 6\n0000000000 65535 f \n" + b"".join(places)
    return content + table + b"trailer<</Size 6 /Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(content)


def fixed_point(points: np.ndarray) -> np.ndarray:
    return np.round((points * OVERSAMPLING - 0.5) * 2**FRACTION_BITS).astype(np.int32)


def font(bold: bool) -> int:
    return cv2.FONT_HERSHEY_DUPLEX if bold else cv2.FONT_HERSHEY_SIMPLEX


def font_scale(size: int) -> float:
    return size * OVERSAMPLING / 30


def text_width(text: str, size: int = 14, bold: bool = False) -> float:
    return cv2.getTextSize(drawable(text), font(bold), font_scale(size), STROKE)[0][0] / OVERSAMPLING


def drawable(text: str) -> str:
    """The text, with ? for bytes of a file's name that are not UTF-8: OpenCV crashes at them."""
    return text.encode("utf-8", "replace").decode()


def shorten(text: str, width: float, size: int = 14) -> str:
    """The text, or as much of it as fits the width in pixels, and dots."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "...", size) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def blend(colour: RGB, share: float) -> RGB:
    """The colour thinned with white: share 1 is the colour, 0 is white."""
    red, green, blue = (round(255 + (channel - 255) * share) for channel in colour)
    return red, green, blue


# ------------------------------------------------------------------------------------------------------------- curves


@dataclass(frozen=True)
class Curve:
    """y over x, both (N,), with what the legend says; faint: the noise behind another curve; dots: mark every point."""

    x: np.ndarray
    y: np.ndarray
    colour: RGB
    legend: str = ""
    faint: bool = False
    dots: bool = False
    width: int = 4


@dataclass(frozen=True)
class Plot:
    """A plot area in pixels of its canvas and the ranges of x and y it shows."""

    left: int
    top: int
    right: int
    bottom: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: np.ndarray | float) -> np.ndarray:
        return self.left + position(value, self.x_range) * (self.right - self.left)

    def y(self, value: np.ndarray | float) -> np.ndarray:
        return self.bottom - position(value, self.y_range) * (self.bottom - self.top)


def position(value: np.ndarray | float, range: tuple[float, float]) -> np.ndarray:
    """Where in the range the value lies: 0 at its low end, 1 at its high end."""
    return (np.asarray(value) - range[0]) / (range[1] - range[0])


def draw_panel(
    canvas: Canvas, left: int, top: int, right: int, bottom: int, *, title: str, curves: Sequence[Curve],
    x_label: str, x_high: float, is_log: bool = False,
) -> None:  # fmt: skip
    """Curves with axes; the rectangle is the plot area: title and legend stand above it, tick labels around it.

    x goes from 0 to x_high; y over a range that holds the curves and 99 % of each faint one.
    """
    canvas.text(title, left, top - 28, size=17, bold=True)
    curves = [curve for curve in curves if len(curve.x)]
    if not curves:
        canvas.box(left, top, right, bottom, blend(GRID, 0.4))
        canvas.text("nothing yet", (left + right) / 2, (top + bottom) / 2, colour=MUTED, align="centre")
        return
    if is_log:
        curves = [replace(curve, y=np.log10(curve.y)) for curve in curves]
    values = np.concatenate([np.percentile(curve.y, [0.5, 99.5]) if curve.faint else curve.y for curve in curves])
    low, high = padded(values.min(), values.max())
    plot = Plot(left, top, right, bottom, (0, x_high), (low, high))
    ticks = nice_ticks(low, high, count=6, whole=is_log)
    draw_axes(canvas, plot, ticks, [number(10**tick if is_log else tick) for tick in ticks], x_label)
    draw_curves(canvas, plot, curves)
    draw_legend(canvas, right, top - 28, curves)


def padded(low: float, high: float) -> tuple[float, float]:
    """A range a little wider than the values, also where they are all the same."""
    size = max(abs(low), abs(high))
    if high - low <= max(1e-6 * size, 1e-12):
        size = size if size > 1e-12 else 1.0
        low, high = low - size, high + size
    margin = (high - low) * 0.05
    return low - margin, high + margin


def nice_ticks(low: float, high: float, count: int, whole: bool = False) -> np.ndarray:
    """At most about `count` multiples of 1, 2 or 5 times a power of ten within the range; whole: none finer than 1."""
    power = 10.0 ** np.floor(np.log10((high - low) / count))
    step = next(step for step in power * np.array([1, 2, 5, 10]) if step * count >= (high - low) * 0.999)
    step = max(step, 1.0) if whole else step
    return np.arange(np.ceil(low / step - 1e-6), np.floor(high / step + 1e-6) + 1) * step


def number(value: float) -> str:
    """0.1, 250, 1e-05: the shortest of a tick's value, free of rounding noise."""
    return f"{value:.6g}" if abs(value) > 1e-12 else "0"


def draw_axes(canvas: Canvas, plot: Plot, ticks: np.ndarray, labels: Sequence[str], x_label: str) -> None:
    for tick, label in zip(ticks, labels, strict=True):
        y = float(plot.y(tick))
        canvas.line(np.array([(plot.left, y), (plot.right, y)]), GRID, width=2)
        canvas.text(label, plot.left - 12, y, size=13, colour=MUTED, align="right")
    for tick in nice_ticks(*plot.x_range, count=6):
        canvas.text(number(tick), float(plot.x(tick)), plot.bottom + 18, size=13, colour=MUTED, align="centre")
    canvas.line(np.array([(plot.left, plot.bottom), (plot.right, plot.bottom)]), MUTED, width=2)
    canvas.text(x_label, plot.right, plot.bottom + 40, size=13, colour=MUTED, align="right")


def draw_curves(canvas: Canvas, plot: Plot, curves: Sequence[Curve]) -> None:
    """Later curves in front; what leaves the plot area is cut off, with room for a dot at its edges."""
    margin = 4
    area = canvas.part(plot.left - margin, plot.top - margin, plot.right + margin, plot.bottom + margin)
    for curve in curves:
        points = np.stack([plot.x(curve.x) - plot.left, plot.y(curve.y) - plot.top], axis=1) + margin
        area.line(points, shade(curve), curve.width)
        for x, y in points if curve.dots else ():
            area.dot(x, y, 1.5 + curve.width / 2, shade(curve))


def shade(curve: Curve) -> RGB:
    return blend(curve.colour, 0.3) if curve.faint else curve.colour


def draw_legend(canvas: Canvas, right: float, y: float, curves: Sequence[Curve]) -> None:
    """From the right end to the left: a stroke of the curve's colour and its words."""
    for curve in reversed([curve for curve in curves if curve.legend]):
        left = right - text_width(curve.legend)
        canvas.text(curve.legend, left, y)
        canvas.line(np.array([(left - 30, y), (left - 8, y)]), shade(curve), width=curve.width + 2)
        right = left - 52

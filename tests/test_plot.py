"""What is drawn is where the numbers say."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpn.errors import UserError
from tpn.plot import BLUE, ORANGE, Canvas, Curve, Plot, blend, draw_panel, nice_ticks, padded, shorten, text_width


def pixels(canvas: Canvas) -> np.ndarray:
    """(H, W, 3) RGB at the size of the picture."""
    height, width = canvas.large.shape[:2]
    return cv2.resize(canvas.large, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def distance(image: np.ndarray, x: float, y: float, colour: tuple[int, int, int]) -> float:
    return float(np.abs(image[round(y), round(x)].astype(int) - colour).max())


def test_png_holds_the_picture_in_rgb(tmp_path):
    canvas = Canvas.blank(40, 30)
    canvas.box(10, 5, 20, 15, BLUE)
    canvas.save(tmp_path / "box.png")
    image = np.asarray(cv2.imread(str(tmp_path / "box.png")))[..., ::-1]
    assert image.shape == (30, 40, 3)
    assert tuple(image[10, 15]) == BLUE
    assert tuple(image[20, 30]) == (255, 255, 255)


def test_picture_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone/box\.png: the picture cannot be written"):
        Canvas.blank(4, 4).save(tmp_path / "gone" / "box.png")


def test_picture_in_the_picture_is_exact():
    inner = np.random.default_rng(0).integers(256, size=(7, 9, 3), dtype=np.uint8)
    canvas = Canvas.blank(40, 30)
    canvas.image(inner, left=3, top=4)
    np.testing.assert_array_equal(pixels(canvas)[4:11, 3:12], inner)


def test_part_of_a_canvas_is_cut_off_at_its_edges():
    canvas = Canvas.blank(40, 30)
    canvas.part(10, 10, 20, 20).line(np.array([(-50.0, 5.0), (50.0, 5.0)]), BLUE, width=4)
    blue = (pixels(canvas) != 255).any(axis=(0, 2))
    assert blue[10:20].all()
    assert not blue[:10].any() and not blue[20:].any()


def test_curve_goes_through_its_points_and_nowhere_else():
    canvas = Canvas.blank(400, 300)
    curve = Curve(x=np.array([0.0, 5.0, 10.0]), y=np.array([0.0, 80.0, 100.0]), colour=ORANGE)
    draw_panel(canvas, 60, 60, 360, 260, title="loss", curves=[curve], x_label="epoch", x_high=10)
    image, plot = pixels(canvas), Plot(60, 60, 360, 260, (0, 10), padded(0, 100))
    for x, y in [(1, 16), (2.5, 40), (5, 80), (9, 96)]:
        assert distance(image, float(plot.x(x)), float(plot.y(y)), ORANGE) < 40
    for x, y in [(1, 40), (5, 50), (9, 70)]:
        assert distance(image, float(plot.x(x)), float(plot.y(y)), ORANGE) > 100


def test_logarithmic_panel_puts_powers_of_ten_at_equal_distances():
    canvas = Canvas.blank(400, 300)
    curve = Curve(x=np.array([0.0, 5, 5, 10]), y=np.array([1e-1, 1e-1, 1e-3, 1e-3]), colour=ORANGE)
    draw_panel(canvas, 60, 60, 360, 260, title="lr", curves=[curve], x_label="epoch", x_high=10, is_log=True)
    image, plot = pixels(canvas), Plot(60, 60, 360, 260, (0, 10), padded(-3, -1))
    for x, y in [(2, -1), (5, -2), (8, -3)]:
        assert distance(image, float(plot.x(x)), float(plot.y(y)), ORANGE) < 40


def test_panel_without_values_says_so_instead_of_failing():
    canvas, empty = Canvas.blank(400, 300), Curve(np.empty(0), np.empty(0), ORANGE)
    draw_panel(canvas, 60, 60, 360, 260, title="validation", curves=[empty], x_label="epoch", x_high=1)
    assert (pixels(canvas)[150:170, 150:270].min(axis=2) < 180).any()


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(3, 8))
def test_ticks_are_few_evenly_spaced_round_numbers_within_the_range(low, span, count):
    low, high = padded(low, low + span)
    ticks = nice_ticks(low, high, count)
    steps = np.diff(ticks)
    assert len(ticks) <= count + 2
    assert low - 1e-5 * (high - low) <= ticks[0] and ticks[-1] <= high + 1e-5 * (high - low)
    if len(steps):
        mantissa = steps[0] / 10 ** np.floor(np.log10(steps[0]) + 1e-6)
        assert min(abs(mantissa - whole) for whole in (1, 2, 5)) < 1e-3
        np.testing.assert_allclose(steps, steps[0], rtol=1e-3)


@pytest.mark.parametrize("width", [20, 100, 250])
def test_shortened_text_fits(width):
    text = "pretending to put something onto something"
    assert text_width(shorten(text, width)) <= width
    assert shorten(text, 1000) == text


def test_blend_thins_with_white():
    assert blend(BLUE, 1) == BLUE
    assert blend(BLUE, 0) == (255, 255, 255)

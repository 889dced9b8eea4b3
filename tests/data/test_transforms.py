"""Boxes and sizes: the reference's, to the pixel."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpn.data.transforms import (
    NO_JITTER,
    Box,
    center_box,
    corner_boxes,
    multi_scale_crop_box,
    no_jitter,
    random_jitter,
    random_resized_crop_box,
    resize,
    resize_short_side,
    three_boxes,
)

SIDE = st.integers(1, 500)


def test_three_crop_order_is_left_right_middle():
    assert three_boxes(256, 341, 256) == [Box(0, 0, 256, 256), Box(84, 0, 340, 256), Box(42, 0, 298, 256)]


def test_three_crops_of_a_tall_video_are_top_bottom_middle():
    assert three_boxes(455, 256, 256) == [Box(0, 0, 256, 256), Box(0, 198, 256, 454), Box(0, 99, 256, 355)]


def test_three_crops_smaller_than_the_frame_are_centred_across():
    assert three_boxes(256, 340, 224) == [Box(0, 16, 224, 240), Box(116, 16, 340, 240), Box(58, 16, 282, 240)]


def test_center_crop_rounds_to_the_upper_left():
    assert center_box(256, 341, 224) == Box(58, 16, 282, 240)


@pytest.mark.parametrize(
    "height, width, expected",
    [
        (240, 320, (256, 341)),
        (256, 340, (256, 340)),
        (360, 202, (456, 256)),
        (100, 176, (256, 451)),
        (32, 32, (256, 256)),
    ],
)
def test_short_side_resize_rounds_half_up(height, width, expected):
    assert resize_short_side(np.zeros((height, width, 3), np.uint8), 256).shape == (*expected, 3)


def test_resize_is_opencvs_bilinear():
    frame = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    expected = cv2.resize(frame, (31, 23), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize(frame, 23, 31), expected)
    np.testing.assert_array_equal(resize(frame[10:40, 5:60], 23, 31), resize(frame[10:40, 5:60].copy(), 23, 31))
    assert resize(frame, 50, 70) is frame


@pytest.mark.parametrize("size", [(23, 31), (50, 70)])
def test_resize_writes_where_it_is_told(size):
    frame = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    out = np.zeros((2, *size, 3), dtype=np.uint8)
    resize(frame, *size, out=out[1])
    np.testing.assert_array_equal(out[1], resize(frame, *size))
    assert not out[0].any()


@given(height=SIDE, width=SIDE, seed=st.integers(0, 2**32))
def test_random_boxes_lie_inside_and_keep_area_and_shape(height, width, seed):
    left, top, right, bottom, _ = random_resized_crop_box(height, width, np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    w, h = right - left, bottom - top
    if w != h or w != min(height, width):  # not the fallback; half a pixel of rounding on each side
        assert (w + 0.5) * (h + 0.5) >= 0.08 * height * width
        assert (w + 0.5) / max(h - 0.5, 0.1) >= 3 / 4
        assert (w - 0.5) / (h + 0.5) <= 4 / 3


def test_random_boxes_follow_the_references_draws():
    """The rule of MMAction2's RandomResizedCrop, spelt out with the same generator."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        ratios = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), size=10))
        areas = rng.uniform(0.08, 1.0, size=10) * (256 * 340)
        for ratio, area in zip(ratios, areas, strict=True):
            w, h = round(float(np.sqrt(area * ratio))), round(float(np.sqrt(area / ratio)))
            if w <= 340 and h <= 256:
                left, top = int(rng.integers(340 - w + 1)), int(rng.integers(256 - h + 1))
                break
        else:
            left, top, w, h = 42, 0, 256, 256
        assert random_resized_crop_box(256, 340, np.random.default_rng(seed)) == Box(left, top, left + w, top + h)


def test_box_falls_back_to_the_centre_where_none_fits():
    box = random_resized_crop_box(10, 1000, np.random.default_rng(0), (0.9, 1.0))
    assert box == center_box(10, 1000, 10)


@given(height=SIDE, width=SIDE, seed=st.integers(0, 10))
def test_multi_scale_boxes_lie_inside(height, width, seed):
    box = multi_scale_crop_box(height, width, np.random.default_rng(seed), (1, 0.875, 0.75, 0.66), 224)
    assert 0 <= box.left <= box.right <= width and 0 <= box.top <= box.bottom <= height


def test_multi_scale_boxes_are_neighbouring_scales_at_thirteen_places():
    """TSM's scales of 256 are 256, 224, 192 and 168; equal or neighbouring they make ten sizes."""
    rng = np.random.default_rng(0)
    boxes = {multi_scale_crop_box(256, 340, rng, (1, 0.875, 0.75, 0.66), 224) for _ in range(6000)}
    sides = [256, 224, 192, 168]
    sizes = {(box.right - box.left, box.bottom - box.top) for box in boxes}
    assert sizes == {(w, h) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1}
    places = {(box.left, box.top) for box in boxes if (box.right - box.left, box.bottom - box.top) == (224, 224)}
    quarters = {(column, row) for column in range(5) for row in range(5) if column % 2 == row % 2}
    assert len(quarters) == 13 and places == {(29 * column, 8 * row) for column, row in quarters}


def test_a_side_within_two_pixels_of_the_networks_becomes_it():
    rng = np.random.default_rng(0)
    assert multi_scale_crop_box(226, 226, rng, (1,), 224) == Box(0, 0, 224, 224)
    assert multi_scale_crop_box(222, 222, rng, (1,), 224) == Box(0, 0, 222, 222)  # but not beyond the frame


def test_corner_boxes_are_the_references_ten_crops_without_their_mirror_images():
    assert corner_boxes(256, 341, 224) == [
        Box(0, 0, 224, 224), Box(116, 0, 340, 224), Box(0, 32, 224, 256), Box(116, 32, 340, 256), Box(58, 16, 282, 240)
    ]  # fmt: skip


def test_jitter_is_drawn_in_its_ranges_and_every_order_occurs():
    rng = np.random.default_rng(0)
    draws = [random_jitter(rng) for _ in range(500)]
    factors = np.stack([factors for factors, _ in draws])
    widest = np.abs(factors - NO_JITTER).max(axis=0) / [0.5, 0.5, 0.5, 0.1]
    assert ((widest > 0.98) & (widest < 1 + 1e-6)).all()
    assert len({tuple(order) for _, order in draws}) == 24


def test_no_jitter_has_the_types_of_a_random_one():
    for ours, drawn in zip(no_jitter(), random_jitter(np.random.default_rng(0)), strict=True):
        assert (ours.dtype, ours.shape) == (drawn.dtype, drawn.shape)

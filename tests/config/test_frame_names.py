"""The template of a frame's file name takes the frame's number, and does nothing else."""

import pytest

from tpn.config.frame_names import frame_name

WRONG = [
    "img_{:0999999999}.jpg",  # a gigabyte of zeros
    "{:>9999999}.jpg",
    "{:.999999999f}.jpg",
    "{0.__class__}.jpg",
    "{0.__init__.__globals__}",
    "{0[0]}.jpg",
    "{!r:05}",
    "{:{}}.jpg",
    "{number}.jpg",
    "{1}.jpg",
    "{}_{}.jpg",
    "{:05",
    "img_%05d.jpg",
    "img_00001.jpg",  # every frame the same
    "",
]


@pytest.mark.parametrize(("template", "name"), [
    ("img_{:05}.jpg", "img_00007.jpg"),
    ("{:05d}.png", "00007.png"),
    ("{}.jpg", "7.jpg"),
    ("{0:3}", "  7"),
    ("x/{:}", "x/7"),
])  # fmt: skip
def test_a_template_is_text_around_the_number(template, name):
    assert frame_name(template).format(7) == name


@pytest.mark.parametrize("template", WRONG)
def test_a_template_that_asks_for_more_is_refused_with_the_value_and_the_fix(template):
    with pytest.raises(ValueError, match=r"expected the frame's number once, as in 'img_\{:05\}\.jpg', got ") as error:
        frame_name(template)
    assert repr(template) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_long_value_is_cut():
    with pytest.raises(ValueError) as error:
        frame_name("{" * 100_000)
    assert len(str(error.value)) < 200

"""get_flops.py and print_config.py say about a recipe what MMAction2's say, on a machine without a GPU."""

from pathlib import Path

import pytest

from tpn.config import load_config

RECIPES = Path(__file__).resolve().parents[2] / "configs/recognition/tpn"
SLOWONLY = RECIPES / "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb.py"
TSM = RECIPES / "tpn_tsm_r50_1x1x8_150e_sthv1_rgb.py"


@pytest.mark.parametrize(
    ("recipe", "shape", "flops", "params"),
    [
        (SLOWONLY, "1 3 8 256 256", "66.01 GFLOPs", "91.5 M"),
        (TSM, "8 3 256 256", "54.2 GFLOPs", "82.45 M"),
    ],
    ids=["slowonly", "tsm"],
)
def test_published_figures_are_printed_in_mmcvs_words(tool, recipe, shape, flops, params):
    lines = tool("analysis/get_flops.py", recipe, "--shape", *shape.split()).out.splitlines()
    assert lines[:5] == [
        "=" * 30,
        f"Input shape: ({', '.join(shape.split())})",
        f"Flops: {flops}",
        f"Params: {params}",
        "=" * 30,
    ]
    assert len(lines) == 6


def test_two_numbers_are_the_size_of_a_view(tool):
    default = tool("analysis/get_flops.py", SLOWONLY).out
    assert "Input shape: (1, 3, 8, 340, 256)\n" in default
    assert tool("analysis/get_flops.py", SLOWONLY, "--shape", 256).out.splitlines()[2:4] == [
        "Flops: 66.01 GFLOPs",
        "Params: 91.5 M",
    ]


@pytest.mark.parametrize("shape", ["1 2 3", "8 4 224 224", "1 1 3 8 224 224"])
def test_other_shapes_are_refused(tool, shape):
    outcome = tool("analysis/get_flops.py", SLOWONLY, "--shape", *shape.split())
    assert outcome.code == 2
    assert f"--shape {shape}: expected H W, T 3 H W, or N 3 T H W" in outcome.err


@pytest.mark.parametrize(
    ("recipe", "shape", "told"),
    [
        (SLOWONLY, "1 2", "frames of 1 x 2 pixels are less than one pixel of the network's last stage, 32 x 32; "
         "give height and width in pixels, as --shape 224"),
        (SLOWONLY, "31", "frames of 31 x 31 pixels are less than one pixel"),
        (TSM, "5 3 256 256", "views of this recipe have 8 frames, not 5; correct T"),
        (TSM, "1 3 4 256 256", "views of this recipe have 8 frames, not 4; correct T"),
        (SLOWONLY, "99999999999", "more than 1,000,000,000,000 values; give smaller frames, or fewer"),
    ],
)  # fmt: skip
def test_clips_that_cannot_be_are_refused(tool, recipe, shape, told):
    outcome = tool("analysis/get_flops.py", recipe, "--shape", *shape.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert f"--shape {shape}: {told}" in " ".join(outcome.err.split())


@pytest.mark.parametrize(("side", "flops"), [(32, 66.01 / 64), (25600, 66.01 * 10_000)])
def test_the_smallest_clips_and_vast_ones_are_counted(tool, side, flops):
    """In proportion to the area, against the published 66.01 GFLOPs for frames of 256 x 256."""
    counted = tool("analysis/get_flops.py", SLOWONLY, "--shape", side).out.partition("Flops: ")[2].split()[0]
    assert float(counted) == pytest.approx(flops, rel=2e-3)


@pytest.mark.parametrize("flag", ["--options", "--cfg-options"])
def test_printed_config_is_the_whole_config(tool, tmp_path, flag):
    outcome = tool("analysis/print_config.py", TSM, flag, "data.videos_per_gpu=3", "optimizer.lr=0.5")
    first, text = outcome.out.split("\n", 1)
    assert first == "Config:"
    copy = tmp_path / "copy.py"
    copy.write_text(text)
    assert load_config(copy) == load_config(TSM, {"data.videos_per_gpu": 3, "optimizer.lr": 0.5})

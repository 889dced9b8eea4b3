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


@pytest.mark.parametrize("flag", ["--options", "--cfg-options"])
def test_printed_config_is_the_whole_config(tool, tmp_path, flag):
    outcome = tool("analysis/print_config.py", TSM, flag, "data.videos_per_gpu=3", "optimizer.lr=0.5")
    first, text = outcome.out.split("\n", 1)
    assert first == "Config:"
    copy = tmp_path / "copy.py"
    copy.write_text(text)
    assert load_config(copy) == load_config(TSM, {"data.videos_per_gpu": 3, "optimizer.lr": 0.5})

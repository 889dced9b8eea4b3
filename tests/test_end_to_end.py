"""From a real video file to scores: the whole test path gives what the reference's gives."""

import pytest
import torch
from rich.console import Console

from tpn.engine.evaluate import build_scorer
from tpn.predict import predict

CASES = {
    "slowonly_demo_decord": "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb",
    "tsm_demo_decord": "tpn_tsm_r50_1x1x8_150e_sthv1_rgb",
}


@pytest.mark.parametrize("name", ["tsm_demo_decord", pytest.param("slowonly_demo_decord", marks=pytest.mark.slow)])
def test_scores_of_a_real_video_match_the_reference(name, build, seeded, parity, shared):
    model, config = build(CASES[name])
    seeded.fill(model)
    config = config.model_copy(update={"data": config.data.model_copy(update={"format": "videos"})})
    scores = predict(
        build_scorer(model, config, torch.device("cpu")),
        config,
        shared / "videos/arm_wrestling.mp4",
        names=[str(label) for label in range(config.model.cls_head.num_classes)],
        out=None,
        console=Console(quiet=True),
    )
    expected = torch.from_numpy(parity("end_to_end.npz")[f"{name}/score"][0])
    assert (scores - expected).abs().max().item() <= 1e-4
    assert scores.argmax() == expected.argmax()

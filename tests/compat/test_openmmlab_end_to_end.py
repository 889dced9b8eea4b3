"""What an MMAction2 0.x user has (config, checkpoint, list file) gives MMAction2's scores through tools/test.py."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = {
    "tsm": ("tpn/tpn_sthv1.py", "tpn_tsm_r50_1x1x8_150e_sthv1_rgb"),
    "slowonly": ("tpn/tpn_kinetics.py", "tpn_slowonly_r50_8x8x1_150e_kinetics_rgb"),
}


@pytest.mark.parametrize("name", ["tsm", pytest.param("slowonly", marks=pytest.mark.slow)])
def test_a_0x_config_checkpoint_and_list_give_the_references_scores(
    name, mmaction2, build, seeded, parity, shared, shell, tmp_path
):
    config, recipe = NETWORKS[name]
    mmaction2.show_videos(config, "list.txt", "videos")
    model, _ = build(recipe)
    seeded.fill(model)
    torch.save({"meta": {"epoch": 150, "CLASSES": None}, "state_dict": model.state_dict()}, tmp_path / "epoch_150.pth")
    (tmp_path / "list.txt").write_text("arm_wrestling.mp4 3\n")
    (tmp_path / "videos").mkdir()
    shutil.copy(shared / "videos/arm_wrestling.mp4", tmp_path / "videos")

    arguments = f"{config} epoch_150.pth --eval top_k_accuracy mean_class_accuracy --out result.json"
    done = shell(f"python {ROOT}/tools/test.py {arguments}", folder=tmp_path)

    assert done.code == 0, done.err
    scores = np.array(json.loads((tmp_path / "result.json").read_text()))
    expected = parity("end_to_end.npz")[f"{name}_demo_decord/score"]
    assert scores.shape == expected.shape
    assert np.abs(scores - expected).max() <= 1e-4

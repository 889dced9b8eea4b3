"""The demo does the whole job: it trains a network that sees the order of frames, and shows that it does."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from rich.console import Console

import tpn.demo
from tpn.config import load_config
from tpn.data.dataset import FixedViews, build_dataset
from tpn.data.sprites import CLASSES
from tpn.demo import run_demo, with_shuffled_frames

LEFT_BEHIND = {
    "latest.pth",
    "curves.png",
    "prediction.png",
    "temposprites",
    "tpn_tsn_r14_8x8x1_10e_temposprites_rgb.py",
}


def check_folder(work_dir: Path, *, last_epoch: int) -> None:
    names = {path.name for path in work_dir.iterdir()}
    assert names >= LEFT_BEHIND | {f"epoch_{last_epoch}.pth"}
    assert len([name for name in names if name.startswith("best_top1_acc_")]) == 1
    assert {Path(name).suffix for name in names} == {".pth", ".png", ".py", ".log", ".json", ""}


def accuracies(printed: str) -> tuple[float, float]:
    ordered, shuffled = (re.search(rf"frames {how}\s+([\d.]+)%", printed) for how in ("in order", "shuffled"))
    assert ordered and shuffled
    return float(ordered[1]), float(shuffled[1])


def test_every_step_of_the_demo_runs_on_few_videos(monkeypatch, capsys, tmp_path, single_thread, request):
    monkeypatch.setattr(tpn.demo, "VIDEOS", {"num_train": 36, "num_val": 6, "num_test": 12})
    run_demo(tmp_path, epochs=1, device=torch.device("cpu"), console=Console())
    printed = capsys.readouterr().out
    assert [line[:3] for line in printed.splitlines() if re.match(r"\d/4 ", line)] == ["1/4", "2/4", "3/4", "4/4"]
    assert all(0 <= accuracy <= 100 for accuracy in accuracies(printed))
    assert "The top-5 labels with corresponding scores are:" in printed
    check_folder(tmp_path, last_epoch=1)
    assert re.findall(r"^frames (.+):$", printed, re.MULTILINE) == ["in order", "shuffled"]
    [follow_up] = re.findall(r"^Next: tpn (.+)$", printed, re.MULTILINE)
    outcome = request.getfixturevalue("tpn")(*shlex.split(follow_up))
    assert outcome.code == 0, outcome.err
    assert "The top-5 labels" in outcome.out
    assert sum(name in outcome.out for name in CLASSES) == 5


def test_shuffling_shows_the_same_frames_in_another_order(recipe):
    dataset = build_dataset(load_config(recipe), "test", seed=0)
    shuffled = with_shuffled_frames(dataset)
    assert isinstance(dataset.views, FixedViews)
    for before, after in zip(dataset[0, 0].views, shuffled[0, 0].views, strict=True):
        assert not torch.equal(before, after)
        assert sorted(frame.sum().item() for frame in before) == sorted(frame.sum().item() for frame in after)
    assert torch.equal(shuffled[0, 1].views, shuffled[0, 1].views)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_demo_learns_the_order_of_frames(shell, tmp_path):
    outcome = shell(f"tpn demo --work-dir {tmp_path}")
    assert outcome.code == 0, outcome.err
    ordered, shuffled = accuracies(outcome.out)
    assert ordered > 75
    assert shuffled <= 55  # 50 is the ceiling; the rest is chance
    check_folder(tmp_path, last_epoch=10)

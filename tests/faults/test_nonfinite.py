"""A loss that is not finite stops all processes before the optimizer does, or costs that step alone."""

import re

import av
import numpy as np
import pytest
import torch

from tpn.models.weights import read_checkpoint


@pytest.fixture
def blinding(sprites, tmp_path):
    """Settings under which one white video of eight overflows, and the seven black ones do not."""
    for name, value in (("white", 255), ("black", 0)):
        with av.open(str(tmp_path / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("libx264rgb", rate=25, options={"crf": "0"})
            stream.width = stream.height = 48
            stream.pix_fmt = "rgb24"
            for _ in range(32):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 48, 3), value, np.uint8))))
            container.mux(stream.encode())
    names = ["black"] * 3 + ["white"] + ["black"] * 4
    (tmp_path / "list.txt").write_text("".join(f"{name}.mp4 {i % 6}\n" for i, name in enumerate(names)))
    return [f"data.train.ann_file={tmp_path / 'list.txt'}", f"data.train.data_prefix={tmp_path}", "data.mean=(0,0,0)",
            "data.std=(1e-38,1e-38,1e-38)", "data.color_jitter=False", "data.videos_per_gpu=2"]  # fmt: skip


def test_a_loss_that_is_not_finite_ends_the_run_before_the_step_and_names_it(tpn, recipe, tmp_path):
    """A huge learning rate: the second step finds weights that are."""
    options = ["optimizer.lr=1e30", "checkpoint_config.every=1", "optimizer.max_grad_norm=None"]
    outcome = tpn("train", recipe, "--work-dir", tmp_path / "run", "--seed", 0, "--cfg-options", *options)
    assert outcome.code == 2
    step = re.search(r"not finite in epoch 1, step (\d) \(lr (\S+); the log names the videos\)", outcome.err)
    assert step
    told = next(line for line in outcome.out.splitlines() if "Not finite: epoch 1, step" in line)
    assert f"step {step[1]}, lr {step[2]}, losses and gradient norms" in told
    assert len(re.findall(r"videos/train/\d+\.mp4", told)) == 4
    saved = sorted((tmp_path / "run").glob("step_*.pth"))
    assert [path.name for path in saved][-1:] == [f"step_{int(step[1]) - 1}.pth"]
    for path in saved:
        read_checkpoint(path)


def test_steps_whose_loss_is_not_finite_can_be_left_out(blinding, tpn, recipe, tmp_path):
    """One step of every epoch has the white video: two are left out, the third ends the run."""
    command = ["train", recipe, "--work-dir", tmp_path / "run", "--seed", 0, "--cfg-options", *blinding]
    first = tpn(*command[: -len(blinding)], *blinding, "total_epochs=1", "--skip-nonfinite", 1)
    assert first.code == 0, first.err
    (told,) = [line for line in first.out.splitlines() if "Not finite" in line]
    assert str(tmp_path / "white.mp4") in told
    assert "Left out, because their loss was not finite: 1 step\n" in first.out
    checkpoint = torch.load(tmp_path / "run/epoch_1.pth", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in checkpoint["state_dict"].values())  # running statistics, too
    assert checkpoint["meta"]["skipped"] == 1
    second = tpn(*command, "--auto-resume", "--skip-nonfinite", 1)
    assert second.code == 2
    assert "not finite in epoch 2" in second.err


@pytest.mark.slow
def test_two_processes_stop_at_the_same_step_when_one_has_such_a_loss(blinding, torchrun, tmp_path):
    job = torchrun(tmp_path / "run", "--cfg-options", *blinding)
    assert job.end() == 1
    assert len(re.findall(r"error: the loss or its gradient is not finite in epoch 1, step \d", job.text)) == 2
    (told,) = [line for line in job.lines if "Not finite" in line]
    assert "white.mp4" in told
    assert not list((tmp_path / "run").glob("epoch_*"))

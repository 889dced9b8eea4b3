"""Training is reproducible to the last bit, resumes exactly, shares out its work, and writes what MMAction2 writes."""

import math
import re
import shutil
from pathlib import Path

import pytest
import torch

from tpn.config import load_config
from tpn.config.settings import StepSchedule
from tpn.data.dataset import VideoDataset
from tpn.engine.optim import learning_rate
from tpn.models.recognizer import build_recognizer

SEED = ("--seed", 0, "--deterministic")


# -------------------------------------------------------------------------------------------------------- reproducible


def test_two_runs_with_one_seed_are_bitwise_equal(trained, recipe, shell, diary, tensors, differing, tmp_path):
    """The second one is another process, started from another folder."""
    outcome = shell(f"tpn train {recipe} --work-dir again --validate --seed 0 --deterministic", folder=tmp_path)
    assert outcome.code == 0, outcome.err
    again = tmp_path / "again"
    assert differing(tensors(trained / "epoch_3.pth"), tensors(again / "epoch_3.pth")) == []
    assert diary(again).train == diary(trained).train
    assert diary(again).val == diary(trained).val


def test_another_seed_gives_another_run(trained, train, diary):
    assert diary(train("--seed", 1, total_epochs=1)).losses() != diary(trained).losses()[:4]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_resumed_run_ends_bitwise_equal_to_the_uninterrupted_one(
    trained, train, workers, diary, tensors, differing, best_of
):
    """Weights, momenta, losses, validations and the best score; whatever the number of workers. The seed is kept."""
    resumed = train(
        "--validate", "--deterministic", "--resume-from", trained / "epoch_1.pth", data__workers_per_gpu=workers
    )
    assert differing(tensors(trained / "epoch_3.pth"), tensors(resumed / "epoch_3.pth")) == []
    assert diary(resumed).train == diary(trained).train[4:]
    assert diary(resumed).val == diary(trained).val  # the first too: a checkpoint is written before its validation
    assert best_of(resumed) == best_of(trained)


def test_checkpoints_within_an_epoch_are_written_and_removed_when_done(train, text_log):
    run = train(checkpoint_config__every=2, checkpoint_config__interval=3)
    saved = [line for line in text_log(run) if line.startswith("Saving checkpoint")]
    assert saved == [f"Saving checkpoint at {step} steps" for step in range(2, 14, 2)] + [
        "Saving checkpoint at 3 epochs"
    ]
    assert not list(run.glob("step_*"))


def test_only_the_newest_checkpoints_of_epochs_are_kept_where_that_is_wanted(train):
    run = train(checkpoint_config__max_keep_ckpts=2)
    assert sorted(path.name for path in run.glob("epoch_*")) == ["epoch_2.pth", "epoch_3.pth"]


def test_resumed_run_says_where_it_goes_on(trained, train, text_log):
    log = text_log(train("--resume-from", trained / "epoch_2.pth"))
    assert f"resumed epoch 2, iter 8, from {trained / 'epoch_2.pth'}" in log
    assert [line[:11] for line in log if line.startswith("Epoch [")] == ["Epoch [3][1", "Epoch [3][2", "Epoch [3][3",
                                                                         "Epoch [3][4"]  # fmt: skip


def test_finished_run_that_is_resumed_trains_no_further_and_says_so(trained, train, text_log):
    resumed = train("--resume-from", trained / "epoch_3.pth")
    assert not list(resumed.glob("*.pth"))
    assert any("total_epochs=3 are trained: nothing is left to do" in line for line in text_log(resumed))


# ------------------------------------------------------------------------------------------------------- the processes


def test_two_processes_train_as_one_with_the_whole_batch(shell, recipe, sprites, tpn, tensors, diary, tmp_path):
    """Same videos, losses, accuracies, gradients, weights and validation, to rounding.

    The last batch is uneven: two videos on one process, one on the other. The validation list is shorter than the
    number of processes. What cannot be equal is left out: batch norm's statistics (each process has its own, as in the
    reference; norm_eval freezes them, and the neck, whose norms it does not reach, is off) and dropout's draws.
    """
    eleven, one_video = tmp_path / "train.txt", tmp_path / "val.txt"
    eleven.write_text("".join((sprites / "train.txt").read_text().splitlines(keepends=True)[:11]))
    one_video.write_text("videos/val/00000.mp4 0\n")
    options = (
        "--validate --seed 0 --deterministic --cfg-options model.backbone.norm_eval=True model.neck=None "
        f"model.cls_head.dropout_ratio=0 total_epochs=2 data.train.ann_file={eleven} data.val.ann_file={one_video}"
    )
    outcome = shell(
        f"torchrun --nproc-per-node 2 tools/train.py {recipe} --work-dir {tmp_path / 'two'} {options} "
        "data.videos_per_gpu=2"
    )
    assert outcome.code == 0, outcome.err
    assert tpn("train", recipe, "--work-dir", tmp_path / "one", *options.split()).code == 0
    one, two = diary(tmp_path / "one"), diary(tmp_path / "two")
    for row, expected in zip(two.train + two.val, one.train + one.val, strict=True):
        assert row.pop("mode") == expected.pop("mode")
        assert row == pytest.approx(expected, rel=1e-4, abs=2e-5)
    weights, expected_weights = (tensors(tmp_path / name / "epoch_2.pth") for name in ("two", "one"))
    for name, tensor in expected_weights.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.slow
def test_two_processes_train_the_whole_network(shell, recipe, text_log, tensors, tmp_path):
    """Neck, auxiliary head and batch norm in training, over an epoch whose last video joins the batch before it."""
    outcome = shell(
        f"torchrun --nproc-per-node 2 tools/train.py {recipe} --work-dir {tmp_path} --validate --cfg-options "
        "data.videos_per_gpu=2 data.workers_per_gpu=1"
    )
    assert outcome.code == 0, outcome.err
    log = text_log(tmp_path)
    assert "Distributed training: True (2 processes on cpu)" in log
    assert len([line for line in log if re.match(r"Epoch \[\d\]\[\d/3\]", line)]) == 9
    assert len([line for line in log if re.match(r"Epoch\(val\) \[\d\]\[2\]", line)]) == 3
    assert all(tensor.isfinite().all() for tensor in tensors(tmp_path / "epoch_3.pth").values())


def test_every_video_is_trained_on_once_in_every_epoch(train, monkeypatch):
    seen: dict[int, list[int]] = {}
    read = VideoDataset.__getitem__

    def spy(dataset: VideoDataset, key: tuple[int, int]):
        seen.setdefault(key[0], []).append(key[1])
        return read(dataset, key)

    monkeypatch.setattr(VideoDataset, "__getitem__", spy)
    train(total_epochs=2)
    assert [sorted(indices) for indices in seen.values()] == [list(range(13))] * 2
    assert seen[0] != seen[1]


# --------------------------------------------------------------------------------------------------- the optimisation


def test_cosine_falls_step_by_step(trained, diary):
    expected = [0.05 * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(12)]
    assert [row["lr"] for row in diary(trained).train] == pytest.approx(expected, abs=1e-5)


def test_published_steps_fall_at_75_and_125_epochs():
    schedule = StepSchedule(step=(75, 125))
    rates = [learning_rate(schedule, lr=0.01, progress=epoch, total_epochs=150) for epoch in (0, 74.9, 75, 124.9, 125)]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001])


def test_autoscaled_rate_is_linear_in_the_batch_and_follows_the_steps(train, diary, text_log):
    run = train("--autoscale-lr", optimizer__lr_batch_size=16, lr_config="dict(policy='step',step=[2],_delete_=True)")
    assert [row["lr"] for row in diary(run).train] == pytest.approx([0.0125] * 8 + [0.00125] * 4)
    assert "lr 0.05 is for 16 videos a step; scaled to 0.0125 for 4" in text_log(run)


def test_resumed_run_keeps_its_scaled_rate(train, diary, text_log, tmp_path):
    first = train("--autoscale-lr", work_dir=tmp_path / "first", optimizer__lr_batch_size=16, total_epochs=2)
    resume = ("--resume-from", first / "epoch_1.pth")
    run = train(*resume, work_dir=tmp_path / "second", optimizer__lr_batch_size=16, total_epochs=2)
    assert "lr 0.05 is for 16 videos a step; scaled to 0.0125 for 4" in text_log(run)
    assert [row["lr"] for row in diary(run).train] == [row["lr"] for row in diary(first).train if row["epoch"] == 2]


def test_rate_for_another_batch_is_kept_but_remarked_on(train, diary, text_log):
    run = train(optimizer__lr_batch_size=16, total_epochs=1)
    assert diary(run).train[0]["lr"] == 0.05
    (remark,) = [line for line in text_log(run) if "linear scaling rule says 0.0125" in line]
    assert "--autoscale-lr" in remark


def test_gradient_is_clipped_and_logged_as_it_was(train, diary, tensors, tmp_path):
    plain = {"optimizer__momentum": 0, "optimizer__weight_decay": 0, "optimizer__nesterov": False, "total_epochs": 1}
    free = train(*SEED, work_dir=tmp_path / "free", optimizer__max_grad_norm=None, **plain)
    clipped = train(*SEED, optimizer__max_grad_norm=1e-6, **plain)
    assert "grad_norm" not in diary(free).train[0]
    assert diary(clipped).train[0]["grad_norm"] > 1
    torch.manual_seed(0)
    start = dict(build_recognizer(load_config(clipped / "tiny.py").model).named_parameters())
    end = tensors(clipped / "epoch_1.pth")
    moved = math.sqrt(sum(float((end[name] - tensor.detach()).square().sum()) for name, tensor in start.items()))
    assert 0 < moved < 4 * 0.05 * 1e-6 * 1.01  # four steps of lr times the clipped norm


@pytest.mark.parametrize("parts", [2, 3])
def test_gradients_added_up_over_parts_equal_those_of_the_whole_batch(parts, train, diary, tensors, text_log, tmp_path):
    """Of a network whose statistics are frozen, over an epoch whose last batch has fewer videos than parts."""
    frozen = {"model__backbone__norm_eval": True, "model__neck": None, "model__cls_head__dropout_ratio": 0,
              "total_epochs": 1}  # fmt: skip
    whole = train(*SEED, work_dir=tmp_path / "whole", data__videos_per_gpu=6, **frozen)
    added = train(
        *SEED,
        data__videos_per_gpu=6 // parts,
        optimizer__accumulation_steps=parts,
        optimizer__lr_batch_size=6,
        **frozen,
    )
    assert f"Videos per step: 6 ({6 // parts} a process x {parts} batches added up)" in text_log(added)
    assert diary(added).losses() == pytest.approx(diary(whole).losses(), rel=1e-5)
    weights, expected = tensors(added / "epoch_1.pth"), tensors(whole / "epoch_1.pth")
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


def test_handful_of_clips_is_learnt_by_heart(train, diary, recipe, sprites, tmp_path):
    six = tmp_path / "six.txt"
    six.write_text("".join((sprites / "train.txt").read_text().splitlines(keepends=True)[:6]))
    run = train(*SEED, data__train__ann_file=six, total_epochs=25, model__cls_head__dropout_ratio=0, data__flip_ratio=0,
                data__videos_per_gpu=6, data__area_range="(1,1)", data__color_jitter=False,
                checkpoint_config__interval=25, log_config__interval=25)  # fmt: skip
    losses = diary(run).losses()
    assert losses[0] > 2
    assert losses[-1] < 0.2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_trains_close_to_single(trained, train, diary, dtype):
    run = train(*SEED, dtype=dtype, total_epochs=1)
    first, exact = diary(run).losses()[0], diary(trained).losses()[0]
    assert first == pytest.approx(exact, rel=0.03)
    assert first != exact
    assert all(map(math.isfinite, diary(run).losses()))
    checkpoint = torch.load(run / "epoch_1.pth", weights_only=True)
    assert {tensor.dtype for tensor in checkpoint["state_dict"].values()} == {torch.float32, torch.int64}
    assert bool(checkpoint["scaler"]) == (dtype == "float16")


def test_load_from_starts_from_those_weights_at_the_first_epoch(trained, train, diary, tensors, differing):
    run = train(load_from=trained / "epoch_3.pth", optimizer__lr=0, total_epochs=1)
    assert [row["epoch"] for row in diary(run).train] == [1] * 4
    changed = differing(weights_of(tensors, run / "epoch_1.pth"), weights_of(tensors, trained / "epoch_3.pth"))
    assert {name.split(".")[-1] for name in changed} == {"running_mean", "running_var", "num_batches_tracked"}


def test_load_from_a_checkpoint_of_other_classes_starts_the_classifiers_anew(trained, tpn, recipe, tensors, tmp_path):
    three = tmp_path / "three.txt"
    three.write_text("".join(f"videos/train/{number:05d}.mp4 {number % 3}\n" for number in range(4)))
    checkpoint = trained / "epoch_3.pth"
    options = ["--cfg-options", "model.cls_head.num_classes=3", f"data.train.ann_file={three}", "total_epochs=1"]
    train = ["train", recipe, "--seed", 0, *options, "optimizer.lr=0", f"load_from={checkpoint}"]
    outcome = tpn(*train, "--work-dir", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    layers = "cls_head.fc_cls (6 there, 3 here), neck.aux_head.fc (6 there, 3 here)"
    told = f"{checkpoint} has another number of classes, so these layers start anew: {layers}\n"
    assert outcome.out.count(told) == 1
    found, before = weights_of(tensors, tmp_path / "run" / "epoch_1.pth"), weights_of(tensors, checkpoint)
    torch.manual_seed(0)
    fresh = build_recognizer(load_config(recipe, {"model.cls_head.num_classes": 3}).model).state_dict()
    for name, tensor in found.items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(tensor, (fresh if ".fc" in name else before)[name]), name
    for refused in (
        tpn(*train, "--resume-from", checkpoint, "--work-dir", tmp_path / "resumed"),
        tpn("test", recipe, checkpoint, "--eval", "top_k_accuracy", *options, f"data.test.ann_file={three}"),
    ):
        assert refused.code == 2
        assert "it was trained for 6 classes, the config has 3" in refused.err


def weights_of(tensors, path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors(path).items() if not name.startswith("momentum")}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")
def test_compiled_steps_train_as_the_others_do(train, diary, tmp_path):
    """Without dropout, in either head: in compiled code it draws others. All batches are of one size, compiled once."""
    options: dict = {"total_epochs": 3, "data__videos_per_gpu": 13, "model__cls_head__dropout_ratio": 0}
    options["model__neck__aux_loss_weight"] = None
    plain = diary(train(*SEED, work_dir=tmp_path / "plain", **options))
    compiled = diary(train(*SEED, "--compile", work_dir=tmp_path / "compiled", **options))
    assert len(plain.losses()) == 3
    assert compiled.losses() == pytest.approx(plain.losses(), rel=1e-3)

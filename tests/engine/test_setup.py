"""What a run that is resumed finds changed is said, and refused where it would spoil the training."""

from pathlib import Path

import pytest
import torch


@pytest.fixture
def train_list(sprites, tmp_path) -> Path:
    """A copy of the training list, to be changed."""
    path = tmp_path / "train.txt"
    path.write_text((sprites / "train.txt").read_text())
    return path


@pytest.fixture
def broken_off(tpn, recipe, train_list, tmp_path) -> Path:
    """The folder of a run that ended within its first epoch, over weights that are not finite any more."""
    options = ["optimizer.lr=1e30", "optimizer.max_grad_norm=None", "checkpoint_config.every=1"]
    options.append(f"data.train.ann_file={train_list}")
    assert tpn("train", recipe, "--work-dir", tmp_path / "run", "--seed", 0, "--cfg-options", *options).code == 2
    return tmp_path / "run"


def swap_lines(path: Path) -> None:
    """The same videos in another order."""
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*others, first]))


@pytest.mark.parametrize("way", ["--resume-from", "--auto-resume"])
def test_a_training_list_that_changed_within_an_epoch_is_refused(way, broken_off, train_list, tpn, recipe):
    newest = max(broken_off.glob("step_*.pth"))
    arguments = ["train", recipe, "--work-dir", broken_off, way, *([newest] if way == "--resume-from" else [])]
    arguments += ["--cfg-options", f"data.train.ann_file={train_list}", "total_epochs=1"]
    before = train_list.read_text()
    swap_lines(train_list)
    refused = tpn(*arguments)
    assert refused.code == 2
    assert refused.err == (
        f"error: {newest}: stands {int(newest.stem[5:]) * 4} videos into epoch 1 of another training list than "
        f"{train_list} is now, so that videos would be repeated or left out: put the list back, resume from an "
        f"epoch_N.pth, or begin anew from these weights with --cfg-options load_from={newest}\n"
    )
    train_list.write_text(before)
    assert "another training list" not in tpn(*arguments).err


def test_a_training_list_that_changed_between_two_epochs_is_used_and_said(trained, train, train_list, text_log):
    train_list.write_text("".join(train_list.read_text().splitlines(keepends=True)[:8]))
    resumed = train("--resume-from", trained / "epoch_2.pth", data__train__ann_file=train_list)
    log, checkpoint = text_log(resumed), trained / "epoch_2.pth"
    told = f"{train_list} is another training list than the one of {checkpoint}: it is used from the next epoch on"
    assert log.count(told) == 1
    assert [line[:14] for line in log if line.startswith("Epoch [")] == ["Epoch [3][1/2]", "Epoch [3][2/2]"]


def test_a_training_list_that_was_moved_is_the_same_list(trained, train, train_list, text_log):
    resumed = train("--resume-from", trained / "epoch_2.pth", data__train__ann_file=train_list)
    assert not any("another training list" in line for line in text_log(resumed))


def test_a_checkpoint_that_does_not_know_its_list_is_resumed(trained, train, train_list, text_log, tmp_path):
    """MMAction2's, and those of our first versions."""
    checkpoint = torch.load(trained / "epoch_2.pth", weights_only=True)
    del checkpoint["meta"]["train_list"], checkpoint["sealed"]
    torch.save(checkpoint, tmp_path / "old.pth")
    swap_lines(train_list)
    resumed = train("--resume-from", tmp_path / "old.pth", data__train__ann_file=train_list)
    assert not any("another training list" in line for line in text_log(resumed))


def test_a_resumed_run_keeps_the_seed_of_its_checkpoint_and_says_which_flag_it_ignores(trained, train, diary, text_log):
    resumed = train("--resume-from", trained / "epoch_2.pth", "--seed", 1, "--deterministic")
    assert diary(resumed).meta["seed"] == 0
    assert diary(resumed).train == diary(trained).train[8:]
    told = f"--seed 1 is not used: the run goes on with seed 0, that of {trained / 'epoch_2.pth'}"
    assert text_log(resumed).count(told) == 1


def test_a_resumed_run_names_the_settings_that_have_changed(trained, train, text_log):
    changes = {"optimizer__lr": 0.01, "model__neck__aux_loss_weight": 0.1, "log_config__interval": 2}
    resumed = train("--resume-from", trained / "epoch_2.pth", **changes)
    (line,) = [line for line in text_log(resumed) if line.startswith("settings other than")]
    assert line == (
        f"settings other than those of {trained / 'epoch_2.pth'}: model.neck.aux_loss_weight: 0.5 -> 0.1; "
        "optimizer.lr: 0.05 -> 0.01; log_config.interval: 1 -> 2"
    )


def test_a_resumed_run_that_changes_nothing_names_no_settings(trained, train, text_log):
    lines = text_log(train("--resume-from", trained / "epoch_2.pth"))
    assert not any(line.startswith(("settings other than", "--seed")) for line in lines)


def test_settings_in_a_checkpoint_that_are_no_dump_are_passed_over(trained, train, text_log, tmp_path):
    checkpoint = torch.load(trained / "epoch_2.pth", weights_only=True)
    checkpoint["meta"]["config"] = "import os\n"
    del checkpoint["sealed"]
    torch.save(checkpoint, tmp_path / "old.pth")
    lines = text_log(train("--resume-from", tmp_path / "old.pth"))
    assert not any(line.startswith("settings other than") for line in lines)

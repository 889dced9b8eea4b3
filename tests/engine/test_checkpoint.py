"""Checkpoints have MMAction2's names and layout, and are whole or not there."""

import errno
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

from tpn.config import load_config
from tpn.engine.checkpoint import TrainState, save_checkpoint
from tpn.engine.optim import build_optimizer
from tpn.models.recognizer import build_recognizer


def test_run_folder_has_mmaction2s_files(trained, best_of):
    names = {re.sub(r"\d{8}_\d{6}", "DATE", path.name) for path in trained.iterdir()}
    best = best_of(trained)[1]
    assert re.fullmatch(r"best_top1_acc_epoch_\d\.pth", best)
    assert names == {"tiny.py", "DATE.log", "DATE.log.json", "epoch_1.pth", "epoch_2.pth", "epoch_3.pth", "latest.pth",
                     best, "curves.png", ".run"}  # fmt: skip


def test_latest_is_a_link_that_can_be_moved_with_its_folder(trained):
    assert (trained / "latest.pth").readlink() == Path("epoch_3.pth")


@pytest.mark.parametrize("refused", [("symlink",), ("symlink", "link")], ids=" ".join)
def test_a_file_system_without_links_trains_tests_and_resumes(refused, tpn, recipe, monkeypatch, tmp_path):
    """As exFAT, and Windows without the right to make links: there latest.pth is a hard link, or not there."""

    def refuse(*arguments, **options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    for name in refused:
        monkeypatch.setattr(f"os.{name}", refuse)
    command = ["train", recipe, "--work-dir", tmp_path, "--test-last", "--cfg-options", "data.test.num_clips=1"]
    assert tpn(*command, "total_epochs=1").code == 0
    resumed = tpn(*command, "total_epochs=2", "--auto-resume")
    assert resumed.code == 0, resumed.err
    assert "resumed epoch 1, iter 4" in resumed.out
    latest = tmp_path / "latest.pth"
    assert latest.exists() == ("link" not in refused)
    assert not latest.exists() or latest.samefile(tmp_path / "epoch_2.pth")
    assert not list(tmp_path.glob(".*.tmp"))


def test_resolved_config_lies_beside_the_logs(trained, recipe):
    assert load_config(trained / "tiny.py") == load_config(recipe)


def test_checkpoint_has_mmaction2s_layout(trained):
    checkpoint = torch.load(trained / "epoch_3.pth", weights_only=True)
    assert {"meta", "state_dict", "optimizer"} <= checkpoint.keys()
    meta = checkpoint["meta"]
    assert {
        "epoch",
        "iter",
        "time",
        "config",
        "env_info",
        "seed",
        "config_name",
        "work_dir",
        "hook_msgs",
    } <= meta.keys()
    assert (meta["epoch"], meta["iter"], meta["seed"], meta["config_name"]) == (3, 12, 0, "tiny.py")
    assert meta["hook_msgs"].keys() == {"last_ckpt", "best_score", "best_ckpt"}
    assert meta["hook_msgs"]["last_ckpt"] == str(trained / "epoch_3.pth")
    assert not any(name.startswith("module.") for name in checkpoint["state_dict"])
    assert checkpoint["optimizer"].keys() == {"state", "param_groups"}


def test_best_checkpoint_is_that_of_the_best_validation(trained, diary, best_of):
    accuracies = [row["top1_acc"] for row in diary(trained).val]
    score, name = best_of(trained)
    assert score == pytest.approx(max(accuracies), abs=1e-5)
    assert name == f"best_top1_acc_epoch_{accuracies.index(max(accuracies)) + 1}.pth"


def test_checkpoint_interval_is_kept_and_the_last_epoch_saved(train):
    run = train(checkpoint_config__interval=2)
    assert sorted(path.name for path in run.glob("epoch_*")) == ["epoch_2.pth", "epoch_3.pth"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
def test_process_killed_while_it_saves_leaves_the_old_checkpoint_whole(trained, recipe, tmp_path):
    import resource

    path = Path(shutil.copy(trained / "epoch_1.pth", tmp_path))
    config = load_config(recipe)
    model = build_recognizer(config.model)
    state = TrainState(model, build_optimizer(model, config.optimizer), torch.amp.GradScaler("cpu", enabled=False), 0)
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # the threads of the parent's pool are not in the child
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # the kernel ends it within the write
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        save_checkpoint(state, path, meta={})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGXFSZ
    assert path.read_bytes() == (trained / "epoch_1.pth").read_bytes()

"""Every flag of MMAction2's tools/train.py and tools/test.py is understood; one without effect is said in a line."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tpn.cli import app
from tpn.engine.results import read_results

TRAIN = {
    "--work-dir": "w", "--resume-from": "a.pth", "--validate": None, "--test-last": None, "--test-best": None,
    "--gpus": "8", "--gpu-ids": "1 2", "--seed": "0", "--diff-seed": None, "--deterministic": None,
    "--cfg-options": "a.b=1 c=[1,2]", "--launcher": "slurm", "--local_rank": "3",
}  # fmt: skip
TEST = {
    "--out": "r.json", "--eval": "top_k_accuracy mean_class_accuracy", "--fuse-conv-bn": None, "--gpu-collect": None,
    "--tmpdir": "t", "--eval-options": "topk=(1,3)", "--options": "topk=(1,3)", "--cfg-options": "a=1",
    "--average-clips": "prob", "--launcher": "mpi", "--local_rank": "1", "--onnx": None, "--tensorrt": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """What a flag sets in the environment ends with its test."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that monkeypatch takes it away at the end, whoever sets it
        monkeypatch.delenv(name)


def parse(command: str, *arguments: str):
    return app.parse_args([command, *arguments], exit_on_error=False, print_error=False)[1]


@pytest.mark.parametrize("flag", TRAIN)
def test_every_flag_of_train_parses(flag):
    assert parse("train", "c.py", flag, *(TRAIN[flag] or "").split()).args == (Path("c.py"),)


@pytest.mark.parametrize("flag", TEST)
def test_every_flag_of_test_parses(flag):
    bound = parse("test", "c.py", "c.pth", flag, *(TEST[flag] or "").split())
    assert bound.args == (Path("c.py"), Path("c.pth"))


def test_all_flags_together_parse():
    for command, flags, files in [("train", TRAIN, ["c.py"]), ("test", TEST, ["c.py", "c.pth"])]:
        parse(command, *files, *(word for flag, value in flags.items() for word in [flag, *(value or "").split()]))


def warnings_of(outcome) -> list[str]:
    return [line.removeprefix("warning: ") for line in outcome.err.splitlines() if line.startswith("warning: ")]


@pytest.fixture
def gpus(monkeypatch):
    """What --gpu-ids asks for is taken to be there."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)


@pytest.mark.parametrize(
    ("flags", "warnings"),
    [
        (["--gpus", "4"], ["--gpus has no effect: a process uses one GPU; for more, tools/dist_train.sh CONFIG GPUS"]),
        (["--gpu-ids", "0"], []),
        (["--gpu-ids", "0", "1"], ["--gpu-ids: a process uses one GPU, 0; for more, tools/dist_train.sh CONFIG GPUS"]),
        (["--diff-seed"], ["--diff-seed has no effect: each process draws its own dropout from the one --seed"]),
        ([], []),
    ],
)
def test_flags_of_train_without_effect_are_said_once(tpn, gpus, flags, warnings):
    outcome = tpn("train", "gone.py", *flags)
    assert warnings_of(outcome) == warnings
    assert "gone.py" in outcome.err.splitlines()[-1]


def test_flags_of_test_without_effect_are_said_once(tpn):
    flags = ["--fuse-conv-bn", "--gpu-collect", "--tmpdir", "t"]
    outcome = tpn("test", "gone.py", "c.pth", "--eval", "top_k_accuracy", *flags)
    assert [line.split(" has no effect")[0] for line in warnings_of(outcome)] == flags[:3]


def test_other_processes_do_not_repeat_the_warnings(tpn, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert warnings_of(tpn("train", "gone.py", "--gpus", "4")) == []


def test_gpu_ids_without_a_gpu_are_said_to_have_no_effect(tpn, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    warning = "--gpu-ids has no effect: PyTorch sees no CUDA GPU here"
    assert warnings_of(tpn("train", "gone.py", "--gpu-ids", "0")) == [warning]
    assert warnings_of(tpn("train", "gone.py", "--gpu-ids", "1", "2")) == [warning]


def test_gpu_ids_choose_the_gpu(tpn, gpus):
    tpn("train", "gone.py", "--gpu-ids", "3", "1")
    assert os.environ["LOCAL_RANK"] == "3"


def test_gpu_ids_are_not_for_several_processes(tpn, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert "--gpu-ids has no effect on several processes" in warnings_of(tpn("train", "gone.py", "--gpu-ids", "3"))[0]
    assert os.environ["LOCAL_RANK"] == "1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train c.py --gpus 1 --gpu-ids 0", "give --gpus or --gpu-ids, not both"),
        ("test c.py x.onnx --out r.pkl --onnx", "--onnx: exported networks cannot be tested"),
        ("test c.py x.plan --out r.pkl --tensorrt", "--tensorrt: exported networks cannot be tested"),
        ("test c.py x.pth --out r.pkl --options topk=1 --eval-options topk=1", "give one of them"),
        ("test c.py x.pth --out r.pkl --eval-options metric=1", "the only option is topk"),
        ("train c.py --launcher pytorch", "RANK is not set; start the processes with `torchrun --nproc-per-node GPUS"),
        ("test c.py x.pth --out r.pkl --launcher pytorch", "or leave --launcher out for one process"),
        ("train c.py --launcher slurm", "SLURM_PROCID is not set; start the processes with srun"),
        ("test c.py x.pth --out r.pkl --launcher mpi", "start the processes with mpirun"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(tpn, arguments, message):
    outcome = tpn(*arguments.split())
    assert outcome.code == 2
    assert message in outcome.err


@pytest.fixture
def few(sprites) -> list[str]:
    """Options that make a test one of seven videos."""
    return ["--cfg-options", f"data.test.ann_file={sprites}/val.txt"]


def test_last_and_best_checkpoints_are_tested_after_training(tpn, recipe, few, tmp_path):
    work_dir = tmp_path / "run"
    outcome = tpn("train", recipe, "--work-dir", work_dir, "--validate", "--seed", 0, "--test-last", "--test-best",
                  *few, "total_epochs=2")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.out.index("Testing results of the last checkpoint") < outcome.out.index(
        "Testing results of the best checkpoint"
    )
    assert outcome.out.count("\ntop1_acc: ") == 2
    assert "top1_acc\t" not in outcome.out
    [best] = work_dir.glob("best_*.pth")
    for checkpoint, name in [(work_dir / "latest.pth", "last_pred.pkl"), (best, "best_pred.pkl")]:
        assert tpn("test", recipe, checkpoint, "--out", tmp_path / "r.pkl", *few).code == 0
        np.testing.assert_array_equal(read_results(work_dir / name), read_results(tmp_path / "r.pkl"))


@pytest.mark.parametrize(
    ("resumed", "epochs", "flags"),
    [("epoch_3.pth", 4, ["--validate"]), ("epoch_3.pth", 4, []), ("epoch_2.pth", 2, []), ("latest.pth", 3, [])],
    ids=["goes on and validates", "goes on", "its best is that of its last validation", "finished"],
)
@pytest.mark.parametrize("moved", [True, False], ids=["moved", "elsewhere"])
def test_the_files_that_the_log_names_are_tested(resumed, epochs, flags, moved, tpn, recipe, few, trained, tmp_path):
    """Of a run resumed in another folder, or in its own, which has been moved; nothing is learnt, so the best stays."""
    source = shutil.copytree(trained, tmp_path / "old", symlinks=True) if moved else trained
    (best,) = source.glob("best_*.pth")
    work_dir = source if moved else tmp_path / "new"
    outcome = tpn("train", recipe, "--work-dir", work_dir, "--resume-from", source / resumed, "--test-last",
                  "--test-best", *flags, *few, f"total_epochs={epochs}", "optimizer.lr=0",
                  "model.backbone.norm_eval=True")  # fmt: skip
    assert outcome.code == 0, outcome.err
    log = max(work_dir.glob("*.log")).read_text()
    named = {kind: re.search(rf" {kind}: (?:[\d.]+ in )?(\S+?\.pth)", log)[1] for kind in ("Last", "Best")}
    assert named["Best"] == str(best)
    assert Path(named["Last"]).name == f"epoch_{epochs}.pth"
    for kind, checkpoint in named.items():
        meta = json.loads((work_dir / f"{kind.lower()}_pred.pkl.meta.json").read_text())
        assert meta["checkpoint"] == checkpoint
        assert f"Testing results of the {kind.lower()} checkpoint, {checkpoint}" in outcome.out


def test_a_best_checkpoint_that_is_gone_is_told_and_looked_for_anew(tpn, recipe, few, trained, tmp_path):
    """The checkpoint's own note is of the best at the time, which the next validation has beaten."""
    for flags, best in (([], None), (["--validate"], "best_top1_acc_epoch_2.pth")):
        work_dir = tmp_path / f"run{len(flags)}"
        source = shutil.copy(trained / "epoch_2.pth", tmp_path)
        outcome = tpn("train", recipe, "--work-dir", work_dir, "--resume-from", source, "--test-best", *flags, *few,
                      "total_epochs=2")  # fmt: skip
        assert outcome.code == 0, outcome.err
        assert "best_top1_acc_epoch_1.pth (" in outcome.out and "is not there any more" in outcome.out
        assert [path.name for path in work_dir.glob("best_*.pth")] == ([best] if best else [])
        assert ("there is no best checkpoint" in outcome.out) == (best is None)


def test_best_checkpoint_needs_validation(tpn, recipe, tmp_path):
    work_dir = tmp_path / "run"
    options = ["--cfg-options", "total_epochs=1", "--seed", "0"]
    outcome = tpn("train", recipe, "--work-dir", work_dir, "--test-best", *options)
    assert outcome.code == 0
    assert "--test-best: there is no best checkpoint, which --validate keeps" in outcome.out
    assert not list(work_dir.glob("*_pred.pkl"))


def test_other_k_are_printed_by_test(tpn, recipe, few, trained):
    for flag in ("--eval-options", "--options"):
        outcome = tpn("test", recipe, trained / "latest.pth", "--eval", "top_k_accuracy", flag, "topk=(2,3)", *few)
        assert [line.split(":")[0] for line in outcome.out.splitlines()[-2:]] == ["top2_acc", "top3_acc"]
        assert warnings_of(outcome) == (["--options is the old name of --eval-options"] if flag == "--options" else [])


def test_a_lone_slurm_task_tests_as_a_lone_process(tpn, recipe, few, trained, monkeypatch):
    for name, value in {"PROCID": "0", "NTASKS": "1", "LOCALID": "0", "NODELIST": "gpu[03-05]"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    outcome = tpn("test", recipe, trained / "latest.pth", "--eval", "top_k_accuracy", "--launcher", "slurm", *few)
    assert outcome.code == 0, outcome.err
    assert os.environ["MASTER_ADDR"] == "gpu03"

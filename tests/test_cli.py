"""The command line helps at once, takes MMAction2's spellings, and ends every mistake with a message and a status."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tpn import __version__
from tpn.config import load_config

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ["train", "test", "benchmark", "predict", "demo", "config"]
TOOLS = {"train": "tools/train.py", "test": "tools/test.py", "benchmark": "tools/analysis/benchmark.py"}


# ---------------------------------------------------------------------------------------------------------------- help


def test_help_and_a_mistyped_flag_wait_for_no_heavy_import(environment):
    script = f"""
import sys
from tpn.cli import main
for arguments in [["--help"], *([command, "--help"] for command in {COMMANDS}), ["train", "x.py", "--sed", "0"]]:
    try:
        main(arguments)
    except SystemExit:
        pass
print("imported:", sorted({{"torch", "numpy", "av", "cv2"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "imported: []", done.stderr


def test_help_names_every_command(tpn):
    outcome = tpn("--help")
    assert outcome.code == 0
    assert all(f" {command} " in outcome.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example_and_explains_every_option(tpn, command):
    outcome = tpn(command, "--help")
    assert outcome.code == 0
    assert f"Example: tpn {command} " in " ".join(outcome.out.split())
    options = [line for line in outcome.out.splitlines() if line.startswith("│ --")]
    assert options
    assert all(len(line.split()) > 3 for line in options), outcome.out


def test_version_is_the_packages(tpn):
    assert tpn("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("command", TOOLS)
def test_tool_at_mmaction2s_path_is_the_same_command(tpn, shell, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    assert shell(f"python {TOOLS[command]} --help") == tpn(command, "--help")
    assert shell(f"python {TOOLS[command]} --nonsense") == tpn(command, "--nonsense")


# ----------------------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "x.py", "--vlidate"], ["--vlidate", "--validate"]),
        (["test", "x.py", "x.pth", "--averge-clips", "prob"], ["--averge-clips", "--average-clips"]),
        (["test", "x.py", "x.pth", "--eval", "top1"], ["top1", "top_k_accuracy", "mean_class_accuracy"]),
        (["test", "x.py", "x.pth", "--average-clips", "mean", "--out", "r.json"], ["mean", "score", "prob"]),
        (["train"], ["CONFIG"]),
        (["test", "x.py"], ["CHECKPOINT"]),
        (["train", "x.py", "y.py"], ["y.py"]),
        (["train", "x.py", "--seed", "-1"], ["--seed", "-1"]),
        (["train", "x.py", "--seed", str(2**32)], ["--seed", str(2**32)]),
        (["train", "x.py", "--seed", "one"], ["--seed", "one"]),
        (["train", "x.py", "--device", "tpu"], ["--device", "tpu", "cuda"]),
        (["benchmark", "x.py", "--num-videos", "0"], ["--num-videos", "0"]),
        (["benchmark", "x.py", "--log-interval", "0"], ["--log-interval", "0"]),
        (["benchmark", "x.py", "--warm-up", "-1"], ["--warm-up", "-1"]),
        (["demo", "--epochs", "0"], ["--epochs", "0"]),
        (["trian", "x.py"], ["trian", "train"]),
    ],
)
def test_argument_that_is_wrong_is_named_with_what_would_be_right(tpn, arguments, words):
    outcome = tpn(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert all(word in outcome.err for word in words), outcome.err
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train x.py y.py 'a b'", "unexpected argument y.py 'a b' (see tpn train --help)"),
        ("train x.py --vlidate", "unknown option --vlidate; did you mean --validate? (see tpn train --help)"),
        ("train x.py --qqq", "unknown option --qqq (see tpn train --help)"),
        ("train x.py --checkpoint-every", "--checkpoint-every needs a value (see tpn train --help)"),
        ("train x.py --seed 1 --seed 2", "parameter --seed specified multiple times (see tpn train --help)"),
        ("benchmark x.py --warm-up -1", 'invalid value "-1" for --warm-up; must be >= 0 (see tpn benchmark --help)'),
        ("data pack", "LIST_FILE is missing (see tpn data pack --help)"),
        ("fuse --scores a.pkl", "--datalist is missing (see tpn fuse --help)"),
        ("data pck", 'unknown command "pck"; did you mean "pack"? (see tpn data --help)'),
        ("nonsense", 'unknown command "nonsense" (see tpn --help)'),
        *(
            (
                f"test x.py y.pth --device {gpu}",
                f'invalid value "{gpu}" for --device; choose from: "cpu", "cuda"; did you mean "cuda"? '
                "(see tpn test --help)",
            )
            for gpu in ("gpu", "GPU", "cuda:0", "0")
        ),
        *(
            (
                f"train x.py {option}",
                f"unknown option {option.split('=')[0].split()[0]}; that is a setting: "
                f"--cfg-options {setting}=… (see tpn train --help)",
            )
            for option, setting in {
                "--lr 0.1": "optimizer.lr",
                "--lr=0.1": "optimizer.lr",
                "--epochs 5": "total_epochs",
                "--max_epochs 5": "total_epochs",
                "--batch-size 4": "data.videos_per_gpu",
                "--optimizer.lr 0.1": "optimizer.lr",
            }.items()
        ),
        (
            "train x.py a.b=1",
            "unexpected argument a.b=1; settings are changed by --cfg-options a.b=1 (see tpn train --help)",
        ),
        ("train x.py --amp", "unknown option --amp; that is --dtype float16 here (see tpn train --help)"),
        ("demo --lr 1", "unknown option --lr (see tpn demo --help)"),
    ],
)
def test_mistake_in_the_arguments_is_one_sentence(tpn, arguments, message):
    assert tpn(*shlex.split(arguments)) == (2, "", f"error: {message}\n")


def test_test_without_anything_to_do_says_so(tpn, recipe):
    outcome = tpn("test", recipe, "x.pth")
    assert outcome == (2, "", "error: nothing to do: give --eval METRIC…, --out FILE, or both\n")


@pytest.mark.parametrize(
    "flags", [["--local_rank", "0"], ["--local-rank=0"], ["--local_rank=0", "--launcher", "pytorch"]]
)
def test_flags_that_launchers_add_are_taken(tpn, recipe, trained, flags, monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "0")
    few = tmp_path / "few.txt"
    few.write_text("videos/test/00000.mp4 0\n")
    outcome = tpn("test", recipe, trained / "epoch_1.pth", *flags, "--eval", "mean_class_accuracy",
                  "--cfg-options", f"data.test.ann_file={few}")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "mean_class_accuracy: " in outcome.out


def test_unknown_setting_names_the_nearest(tpn, recipe):
    outcome = tpn("config", recipe, "--cfg-options", "model.backbone.dpeth=50", "optimizer.lrr=1")
    assert outcome.code == 2
    assert "model.backbone.dpeth: unknown key (value 50); did you mean 'depth'?" in outcome.err
    assert "optimizer.lrr: unknown key (value 1); did you mean 'lr'?" in outcome.err  # all problems at once


def test_config_prints_settings_that_read_back_equal(tpn, recipe, tmp_path):
    outcome = tpn("config", recipe, "--cfg-options", "optimizer.lr=0.125")
    assert outcome.code == 0
    assert "lr=0.125" in outcome.out
    (tmp_path / "printed.py").write_text(outcome.out)
    assert load_config(tmp_path / "printed.py") == load_config(recipe, {"optimizer.lr": 0.125})


# ----------------------------------------------------------------------------------------------------------- interrupts


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_control_c_ends_training_and_its_workers_with_130_and_no_traceback(recipe, environment, tmp_path):
    command = [sys.executable, "tools/train.py", recipe, "--work-dir", tmp_path, "--cfg-options", "total_epochs=10000"]
    with subprocess.Popen(
        [*map(str, command), "data.workers_per_gpu=2"], cwd=ROOT, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job would ignore it
    ) as run:  # fmt: skip
        assert run.stdout is not None
        next(line for line in run.stdout if "Epoch [1][2/4]" in line)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the workers too
        told, complaints = run.communicate(timeout=30)
    assert (run.returncode, complaints) == (130, "")
    assert "SIGINT: stopped after" in told.splitlines()[-1]
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)

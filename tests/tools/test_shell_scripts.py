"""dist_*.sh and slurm_*.sh start the same processes, with the same arguments and variables, as MMAction2's."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tpn.engine.results import read_results

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SCRIPTS = sorted(TOOLS.glob("*.sh"))
TORCHRUN = "-m torch.distributed.run"


@pytest.fixture
def started(tmp_path, monkeypatch):
    """started(script, arguments, VARIABLE=…) -> the command line that python or srun would be run with."""
    for name in ("python", "srun"):
        fake = tmp_path / name
        fake.write_text(f'#!/bin/bash\necho {name}; printf "%s\\n" "$@"; echo "PYTHONPATH=$PYTHONPATH"\n')
        fake.chmod(0o755)

    def start(script: str, *arguments: str, **variables: str) -> list[str]:
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | variables
        done = subprocess.run(
            [TOOLS / script, *arguments], env=environment, capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        *command, path = done.stdout.splitlines()
        assert path.startswith(f"PYTHONPATH={TOOLS}/..")
        return command

    return start


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_and_explain_themselves(script):
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    done = subprocess.run([script], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: {script} ")


def test_dist_train_starts_torchrun(started):
    command = started("dist_train.sh", "a config.py", "4", "--validate", "--work-dir", "my dir")
    assert command == [
        "python", "-m", "torch.distributed.run", "--nnodes=1", "--node-rank=0", "--master-addr=127.0.0.1",
        "--master-port=29500", "--nproc-per-node=4", f"{TOOLS}/train.py", "a config.py", "--launcher", "pytorch",
        "--validate", "--work-dir", "my dir",
    ]  # fmt: skip


def test_dist_test_takes_the_variables_of_several_machines(started):
    command = started("dist_test.sh", "c.py", "x.pth", "8", "--eval", "top_k_accuracy",
                      NNODES="2", NODE_RANK="1", MASTER_ADDR="h", PORT="1234")  # fmt: skip
    assert command[3:8] == [
        "--nnodes=2",
        "--node-rank=1",
        "--master-addr=h",
        "--master-port=1234",
        "--nproc-per-node=8",
    ]
    assert command[8:] == [f"{TOOLS}/test.py", "c.py", "x.pth", "--launcher", "pytorch", "--eval", "top_k_accuracy"]


def test_slurm_train_asks_for_what_the_variables_say(started):
    command = started("slurm_train.sh", "part", "job", "c.py", "--seed", "0",
                      GPUS="16", GPUS_PER_NODE="4", CPUS_PER_TASK="9", SRUN_ARGS="--time=1-0 --exclusive")  # fmt: skip
    assert command == [
        "srun", "--partition=part", "--job-name=job", "--gres=gpu:4", "--ntasks=16", "--ntasks-per-node=4",
        "--cpus-per-task=9", "--kill-on-bad-exit=1", "--time=1-0", "--exclusive",
        "python", "-u", f"{TOOLS}/train.py", "c.py", "--launcher", "slurm", "--seed", "0",
    ]  # fmt: skip


def test_slurm_test_has_mmaction2s_defaults(started):
    command = started("slurm_test.sh", "part", "job", "c.py", "x.pth")
    assert command == [
        "srun", "--partition=part", "--job-name=job", "--gres=gpu:8", "--ntasks=8", "--ntasks-per-node=8",
        "--cpus-per-task=5", "--kill-on-bad-exit=1",
        "python", "-u", f"{TOOLS}/test.py", "c.py", "x.pth", "--launcher", "slurm",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------- real processes


@pytest.mark.slow
def test_two_processes_train_test_and_extract_features(recipe, environment, tmp_path):
    """Started by the scripts, they do what one process does: every video scored once, one log, one checkpoint."""
    environment = environment | {"PYTHON": sys.executable, "PORT": "29517"}

    def run(*command: object) -> str:
        done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(TOOLS / "dist_train.sh", recipe, 2, "--work-dir", "run", "--validate", "--seed", 0, "--cfg-options",
        "total_epochs=1")  # fmt: skip
    assert len(list(tmp_path.glob("run/*.log.json"))) == 1
    [log] = tmp_path.glob("run/*.log")
    assert "Distributed training: True" in log.read_text()

    checkpoint = tmp_path / "run/latest.pth"
    out = run(TOOLS / "dist_test.sh", recipe, checkpoint, 2, "--eval", "top_k_accuracy", "--out", "two.pkl")
    assert re.search(r"^top1_acc: 0\.\d{4}$", out, re.MULTILINE)
    run(sys.executable, TOOLS / "test.py", recipe, checkpoint, "--out", "one.pkl")
    np.testing.assert_array_equal(read_results(tmp_path / "two.pkl"), read_results(tmp_path / "one.pkl"))
    assert read_results(tmp_path / "two.pkl").shape == (67, 6)

    script = TOOLS / "misc/clip_feature_extraction.py"
    run(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29517", script, recipe,
        checkpoint, "--out", "features.pkl", "--launcher", "pytorch")  # fmt: skip
    assert read_results(tmp_path / "features.pkl").shape == (67, 256)


@pytest.mark.slow
def test_slurms_tasks_train_together_and_test_at_the_end(recipe, environment, tmp_path):
    """A stand-in for srun starts the two tasks on this machine, with the variables that Slurm gives them."""
    srun = tmp_path / "srun"
    srun.write_text(
        "#!/bin/bash\n"
        "while [[ $1 == --* ]]; do [[ $1 == --ntasks=* ]] && tasks=${1#*=}; shift; done\n"
        "export SLURM_NTASKS=$tasks SLURM_NODELIST=localhost SLURM_JOB_ID=7 SLURM_STEP_ID=0\n"
        'for ((i = 1; i < tasks; i++)); do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & done\n'
        'SLURM_PROCID=0 SLURM_LOCALID=0 "$@" && wait\n'
    )
    srun.chmod(0o755)
    environment = environment | {"PYTHON": sys.executable, "GPUS": "2", "PATH": f"{tmp_path}:{environment['PATH']}"}
    command = [TOOLS / "slurm_train.sh", "partition", "job", recipe, "--work-dir", "run", "--test-last",
               "--cfg-options", "total_epochs=1"]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [log] = tmp_path.glob("run/*.log")
    assert "Distributed training: True (2 processes on cpu)" in log.read_text()
    assert read_results(tmp_path / "run/last_pred.pkl").shape == (67, 6)

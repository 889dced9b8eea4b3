"""Processes of Slurm and MPI learn what torchrun would have told them."""

import socket

import pytest

from tpn.engine.distributed import joined_world
from tpn.engine.launchers import first_host, torchrun_variables
from tpn.errors import UserError

SLURM = {"SLURM_PROCID": "9", "SLURM_NTASKS": "16", "SLURM_LOCALID": "1", "SLURM_NODELIST": "gpu[03-05,9],cpu1",
         "SLURM_JOB_ID": "4217", "SLURM_STEP_ID": "0"}  # fmt: skip
# Of the body of a batch script of four tasks, as Slurm 22.05 sets them: it runs once, and in no step.
BODY = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0", "SLURM_NODELIST": "node1",
        "SLURM_JOB_ID": "4217"}  # fmt: skip
MPI = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}


def test_slurms_tasks_meet_on_the_first_node():
    assert torchrun_variables("slurm", SLURM, local_rank=0) == {
        "RANK": "9",
        "WORLD_SIZE": "16",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "gpu03",
        "MASTER_PORT": "17917",
    }
    given = torchrun_variables("slurm", SLURM | {"MASTER_ADDR": "a", "MASTER_PORT": "1"}, local_rank=0)
    assert (given["MASTER_ADDR"], given["MASTER_PORT"]) == ("a", "1")


def test_the_body_of_a_batch_script_is_told_to_use_srun():
    with pytest.raises(UserError, match="the body of a batch script once; put srun before the command") as error:
        torchrun_variables("slurm", BODY, local_rank=0)
    assert "one process for the 4 tasks" in str(error.value)
    started = torchrun_variables("slurm", BODY | {"SLURM_STEP_ID": "0"}, local_rank=0)
    assert (started["RANK"], started["WORLD_SIZE"]) == ("0", "4")
    assert torchrun_variables("slurm", BODY | {"SLURM_NTASKS": "1"}, local_rank=0)["WORLD_SIZE"] == "1"


def test_steps_and_jobs_beside_one_another_meet_on_ports_of_their_own():
    ports = {
        torchrun_variables("slurm", SLURM | {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)}, local_rank=0)[
            "MASTER_PORT"
        ]
        for job in range(4_000_000, 4_000_050)
        for step in range(100)
    }
    assert len(ports) == 50 * 100
    assert all(12000 <= int(port) < 32000 for port in ports)
    assert torchrun_variables("slurm", SLURM, local_rank=0) == torchrun_variables(
        "slurm", SLURM | {"SLURM_PROCID": "9"}, local_rank=1
    )


def test_a_port_that_is_taken_is_told(monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, value)
        told = f"^port {port} is taken on this machine: set MASTER_PORT"
        with pytest.raises(UserError, match=told), joined_world("cpu"):
            pass


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node7", "node7"),
        ("a1,a2", "a1"),
        ("gpu[03-05,9]", "gpu03"),
        ("gpu[12]", "gpu12"),
        ("gpu[003-005]-ib,x", "gpu003-ib"),
        ("", ""),
    ],
)
def test_first_host_of_a_node_list(nodes, host):
    assert first_host(nodes) == host


def test_mpi_needs_the_address_of_the_first_process():
    expected = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "h", "MASTER_PORT": "29500"}
    assert torchrun_variables("mpi", MPI | {"MASTER_ADDR": "h"}, local_rank=0) == expected
    with pytest.raises(UserError, match="--launcher mpi: set MASTER_ADDR"):
        torchrun_variables("mpi", MPI, local_rank=0)


@pytest.mark.parametrize(("launcher", "starter"), [("slurm", "srun"), ("mpi", "mpirun"), ("pytorch", "`torchrun")])
def test_process_that_the_launcher_did_not_start_is_told(launcher, starter):
    with pytest.raises(UserError, match=f"is not set; start the processes with {starter}"):
        torchrun_variables(launcher, {}, local_rank=0)


@pytest.mark.parametrize("launcher", ["none", "pytorch"])
def test_local_rank_of_the_environment_goes_before_the_flags(launcher):
    assert torchrun_variables(launcher, {"RANK": "0"}, local_rank=2) == {"LOCAL_RANK": "2"}
    assert torchrun_variables(launcher, {"RANK": "0", "LOCAL_RANK": "5"}, local_rank=2) == {}

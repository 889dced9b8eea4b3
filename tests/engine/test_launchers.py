"""Processes of Slurm and MPI learn what torchrun would have told them."""

import pytest

from tpn.engine.launchers import first_host, torchrun_variables
from tpn.errors import UserError

SLURM = {"SLURM_PROCID": "9", "SLURM_NTASKS": "16", "SLURM_LOCALID": "1", "SLURM_NODELIST": "gpu[03-05,9],cpu1"}
MPI = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}


def test_slurms_tasks_meet_on_the_first_node():
    assert torchrun_variables("slurm", SLURM, local_rank=0) == {
        "RANK": "9",
        "WORLD_SIZE": "16",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "gpu03",
        "MASTER_PORT": "29500",
    }
    given = torchrun_variables("slurm", SLURM | {"MASTER_ADDR": "a", "MASTER_PORT": "1"}, local_rank=0)
    assert (given["MASTER_ADDR"], given["MASTER_PORT"]) == ("a", "1")


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

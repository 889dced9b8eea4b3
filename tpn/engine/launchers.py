"""Processes that Slurm's srun or mpirun started, described as torchrun describes its own."""

import re
from collections.abc import Mapping
from typing import Literal

from tpn.errors import UserError

Launcher = Literal["none", "pytorch", "slurm", "mpi"]
DEFAULT_PORT = "29500"
STEP = ("SLURM_STEP_ID", "SLURM_STEPID")
VARIABLES = {  # torchrun's variable: the launcher's
    "slurm": {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"},
    "mpi": {"RANK": "OMPI_COMM_WORLD_RANK", "WORLD_SIZE": "OMPI_COMM_WORLD_SIZE",
            "LOCAL_RANK": "OMPI_COMM_WORLD_LOCAL_RANK"},
}  # fmt: skip


def torchrun_variables(launcher: Launcher, environment: Mapping[str, str], *, local_rank: int) -> dict[str, str]:
    """The environment variables to set before processes can meet; torchrun ('none', 'pytorch') has set all but one.

    Args:
        local_rank: of `--local_rank`, the way of launchers older than torchrun; the environment goes before it.

    Raises:
        UserError: the environment is not that of a process of the launcher's, or does not say where the first one is.
    """
    if launcher == "pytorch" and "RANK" not in environment:
        raise UserError(
            "--launcher pytorch: RANK is not set; start the processes with `torchrun --nproc-per-node GPUS "
            "tools/train.py …` (or tools/test.py), or leave --launcher out for one process"
        )
    if launcher not in VARIABLES:
        return {} if "LOCAL_RANK" in environment else {"LOCAL_RANK": str(local_rank)}
    names = VARIABLES[launcher]
    if lacking := [name for name in names.values() if name not in environment]:
        started = "srun" if launcher == "slurm" else "mpirun"
        raise UserError(f"--launcher {launcher}: {lacking[0]} is not set; start the processes with {started}")
    variables = {name: environment[source] for name, source in names.items()}
    if launcher == "slurm" and is_batch_body(environment):
        raise UserError(
            f"--launcher slurm: this is one process for the {variables['WORLD_SIZE']} tasks of the job, since Slurm "
            "runs the body of a batch script once; put srun before the command, as tools/slurm_train.sh does"
        )
    address = environment.get("MASTER_ADDR")
    if address is None and launcher == "slurm":
        address = first_host(environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST", ""))
    if not address:
        raise UserError(f"--launcher {launcher}: set MASTER_ADDR to the host of the first process")
    port = slurm_port(environment) if launcher == "slurm" else DEFAULT_PORT
    return variables | {"MASTER_ADDR": address, "MASTER_PORT": environment.get("MASTER_PORT", port)}


def is_batch_body(environment: Mapping[str, str]) -> bool:
    """Whether a process of a job of several tasks is none of them: Slurm numbers it 0, but it is in no step."""
    return environment["SLURM_NTASKS"] != "1" and not any(name in environment for name in STEP)


def slurm_port(environment: Mapping[str, str]) -> str:
    """The port on which the tasks of a step meet, by its job and its number: two steps may run on one node.

    Between 12000 and 32000, below the ports that systems give out. Jobs of following numbers are 101 apart.
    """
    job, step = (
        next((environment[name] for name in names if environment.get(name, "").isdecimal()), None)
        for names in (("SLURM_JOB_ID", "SLURM_JOBID"), STEP)
    )
    return DEFAULT_PORT if job is None else str(12000 + (int(job) * 101 + int(step or 0)) % 20000)


def first_host(nodes: str) -> str:
    """The first of Slurm's list of nodes: 'gpu[03-05,9]-ib,cpu1' begins with gpu03-ib."""
    match = re.match(r"([^,\[]*)(?:\[(\d+)[^\]]*\])?([^,\[]*)", nodes)
    return "".join(part or "" for part in match.groups()) if match else ""

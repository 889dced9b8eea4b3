"""Processes that Slurm's srun or mpirun started, described as torchrun describes its own."""

import re
from collections.abc import Mapping
from typing import Literal

from tpn.errors import UserError

Launcher = Literal["none", "pytorch", "slurm", "mpi"]
DEFAULT_PORT = "29500"
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
        UserError: the environment is not that of the launcher, or does not say where the first process is.
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
    address = environment.get("MASTER_ADDR")
    if address is None and launcher == "slurm":
        address = first_host(environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST", ""))
    if not address:
        raise UserError(f"--launcher {launcher}: set MASTER_ADDR to the host of the first process")
    return variables | {"MASTER_ADDR": address, "MASTER_PORT": environment.get("MASTER_PORT", DEFAULT_PORT)}


def first_host(nodes: str) -> str:
    """The first of Slurm's list of nodes: 'gpu[03-05,9]-ib,cpu1' begins with gpu03-ib."""
    match = re.match(r"([^,\[]*)(?:\[(\d+)[^\]]*\])?([^,\[]*)", nodes)
    return "".join(part or "" for part in match.groups()) if match else ""

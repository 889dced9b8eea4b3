"""Processes: who this one is, and the few collective operations the engine needs; one process needs no set-up."""

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.nn.parallel import DistributedDataParallel

from tpn.engine.out_of_memory import memory_for
from tpn.errors import UserError

LETTING_GO = 0.2
"""Seconds after the last collective operation. Its tensors are let go by a thread of PyTorch's, which DDP keeps alive
after the end of the process group; if Python has begun to end by then, the thread aborts the process (PyTorch 2.13)."""


@dataclass(frozen=True)
class World:
    """This process among the processes of the run."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0


@contextmanager
def joined_world(device: str | None = None, *, timeout: float | None = None) -> Iterator[World]:
    """Join the processes torchrun started (gloo on CPU, nccl on GPUs), or be alone; leave them again at the end.

    Args:
        device: 'cpu' or 'cuda'; None takes a GPU where there is one.
        timeout: seconds that a process waits for the others before it takes them for dead. None: PyTorch's 10 minutes
            on GPUs, 30 on CPUs.
    Raises:
        UserError: another process has ended, or has not answered in time; the port to meet on is taken; or memory is
            not enough for something that has no better word for it.
    """
    size, rank, local_rank = (int(os.environ.get(key, default)) for key, default in _TORCHRUN.items())
    chosen = choose_device(device, local_rank)
    with memory_for("this command", chosen, remedy="end what else uses it, or take a smaller network"):
        yield from joined(chosen, rank=rank, size=size, timeout=timeout)


def joined(chosen: torch.device, *, rank: int, size: int, timeout: float | None) -> Iterator[World]:
    """The world, while it lasts."""
    if size == 1:
        yield World(rank=0, size=1, device=chosen)
        return
    try:
        dist.init_process_group(
            "nccl" if chosen.type == "cuda" else "gloo",
            device_id=chosen if chosen.type == "cuda" else None,
            timeout=None if timeout is None else timedelta(seconds=timeout),
            rank=rank,
            world_size=size,
            store=own_store(),
        )
        yield World(rank=rank, size=size, device=chosen)
    except RuntimeError as error:
        if (told := explained(error)) is None:
            raise
        raise UserError(told) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
            time.sleep(LETTING_GO)


_TORCHRUN = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}


def own_store() -> Store | None:
    """Where the processes find each other's addresses; None: where PyTorch does.

    torchrun's own store still holds the addresses of processes that have died: those it restarts on the same machine
    would now and then try them (pytorch/pytorch#135712). Among several machines its count of restarts is not the same,
    there TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 has to be set (docs/en/reliability.md).
    """
    env = os.environ
    if env.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or env.get("GROUP_WORLD_SIZE") != "1":
        return None
    store = TCPStore(env["MASTER_ADDR"], int(env["MASTER_PORT"]), is_master=False)
    return PrefixStore(f"tpn/{env['WORLD_SIZE']}/{env['TORCHELASTIC_RESTART_COUNT']}", store)


def explained(error: RuntimeError) -> str | None:
    """What PyTorch says of a process that is gone or a port, in words for people; None for any other error."""
    text = str(error)
    if "EADDRINUSE" in text:
        return f"port {os.environ.get('MASTER_PORT')} is taken on this machine: set MASTER_PORT to another one"
    if any(sign in text for sign in ("closed by peer", "reset by peer", "Broken pipe")):
        return "another process of this run has ended; what it printed says why"
    if "imed out" in text or "imeout" in text:
        return "another process of this run does not answer: it hangs, or it needs longer than --dist-timeout allows"
    return None


def choose_device(device: str | None, local_rank: int) -> torch.device:
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UserError("--device cuda: PyTorch sees no CUDA GPU here; leave --device out to run on the CPU")
    if device == "cpu" or not available:
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    # float32 products by tensor cores, their factors rounded to TF32: PyTorch's default for convolutions, here for all.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    return torch.device("cuda", local_rank)


def data_parallel(model: nn.Module, world: World) -> nn.Module:
    """The model with gradients averaged over the processes; the model itself when there is one."""
    if world.size == 1:
        return model
    # Said of 1x1x1 kernels, whose strides do not matter; the gradients are the same.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    return DistributedDataParallel(model, device_ids=[world.device.index] if world.device.type == "cuda" else None)


@contextmanager
def gradients_shared(model: nn.Module, now: bool) -> Iterator[None]:
    """Average the gradients over the processes in this backward pass, or leave them to be added to by a later one."""
    if now or not isinstance(model, DistributedDataParallel):
        yield
        return
    with model.no_sync():
        yield


def summed(values: Tensor, world: World) -> Tensor:
    """The sum of a tensor over all processes, on the CPU."""
    if world.size == 1:
        return values
    values = values.to(world.device)
    dist.all_reduce(values)
    return values.cpu()


def maxima(values: Sequence[float], world: World) -> list[float]:
    """The largest of the processes' values, at each place."""
    if world.size == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=world.device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor.tolist()


def gathered(value: Any, world: World) -> list[Any] | None:
    """Every process's value in rank order, on the main process; None elsewhere."""
    if world.size == 1:
        return [value]
    values = [None] * world.size if world.is_main else None
    dist.gather_object(value, values)
    return values


def shared(value: Any, world: World) -> Any:
    """The main process's value, everywhere."""
    if world.size == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, device=world.device)
    return values[0]


def share_buffers(model: nn.Module, world: World) -> None:
    """Give every process the main one's running statistics, so that all of them evaluate the same network."""
    if world.size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)

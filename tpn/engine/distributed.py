"""Processes: who this one is, and the few collective operations the engine needs; one process needs no set-up."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tpn.errors import UserError


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
def joined_world(device: str | None = None) -> Iterator[World]:
    """Join the processes torchrun started (gloo on CPU, nccl on GPUs), or be alone; leave them again at the end.

    Args:
        device: 'cpu' or 'cuda'; None takes a GPU where there is one.
    """
    size, rank, local_rank = (int(os.environ.get(key, default)) for key, default in _TORCHRUN.items())
    chosen = choose_device(device, local_rank)
    if size == 1:
        yield World(rank=0, size=1, device=chosen)
        return
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, device_id=chosen if chosen.type == "cuda" else None)
    try:
        yield World(rank=rank, size=size, device=chosen)
    except RuntimeError as error:
        if "closed by peer" not in str(error):
            raise
        raise UserError("another process of this run has ended; what it printed says why") from error
    finally:
        dist.destroy_process_group()


_TORCHRUN = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}


def choose_device(device: str | None, local_rank: int) -> torch.device:
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UserError("--device cuda: PyTorch sees no CUDA GPU here; leave --device out to run on the CPU")
    if device == "cpu" or not available:
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def data_parallel(model: nn.Module, world: World) -> nn.Module:
    """The model with gradients averaged over the processes; the model itself when there is one."""
    if world.size == 1:
        return model
    return DistributedDataParallel(model, device_ids=[world.device.index] if world.device.type == "cuda" else None)


def summed(values: Tensor, world: World) -> Tensor:
    """The sum of a tensor over all processes."""
    if world.size > 1:
        dist.all_reduce(values)
    return values


def maximum(value: float, world: World) -> float:
    """The largest of the processes' values."""
    if world.size == 1:
        return value
    tensor = torch.tensor(value, device=world.device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor.item()


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

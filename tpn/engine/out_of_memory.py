"""Memory that is not enough, on a GPU or a CPU, in one sentence that says what was too large and what to lower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tpn.errors import UserError

SIGNS = (
    "DefaultCPUAllocator: can't allocate memory",  # the CPU's allocator has no error of its own
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDA out of memory",  # said by libraries that raise a RuntimeError
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocator of this process had nothing left to give."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


@contextmanager
def memory_for(what: str, device: torch.device, *, remedy: str) -> Iterator[None]:
    """Turn what an allocator says, while this lasts, into a UserError: "…'s memory is not enough for {what}: {remedy}".

    Args:
        what: was to fit, with its sizes.
        remedy: what to lower, as an order.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{memory_of(device)} is not enough for {what}: {remedy}") from error


def memory_of(device: torch.device) -> str:
    """The device's memory and, on a GPU, how much of it others hold: "the memory of cuda:0 (79.1 GiB, …)"."""
    if device.type != "cuda":
        return "this machine's memory"
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device)
    held = f", {others / 2**30:.1f} of them held by others" if others > total / 20 else ""
    return f"the memory of {device} ({total / 2**30:.1f} GiB{held})"

"""The floating-point operations a second that this machine reaches at best: what a speed is measured against."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

Product = tuple[int, Callable[[], object]]
"""FLOP, and the work."""


@dataclass
class Peak:
    """The most FLOP/s that this machine has reached so far, in one type of numbers.

    It is measured now and then, in turns with what is compared with it: a machine's speed changes from minute to
    minute, and one measured at the start alone is now and then exceeded by the network itself.
    """

    dtype: torch.dtype
    device: torch.device
    best: float = 0.0

    def measure(self) -> None:
        """Large products, for well under a second."""
        self.seen(measured_peak(self.dtype, self.device))

    def seen(self, flops_per_second: float) -> None:
        """Something else has reached this much, so the machine can."""
        self.best = max(self.best, flops_per_second)


@torch.inference_mode()
def measured_peak(dtype: torch.dtype, device: torch.device, *, rounds: int = 6) -> float:
    """FLOP/s of the fastest of several large products; well under a second.

    No one library is the fastest everywhere: MKL's product reaches 182 of the 219 GFLOP/s of an AMD EPYC, and oneDNN's,
    with packed weights, all of them.
    """
    candidates = cuda_products(dtype, device) if device.type == "cuda" else cpu_products(dtype)
    best = 0.0
    for flops, work in candidates:
        work()
        best = max(best, *(flops / seconds(work, device) for _ in range(rounds)))
    return best


def seconds(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def cuda_products(dtype: torch.dtype, device: torch.device) -> list[Product]:
    size = 8192
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    return [(2 * size**3, lambda: a @ b.T), (2 * size**3, lambda: a @ b)]


def cpu_products(dtype: torch.dtype) -> list[Product]:
    """MKL's matrix product; a 3x3 convolution, its weight packed where oneDNN does that."""
    a, b = torch.randn(1536, 1536, dtype=dtype), torch.randn(1536, 1536, dtype=dtype)
    x = torch.randn(8, 256, 18, 18, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3, dtype=dtype)
    products: list[Product] = [
        (2 * 1536**3, lambda: a @ b),
        (2 * 8 * 16 * 16 * 256 * 256 * 9, lambda: F.conv2d(x, weight)),
    ]
    if dtype in (torch.float32, torch.bfloat16) and torch.backends.mkldnn.is_available():
        rows, matrix = torch.randn(2048, 1024, dtype=dtype), torch.randn(1024, 1024, dtype=dtype)
        ops, shape = torch.ops.mkldnn, ((0, 0), (1, 1), (1, 1), 1)
        packed = ops._reorder_convolution_weight(weight, *shape, list(x.shape))
        linear = ops._reorder_linear_weight(matrix, len(rows))
        products += [
            (2 * 2048 * 1024**2, lambda: ops._linear_pointwise(rows, linear, None, "none", [], "")),
            (products[1][0], lambda: ops._convolution_pointwise(x, packed, None, *shape, "none", [], "")),
        ]
    return products

"""Memory of this process: freed blocks kept for the next tensor, and the most that was ever used."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # numbers of malloc.h, GNU C library
LARGEST_KEPT = 1 << 30  # bytes


def keep_freed_memory() -> None:
    """Keep large freed blocks for the next tensor of their size, where the C library is GNU's; elsewhere do nothing.

    By itself it hands blocks of 32 MiB and more back to the system, and every new one then costs a page fault per
    4 KiB: 25000 of them, some 5 % of the time, in each view of SlowOnly-TPN at 256 x 256 (benchmarks/RESULTS.md).
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(TRIM_THRESHOLD, LARGEST_KEPT)


def peak_resident() -> int:
    """MiB that this process held at most at one time."""
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)  # bytes on macOS, KiB elsewhere

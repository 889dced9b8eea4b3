"""What a machine with a GPU is, and the most it reaches: large products in each precision, copies.

python benchmarks/gpu_environment.py
python benchmarks/gpu_environment.py --device cpu            # does it run?
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch
from on_device import device_name, peaks_of

from tpn.engine.distributed import choose_device

ROUNDS = 5
QUERY = "driver_version,memory.total,clocks.max.sm,power.limit"
SHARED = Path(__file__).resolve().parents[2] / "shared"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="small copies")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    device = choose_device(options.device, 0)
    peaks = peaks_of(device)
    for _ in range(1 if options.quick else ROUNDS):
        for peak in peaks.values():
            peak.measure()
    record: dict[str, Any] = {
        "device": device_name(device),
        "nvidia-smi": asked(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version() if device.type == "cuda" else None,
        "packages": {name: importlib.metadata.version(name) for name in ("av", "numpy", "opencv-python-headless")},
        "CPUs": len(os.sched_getaffinity(0)),
        "reference data": SHARED.is_dir() or f"not at {SHARED}: tests against the reference are left out",
        "peaks, TFLOP/s": {name: round(peak.best / 1e12, 3) for name, peak in peaks.items()},
        "copies, GB/s": {name: round(rate, 2) for name, rate in copies(device, quick=options.quick).items()},
    }
    text = json.dumps(record, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


def asked(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def copies(device: torch.device, *, quick: bool) -> dict[str, float]:
    """Bytes moved a second, read and written ones counted, within the device and from the host's pinned memory."""
    size = 1 << (24 if quick else 30)
    source = torch.empty(size, dtype=torch.uint8, device=device)
    host = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    target = torch.empty_like(source)
    return {
        "within the device": 2 * size / best_time(lambda: target.copy_(source), device) / 1e9,
        "from the host": size / best_time(lambda: target.copy_(host, non_blocking=True), device) / 1e9,
    }


def best_time(work: Any, device: torch.device) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    main()

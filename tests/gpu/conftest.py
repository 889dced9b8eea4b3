"""What is shown on a GPU, and rehearsed on the CPU: `-m gpu` runs the one, `-m slow` the other."""

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))  # jobs.py: commands under way, and digests of runs


@pytest.fixture(
    params=[pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)],
)
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(scope="session")
def on_device(benchmark):
    """benchmarks/on_device.py: precisions, and the contexts in which they hold."""
    return benchmark("on_device")


@pytest.fixture(autouse=True)
def exact_products(on_device) -> Iterator[None]:
    """Float32 means float32, unless a test says otherwise."""
    with on_device.products_in("float32"):
        yield


@pytest.fixture(scope="session")
def filled(build, seeded) -> Callable[[str, int], nn.Module]:
    """filled(recipe, salt): the published network with seeded weights, in eval mode, on the CPU; made once."""

    @functools.cache
    def make(name: str, salt: int) -> nn.Module:
        model, _ = build(name)
        seeded.fill(model, salt)
        return model.eval()

    return make

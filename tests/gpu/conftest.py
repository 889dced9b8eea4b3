"""What is shown on a GPU, and rehearsed on the CPU: `-m gpu` runs the one, `-m slow` the other."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))  # jobs.py: commands under way, and digests of runs

TYPES = {"tf32": torch.float32, **{name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}}


@pytest.fixture(
    params=[pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)],
)
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@contextmanager
def products(*, tf32: bool) -> Iterator[None]:
    """Products of float32 numbers as they are, or with factors rounded to TF32; on CUDA."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = tf32
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Float32 means float32, unless a test says otherwise."""
    with products(tf32=False):
        yield


@pytest.fixture(scope="session")
def precision():
    """precision("tf32"): a context in which it holds; `.types` has the type of numbers of each."""

    class Precision:
        types = TYPES

        def __call__(self, name: str):
            return products(tf32=name == "tf32")

    return Precision()


@pytest.fixture(scope="session")
def filled(build, seeded) -> Callable[[str, int], nn.Module]:
    """filled(recipe, salt): the published network with seeded weights, in eval mode, on the CPU; made once."""

    @functools.cache
    def make(name: str, salt: int) -> nn.Module:
        model, _ = build(name)
        seeded.fill(model, salt)
        return model.eval()

    return make

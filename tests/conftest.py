"""Fixtures every test may use."""

import json
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout: parity figures and two real videos."""
    if not SHARED.is_dir():
        pytest.skip(f"reference data are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def parity(shared: Path):
    """Read one file of what the reference implementations compute: parity('model.json')."""

    def read(name: str):
        path = shared / "parity" / name
        return json.loads(path.read_text()) if path.suffix == ".json" else dict(np.load(path))

    return read

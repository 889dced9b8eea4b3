"""Fixtures every test may use."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tpn.config import load_config
from tpn.models.recognizer import build_recognizer

RECIPES = Path(__file__).resolve().parents[1] / "configs/recognition/tpn"
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


@pytest.fixture(scope="session")
def seeded(shared):
    """parity/weights.py: weights and inputs drawn from names and seeds."""
    spec = importlib.util.spec_from_file_location("parity_weights", shared / "parity/weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def build():
    """build(recipe name) -> (recognizer with uninitialised weights, to be filled; config)."""

    def build_published(name: str):
        config = load_config(RECIPES / f"{name}.py", {"model.backbone.pretrained": None})
        with torch.device("meta"):
            model = build_recognizer(config.model)
        return model.to_empty(device="cpu"), config

    return build_published

"""The published models and their parity cases."""

import importlib.util
from pathlib import Path

import pytest
import torch

from tpn.config import load_config
from tpn.models.recognizer import build_recognizer

RECIPES = Path(__file__).resolve().parents[2] / "configs/recognition/tpn"


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

"""From a config file and `--cfg-options` to validated settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tpn.config.overrides import apply_overrides
from tpn.config.problems import find_problems
from tpn.config.reader import read_config_file
from tpn.config.section import Section
from tpn.config.settings import Config
from tpn.errors import ConfigError


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """The settings of a config file, with `overrides` by dotted path ({'optimizer.lr': 0.1, 'model.neck': None}).

    Raises:
        ConfigError: one line for each problem: "a.py:12: model.backbone.dpeth: unknown key (value 50); did you …".
    """
    section = read_config_file(path)
    foreign = _is_mmaction2(section)
    problems = apply_overrides(section, overrides or {})
    problems += find_problems(section, str(path))
    if problems and foreign:
        problems.append(f"{path} is an MMAction2 config file; this version does not translate those yet.")
    if problems:
        raise ConfigError("\n".join(problems))
    return Config.model_validate(section)


def _is_mmaction2(section: Section) -> bool:
    """Whether it has what MMAction2's config files have and no recipe here does."""
    names = {"dist_params", "log_level", "workflow", "train_pipeline", "train_dataloader", "default_scope"}
    model = section.get("model")
    head = model.get("cls_head") if isinstance(model, dict) else None
    return bool(names & section.keys()) or (isinstance(head, dict) and "type" in head)

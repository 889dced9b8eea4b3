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
    """The settings of a recipe, with `overrides` by dotted path ({'optimizer.lr': 0.1, 'model.neck': None}).

    MMAction2's config files are for `tpn.load_config`, which translates them and reads recipes alike.

    Raises:
        ConfigError: one line for each problem: "a.py:12: model.backbone.dpeth: unknown key (value 50); did you …".
    """
    return settings_of(read_config_file(path), str(path), overrides or {})


def settings_of(section: Section, path: str, overrides: Mapping[str, Any]) -> Config:
    """The settings of what `read_config_file(path)` gives; errors as `load_config`'s."""
    problems = apply_overrides(section, overrides)
    problems += find_problems(section, path)
    if problems:
        raise ConfigError("\n".join(problems))
    return Config.model_validate(section)

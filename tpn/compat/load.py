"""The door for config files of any origin: ours as they are, MMAction2's translated."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tpn.compat.foreign import Translation
from tpn.compat.openmmlab import dialect, translate
from tpn.config import Config
from tpn.config.load import settings_of
from tpn.config.problems import MAX_PROBLEMS, find_problems
from tpn.config.reader import read_config_file
from tpn.config.section import Section
from tpn.errors import ConfigError

GUIDE = "What of MMAction2's configs is supported, and what to do about the rest: docs/en/compatibility.md"
logger = logging.getLogger("tpn")


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """The settings of a config file: one of ours, or one of MMAction2 (0.x, 1.x) for TPN, TSM or SlowOnly recognition.

    A foreign file is read as data, never executed, and translated. What became of its keys is logged by the logger
    'tpn': a few lines as a warning, key by key at level INFO. No key is left out silently, and one that would change
    the result and is not supported is an error.

    Args:
        overrides: by dotted path, in the names of the file; settings that only we have (`dtype`, `compat.…`) in ours.
    Raises:
        ConfigError: one line for each problem: "a.py:12: model.backbone.frozen_stages: 1 is not supported, only -1".
    """
    section = read_config_file(path)
    translation = translated(section, str(path), overrides or {})
    if translation is None:
        return settings_of(section, str(path), overrides or {})
    if os.environ.get("RANK", "0") == "0":  # torchrun's: one of several processes tells
        logger.warning(translation.summary())
        logger.info(translation.table())
    return Config.model_validate(translation.settings)


def read_foreign_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Translation | None:
    """What became of each key of a foreign config file, and its settings; None where the file is one of ours.

    Raises:
        ConfigError: as `load_config`.
    """
    return translated(read_config_file(path), str(path), overrides or {})


def translated(section: Section, path: str, overrides: Mapping[str, Any]) -> Translation | None:
    version = dialect(section)
    if version is None:
        return None
    translation = translate(section, path, version, overrides)
    problems = translation.problems or find_problems(translation.settings, path)
    if problems:
        raise ConfigError("\n".join([*dict.fromkeys(problems[:MAX_PROBLEMS]), GUIDE]))
    return translation

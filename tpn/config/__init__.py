"""Recipes read as data, validated into frozen typed settings. No torch in here."""

from tpn.config.load import dump_config, load_config
from tpn.config.settings import Config

__all__ = ["Config", "dump_config", "load_config"]

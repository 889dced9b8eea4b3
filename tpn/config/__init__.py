"""Recipes read as data, validated into frozen typed settings. No torch in here."""

from tpn.config.dump import changed_settings, dump_config
from tpn.config.load import load_config
from tpn.config.overrides import parse_overrides
from tpn.config.settings import Config

__all__ = ["Config", "changed_settings", "dump_config", "load_config", "parse_overrides"]

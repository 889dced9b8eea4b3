"""The only rooms that know other projects' names: everything foreign is translated at this door."""

from tpn.compat.load import load_config, read_foreign_config

__all__ = ["load_config", "read_foreign_config"]

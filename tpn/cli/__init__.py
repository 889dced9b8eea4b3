"""The `tpn` command; tools/*.py are the same commands at MMAction2's paths. Torch is imported only after parsing."""

from tpn.cli import checkpoints, networks, run, videos  # each registers its commands on the app
from tpn.cli.app import app, main

__all__ = ["app", "checkpoints", "main", "networks", "run", "videos"]

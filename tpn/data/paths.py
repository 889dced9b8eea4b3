"""Paths that a list or a user has written: what is there, whatever the name is like, and whether one leads astray."""

import os
import stat
from pathlib import Path
from typing import Literal

SHOWN_CHARACTERS = 200


def kind_of(path: str | Path) -> Literal["file", "folder", "pipe or device"] | None:
    """What is at a path; None for nothing, for a link that leads nowhere, and for a name that no file can have."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return None
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "pipe or device"


def leads_out(name: str, folder: str | Path) -> bool:
    """Whether a path that starts from a folder ends outside, by its name alone: links are not looked at."""
    if ".." not in name and not Path(name).is_absolute():
        return False
    root, path = (os.path.normpath(each) for each in (Path.cwd() / folder, Path.cwd() / folder / name))
    return os.path.commonpath([root, path]) != root


def shown(value: object) -> str:
    """The text of a value; of a long one its beginning."""
    text = str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}… ({len(text):,} characters)"

"""Paths that a list or a user has written: what is there, whatever the name is like, and whether one leads astray."""

import os
import stat
from pathlib import Path
from typing import Literal

SHOWN_CHARACTERS = 200
# Of the containers that FFmpeg reads, with the names that cameras and recorders give them.
VIDEO_SUFFIXES = {
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mj2", ".ismv", ".insv", ".360", ".lrv",
    ".mkv", ".webm", ".mk3d", ".avi", ".divx", ".flv", ".wmv", ".asf", ".ogv", ".ogm", ".rm", ".rmvb", ".mxf", ".wtv",
    ".ts", ".mts", ".m2ts", ".m2t", ".tp", ".trp", ".tod", ".mpg", ".mpeg", ".mpe", ".m2p", ".vob", ".mod", ".vro",
    ".mpv", ".m1v", ".m2v", ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".obu", ".ivf", ".nut", ".dv", ".dif",
    ".mjpeg", ".mjpg", ".y4m", ".gif", ".apng",
}  # fmt: skip

Kind = Literal["file", "folder", "pipe or device", "out of reach"]
"""What is out of reach lies in a folder that may not be entered, if it is there at all."""


def kind_of(path: str | Path) -> Kind | None:
    """What is at a path; None for nothing, for a link that leads nowhere, and for a name that no file can have.

    Python's `Path.exists` and `is_file` raise an error for what is out of reach.
    """
    try:
        mode = Path(path).stat().st_mode
    except PermissionError:
        return "out of reach"
    except (OSError, ValueError):
        return None
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "pipe or device"


def closed_folder(path: str | Path) -> Path:
    """The folder that keeps a path, or what it is a link to, out of reach.

    Where none does, the last that is there on the way: a file that cannot be written cannot be written into it.
    """
    path = Path(path)
    folders = [folder for folder in reversed(path.parents) if kind_of(folder) is not None]
    if barred := [folder for folder in folders if not os.access(folder, os.X_OK)]:
        return barred[0]
    return closed_folder(path.parent / path.readlink()) if path.is_symlink() else folders[-1]


def out_of_reach(path: str | Path) -> str:
    """The sentence about a path that is out of reach."""
    return (
        f"{shown(path)} cannot be looked at: the folder {closed_folder(path)} may not be entered (Permission denied); "
        "change its permissions"
    )


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


def is_video_name(name: str) -> bool:
    """Whether a file is a video by its suffix, whatever its case."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES

"""What a checkpoint file claims to hold, looked at before it is read: a few bytes never become gigabytes of memory."""

import math
import pickletools
import re
import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from tpn.errors import CheckpointError

ZIP = b"PK\3\4"
LEGACY_PICKLES = 5  # magic number, version, system, the object, the keys of the storages that follow
# Calls that torch.load allows and no network's checkpoint needs: each makes memory out of a number.
GREEDY = re.compile(
    r"(builtins|__builtin__) bytearray|torch[.\w]* \w*Tensor|torch\.storage \w+Storage"
    r"|torch\._utils _rebuild_(?!(tensor|tensor_v2|parameter|parameter_with_state)$)\w+"
)
ENCODE = "_codecs encode"  # how old pickles spell bytes; with one of these codecs it makes more bytes of bytes
CODEC = re.compile(
    r"[\W_]*(base[\W_]*64|bz2|hex|quopri|quoted[\W_]*printable|uu|zip|zlib)([\W_]+codec)?[\W_]*",
    re.ASCII | re.IGNORECASE,
)


def check_claims(path: Path) -> None:
    """Raise CheckpointError for a .pth file that unpacks to more than it is, or whose pickles ask for memory by number.

    Nothing is unpacked: torch.save compresses no part of its archive, and of a pickle only names and texts are looked
    at. What is damaged otherwise, or neither archive nor pickle, passes: torch.load says what is wrong with it.
    """
    with path.open("rb") as file:
        is_archive = file.read(len(ZIP)) == ZIP
        problem = find_compression(file) if is_archive else ""
        if not problem:
            problem = find_greed(pickle_of(file), pickles=1) if is_archive else find_greed(file, pickles=LEGACY_PICKLES)
    if problem:
        raise CheckpointError(f"{path}: refused, because {problem}")


def check_sizes(tensors: Iterable[tuple[str, Tensor]], path: Path) -> None:
    """Raise CheckpointError where a tensor has more numbers than the file has bytes for."""
    size = path.stat().st_size
    for name, tensor in tensors:
        if math.prod(tensor.shape) * tensor.element_size() > size:
            shape = tuple(tensor.shape)
            raise CheckpointError(f"{path}: refused, because it holds less than {name} of shape {shape} needs")


def find_compression(file: BinaryIO) -> str:
    """How an archive's parts are larger than the archive, or that nobody knows; '' where they are not."""
    try:
        parts = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):  # torch may see more in it
        return "it is cut off or damaged (its table of contents cannot be read); copy or download it again"
    size, unpacked = file.seek(0, 2), sum(part.file_size for part in parts)
    return f"its {size:,} bytes unpack to {unpacked:,}" if unpacked > size else ""


def pickle_of(file: BinaryIO) -> BinaryIO:
    """The pickle in an archive, as torch.load finds it; nothing where it will find none."""
    file.seek(0)
    try:
        return BytesIO(torch._C.PyTorchFileReader(file).get_record("data.pkl"))
    except (RuntimeError, OSError):
        return BytesIO()


def find_greed(file: BinaryIO, *, pickles: int) -> str:
    """The call in these pickles that makes memory out of a number; '' where there is none."""
    names, codec = set(), ""
    file.seek(0)
    try:
        for _ in range(pickles):
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "GLOBAL":
                    names.add(argument)
                elif isinstance(argument, str) and CODEC.fullmatch(argument.encode("ascii", "ignore").decode()):
                    codec = argument
    except (ValueError, OverflowError, MemoryError):
        pass  # what comes before counts
    greedy = sorted(filter(GREEDY.fullmatch, names)) + [f"{ENCODE} {codec!r}"] * bool(codec and ENCODE in names)
    return f"{greedy[0].replace(' ', '.', 1)} in it can take any amount of memory" if greedy else ""

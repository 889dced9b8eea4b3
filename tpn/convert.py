"""Checkpoint files rewritten, bit for bit: as .safetensors, as .pth in MMAction2's layout, or named for publishing."""

import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

import tpn
from tpn.compat.checkpoints import Checkpoint, open_checkpoint
from tpn.engine.progress import print_line
from tpn.engine.results import make_folder_of, write_atomically
from tpn.errors import CheckpointError, UserError

OUR_NAMES = re.compile(
    r"(backbone|neck|cls_head)\..+\.(weight|bias|running_mean|running_var|num_batches_tracked)",
)


def run_convert(in_path: Path, out_path: Path, *, console: Console) -> None:
    """Convert and say what became of the file."""
    print_line(str(convert(in_path, out_path)), console)
    print_line(f"written to {out_path}", console)


def convert(in_path: Path, out_path: Path) -> Checkpoint:
    """Write the weights and `meta` of a checkpoint of any origin to a new file, bit for bit.

    Args:
        in_path: whatever `tpn.load_checkpoint` reads.
        out_path: .safetensors, or .pth: {meta, state_dict} under MMAction2's names, which MMAction2 0.x loads too.
    Returns:
        what was read, with the names that were left out.
    Raises:
        CheckpointError: the file cannot be read, or holds tensors of another kind of network; they are listed.
        UserError: `out_path` has another suffix or cannot be written.
    """
    if out_path.suffix not in FORMATS:
        raise UserError(f"{out_path}: name the new file {' or '.join(f'*{suffix}' for suffix in FORMATS)}")
    checkpoint = read_recognizer(in_path)
    make_folder_of(out_path)
    write_atomically(out_path, FORMATS[out_path.suffix](checkpoint))
    return checkpoint


def publish(in_path: Path, out_path: Path, *, console: Console) -> Path:
    """Write a checkpoint for others to `<out_path>-<first 8 hex digits of its SHA-256>.pth`; print and return the path.

    What only training needs is left out: optimizer, gradient scaler, message hub, schedules, normalisation constants.

    Raises as `convert` does.
    """
    content = to_pth(read_recognizer(in_path))
    stem = out_path.name.removesuffix(".pth")
    published = out_path.with_name(f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}.pth")
    make_folder_of(published)
    write_atomically(published, content)
    print_line(f"The published model is saved at {published}.", console)
    return published


def read_recognizer(path: Path) -> Checkpoint:
    """A checkpoint all of whose tensors are of a backbone, a neck or a head."""
    checkpoint = open_checkpoint(path)
    unknown = [name for name in checkpoint.state_dict if not OUR_NAMES.fullmatch(name)]
    if unknown or not checkpoint.state_dict:
        listed = ", ".join(unknown[:5]) + (" …" if len(unknown) > 5 else "") or "it is empty"
        raise CheckpointError(f"{path}: not a checkpoint of a recognizer ({listed})")
    return checkpoint


def to_pth(checkpoint: Checkpoint) -> bytes:
    """{meta, state_dict} in PyTorch's zip format."""
    buffer = io.BytesIO()
    torch.save({"meta": plain_meta(checkpoint), "state_dict": unshared(checkpoint)}, buffer)
    return buffer.getvalue()


def to_safetensors(checkpoint: Checkpoint) -> bytes:
    """Tensors, and `meta` as JSON in the header."""
    from safetensors.torch import save

    return save(unshared(checkpoint), metadata={"format": "pt", "meta": json.dumps(plain_meta(checkpoint))})


FORMATS: dict[str, Callable[[Checkpoint], bytes]] = {".pth": to_pth, ".safetensors": to_safetensors}


def unshared(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Each tensor with memory of its own: what others share it with, or leave unused around it, is not written."""
    return {key: value.clone(memory_format=torch.contiguous_format) for key, value in checkpoint.state_dict.items()}


def plain_meta(checkpoint: Checkpoint) -> dict[str, Any]:
    """The file's `meta` as far as it is plain values, and who wrote the new one."""
    return {**plain(checkpoint.meta), "converted_by": f"tpn {tpn.__version__}"}


def plain(value: Any) -> Any:
    """`value` without what is neither text, number, list nor dict."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items() if is_plain(item)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value if is_plain(item)]
    return value


def is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float | list | tuple | dict)

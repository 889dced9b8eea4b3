"""Weights: the initial value of every layer, ImageNet inflation, and checkpoint files read as data."""

import collections
import hashlib
import json
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tpn.config.hints import did_you_mean
from tpn.errors import CheckpointError
from tpn.models.claims import ZIP, check_claims, check_sizes
from tpn.models.layers import SpatialConv, TemporalConv
from tpn.models.seal import check_seal, unreadable
from tpn.names import address_problem
from tpn.safe_pickle import STAND_INS

HUB = "https://download.pytorch.org/models/"  # torchvision's V1 weights, as published
IMAGENET_FILES = {50: "resnet50-0676ba61.pth", 101: "resnet101-63fe2227.pth"}
SUFFIXES = {".pth", ".pt", ".safetensors"}
LEGACY = re.compile(
    rb"\x80.(\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL
)  # torch.save's magic number, pickled
StandIn = tuple[Any, str]
# NumPy scalars and arrays in `meta`, under the names of NumPy 1 and 2, become plain numbers; the rest is refused.
ALLOWED_GLOBALS = [
    collections.defaultdict,
    *((stand_in, f"{module}.{name}") for (module, name), stand_in in STAND_INS.items() if module != "_codecs"),
]


# ------------------------------------------------------------------------------------------------------ initial values


def initialize(recognizer: nn.Module, *, init_std: float) -> None:
    """Draw every parameter from torch's global generator. The whole table:

    backbone convolutions   normal, He fan-out
    neck convolutions       uniform, Xavier
    batch norm              weight 1, bias 0; the last norm of a SlowOnly block: weight 0, so it starts as the identity
    linear layers           normal, std init_std (auxiliary head: 0.01), bias 0
    """
    for name, module in recognizer.named_modules():
        if isinstance(module, SpatialConv | TemporalConv):
            if name.startswith("neck."):
                nn.init.xavier_uniform_(module.weight)
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01 if "aux_head" in name else init_std)
            nn.init.zeros_(module.bias)
    for name, parameter in recognizer.named_parameters():
        if name.endswith(".conv3.bn.weight") and recognizer.get_parameter(name.replace(".bn.", ".conv.")).dim() == 5:
            nn.init.zeros_(parameter)


def load_imagenet(backbone: nn.Module, pretrained: str, *, depth: int) -> None:
    """Start a backbone from a 2-D ResNet's state dict; a kernel of length t in time gets 1/t of it per frame.

    Args:
        pretrained: 'imagenet' for torchvision's V1 file in the torch hub cache, or a file of torchvision's or timm's
            names.
    Raises:
        CheckpointError: the file is missing, or is not of a ResNet of this depth.
    """
    path = imagenet_path(depth) if pretrained == "imagenet" else Path(pretrained)
    source = {
        backbone_name(key): value for key, value in read_checkpoint(path)["state_dict"].items() if "fc." not in key
    }
    # Names of shifted convolutions carry '.net'; files before torch 0.4.1 have no num_batches_tracked.
    target = {key.replace(".net.", "."): value for key, value in backbone.state_dict().items()}
    source |= {key: value for key, value in target.items() if key.endswith("num_batches_tracked") and key not in source}
    inflated = {key: inflate(value, target[key]) for key, value in source.items() if key in target}
    check_keys(target, {**source, **inflated}, path, network=f"ResNet-{depth}")
    with torch.no_grad():
        for key, tensor in target.items():
            tensor.copy_(inflated[key])


def imagenet_path(depth: int) -> Path:
    """Where torch.hub keeps torchvision's ResNet of this depth, 50 or 101."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_FILES[depth]
    try:
        is_there = path.is_file()
    except OSError as error:
        raise unreadable(path, error) from None
    if not is_there:
        raise CheckpointError(
            f"model.backbone.pretrained='imagenet' needs torchvision's file {path.name} (V1 weights) at {path}; "
            f"download {HUB}{path.name} and put it there, set model.backbone.pretrained to the path of your copy, or "
            "to None to train from scratch"
        )
    return path


def backbone_name(key: str) -> str:
    """torchvision's or timm's name of a tensor -> ours: 'layer1.0.bn2.bias' -> 'layer1.0.conv2.bn.bias'."""
    key = re.sub(r"\bconv(\d)\.", r"conv\1.conv.", key)
    key = re.sub(r"\bbn(\d)\.", r"conv\1.bn.", key)
    return key.replace("downsample.0.", "downsample.conv.").replace("downsample.1.", "downsample.bn.")


def inflate(value: Tensor, target: Tensor) -> Tensor:
    """A 2-D kernel (O, I, k, k) -> the target's (O, I, t, k, k), 1/t each; anything else as it is."""
    if value.dim() == 4 and target.dim() == 5:
        t = target.shape[2]
        return value.unsqueeze(2).repeat(1, 1, t, 1, 1) / t
    return value


# --------------------------------------------------------------------------------------------------------- checkpoints


def load_weights(model: nn.Module, state_dict: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors under our names strictly: every tensor of `state_dict` and of the model is accounted for.

    Raises:
        CheckpointError: names or shapes differ; all of them are listed, and `path` is named as where they come from.
    """
    check_keys(model.state_dict(), state_dict, path, network="the model of this config")
    model.load_state_dict(state_dict)


def read_checkpoint(path: Path, *, stand_ins: Sequence[StandIn] = ()) -> dict[str, Any]:
    """A checkpoint file as {'state_dict': {name: tensor}, …}, names as they are in it; a bare state dict is wrapped.

    The file is read as data, nothing in it is executed. A name ending in -<8 hex digits> is checked against the file's
    SHA-256, and a checkpoint that a training run of this project wrote against the one in its seal.

    Args:
        stand_ins: (object, name) pairs: what to take where the file asks for a foreign class or function of that name.
    Raises:
        CheckpointError: no such file, a wrong hash, an unsafe or damaged file, one that claims to hold more than it
            does, or one that holds no state dict.
    """
    check_file(path)
    check_hash(path)
    is_sealed = check_seal(path)
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    check_format(path)
    check_claims(path)
    try:
        with torch.serialization.safe_globals([*ALLOWED_GLOBALS, *stand_ins]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in as many ways as it has bytes
        if isinstance(error, pickle.UnpicklingError) and (names := unsafe_globals(path, error)):
            raise CheckpointError(
                f"{path}: refused, because reading it would run code of the file ({names}); "
                "only tensors and plain values are read. If you trust its origin, save its state_dict alone"
            ) from error
        raise CheckpointError(f"{path}: cut off, damaged or no checkpoint; copy or download it again") from error
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f"{path}: holds a {type(checkpoint).__name__}, not a checkpoint or a state dict")
    if checkpoint.get("sealed") and not is_sealed:
        raise CheckpointError(f"{path}: damaged: the seal at its end is missing; use another checkpoint")
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: has no 'state_dict' of tensors, so it is not a checkpoint of a network")
    check_sizes(state.items(), path)
    return dict(checkpoint) if "state_dict" in checkpoint else {"state_dict": dict(state)}


def check_file(path: Path) -> None:
    """Raise CheckpointError for what is no file that can be read; names the file that may be meant instead."""
    try:
        if path.is_dir():
            raise CheckpointError(f"{path}: is a folder; give the checkpoint file{newest_in(path)}")
        if not path.is_file():
            if problem := address_problem(path):
                raise CheckpointError(f"{problem}; no checkpoint is downloaded here")
            known = [file.name for file in path.parent.glob("*") if file.suffix in SUFFIXES]
            raise CheckpointError(f"{path}: there is no such checkpoint file{did_you_mean(path.name, known)}")
        path.open("rb").close()
    except OSError as error:
        raise unreadable(path, error) from None


def newest_in(folder: Path) -> str:
    """ ", as FOLDER/latest.pth": the newest checkpoint of a folder, or nothing."""
    files = [file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file()]
    newest = max(files, key=lambda file: (file.name == "latest.pth", file.stat().st_mtime), default=None)
    return f", as {newest}" if newest else ""


def check_format(path: Path) -> None:
    """Raise CheckpointError for a file that begins as none of torch.save's does."""
    with path.open("rb") as file:
        head = file.read(32)
    if not head:
        raise CheckpointError(f"{path}: is empty (0 bytes); copy or download it again")
    if not (head.startswith(ZIP) or LEGACY.match(head)):
        raise CheckpointError(f"{path}: is no checkpoint (no file of torch.save begins like it); give a .pth file")


def read_safetensors(path: Path) -> dict[str, Any]:
    """Tensors, and `meta` where `tpn convert` wrote the file: JSON in the header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get("meta", "{}"))
            return {"state_dict": {key: file.get_tensor(key) for key in file.keys()}, "meta": meta}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({one_line(error)})") from error


def check_hash(path: Path) -> None:
    """A published file is named NAME-<first 8 hex digits of its SHA-256>.pth; believe only one that fits its name."""
    suffix = re.search(r"-([0-9a-f]{8})$", path.stem)
    if suffix is None:
        return
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()[:8]
    if actual != suffix[1]:
        raise CheckpointError(
            f"{path}: the file's SHA-256 starts with {actual}, its name says {suffix[1]}: damaged or not that file; "
            "download it again (or rename it, if you changed it yourself)"
        )


def unsafe_globals(path: Path, error: pickle.UnpicklingError) -> str:
    """What of the file's own choice would be called, '' where it is merely damaged."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # a file that is not in torch's zip format cannot be listed
        names = re.findall(r"GLOBAL ([\w.]+)", str(error))
    return ", ".join(sorted(names)[:5])


def check_keys(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path, *, network: str) -> None:
    """Raise one CheckpointError that lists every kind of difference in names and shapes."""
    problems = []
    for title, keys in [("missing", expected.keys() - found.keys()), ("unknown", found.keys() - expected.keys())]:
        if keys:
            problems.append(f"  {len(keys)} {title}: {shortened(sorted(keys))}")
    shapes = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in found and found[key].shape != expected[key].shape
    ]
    if shapes:
        problems.append(f"  {len(shapes)} of another shape: {shortened(shapes)}")
    if problems:
        hint = likely_cause(expected, found)
        raise CheckpointError(f"{path}: does not fit {network}{hint}\n" + "\n".join(problems))


def likely_cause(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """The setting that explains the difference, where one does."""
    key = "cls_head.fc_cls.bias"
    if key in expected and key in found and len(expected[key]) != len(found[key]):
        return (
            f": it was trained for {len(found[key])} classes, the config has {len(expected[key])} "
            "(model.cls_head.num_classes)"
        )
    shifted, straight = (f"backbone.layer1.0.downsample.conv.{end}" for end in ("net.weight", "weight"))
    if shifted in found and straight in expected:
        return ": its TSM also shifts what the shortcuts see (model.backbone.shift_downsample=True)"
    if shifted in expected and straight in found:
        return ": its network does not shift what the shortcuts see (model.backbone.shift_downsample=False)"
    return ""


def shortened(items: list[str], most: int = 4) -> str:
    rest = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + rest


def one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

"""Checkpoints that claim more than they hold are refused in little memory, with one sentence; good ones are not."""

import _codecs
import json
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._utils import _rebuild_device_tensor_from_cpu_tensor, _rebuild_tensor_v2

from tpn.models.weights import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
GIB = 1 << 30
MEMORY = 100  # MiB that refusing them may take; each asks for a GiB or more
SCRIPT = """
import json, resource, sys
from tpn.errors import CheckpointError
from tpn.models.weights import read_checkpoint
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
told, before = {}, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_checkpoint(Path(path))
        told[path] = "read"
    except CheckpointError as error:
        told[path] = str(error)
    told[path] = (told[path], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
print(json.dumps(told))
"""


class Call:
    """What is pickled as a call of this function."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def tensor(size: int, stride: int) -> Call:
    """A tensor of so many numbers, of which its storage has four."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # storages of a type are for torch alone
        return Call(_rebuild_tensor_v2, torch.zeros(4).storage(), 0, (size,), (stride,), False, OrderedDict())


def doubled(times: int) -> Call:
    """Bytes spelt as hexadecimal digits, again and again."""
    content = Call(_codecs.encode, "0" * 1024, "latin1")
    for _ in range(times):
        content = Call(_codecs.encode, content, "hex")
    return content


CLAIMS = {
    "a tensor larger than its storage": {"x": tensor(GIB, 1)},
    "a tensor of one number repeated": {"x": tensor(10**12, 0)},
    "a copy of such a tensor": {
        "x": Call(_rebuild_device_tensor_from_cpu_tensor, tensor(GIB, 0), torch.half, "cpu", 0)
    },
    "a tensor of no storage": {"x": Call(torch.Tensor, GIB, 9)},
    "bytes without content": {"x": Call(bytearray, GIB)},
    "bytes doubled": {"x": doubled(21)},
}


def deflated_gigabyte() -> bytes:
    """Every MiB of it looks the same."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)) * 1024 + packer.flush()


def inflating(path: Path, part: str) -> Path:
    """A checkpoint of which this part is compressed, and unpacks to a GiB."""
    torch.save({"x": torch.zeros(1000)}, path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, deflated_gigabyte() if name.endswith(part) else content)
            if name.endswith(part):
                info = archive.getinfo(name)
                info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, GIB
    return path


def without_storage(path: Path) -> Path:
    """A legacy checkpoint whose pickle says that a GiB of numbers follows it."""
    torch.save({"x": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert content.count(b"M\xe8\x03") == 2  # the numbers of the storage and of the tensor
    path.write_bytes(content.replace(b"M\xe8\x03", b"J" + (GIB // 4).to_bytes(4, "little")))
    return path


def test_a_file_that_claims_gigabytes_is_refused_in_little_memory(tmp_path):
    paths = [inflating(tmp_path / "storage.pth", "data/0"), inflating(tmp_path / "pickle.pth", "data.pkl"),
             without_storage(tmp_path / "legacy.pth")]  # fmt: skip
    for name, content in CLAIMS.items():
        for is_zip in (True, False):
            paths.append(tmp_path / f"{name}, {'zip' if is_zip else 'legacy'}.pth")
            torch.save(content, paths[-1], _use_new_zipfile_serialization=is_zip)
    command = [sys.executable, "-c", SCRIPT, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    told = json.loads(done.stdout)
    assert len(told) == 15
    for path, (sentence, grown) in told.items():
        assert sentence.startswith((f"{path}: refused, because ", f"{path}: cut off, damaged or no checkpoint")), (
            sentence
        )
        assert len(sentence.splitlines()) == 1
        assert grown < MEMORY, path
    assert "bytes unpack to 1,073," in told[str(tmp_path / "storage.pth")][0]


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_checkpoints_hold_is_read(tmp_path, is_zip):
    shared = torch.zeros(100)
    meta = {"best": np.float64(0.5), "curve": np.arange(3), "codec": "hexadecimal", "classes": {"a"}, "raw": b"\xff"}
    content = {"state_dict": OrderedDict(x=shared, y=shared[::2], z=torch.tensor(3), empty=torch.zeros(0, 9)),
               "meta": meta, "optimizer": {"state": {0: {"momentum_buffer": torch.nn.Parameter(shared)}}}}  # fmt: skip
    torch.save(content, tmp_path / "c.pth", _use_new_zipfile_serialization=is_zip)
    read = read_checkpoint(tmp_path / "c.pth")
    assert read["meta"]["best"] == 0.5 and read["meta"]["raw"] == b"\xff"
    assert [tensor.numel() for tensor in read["state_dict"].values()] == [100, 50, 1, 0]

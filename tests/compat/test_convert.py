"""Converting and publishing change the container, never a bit of the weights."""

import hashlib
import zipfile

import pytest
import torch
from rich.console import Console

import tpn
from tpn.compat.checkpoints import open_checkpoint
from tpn.convert import convert, publish
from tpn.errors import CheckpointError, UserError

QUIET = Console(quiet=True)


def assert_bitwise(state_dict, weights) -> None:
    assert state_dict.keys() == weights.keys()
    for key, value in state_dict.items():
        assert value.dtype == weights[key].dtype
        assert value.numpy().tobytes() == weights[key].numpy().tobytes()


def test_the_round_trip_through_each_format_is_bitwise(weights, save, tmp_path):
    paths = [save({"state_dict": weights, "meta": {"epoch": 3}})]
    for name in ["a.pth", "b.safetensors", "c.pth"]:
        convert(paths[-1], tmp_path / name)
        paths.append(tmp_path / name)
    assert_bitwise(torch.load(paths[-1], weights_only=True)["state_dict"], weights)
    assert open_checkpoint(paths[-1]).meta["epoch"] == 3


@pytest.mark.parametrize("origin", ["mmaction_0x", "mmaction_1x", "authors"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_any_origin_converts_to_a_file_that_loads(origin, suffix, model, weights, save, request, tmp_path):
    content = request.getfixturevalue(origin)
    convert(save(content), tmp_path / f"out{suffix}")
    checkpoint = tpn.load_checkpoint(model, tmp_path / f"out{suffix}")
    assert_bitwise(model.state_dict(), weights)
    assert checkpoint.dropped == {}
    assert checkpoint.meta["epoch"] == content["meta"]["epoch"]


def test_the_pth_is_in_mmaction2s_layout(mmaction_1x, weights, save, tmp_path):
    convert(save(mmaction_1x), tmp_path / "out.pth")
    with zipfile.ZipFile(tmp_path / "out.pth") as archive:
        pickled = archive.read("archive/data.pkl")
    assert pickled.startswith(b"\x80\x02")  # protocol 2, which every PyTorch of the time reads
    assert b"numpy" not in pickled
    content = torch.load(tmp_path / "out.pth", weights_only=True)
    assert content.keys() == {"meta", "state_dict"}
    assert content["state_dict"].keys() == weights.keys()


def test_shared_memory_is_not_written_twice(model, weights, save, tmp_path):
    big = torch.zeros(10_000_000)
    weights["cls_head.fc_cls.bias"] = big[:5]
    convert(save({"state_dict": weights}), tmp_path / "out.pth")
    assert (tmp_path / "out.pth").stat().st_size < 20_000_000


def test_what_is_no_recognizer_is_refused_and_listed(weights, save, tmp_path):
    with pytest.raises(CheckpointError, match=r"not a checkpoint of a recognizer \(fc\.weight\)"):
        convert(save({"state_dict": {**weights, "fc.weight": torch.zeros(2)}}), tmp_path / "out.pth")
    with pytest.raises(UserError, match=r"\*\.pth or \*\.safetensors"):
        convert(save({"state_dict": weights}), tmp_path / "out.onnx")
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("name", ["tpn_tiny.pth", "tpn_tiny"])
def test_a_published_file_is_stripped_and_named_by_its_hash(name, mmaction_1x, weights, save, tmp_path, model):
    path = publish(save(mmaction_1x), tmp_path / name, console=QUIET)
    assert path.name == f"tpn_tiny-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    assert torch.load(path, weights_only=True).keys() == {"meta", "state_dict"}
    tpn.load_checkpoint(model, path)
    assert_bitwise(model.state_dict(), weights)
    assert publish(save(mmaction_1x), tmp_path / name, console=QUIET) == path  # the same content, the same name


def test_a_file_that_cannot_be_written_is_named(weights, save):
    path = save({"state_dict": weights})
    with pytest.raises(UserError, match=r"out\.pth: no file can be written into"):
        convert(path, path / "out.pth")


def test_a_missing_folder_is_made_and_told(weights, save, tmp_path, caplog):
    path = save({"state_dict": weights})
    convert(path, tmp_path / "a" / "b" / "out.pth")
    publish(path, tmp_path / "c" / "d" / "out.pth", console=QUIET)
    assert [len(list((tmp_path / name).iterdir())) for name in ("a/b", "c/d")] == [1, 1]
    assert caplog.messages == [f"made the folder {tmp_path / name}" for name in ("a/b", "c/d")]

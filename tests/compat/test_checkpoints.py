"""Checkpoints of every origin load completely, or say what does not fit; nothing in them is executed."""

import hashlib
import io
import os
import pickle
import tarfile

import pytest
import torch
from safetensors.torch import save_file

import tpn
from tpn.compat.checkpoints import open_checkpoint, start_from
from tpn.errors import CheckpointError


def assert_loaded(model, weights) -> None:
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_a_training_checkpoint_of_mmaction2_0x_loads(zip_format, model, weights, mmaction_0x, save):
    path = save(mmaction_0x, zip_format=zip_format)
    assert b"numpy.core.multiarray" in path.read_bytes()
    checkpoint = tpn.load_checkpoint(model, path)
    assert_loaded(model, weights)
    assert checkpoint.origin == "MMAction2 0.x"
    assert checkpoint.meta["hook_msgs"]["best_score"] == 0.5
    assert set(checkpoint.dropped) == {"cls_head.new_cls.weight", "cls_head.new_cls.bias"}


def test_a_training_checkpoint_of_mmaction2_1x_loads(model, weights, mmaction_1x, save):
    path = save(mmaction_1x)
    assert b"mmengine.logging.history_buffer" in path.read_bytes()
    checkpoint = tpn.load_checkpoint(model, path)
    assert_loaded(model, weights)
    assert checkpoint.origin == "MMAction2 1.x"
    assert set(checkpoint.dropped) == {"data_preprocessor.mean", "data_preprocessor.std"}


def test_a_checkpoint_of_the_authors_loads(model, weights, authors, save):
    checkpoint = tpn.load_checkpoint(model, save(authors, zip_format=False))
    assert_loaded(model, weights)
    assert (checkpoint.origin, checkpoint.dropped) == ("decisionforce/TPN", {})


def test_only_a_classifier_of_other_classes_may_differ_where_a_training_starts(model, weights, save):
    own = model.cls_head.fc_cls.weight.clone()
    weights["cls_head.fc_cls.weight"], weights["cls_head.fc_cls.bias"] = torch.rand(7, own.shape[1]), torch.rand(7)
    (told,) = start_from(model, save({"state_dict": weights}))
    assert told.endswith("these layers start anew: cls_head.fc_cls (7 there, 5 here)")
    assert_loaded(model, {**weights, "cls_head.fc_cls.weight": own, "cls_head.fc_cls.bias": torch.zeros(5)})
    for name, value in [
        ("cls_head.fc_cls.weight", torch.rand(7, own.shape[1] + 1)),  # of another network, too
        ("cls_head.fc_cls.bias", torch.rand(6)),
        ("backbone.conv1.conv.weight", torch.rand(3)),
    ]:
        with pytest.raises(CheckpointError, match=name):
            start_from(model, save({"state_dict": {**weights, name: value}}))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_the_prefix_of_a_wrapper_is_taken_off(prefix, model, weights, save):
    tpn.load_checkpoint(model, save({"state_dict": {prefix + key: value for key, value in weights.items()}}))
    assert_loaded(model, weights)


def test_safetensors_load(model, weights, tmp_path):
    save_file(weights, tmp_path / "c.safetensors")
    tpn.load_checkpoint(model, tmp_path / "c.safetensors")
    assert_loaded(model, weights)


def test_what_was_left_out_is_said_once_with_the_reason(model, mmaction_0x, weights, save, caplog):
    tpn.load_checkpoint(model, save(mmaction_0x))
    assert caplog.text.count("cls_head.new_cls.weight") == 1
    assert caplog.text.count("a stale copy of cls_head.fc_cls") == 1
    caplog.clear()
    tpn.load_checkpoint(model, save({"state_dict": weights}))
    assert not caplog.text


@pytest.mark.parametrize("origin", ["mmaction_0x", "mmaction_1x", "authors"])
def test_a_key_that_nobody_knows_is_an_error_that_lists_it(origin, model, save, request):
    content = request.getfixturevalue(origin)
    extra = "necks.unheard_of.weight" if origin == "authors" else "neck.unheard_of.weight"
    content["state_dict"][extra] = torch.zeros(1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"1 unknown: necks?\.unheard_of\.weight"):
        tpn.load_checkpoint(model, save(content))
    assert_loaded(model, before)  # nothing was loaded


@pytest.mark.parametrize("origin", ["mmaction_0x", "mmaction_1x", "authors"])
def test_a_missing_tensor_is_an_error_that_lists_it(origin, model, save, request):
    content = request.getfixturevalue(origin)
    del content["state_dict"]["cls_head.fc_cls.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: cls_head\.fc_cls\.bias"):
        tpn.load_checkpoint(model, save(content))


def test_the_hash_in_a_name_is_verified(model, mmaction_0x, save, tmp_path):
    path = save(mmaction_0x)
    sha8 = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    tpn.load_checkpoint(model, path.rename(tmp_path / f"tpn_20211202-{sha8}.pth"))
    save(mmaction_0x, "tpn-c568e7ad.pth")
    with pytest.raises(CheckpointError, match="its name says c568e7ad"):
        tpn.load_checkpoint(model, tmp_path / "tpn-c568e7ad.pth")


# ------------------------------------------------------------------------------------------------------- hostile files


class Bomb:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


class Lookup:
    """Reaches for a method through the getattr that files of MMAction2 1.x name."""

    def __reduce__(self):
        return getattr, ({}, "update")


def tar_of(content: dict[str, object]) -> bytes:
    """A file as torch wrote them before 0.1.10: pickles in a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, value in content.items():
            data = pickle.dumps(value, protocol=2)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("place", ["state_dict", "meta", "message_hub", "optimizer"])
@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_a_malicious_pickle_runs_nothing_wherever_it_hides(place, zip_format, model, weights, save, tmp_path):
    canary = tmp_path / "canary"
    content = {"state_dict": weights, "meta": {}, place: {"x": Bomb(canary)}}
    with pytest.raises(CheckpointError, match="would run code"):
        tpn.load_checkpoint(model, save(content, zip_format=zip_format))
    assert not canary.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_malicious_tar_or_bare_pickle_runs_nothing(model, tmp_path):
    canary = tmp_path / "canary"
    members = ["sys_info", "pickle", "storages", "tensors"]
    (tmp_path / "c.pth").write_bytes(tar_of(dict.fromkeys(members, Bomb(canary))))
    with pytest.raises(CheckpointError, match=r"c\.pth"):
        tpn.load_checkpoint(model, tmp_path / "c.pth")
    for protocol in range(6):
        (tmp_path / "c.pth").write_bytes(pickle.dumps({"state_dict": Bomb(canary)}, protocol=protocol))
        with pytest.raises(CheckpointError, match=r"c\.pth"):
            tpn.load_checkpoint(model, tmp_path / "c.pth")
    assert not canary.exists()


def test_the_stand_in_of_getattr_looks_nothing_up(weights, save):
    assert open_checkpoint(save({"state_dict": weights, "meta": {"x": Lookup()}})).meta["x"] is None


@pytest.mark.parametrize("length", [0, 1, 100, 10_000, -1])
@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_a_cut_off_file_is_named(length, zip_format, model, mmaction_0x, save):
    path = save(mmaction_0x, zip_format=zip_format)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"c\.pth"):
        tpn.load_checkpoint(model, path)

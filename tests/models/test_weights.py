"""Weights are read strictly and safely, and inflated as the reference does."""

import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tpn
from tpn.config.settings import Head, Model, Neck, SlowOnlyBackbone, TSMBackbone
from tpn.errors import CheckpointError
from tpn.models.recognizer import build_recognizer
from tpn.models.seal import read_label
from tpn.models.weights import backbone_name, read_checkpoint


def model_settings(num_classes: int = 5, **backbone) -> Model:
    return Model(
        backbone=SlowOnlyBackbone(type="ResNet3dSlowOnly", **{"depth": 14, "base_channels": 8, **backbone}),
        neck=Neck(),
        cls_head=Head(num_classes=num_classes),
    )


@pytest.fixture
def model():
    return build_recognizer(model_settings())


def perturbed(model) -> dict:
    return {key: value + 1 for key, value in model.state_dict().items()}


@pytest.mark.parametrize("wrap", [True, False])
def test_a_checkpoint_loads_strictly_with_or_without_its_wrapping(wrap, model, tmp_path):
    state = perturbed(model)
    torch.save({"state_dict": state, "meta": {"epoch": 3}} if wrap else state, tmp_path / "c.pth")
    assert tpn.load_checkpoint(model, tmp_path / "c.pth").meta == ({"epoch": 3} if wrap else {})
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_safetensors_load(model, tmp_path):
    state = perturbed(model)
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "c.safetensors")
    tpn.load_checkpoint(model, tmp_path / "c.safetensors")
    assert torch.equal(model.cls_head.fc_cls.bias, state["cls_head.fc_cls.bias"])


def test_other_keys_and_shapes_are_refused_and_listed(model, tmp_path):
    state = perturbed(model)
    state["cls_head.extra"] = torch.zeros(1)
    del state["backbone.conv1.conv.weight"]
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(
        CheckpointError, match=r"(?s)c\.pth.*1 missing: backbone\.conv1\.conv\.weight.*1 unknown: cls_head\.extra"
    ):
        tpn.load_checkpoint(model, tmp_path / "c.pth")


def test_another_number_of_classes_is_named(model, tmp_path):
    torch.save(build_recognizer(model_settings(num_classes=7)).state_dict(), tmp_path / "c.pth")
    with pytest.raises(
        CheckpointError, match=r"trained for 7 classes, the config has 5 \(model\.cls_head\.num_classes\)"
    ):
        tpn.load_checkpoint(model, tmp_path / "c.pth")


def test_the_hash_in_a_published_name_is_verified(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "c.pth")
    sha8 = hashlib.sha256((tmp_path / "c.pth").read_bytes()).hexdigest()[:8]
    good = (tmp_path / "c.pth").rename(tmp_path / f"c-{sha8}.pth")
    tpn.load_checkpoint(model, good)
    bad = good.rename(tmp_path / "c-01234567.pth")
    with pytest.raises(CheckpointError, match=f"starts with {sha8}, its name says 01234567"):
        tpn.load_checkpoint(model, bad)


class Bomb:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_malicious_pickle_runs_nothing(legacy, model, tmp_path):
    canary = tmp_path / "canary"
    torch.save({"state_dict": Bomb(canary)}, tmp_path / "c.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="would run code"):
        tpn.load_checkpoint(model, tmp_path / "c.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(CheckpointError):
        tpn.load_checkpoint(model, tmp_path / "raw.pth")
    assert not canary.exists()


def refusal(path) -> str:
    """What is said of a checkpoint that cannot be read."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value).removeprefix(f"{path}: ")


NO_CHECKPOINTS = {
    "empty": b"",
    "text": b"import os\nprint(os.name)\n",
    "an mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
    "a pickle": pickle.dumps({"state_dict": {}}),
    "a pickle's first byte": b"\x80" * 99,
}


@pytest.mark.parametrize("content", NO_CHECKPOINTS.values(), ids=NO_CHECKPOINTS.keys())
def test_files_of_another_kind_are_no_checkpoints_and_not_said_to_run_code(content, tmp_path):
    (tmp_path / "c.pth").write_bytes(content)
    assert refusal(tmp_path / "c.pth").startswith("is no checkpoint" if content else "is empty (0 bytes)")


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("kept", [100, 0.3, 0.7, 0.99])
def test_a_checkpoint_cut_off_is_said_to_be_in_our_words(is_zip, kept, model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "c.pth", _use_new_zipfile_serialization=is_zip)
    content = (tmp_path / "c.pth").read_bytes()
    (tmp_path / "c.pth").write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    text = refusal(tmp_path / "c.pth")
    assert "cut off" in text and text.endswith("; copy or download it again")
    assert "PyTorch" not in text and "run code" not in text


def test_a_missing_checkpoint_is_named_with_the_nearest_name(tmp_path):
    assert refusal(tmp_path / "epoch_1.pth") == "there is no such checkpoint file"
    (tmp_path / "epoch_10.pth").touch()
    assert refusal(tmp_path / "epoc_10.pth").endswith("; did you mean 'epoch_10.pth'?")
    assert refusal(tmp_path / "nowhere/epoch_10.pth") == "there is no such checkpoint file"
    assert "(File name too long)" in refusal(tmp_path / ("a" * 999))


def test_a_folder_is_named_with_its_newest_checkpoint(tmp_path):
    assert refusal(tmp_path) == "is a folder; give the checkpoint file"
    for number, name in enumerate(["epoch_2.pth", "epoch_10.pth", "epoch_1.pth", "log.txt"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (number, number))
    assert refusal(tmp_path) == f"is a folder; give the checkpoint file, as {tmp_path}/epoch_1.pth"
    (tmp_path / "latest.pth").symlink_to("epoch_10.pth")
    assert refusal(tmp_path).endswith(f", as {tmp_path}/latest.pth")


@pytest.mark.parametrize("read", [read_checkpoint, read_label])
def test_a_checkpoint_that_may_not_be_read_is_named(read, said_to_others, tmp_path):
    torch.save({}, tmp_path / "c.pth")
    (tmp_path / "c.pth").chmod(0)
    told = said_to_others(lambda: read(Path("c.pth")), tmp_path)
    assert told == "c.pth: the checkpoint cannot be read (Permission denied); check its name and permissions"


def test_numpy_scalars_in_meta_are_read(model, tmp_path):
    import numpy as np

    torch.save({"state_dict": model.state_dict(), "meta": {"best_score": np.float64(0.5)}}, tmp_path / "c.pth")
    assert tpn.load_checkpoint(model, tmp_path / "c.pth").meta == {"best_score": 0.5}


# --------------------------------------------------------------------------------------------------- ImageNet inflation


def two_d_resnet(backbone, legacy: bool) -> dict:
    """A torchvision-style state dict for this backbone, with random values."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, value in backbone.state_dict().items():
        if legacy and key.endswith("num_batches_tracked"):
            continue
        shape = value.shape if value.dim() != 5 else (*value.shape[:2], *value.shape[3:])
        name = (
            key.replace(".net.", ".")
            .replace("downsample.conv.", "downsample.0.")
            .replace("downsample.bn.", "downsample.1.")
        )
        for i in "123":
            name = name.replace(f"conv{i}.conv.", f"conv{i}.").replace(f"conv{i}.bn.", f"bn{i}.")
        state[name] = torch.rand(shape, generator=generator) if value.is_floating_point() else torch.tensor(7)
    return state | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("kind", ["ResNet3dSlowOnly", "ResNetTSM"])
def test_imagenet_kernels_are_spread_over_time(kind, legacy, tmp_path):
    backbone_type = {"ResNet3dSlowOnly": SlowOnlyBackbone, "ResNetTSM": TSMBackbone}[kind]
    path = tmp_path / "resnet.pth"
    settings = {"type": kind, "depth": 14, "base_channels": 8}
    plain = build_recognizer(Model(backbone=backbone_type(**settings), cls_head=Head(num_classes=5)))
    source = two_d_resnet(plain.backbone, legacy)
    torch.save(source, path)
    model = build_recognizer(
        Model(backbone=backbone_type(**settings, pretrained=str(path)), cls_head=Head(num_classes=5))
    )
    state = model.backbone.state_dict()
    reduce = state.get("layer3.0.conv1.conv.weight", state.get("layer3.0.conv1.conv.net.weight"))
    if kind == "ResNet3dSlowOnly":
        assert reduce.shape[2] == 3
        torch.testing.assert_close(reduce.sum(2), source["layer3.0.conv1.weight"])
        torch.testing.assert_close(reduce[:, :, 0], reduce[:, :, 2])
        torch.testing.assert_close(state["conv1.conv.weight"].squeeze(2), source["conv1.weight"])
    else:
        assert torch.equal(reduce, source["layer3.0.conv1.weight"])
    assert torch.equal(state["layer2.0.downsample.bn.running_var"], source["layer2.0.downsample.1.running_var"])


def test_the_missing_imagenet_file_is_named_with_its_place(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"resnet50-0676ba61\.pth \(V1 weights\) at .*hub/checkpoints"):
        build_recognizer(model_settings(depth=50, base_channels=64, pretrained="imagenet"))


def test_a_resnet_of_another_depth_is_refused(tmp_path):
    source = two_d_resnet(build_recognizer(model_settings()).backbone, legacy=False)
    torch.save(source, tmp_path / "resnet14.pth")
    with pytest.raises(CheckpointError, match="does not fit ResNet-50"):
        build_recognizer(model_settings(depth=50, base_channels=8, pretrained=str(tmp_path / "resnet14.pth")))


def test_torchvision_names_map_to_ours():
    assert backbone_name("layer1.0.bn2.running_mean") == "layer1.0.conv2.bn.running_mean"
    assert backbone_name("layer4.0.downsample.1.bias") == "layer4.0.downsample.bn.bias"
    assert backbone_name("conv1.weight") == "conv1.conv.weight"

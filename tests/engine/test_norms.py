"""A norm that would see one value per channel ends a run before it begins; nothing that is not finite is saved."""

import pytest
import torch

from tpn.config import load_config
from tpn.engine.checkpoint import TrainState, save_checkpoint
from tpn.engine.norms import trains
from tpn.engine.optim import build_optimizer
from tpn.errors import UserError
from tpn.models.recognizer import build_recognizer

POOLED = "model.backbone.stem_pool=True"  # 13 videos, four a step: the last is alone, and its features are 1 x 1


@pytest.mark.parametrize("backbone", ["ResNet3dSlowOnly", "ResNetTSM"])
@pytest.mark.parametrize(
    "batches", [[], ["data.videos_per_gpu=1"], ["data.videos_per_gpu=2", "optimizer.accumulation_steps=2"]]
)
def test_a_step_of_one_value_per_channel_is_refused_before_training(backbone, batches, tpn, recipe, tmp_path):
    settings = [POOLED, f"model.backbone.type={backbone}", *batches]
    outcome = tpn("train", recipe, "--work-dir", tmp_path / "run", "--cfg-options", *settings)
    assert outcome.code == 2
    assert (
        "data.crop_size=32: a step on one video of that size leaves a batch norm one value per channel" in outcome.err
    )
    assert not list(tmp_path.glob("run/*.pth"))


def test_what_leaves_no_single_video_over_trains(train):
    folder = train(model__backbone__stem_pool=True, data__videos_per_gpu=5, total_epochs=1)
    weights = torch.load(folder / "latest.pth", weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in weights.values())


@pytest.mark.parametrize("backbone", ["ResNet3dSlowOnly", "ResNetTSM"])
@pytest.mark.parametrize("crop_size", [32, 33, 64, 65])
@pytest.mark.parametrize("norm_eval", [True, False])
def test_the_shapes_tell_what_pytorchs_own_norms_refuse(norm_eval, crop_size, backbone, recipe, monkeypatch):
    changes = {"model.backbone.stem_pool": True, "model.backbone.type": backbone, "data.crop_size": crop_size,
               "data.short_side": crop_size, "model.backbone.norm_eval": norm_eval}  # fmt: skip
    config = load_config(recipe, changes)
    model, clips = build_recognizer(config.model).train(), torch.randn(1, 3, 8, crop_size, crop_size)
    if trains(config, 1):
        model(clips)
        assert all(buffer.isfinite().all() for buffer in model.buffers())
    else:
        with pytest.raises(ValueError, match="one value per channel"):
            model(clips)


@pytest.mark.parametrize("kind", ["weight", "running_var", "momentum"])
def test_what_is_not_finite_is_named_and_not_saved(kind, recipe, tmp_path):
    config = load_config(recipe)
    model = build_recognizer(config.model)
    state = TrainState(model, build_optimizer(model, config.optimizer), torch.amp.GradScaler("cpu", enabled=False), 0)
    model(torch.randn(2, 3, 8, 32, 32))[0].sum().backward()
    state.optimizer.step()
    save_checkpoint(state, tmp_path / "a.pth", meta={})
    norm = model.neck.pyramid_fusion.bn
    broken = {"weight": norm.weight.data, "running_var": norm.running_var,
              "momentum": state.optimizer.state[norm.weight]["momentum_buffer"]}  # fmt: skip
    broken[kind][3] = float("nan")
    name = (
        "momentum_buffer of neck.pyramid_fusion.bn.weight" if kind == "momentum" else f"neck.pyramid_fusion.bn.{kind}"
    )
    with pytest.raises(UserError, match=f"b.pth: not written, because {name} is not finite"):
        save_checkpoint(state, tmp_path / "b.pth", meta={})
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]

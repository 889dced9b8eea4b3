"""MMAction2's optimizer states reach the weights of their names, and ours are numbered as its are."""

import pytest
import torch
from torch import Tensor, nn

from tpn.config import load_config
from tpn.config.recipes import find_recipe
from tpn.engine.checkpoint import TrainState, resume, save_checkpoint
from tpn.engine.optim import build_optimizer
from tpn.models.recognizer import build_recognizer

PUBLISHED = ["tpn_slowonly_r50_8x8x1_150e_kinetics_rgb", "tpn_tsm_r50_1x1x8_150e_sthv1_rgb"]


@pytest.fixture(params=PUBLISHED)
def case(request, parity):
    """A narrow network of a published recipe in training, and the names of its tensors in MMAction2's order."""
    config = load_config(
        find_recipe(request.param), {"model.backbone.pretrained": None, "model.backbone.base_channels": 8}
    )
    torch.manual_seed(0)
    model = build_recognizer(config.model)
    state = TrainState(
        model, build_optimizer(model, config.optimizer), torch.amp.GradScaler("cpu", enabled=False), seed=0
    )
    return state, list(parity("state_dict.json")[request.param])


def momentum_of(name: str, weight: Tensor) -> Tensor:
    """One that no other weight has."""
    return torch.full_like(weight, 1 + sum(name.encode()) % 997 / 997)


def as_the_reference_saves_it(state: TrainState, order: list[str]) -> dict:
    """meta, weights and optimizer, whose parameters are numbered in the order in which its network registers them."""
    weights, parameters = state.model.state_dict(), dict(state.model.named_parameters())
    names = {id(parameter): name for name, parameter in parameters.items()}
    saved, groups = {}, []
    for group in state.optimizer.param_groups:
        ours = sorted((names[id(parameter)] for parameter in group["params"]), key=order.index)
        numbers = list(range(len(saved), len(saved) + len(ours)))
        saved |= {
            n: {"momentum_buffer": momentum_of(name, parameters[name])} for n, name in zip(numbers, ours, strict=True)
        }
        options = {key: group[key] for key in ("lr", "momentum", "dampening", "weight_decay", "nesterov")}
        groups.append({**options, "params": numbers})
    return {
        "meta": {"epoch": 3, "iter": 30, "mmaction_version": "0.24.1"},
        "state_dict": {name: weights[name] for name in order},
        "optimizer": {"state": saved, "param_groups": groups},
    }


def test_each_momentum_reaches_the_weight_of_its_name_and_a_step_is_the_references(case, tmp_path):
    state, order = case
    torch.save(as_the_reference_saves_it(state, order), tmp_path / "epoch_3.pth")
    assert resume(state, tmp_path / "epoch_3.pth") is None
    assert (state.epoch, state.step) == (3, 30)
    before = {name: parameter.detach().clone() for name, parameter in state.model.named_parameters()}
    for name, parameter in state.model.named_parameters():
        assert torch.equal(state.optimizer.state[parameter]["momentum_buffer"], momentum_of(name, parameter)), name
        parameter.grad = torch.ones_like(parameter)
    groups = {id(parameter): group for group in state.optimizer.param_groups for parameter in group["params"]}
    state.optimizer.step()
    for name, parameter in state.model.named_parameters():
        expected = sgd_step(name, before[name], groups[id(parameter)])
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-6, atol=1e-7, msg=name)


def sgd_step(name: str, weight: Tensor, group: dict) -> Tensor:
    """PyTorch's SGD with momentum (and Nesterov's look ahead), of a gradient of ones, by its formula."""
    gradient = torch.ones_like(weight) + group["weight_decay"] * weight
    momentum = group["momentum"] * momentum_of(name, weight) + gradient
    return weight - group["lr"] * (gradient + group["momentum"] * momentum if group["nesterov"] else momentum)


def test_our_checkpoints_are_numbered_as_the_references(case, tmp_path):
    state, order = case
    for name, parameter in state.model.named_parameters():
        state.optimizer.state[parameter]["momentum_buffer"] = momentum_of(name, parameter)
    save_checkpoint(state, tmp_path / "epoch_3.pth", meta={})
    ours, theirs = torch.load(tmp_path / "epoch_3.pth", weights_only=True), as_the_reference_saves_it(state, order)
    assert list(ours["state_dict"]) == order
    assert [group["params"] for group in ours["optimizer"]["param_groups"]] == [
        group["params"] for group in theirs["optimizer"]["param_groups"]
    ]
    assert ours["optimizer"]["state"].keys() == theirs["optimizer"]["state"].keys()
    for number, kept in theirs["optimizer"]["state"].items():
        assert torch.equal(ours["optimizer"]["state"][number]["momentum_buffer"], kept["momentum_buffer"]), number


def test_a_checkpoint_of_the_earlier_order_resumes(case, tmp_path):
    """As this project wrote them before: weights and momenta in the order in which its own network has them."""
    state, _ = case
    own = list(state.model.state_dict())
    torch.save(as_the_reference_saves_it(state, own), tmp_path / "epoch_3.pth")
    resume(state, tmp_path / "epoch_3.pth")
    for name, parameter in state.model.named_parameters():
        assert torch.equal(state.optimizer.state[parameter]["momentum_buffer"], momentum_of(name, parameter)), name


@pytest.mark.parametrize("policies", ["tsm", "tsm_fc_lr5"])
def test_groups_of_tsms_policies_are_those_of_the_references(policies, parity, tmp_path):
    """There the first convolution's weight is a group of its own, and a group without parameters stays in the list."""
    changes = {"model.backbone.pretrained": None, "model.backbone.base_channels": 8, "optimizer.policies": policies}
    config = load_config(find_recipe(PUBLISHED[1]), changes)
    model = build_recognizer(config.model)
    optimizer = build_optimizer(model, config.optimizer)
    state = TrainState(model, optimizer, torch.amp.GradScaler("cpu", enabled=False), seed=0)
    checkpoint = as_the_reference_saves_it(state, list(parity("state_dict.json")[PUBLISHED[1]]))
    weights, *others = checkpoint["optimizer"]["param_groups"]
    first, rest = ({**weights, "params": part} for part in (weights["params"][:1], weights["params"][1:]))
    empty = {**weights, "lr": 2 * weights["lr"], "weight_decay": 0, "params": []}
    checkpoint["optimizer"]["param_groups"] = [first, empty, rest, *others]
    torch.save(checkpoint, tmp_path / "epoch_3.pth")
    resume(state, tmp_path / "epoch_3.pth")
    for name, parameter in model.named_parameters():
        assert torch.equal(state.optimizer.state[parameter]["momentum_buffer"], momentum_of(name, parameter)), name


def test_momenta_of_another_network_are_refused(case, tmp_path):
    state, order = case
    checkpoint = as_the_reference_saves_it(state, order)
    checkpoint["optimizer"]["param_groups"][0]["params"].pop()
    torch.save(checkpoint, tmp_path / "a.pth")
    with pytest.raises(Exception, match="its optimizer state is of another network"):
        resume(state, tmp_path / "a.pth")
    assert isinstance(state.model, nn.Module)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_first_step_that_is_left_out_leaves_momenta_of_zero(case, resumed, tmp_path):
    """As float16's scaler leaves it out; also in a run that resumes a checkpoint of before the first step."""
    state, _ = case
    if resumed:
        state.optimizer.state.clear()  # as PyTorch's own optimizer begins, and others' checkpoints may have it
        save_checkpoint(state, tmp_path / "step_0.pth", meta={})
        assert resume(state, tmp_path / "step_0.pth") is None
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(1))
    for parameter in state.model.parameters():
        parameter.grad = torch.full_like(parameter, float("inf"))
    scaler.unscale_(state.optimizer)
    used = [torch.full_like(parameter, 7.0) for parameter in state.model.parameters()]
    del used  # memory that a momentum nobody has written would be found in
    scaler.step(state.optimizer)
    for parameter in state.model.parameters():
        momentum = state.optimizer.state[parameter]["momentum_buffer"]
        assert torch.equal(momentum, torch.zeros_like(parameter))

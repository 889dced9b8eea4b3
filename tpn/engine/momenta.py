"""An optimizer's state in a file: it has no names there, only places, which follow the order of the file's weights."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

LATE, BEFORE = "neck.spatial_modulation.", "neck.level_fusion_1."


def published_order(names: Iterable[str]) -> list[str]:
    """Names of a model's tensors in the order of MMAction2's files: the spatial modulation after the first fusion."""
    names = list(names)
    late = [name for name in names if name.startswith(LATE)]
    others = [name for name in names if not name.startswith(LATE)]
    place = next((i for i in reversed(range(len(others))) if others[i].startswith(BEFORE)), -1) + 1
    return [*others[:place], *late, *others[place:]] if place else names


def optimizer_in_order(optimizer: torch.optim.Optimizer, model: nn.Module, order: Iterable[str]) -> dict[str, Any]:
    """The optimizer's state dict, its parameters numbered as they come in `order`, group by group."""
    content = optimizer.state_dict()
    places = {name: place for place, name in enumerate(order)}
    state, saved_groups, numbered = {}, [], 0
    for names, group in groups(optimizer, model, content):
        ordered = sorted(names, key=lambda named: places[named[0]])
        numbers = range(numbered, numbered + len(ordered))
        state |= {
            new: content["state"][old]
            for new, (_, old) in zip(numbers, ordered, strict=True)
            if old in content["state"]
        }
        saved_groups.append({**group, "params": list(numbers)})
        numbered += len(ordered)
    return {"state": state, "param_groups": saved_groups}


def load_in_order(
    optimizer: torch.optim.Optimizer, model: nn.Module, content: Mapping[str, Any], order: Iterable[str]
) -> None:
    """Load a state dict whose parameters are numbered in `order`, group by group; each state to the weight of its name.

    Options that the file does not know stay as they are (MMAction2's know no fused step). Groups of the same options
    that follow one another count as one: TSM's policies set the first convolution apart there.

    Raises:
        ValueError, KeyError: the state is of other groups of parameters.
    """
    own = optimizer.state_dict()
    places = {name: place for place, name in enumerate(order)}
    saved_groups = []
    for saved, (names, group) in zip(merged(content["param_groups"]), groups(optimizer, model, own), strict=True):
        ordered = sorted((name for name, _ in names), key=places.__getitem__)
        number = dict(zip(ordered, saved["params"], strict=True))
        saved_groups.append({**group, **saved, "params": [number[name] for name, _ in names]})
    optimizer.load_state_dict({**content, "param_groups": saved_groups})


def merged(saved_groups: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Groups without the empty ones, and with those joined that follow one another and differ in nothing."""
    joined: list[dict[str, Any]] = []
    for group in saved_groups:
        options = {key: value for key, value in group.items() if key != "params"}
        if joined and {**joined[-1], "params": None} == {**options, "params": None}:
            joined[-1]["params"] = [*joined[-1]["params"], *group["params"]]
        elif group["params"]:
            joined.append({**options, "params": list(group["params"])})
    return joined


def groups(
    optimizer: torch.optim.Optimizer, model: nn.Module, content: Mapping[str, Any]
) -> list[tuple[list[tuple[str, int]], dict[str, Any]]]:
    """Of each group the (name, number in the state dict) of its parameters, and what the state dict holds of it."""
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    return [
        ([(name_of[p], n) for p, n in zip(group["params"], saved["params"], strict=True)], saved)
        for group, saved in zip(optimizer.param_groups, content["param_groups"], strict=True)
    ]

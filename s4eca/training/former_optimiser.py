"""The optimiser of a checkpoint that version 0.1 wrote, in today's groups.

Version 0.1 decided by a tensor's name alone whether it decays; now its method does. Where the two differ, the groups of
a LoRA, DoRA, IA3 or ETRIS-style run differ as well, and the optimiser's state has to be dealt out anew.
"""

from __future__ import annotations

from typing import Any

from s4eca.layers.trainable import FORMER_PARTS, grouped_names, trainable_parameters

_UNDECAYED = ("queries", "place", "up.weight", "bands.weight")


def regroup(checkpoint: dict[str, Any], model: Any) -> None:
    """Deal the state of optimiser and schedule out to today's groups, in place; where they agree nothing changes.

    Args:
        checkpoint: Lightning's, with `optimizer_states` and `lr_schedulers`.
        model: the `S4ECAModel` whose trainable tensors they are of.
    """
    today = grouped_names(model)
    then = _groups_then(model)
    for state in checkpoint.get("optimizer_states", ()):
        found = [(_today(str(group.get("name", ""))), len(group["params"])) for group in state["param_groups"]]
        # Names alone do not tell: DoRA and ETRIS-style had a group without decay before, of other members.
        if found == _sizes(today) or found != _sizes(then):
            continue
        order = [name for names in then.values() for name in names]
        values = {order[number]: value for number, value in state["state"].items()}
        places = {name: number for number, name in enumerate(n for names in today.values() for n in names)}
        state["state"] = {places[name]: value for name, value in values.items()}
        sources = [_source(key, list(then)) for key in today]
        state["param_groups"] = [
            {**state["param_groups"][source], "name": _name(key), "params": [places[name] for name in names]}
            | ({} if key[1] else {"weight_decay": 0.0})
            for (key, names), source in zip(today.items(), sources, strict=True)
        ]
        for schedule in checkpoint.get("lr_schedulers", ()):
            for field in ("base_lrs", "_last_lr", "lr_lambdas"):
                schedule[field] = [schedule[field][source] for source in sources]


def _groups_then(model: Any) -> dict[tuple[str, bool], list[str]]:
    """Names of trainable tensors as version 0.1 grouped them."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for name, parameter in trainable_parameters(model).items():
        decays = parameter.ndim >= 2 and not name.endswith(_UNDECAYED)
        groups.setdefault((name.partition(".")[0], decays), []).append(name)
    return groups


def _source(key: tuple[str, bool], then: list[tuple[str, bool]]) -> int:
    """The former group whose rates a group of today goes on with: its own, else that of the same part."""
    return then.index(key) if key in then else next(place for place, (part, _) in enumerate(then) if part == key[0])


def _name(key: tuple[str, bool]) -> str:
    part, decays = key
    return part if decays else f"{part}-no-decay"


def _today(name: str) -> str:
    part, dash, rest = name.partition("-")
    return FORMER_PARTS.get(part, part) + dash + rest


def _sizes(groups: dict[tuple[str, bool], list[str]]) -> list[tuple[str, int]]:
    return [(_name(key), len(names)) for key, names in groups.items()]

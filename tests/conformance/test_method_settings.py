"""A method's settings are typed, its own alone, and asked before anything is loaded."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

import pytest

import s4eca
from s4eca import S4ECAConfig
from s4eca.adapters.base import Method
from s4eca.config import S4ECA_FIELDS, S4ECASettings
from s4eca.errors import ConfigError
from s4eca.protocols import AdapterMethod
from s4eca.registry import METHODS, method_class, method_settings, own_settings

OTHERS = [name for name in METHODS if name != "s4eca"]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_every_attribute_and_hook_of_the_contract(name: str) -> None:
    method = METHODS.load(name)
    assert issubclass(method, Method)
    hints = get_type_hints(AdapterMethod, {**vars(__import__("s4eca.protocols", fromlist=["x"])), **_names()})
    for attribute in hints:
        assert attribute in {"sites", "taps"} or attribute in dir(method), attribute
    hooks = [hook for hook in dir(AdapterMethod) if hook[0].islower() and callable(getattr(AdapterMethod, hook))]
    assert {"encode", "rewrite", "refusal", "decays", "extra_files"} <= set(hooks)
    assert all(callable(getattr(method, hook)) for hook in hooks)
    assert dataclasses.is_dataclass(method.SETTINGS)
    assert set(method.KNOBS) <= {field.name for field in dataclasses.fields(method.SETTINGS)}
    assert method.ORIGIN != Method.ORIGIN, "the card says where each of ours comes from"


def _names() -> dict[str, Any]:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    return {
        "Callable": Callable, "Mapping": Mapping, "Sequence": Sequence, "np": np, "NDArray": NDArray, "nn": nn,
        "Tensor": Tensor, "torch": torch, "S4ECAConfig": S4ECAConfig,
    }  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("field", S4ECA_FIELDS)
def test_what_belongs_to_s4eca_is_refused_elsewhere(name: str, field: str) -> None:
    value = getattr(S4ECASettings(), field)
    config = S4ECAConfig.from_dict({"method": name, field: value})
    with pytest.raises(ConfigError, match=f"{field} is .* belongs to the method 's4eca' and not to '{name}'"):
        method_class(config)


@pytest.mark.parametrize("name", METHODS)
def test_an_option_that_the_method_does_not_know_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match="options names 'rnak'"):
        method_settings(S4ECAConfig(method=name, options={"rnak": 3}))


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_an_instance_of_the_methods_own_class(name: str) -> None:
    own = method_settings(S4ECAConfig(method=name))
    assert type(own) is METHODS.load(name).SETTINGS and own == METHODS.load(name).SETTINGS()


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"method": "lora", "width": 24}, "width is 24; it belongs to the method 's4eca'"),
        ({"method": "lora", "options": {"ladder": 4}}, "options names 'ladder'"),
        ({"method": "lora", "options": {"rank": 0}}, "options.rank is 0"),
        ({"method": "lora", "mode": "inject"}, "mode is 'inject'; the method 'lora' takes side or late-inject alone"),
        ({"options": {"rank": 3}}, "options names 'rank'; the method 's4eca' has none"),
        ({"width": 0}, "width is 0; it must be at least 1"),
        ({"kernels": [[4, 1]]}, "kernels is"),
    ],
)
def test_nothing_is_loaded_for_a_wrong_setting(
    settings: dict[str, Any], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> None:
        raise AssertionError("an encoder was loaded")

    monkeypatch.setattr("s4eca.model.pair.load_vision_encoder", load)
    monkeypatch.setattr("s4eca.model.pair.load_text_encoder", load)
    with pytest.raises(ConfigError, match=part):
        s4eca.attach("nobody/vision", "nobody/text", **settings)
    with pytest.raises(ConfigError, match=part):
        s4eca.budget(S4ECAConfig.from_dict(settings))


def test_another_method_starts_at_its_own_defaults() -> None:
    ours = S4ECAConfig(width=24, image_size=224)
    lora = ours.replace(method="lora", options={"rank": 2})
    assert lora.width is None and lora.image_size == 224 and lora.options == {"rank": 2}
    assert lora.replace(method="dora").options == {}
    assert lora.replace(method="s4eca").width == S4ECASettings().width
    assert ours.replace(image_size=448).width == 24


@pytest.mark.parametrize("name", METHODS)
def test_plain_values_come_back(name: str) -> None:
    config = S4ECAConfig(method=name, image_size=224)
    assert S4ECAConfig.from_dict(config.to_dict()) == config
    assert (set(S4ECA_FIELDS) <= set(config.to_dict())) == (name == "s4eca")


def test_what_version_0_1_wrote_out_for_every_method_is_left_out() -> None:
    written = {**S4ECAConfig().to_dict(), "method": "lora"}
    assert method_class(S4ECAConfig.from_dict(own_settings(written))).ORIGIN
    ours = S4ECAConfig(width=5).to_dict()
    assert own_settings(ours) == ours


@pytest.mark.parametrize("name", OTHERS)
def test_only_s4eca_has_a_width_in_its_budget(name: str) -> None:
    from s4eca.budgets.solve import setting

    config = S4ECAConfig(method=name, vision="packaged:dinov2-s", text="packaged:minilm-l6")
    assert s4eca.budget(config, check_effective=False).r is None
    assert "width r" not in s4eca.budget(config, check_effective=False).table()
    assert setting(S4ECAConfig(width=7)) == {"width": 7}


@pytest.mark.parametrize(
    ("name", "tensor", "decays"),
    [
        ("lora", "encoder_updates.vision.layer.0.q.lora_A.default.weight", True),
        ("lora", "encoder_updates.vision.layer.0.q.lora_B.default.weight", False),
        ("dora", "encoder_updates.text.layer.0.q.lora_B.default.weight", False),
        ("ia3", "encoder_updates.vision.layer.0.k.ia3_l.default", False),
        ("full", "encoder_updates.vision.layer.0.fc1.weight", True),
        ("etris", "adapter.bridgers.0.up_text.weight", False),
        ("etris", "adapter.bridgers.0.up_vision.linear.weight", False),
        ("etris", "adapter.bridgers.0.down_text.weight", True),
        ("detris", "adapter.vision.3.up.weight", False),
        ("adaptformer", "adapter.text.3.up.weight", False),
        ("adaptformer", "adapter.text.3.down.weight", True),
        ("s4eca", "adapter.vision.3.up.weight", False),
        ("s4eca", "adapter.queries", False),
        ("s4eca", "adapter.vision.3.place", False),
        ("s4eca", "adapter.vision.3.down.weight", True),
    ],
)
def test_what_starts_at_no_change_does_not_decay(name: str, tensor: str, decays: bool) -> None:
    import torch

    method = METHODS.load(name)
    matrix = torch.nn.Parameter(torch.zeros(2, 2))
    assert Method.decays(method, tensor, matrix) is decays
    assert Method.decays(method, tensor, torch.nn.Parameter(torch.zeros(2))) is False
    # A peft adapter that came with an encoder has its own, whatever method stands beside it.
    assert Method.decays(method, "encoder_updates.vision.0.q.lora_B.default.weight", matrix) is False


@dataclasses.dataclass(frozen=True)
class Unchecked:
    """Settings of another package's method, which checks nothing itself."""

    rank: int = 4
    on: bool = False
    scale: float | None = None
    derived: int = dataclasses.field(init=False, default=1)


class Outside(METHODS.load("decoder-only")):  # type: ignore[misc]
    SETTINGS = Unchecked


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"rank": "8"}, "options.rank is '8'; it must be a whole number."),
        ({"rank": 8.0}, "options.rank is 8.0; it must be a whole number."),
        ({"on": "no"}, "options.on is 'no'; it must be true or false."),
        ({"scale": "2"}, "options.scale is '2'; it must be a number."),
        ({"derived": 8}, "options names 'derived'; the method 'outside' has rank, on, scale."),
    ],
)
def test_options_are_typed_without_a_check_of_the_methods_own(
    options: dict[str, Any], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS._own, "outside", f"{__name__}:Outside")
    assert method_settings(S4ECAConfig(method="outside", options={"rank": 8, "scale": None})).rank == 8
    with pytest.raises(ConfigError, match=part):
        method_settings(S4ECAConfig(method="outside", options=options))


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"scale_selection": "no"}, "scale_selection is 'no'; it must be true or false."),
        ({"width": 16.0}, "width is 16.0; it must be a whole number."),
        ({"width": True}, "width is True; it must be a whole number."),
        ({"image_size": "56"}, "image_size is '56'; it must be a whole number."),
        ({"method": None}, "method is None; it must be a text."),
        ({"options": None}, "options is None; it must be an object."),
        ({"kernels": ((True, True),)}, "it must be a list of "),
        ({"bands": "rgb"}, "bands is 'rgb'; it must be a list of texts."),
        ({"threshold": "0.5"}, "threshold is '0.5'; it must be a number."),
    ],
)
def test_the_constructor_checks_kinds(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=f"^{part}" if "kernels" not in settings else part):
        S4ECAConfig(**settings)
    with pytest.raises(ConfigError, match=f"configuration: {part}" if "kernels" not in settings else part):
        S4ECAConfig.from_dict(settings)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf")])
def test_the_scale_of_updates_is_finite(alpha: float) -> None:
    with pytest.raises(ConfigError, match=r"options\.alpha is .*; it must be a number above 0"):
        method_settings(S4ECAConfig(method="lora", options={"alpha": alpha}))

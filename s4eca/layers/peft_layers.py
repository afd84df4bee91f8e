"""Peft's layers inside an encoder: put in, found, named, and written as a plain peft folder."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

ADAPTER = "default"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
PROJECTIONS = ("vera_A", "vera_B")


def inject(backbone: nn.Module, settings: Any, name: str = ADAPTER) -> None:
    """Put peft's layers into a module, in place.

    Args:
        backbone: the module.
        settings: peft's configuration; a pattern in it is matched against whole names.
        name: of the adapter.
    """
    from peft import VeraConfig, VeraModel, inject_adapter_in_model

    old = {id(parameter) for parameter in backbone.parameters()}
    if isinstance(settings, VeraConfig):
        # What its layers share lives in the tuner, which is why peft wants the class itself.
        VeraModel(backbone, settings, name)
        _draw_pair(backbone, settings, name)
    else:
        inject_adapter_in_model(settings, backbone, name)
    # Peft makes new weights in the type of the old ones; on an encoder in half precision they would not learn.
    for parameter in backbone.parameters():
        if id(parameter) not in old:
            parameter.data = parameter.data.float()


def layers_of(*encoders: Any) -> list[tuple[nn.Module, str, Any]]:
    """Peft's layers in some encoders: the module that holds one, its name there, and itself."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [
        (parent, name, child)
        for encoder in encoders
        for parent in list(encoder.backbone.modules())
        for name, child in list(parent.named_children())
        if isinstance(child, BaseTunerLayer)
    ]


def random_pair(rank: int, inputs: int, outputs: int, seed: int) -> tuple[Tensor, Tensor]:
    """VeRA's frozen matrices A (rank, inputs) and B (outputs, rank): uniform with variance 2 / fan-in (He et al. 2015).

    Args:
        rank: inner size.
        inputs: of the widest layer.
        outputs: of the layer with most outputs.
        seed: A is drawn first, then B, from one generator on the CPU.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    pair = []
    for rows, columns in ((rank, inputs), (outputs, rank)):
        bound = math.sqrt(3) * (math.sqrt(2) / math.sqrt(columns))  # in this order peft's own numbers come out
        pair.append(torch.empty(rows, columns, device="cpu").uniform_(-bound, bound, generator=generator))
    return pair[0], pair[1]


def _draw_pair(backbone: nn.Module, settings: Any, name: str) -> None:
    layer: Any = next(module for module in backbone.modules() if hasattr(module, "vera_A"))
    a, b = layer.vera_A[name], layer.vera_B[name]
    if not a.is_meta:
        pair = random_pair(a.shape[0], a.shape[1], b.shape[0], settings.projection_prng_key)
        layer.vera_A[name], layer.vera_B[name] = (new.to(a.device) for new in pair)


def exactly(names: Sequence[str], among: Iterable[str]) -> str:
    r"""A pattern that fits the given names and, of `among`, no other one; short where the numbers of blocks allow it.

    >>> exactly(["layer.0.q", "layer.1.q"], ["layer.0.q", "layer.0.v", "layer.1.q", "layer.1.v"])
    'layer\\.\\d+\\.q'
    """
    shapes = dict.fromkeys(
        r"\.".join(r"\d+" if part.isdigit() else re.escape(part) for part in name.split(".")) for name in names
    )
    short = "|".join(shapes)
    if {name for name in among if re.fullmatch(short, name)} == set(names):
        return short
    return "|".join(re.escape(name) for name in names)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence peft's advice, none of which a user of this package can follow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="peft")
        yield


def folder_files(encoder: Any, name: str, dtype: torch.dtype) -> dict[str, bytes]:
    """The files of a plain peft folder that holds one adapter of an encoder.

    Peft alone opens it on what the library makes of the checkpoint, unless query, key and value were split for it.

    Args:
        encoder: with peft's layers inside.
        name: of the adapter in there.
        dtype: of the tensors.
    """
    from safetensors.torch import save

    backbone, added = encoder.backbone, set(guest_names(encoder.backbone))
    tensors = {
        plain_name(key, name): parameter.detach().to("cpu", dtype).contiguous()
        for key, parameter in backbone.named_parameters()
        if key in added
    }
    layer = next((module for module in backbone.modules() if hasattr(module, "vera_A")), None)
    for part in PROJECTIONS if layer is not None else ():
        tensors[f"base_model.{part}"] = getattr(layer, part)[name].detach().to("cpu", dtype).contiguous()
    settings = settings_json(backbone.peft_config[name])
    settings.update(base_model_name_or_path=encoder.spec.source, inference_mode=True)
    kind = type(backbone)
    if kind.__module__.startswith("transformers."):
        settings["auto_mapping"] = {"base_model_class": kind.__name__, "parent_library": kind.__module__}
    return {
        CONFIG: json.dumps(settings, indent=2, sort_keys=True).encode(),
        WEIGHTS: save(tensors, metadata={"format": "pt"}),
    }


def plain_name(name: str, adapter: str) -> str:
    """A parameter's name in peft's files: without the adapter's name, and DoRA's magnitudes without ``weight``.

    >>> plain_name("layer.0.q.lora_A.default.weight", "default")
    'base_model.model.layer.0.q.lora_A.weight'
    """
    stem, _, rest = name.rpartition(f".{adapter}")
    rest = "" if stem.endswith("lora_magnitude_vector") else rest
    return f"{PREFIX}{stem}{rest}"


def guest_names(backbone: nn.Module) -> list[str]:
    """Names of the parameters that peft added."""
    wrapped = wrapped_layers(backbone)
    return [name for name, _ in backbone.named_parameters() if own_name(name, wrapped) is None]


def wrapped_layers(backbone: nn.Module) -> dict[str, Any]:
    """Dotted name -> layer, of peft's layers in a module."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: module for name, module in backbone.named_modules() if isinstance(module, BaseTunerLayer)}


def own_name(name: str, wrapped: Mapping[str, Any]) -> str | None:
    """A tensor's name without peft's layers around it; None for what belongs to such a layer."""
    kept: list[str] = []
    parts = name.split(".")
    for place, part in enumerate(parts):
        if ".".join(parts[:place]) in wrapped:
            if part != "base_layer":
                return None
        else:
            kept.append(part)
    return ".".join(kept)


def settings_json(settings: Any) -> dict[str, Any]:
    """Peft's settings as plain values; sets in an order of their own become sorted lists."""
    values: dict[str, Any] = json.loads(json.dumps(settings.to_dict(), default=sorted))
    return values

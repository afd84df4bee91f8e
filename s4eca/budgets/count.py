"""The budget: how many parameters train, beside how many frozen ones.

Share, or ratio, always means adapters / (frozen vision encoder + frozen text encoder), the encoders as loaded: word
and position embeddings and mask token included, projections and unused poolers dropped. The same ratio with the
decoder in the numerator is given beside it, for papers differ in what they count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from s4eca.adapters.s4eca.candidate_order import RELATIONS
from s4eca.config import S4ECAConfig, S4ECASettings, spread
from s4eca.layers.trainable import trainable_modules
from s4eca.optional import PyramidSizes
from s4eca.records import TextSpec, VisionSpec

if TYPE_CHECKING:
    from s4eca.model.model import S4ECAModel

_SCALINGS = (torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__, torch.Tensor.div, torch.Tensor.__truediv__)


def count_trainable(config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> tuple[int, int]:
    """Parameters of the adapters (with all that trains inside the encoders) and of the decoder.

    Counted on the real modules without memory; a method that rewrites the encoders gets them on the meta device too.

    Raises:
        ConfigError: the settings do not fit the encoders.
        EncoderError: the method rewrites encoders, and one is unknown.
    """
    from s4eca.model.parts import build_trainable
    from s4eca.registry import method_class

    if not method_class(config).REWRITES:
        with shapes_only():
            adapter, decoder = build_trainable(config, vision, text)
        return count(adapter) + count_bands(config), count(decoder)
    return count_model(meta_model(config, vision, text))


def meta_model(config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> S4ECAModel:
    """The whole model without memory: shapes and names.

    Raises:
        ConfigError: the settings do not fit the encoders.
        EncoderError: an encoder is unknown.
    """
    from s4eca.encoders import meta
    from s4eca.model.model import S4ECAModel

    encoders = meta.vision_encoder(vision.source), meta.text_encoder(text.source)
    with shapes_only():
        return S4ECAModel(*encoders, config)


def count_bands(config: S4ECAConfig) -> int:
    """Parameters of the map from bands to colours; 0 where bands are chosen or the input is RGB."""
    from s4eca.layers.band_map import BandAdapter

    return 0 if config.chosen or not config.bands else count(BandAdapter(config.bands))


def count_presence(config: S4ECAConfig) -> int:
    """Parameters of the decoder's no-target head; 0 where there is none."""
    from s4eca.decoder.presence import PresenceHead

    if not config.presence:
        return 0
    with shapes_only():
        return count(PresenceHead(config.decoder_width, config.presence))


def count_parts(config: S4ECAConfig) -> dict[str, int]:
    """Parameters of each optional part of the decoder by name; empty where there is none."""
    from s4eca.decoder.parts.build import build_parts

    d = config.decoder_width
    with shapes_only():
        built = build_parts(config, PyramidSizes((d, d // 2, d // 4), d))
    return {name: count(part) for name, part in built.items()}


def count_model(model: S4ECAModel) -> tuple[int, int]:
    """Parameters of the adapters (with all that trains inside the encoders) and of the decoder of a ready model."""
    parts = {name: count(module) for name, module in trainable_modules(model)}
    decoder = parts.pop("decoder")
    return sum(parts.values()), decoder


def formula_adapters(config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> int:
    """The number of adapter parameters of method s4eca, all switches respected, in closed form (ours).

    With every switch on but `candidate_order`, for S scales with q = sum of their squared kernel sizes::

        n_text(d, r) = 2 d r + d + r + 4 r^2
        n_vis(d, r)  = 2 d r + d + (6 + q + 2 S) r + (S + 5) r^2 + S + 2
        N(r)         = sum over vision sites of n_vis + text sites * n_text + K r

    The modules are what is counted elsewhere; this is what they are held against.
    """
    own = config.s4eca_settings()
    r = own.width
    text_sites = own.text_sites
    if not own.text_proxies and not own.write_back:
        text_sites = 1
    text_one = text.width * r + r
    text_one += 4 * r * r if own.text_proxies else 0
    text_one += r * text.width + text.width if own.write_back else 0
    widths = [vision.widths[site] for site in spread(config.vision_sites, vision.blocks)]
    queries = own.proxies * r if own.text_proxies else 0
    return sum(_formula_site(own, width) for width in widths) + text_sites * text_one + queries


def _formula_site(own: S4ECASettings, width: int) -> int:
    """Parameters of one vision site on `width` channels."""
    r, scales = own.width, len(own.kernels)
    proxies = own.proxies if own.text_proxies else 1
    total = 2 * width * r + width + r
    total += 4 * r if own.coordinates else 0
    total += sum(kernel * kernel * r + r + r * r + r for kernel, _ in own.kernels)
    total += r * r + r if own.global_branch else 0
    several = scales + own.global_branch
    total += r * r + several if own.scale_selection and several > 1 else 0
    total += 2 * r * r if own.has_affinity else 0
    total += r * r if own.language_read else 0
    total += RELATIONS * r + proxies if own.candidate_order else 0
    return total + (1 if own.spatial_gate else 0)


class _NoInitialisation(TorchFunctionMode):
    """Turns `torch.nn.init` into nothing, random tensors into empty ones, and their scaling by a number into nothing.

    On the meta device all three go through torch's compiler, whose import costs seconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for every function while the mode is on."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func in (torch.randn, torch.rand):
            kwargs.pop("generator", None)
            return torch.empty(*args, **kwargs)
        if func in _SCALINGS and len(args) == 2 and not isinstance(args[1], torch.Tensor):
            return args[0]
        return func(*args, **kwargs)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Within it, modules are made on the meta device: shapes and names, neither memory nor values."""
    with torch.device("meta"), _NoInitialisation():
        yield


def count(module: nn.Module) -> int:
    """Number of scalars in a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def specs(
    config: S4ECAConfig, vision: VisionSpec | None = None, text: TextSpec | None = None
) -> tuple[VisionSpec, TextSpec]:
    """Both specs, looked up by the names in the configuration where they are not given.

    Raises:
        EncoderError: an encoder is unknown.
    """
    from s4eca.encoders import meta

    return vision or meta.vision_spec(config.vision), text or meta.text_spec(config.text)

"""The budget: how many parameters train, beside how many frozen ones, and the width that meets a share.

Share, or ratio, always means adapters / (frozen vision encoder + frozen text encoder), the encoders as loaded: word
and position embeddings and mask token included, projections and unused poolers dropped. The same ratio with the
decoder in the numerator is given beside it, for papers differ in what they count.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from s4eca.config import S4ECAConfig, spread
from s4eca.errors import ConfigError
from s4eca.protocols import TextSpec, VisionSpec
from s4eca.trainable import trainable_modules

if TYPE_CHECKING:
    from s4eca.model import S4ECAModel

SOLVER_STEPS = (16, 8, 4, 2, 1)
SOLVER_TOLERANCE = 0.0005
WIDEST = 1 << 16

_SCALINGS = (torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__, torch.Tensor.div, torch.Tensor.__truediv__)


@dataclass(frozen=True)
class Budget:
    """What trains and what does not, in numbers of parameters.

    Attributes:
        adapters: parameters of the adapters of both encoders.
        decoder: parameters of the mask decoder.
        trainable: both together.
        frozen_vision, frozen_text: parameters of the encoders.
        ratio_backbone: adapters / (frozen_vision + frozen_text), a share of one.
        ratio_with_decoder: (adapters + decoder) / (frozen_vision + frozen_text).
        r: the adapter width.
        dead: names of trainable tensors, or of slices of them, that no training can move.
        bands: of the adapters' parameters, those of the map from bands to colours; left out of tables where 0.
        known_dead: those of `dead` that the method is known to have, being built as published.
    """

    adapters: int
    decoder: int
    trainable: int
    frozen_vision: int
    frozen_text: int
    ratio_backbone: float
    ratio_with_decoder: float
    r: int
    dead: list[str]
    bands: int = 0
    known_dead: list[str] = dataclasses.field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        rare = ("bands", "known_dead")
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in rare or value}

    def to_json(self) -> str:
        """The numbers as indented JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def table(self) -> str:
        """The numbers as lines for people; the denominator is said."""
        backbone = self.frozen_vision + self.frozen_text
        rows = [
            ("adapters", self.adapters, f"{self.ratio_backbone:.4%} of the frozen encoders"),
            *([("of these, bands", self.bands, "the map from bands to colours")] if self.bands else []),
            ("decoder", self.decoder, ""),
            ("trainable", self.trainable, f"{self.ratio_with_decoder:.4%} of the frozen encoders"),
            ("frozen vision", self.frozen_vision, ""),
            ("frozen text", self.frozen_text, ""),
            ("frozen encoders", backbone, "vision + text, the denominator of both shares"),
            ("width r", self.r, ""),
        ]
        lines = [f"{name:<16}{count:>15,}  {remark}".rstrip() for name, count, remark in rows]
        known = f", {len(self.known_dead):,} of them known of the method" if self.known_dead else ""
        lines.append(f"{'dead':<16}{len(self.dead):>15,}  trainable tensors or slices that no update can move{known}")
        return "\n".join(lines)

    def problems(self, max_ratio: float | None = None) -> list[str]:
        """What is wrong with this budget, a sentence each: every dead parameter, and the excess over `max_ratio`.

        A dead parameter that the method is known to have is no fault of the configuration.
        """
        unknown = [name for name in self.dead if name not in self.known_dead]
        found = [f"{name} is trainable and dead: its gradient is zero after the first update." for name in unknown]
        if max_ratio is not None and self.ratio_backbone > max_ratio:
            allowed = int(max_ratio * (self.frozen_vision + self.frozen_text))
            found.append(
                f"The adapters take {self.ratio_backbone:.4%} of the frozen encoders, more than the {max_ratio:.4%} "
                f"allowed: {self.adapters:,} parameters are {self.adapters - allowed:,} above {allowed:,}."
            )
        return found

    def check(self, max_ratio: float | None = None) -> None:
        """Refuse a budget with dead parameters or with a share above `max_ratio`.

        Raises:
            ConfigError: names every dead parameter and the excess.
        """
        found = self.problems(max_ratio)
        if found:
            raise ConfigError(" ".join(found))


def budget(
    subject: S4ECAConfig | S4ECAModel,
    vision_spec: VisionSpec | None = None,
    text_spec: TextSpec | None = None,
    check_effective: bool = True,
) -> Budget:
    """Count what a configuration trains, on the meta device; neither weights nor a network are needed.

    Args:
        subject: a configuration, or a model, whose own specs then hold.
        vision_spec: what is known of the vision encoder; None looks it up by its name in the configuration.
        text_spec: likewise of the text encoder.
        check_effective: whether to look for dead parameters on a tiny twin as well.

    Raises:
        EncoderError: an encoder is unknown.
        ConfigError: the settings do not fit the encoders.
    """
    counted: tuple[int, int] | None = None
    if not isinstance(subject, S4ECAConfig):
        counted = count_model(subject)
        vision_spec, text_spec, subject = subject.vision.spec, subject.text.spec, subject.config
    vision, text = _specs(subject, vision_spec, text_spec)
    adapters, decoder = counted or count_trainable(subject, vision, text)
    dead: list[str] = []
    known: list[str] = []
    if check_effective:
        from s4eca.effective import dead_parameters, known_dead

        dead = dead_parameters(subject, vision, text)
        known = known_dead(subject, dead)
    backbone = vision.parameters + text.parameters
    return Budget(
        adapters=adapters,
        decoder=decoder,
        trainable=adapters + decoder,
        frozen_vision=vision.parameters,
        frozen_text=text.parameters,
        ratio_backbone=adapters / backbone,
        ratio_with_decoder=(adapters + decoder) / backbone,
        r=subject.width,
        dead=dead,
        bands=count_bands(subject),
        known_dead=known,
    )


def count_trainable(config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> tuple[int, int]:
    """Parameters of the adapters (with all that trains inside the encoders) and of the decoder.

    Counted on the real modules without memory; a method that rewrites the encoders gets them on the meta device too.

    Raises:
        ConfigError: the settings do not fit the encoders.
        EncoderError: the method rewrites encoders, and one is unknown.
    """
    from s4eca.model import S4ECAModel, build_trainable
    from s4eca.registry import method_class

    if not hasattr(method_class(config), "rewrite"):
        with shapes_only():
            adapter, decoder = build_trainable(config, vision, text)
        return count(adapter) + count_bands(config), count(decoder)
    from s4eca.encoders import meta

    encoders = meta.vision_encoder(vision.source), meta.text_encoder(text.source)
    with shapes_only():
        model = S4ECAModel(*encoders, config)
    return count_model(model)


def count_bands(config: S4ECAConfig) -> int:
    """Parameters of the map from bands to colours; 0 where bands are chosen or the input is RGB."""
    from s4eca.adapters.bands import BandAdapter

    return 0 if config.chosen or not config.bands else count(BandAdapter(config.bands))


def count_model(model: S4ECAModel) -> tuple[int, int]:
    """Parameters of the adapters (with all that trains inside the encoders) and of the decoder of a ready model."""
    parts = {name: count(module) for name, module in trainable_modules(model)}
    decoder = parts.pop("decoder")
    return sum(parts.values()), decoder


def solve_width(
    target: float, config: S4ECAConfig, vision_spec: VisionSpec | None = None, text_spec: TextSpec | None = None
) -> int:
    """The width r at which the adapters take a share of the frozen encoders.

    Of the multiples of 16, then 8, 4, 2 and 1, the one nearest to the target is looked at; the first that lies
    within 0.05 percentage points is taken (wide steps suit the hardware), else the nearest of all (ours).

    Args:
        target: the share, between 0 and 1.
        config: all other settings; its own width is not used.
        vision_spec: as for `budget`.
        text_spec: as for `budget`.

    Raises:
        ConfigError: the target is no share, or no width of this method comes near it.
    """
    if not 0.0 < target < 1.0:
        raise ConfigError(f"target is {target}; it is a share of the frozen encoders and must lie between 0 and 1.")
    vision, text = _specs(config, vision_spec, text_spec)
    backbone = vision.parameters + text.parameters

    @cache
    def ratio(width: int) -> float:
        return _count_adapters(config.replace(width=width), vision, text) / backbone

    smallest, wider = ratio(1), ratio(64)
    if wider <= smallest:
        raise ConfigError(f"method {config.method!r} has no width to solve for; leave out the target.")
    if smallest > target + SOLVER_TOLERANCE:
        raise ConfigError(f"target is {target}; already the width 1 takes {smallest:.4%} of the frozen encoders.")
    return _nearest_width(target, ratio)


def _nearest_width(target: float, ratio: Callable[[int], float]) -> int:
    low, high = 1, 64
    while ratio(high) < target:
        low, high = high, 2 * high
        if high > WIDEST:
            raise ConfigError(f"target is {target}; even the width {high} stays below it.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if ratio(middle) < target else (low, middle)
    best = high
    for step in SOLVER_STEPS:
        below = low // step * step
        best = min((w for w in (below, below + step) if w >= 1), key=lambda w: abs(ratio(w) - target))
        if abs(ratio(best) - target) <= SOLVER_TOLERANCE:
            break
    return best


def formula_adapters(config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> int:
    """The number of adapter parameters of method s4eca, all switches respected, in closed form (ours).

    With every switch on, for S scales with q = sum of their squared kernel sizes::

        n_text(d, r) = 2 d r + d + r + 4 r^2
        n_vis(d, r)  = 2 d r + d + (6 + q + 2 S) r + (S + 5) r^2 + S + 2
        N(r)         = sum over vision sites of n_vis + text sites * n_text + K r

    The modules are what is counted elsewhere; this is what they are held against.
    """
    r = config.width
    text_sites = config.text_sites
    if not config.text_proxies and not config.write_back:
        text_sites = 1
    text_one = text.width * r + r
    text_one += 4 * r * r if config.text_proxies else 0
    text_one += r * text.width + text.width if config.write_back else 0
    widths = [vision.widths[site] for site in spread(config.vision_sites, vision.blocks)]
    queries = config.proxies * r if config.text_proxies else 0
    return sum(_formula_site(config, width) for width in widths) + text_sites * text_one + queries


def _formula_site(config: S4ECAConfig, width: int) -> int:
    """Parameters of one vision site on `width` channels."""
    r, scales = config.width, len(config.kernels)
    proxies = config.proxies if config.text_proxies else 1
    total = 2 * width * r + width + r
    total += 4 * r if config.coordinates else 0
    total += sum(kernel * kernel * r + r + r * r + r for kernel, _ in config.kernels)
    total += r * r + r if config.global_branch else 0
    several = scales + config.global_branch
    total += r * r + several if config.scale_selection and several > 1 else 0
    affinity = config.spatial_gate or (config.language_read and proxies > 1)
    total += 2 * r * r if affinity else 0
    total += r * r if config.language_read else 0
    return total + (1 if config.spatial_gate else 0)


def _count_adapters(config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> int:
    return count_trainable(config, vision, text)[0]


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


def _specs(
    config: S4ECAConfig, vision: VisionSpec | None, text: TextSpec | None
) -> tuple[VisionSpec, TextSpec]:
    from s4eca.encoders import meta

    return vision or meta.vision_spec(config.vision), text or meta.text_spec(config.text)

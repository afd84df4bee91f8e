"""The budget: how many parameters train, beside how many frozen ones.

Share, or ratio, always means adapters / (frozen vision encoder + frozen text encoder), the encoders as loaded: word
and position embeddings and mask token included, projections and unused poolers dropped. The same ratio with the
decoder in the numerator is given beside it, for papers differ in what they count.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s4eca.budgets.count import (
    count_bands,
    count_model,
    count_parts,
    count_presence,
    count_trainable,
    meta_model,
    specs,
)
from s4eca.budgets.solve import setting
from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.layers.trainable import trainable_modules
from s4eca.records import TextSpec, VisionSpec
from s4eca.registry import DECODER_PARTS, method_class

if TYPE_CHECKING:
    from s4eca.model.model import S4ECAModel


@dataclass(frozen=True)
class Budget:
    """What trains and what does not, in numbers of parameters.

    Attributes:
        adapters: parameters of the adapters of both encoders, a peft adapter that an encoder brought along among them,
            whether it goes on training or not.
        decoder: parameters of the mask decoder.
        trainable: both together.
        frozen_vision, frozen_text: parameters of the encoders.
        ratio_backbone: adapters / (frozen_vision + frozen_text), a share of one.
        ratio_with_decoder: (adapters + decoder) / (frozen_vision + frozen_text).
        r: the adapter width of `s4eca` and methods made from it; None for the others, whose size `setting` says.
        dead: names of trainable tensors, or of slices of them, that no training can move.
        bands: of the adapters' parameters, those of the map from bands to colours; left out of tables where 0.
        presence: of the decoder's parameters, those of the no-target head; left out of tables where 0.
        parts: of the decoder's parameters, those of each of its optional parts by name; left out of tables where empty.
        known_dead: those of `dead` that the method is known to have, being built as published.
        setting: name and value of what scales the method, for instance ``{"width": 160}`` or
            ``{"rank": 13, "rank_text": 13}``; empty where nothing does.
        flops_forward, flops_step: floating-point operations for one image and expression (see
            `s4eca.budgets.flops`), of a forward and of a training step; None, and left out of JSON, where they were not
            asked for.
    """

    adapters: int
    decoder: int
    trainable: int
    frozen_vision: int
    frozen_text: int
    ratio_backbone: float
    ratio_with_decoder: float
    r: int | None
    dead: list[str]
    bands: int = 0
    known_dead: list[str] = dataclasses.field(default_factory=list)
    setting: dict[str, int] = dataclasses.field(default_factory=dict)
    flops_forward: int | None = None
    flops_step: int | None = None
    presence: int = 0
    parts: dict[str, int] = dataclasses.field(default_factory=dict)

    def with_guests(self, count: int) -> Budget:
        """The same budget with `count` more parameters of peft adapters that the encoders brought along."""
        backbone = self.frozen_vision + self.frozen_text
        return dataclasses.replace(
            self,
            adapters=self.adapters + count,
            trainable=self.trainable + count,
            ratio_backbone=(self.adapters + count) / backbone,
            ratio_with_decoder=(self.trainable + count) / backbone,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        rare = ("r", "bands", "known_dead", "flops_forward", "flops_step", "presence", "parts")
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
            *([("no-target head", self.presence, "of these; whether what is said is there")] if self.presence else []),
            *((name.replace("_", " "), number, f"of these; {_title(name)}") for name, number in self.parts.items()),
            ("trainable", self.trainable, f"{self.ratio_with_decoder:.4%} of the frozen encoders"),
            ("frozen vision", self.frozen_vision, ""),
            ("frozen text", self.frozen_text, ""),
            ("frozen encoders", backbone, "vision + text, the denominator of both shares"),
            *(("width r" if self.r is not None else name, value, "") for name, value in self.setting.items()),
        ]
        wide = max(16, *(len(name) + 1 for name, _, _ in rows))
        lines = [f"{name:<{wide}}{count:>15,}  {remark}".rstrip() for name, count, remark in rows]
        known = f", {len(self.known_dead):,} of them known of the method" if self.known_dead else ""
        said = f"trainable tensors or slices that no update can move{known}"
        lines.append(f"{'dead':<{wide}}{len(self.dead):>15,}  {said}")
        if self.flops_forward is not None and self.flops_step is not None:
            lines.append(f"{'GFLOPs forward':<{wide}}{self.flops_forward / 1e9:>15,.1f}  one image and expression")
            lines.append(f"{'GFLOPs step':<{wide}}{self.flops_step / 1e9:>15,.1f}  the same with its backward")
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
    count_flops: bool = False,
) -> Budget:
    """Count what a configuration trains, on the meta device; neither weights nor a network are needed.

    Args:
        subject: a configuration, or a model, whose own specs then hold.
        vision_spec: what is known of the vision encoder; None looks it up by its name in the configuration.
        text_spec: likewise of the text encoder.
        check_effective: whether to look for dead parameters on a tiny twin as well.
        count_flops: whether to count floating-point operations too, which imports the encoders' libraries.

    Raises:
        EncoderError: an encoder is unknown.
        ConfigError: the settings do not fit the encoders.
    """
    model = None if isinstance(subject, S4ECAConfig) else subject
    if not isinstance(subject, S4ECAConfig):
        vision_spec, text_spec, subject = subject.vision.spec, subject.text.spec, subject.config
    vision, text = specs(subject, vision_spec, text_spec)
    adapters, decoder = count_trainable(subject, vision, text) if model is None else count_model(model)
    dead, known = _dead(subject, vision, text, model) if check_effective else ([], [])
    work = _flops(subject) if count_flops else (None, None)
    size = setting(subject)
    backbone = vision.parameters + text.parameters
    return Budget(
        adapters=adapters,
        decoder=decoder,
        trainable=adapters + decoder,
        frozen_vision=vision.parameters,
        frozen_text=text.parameters,
        ratio_backbone=adapters / backbone,
        ratio_with_decoder=(adapters + decoder) / backbone,
        r=size.get("width") if method_class(subject).SETTINGS_IN_CONFIG else None,
        dead=dead,
        bands=count_bands(subject),
        presence=count_presence(subject),
        parts=count_parts(subject),
        known_dead=known,
        setting=size,
        flops_forward=work[0],
        flops_step=work[1],
    )


def _title(name: str) -> str:
    title: str = DECODER_PARTS.load(name).TITLE
    return title


def _dead(
    config: S4ECAConfig, vision: VisionSpec, text: TextSpec, model: S4ECAModel | None
) -> tuple[list[str], list[str]]:
    """All dead parameters, and those of them that the method is known to have."""
    from s4eca.budgets.effective import dead_parameters, known_dead

    dead = dead_parameters(config, vision, text)
    known = known_dead(config, dead)
    inside = [name for name in known if name.startswith(("vision.", "text."))]
    if inside:
        # What is dead of the checkpoint itself has other names in the twin than in the encoders that are meant.
        real = dict(trainable_modules(model or meta_model(config, vision, text)))["encoder_updates"]
        names = [f"encoder_updates.{name}" for name, _ in real.named_parameters()]
        named = known_dead(config, names)
        dead = [name for name in dead if name not in inside] + named
        known = [name for name in known if name not in inside] + named
    return dead, known


def _flops(config: S4ECAConfig) -> tuple[int, int]:
    from s4eca.budgets.flops import flops

    found = flops(config)
    return found.forward, found.step

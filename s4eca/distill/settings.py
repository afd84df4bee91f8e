"""Settings of distillation, a group of a fit configuration; nothing is distilled by default."""

from __future__ import annotations

import math
from dataclasses import dataclass

from s4eca.errors import ConfigError

# Name of a loss's weight -> what a teacher must have for it.
NEEDS: dict[str, tuple[str, ...]] = {
    "features": ("patch",),
    "map": ("sim",),
    "pairs": ("phrase", "image"),
    "mask": ("mask",),
}
# Losses that say where something is: a teacher that sees the class alone must not be asked for them.
PLACED = ("map", "mask")


@dataclass(frozen=True)
class DistillConfig:
    """What the adapters learn from a teacher beside the masks (ours; the idea is EpmVG's).

    Attributes:
        teacher: ``clip:ID``, ``siglip:ID``, ``clipseg:ID``, ``openclip:ID`` or ``s4eca:FOLDER``; null distils nothing.
        features: weight of D1, the teacher's patches.
        map: weight of D2, where the teacher sees the phrase.
        pairs: weight of D3, which phrase of a batch fits which image.
        mask: weight of D4, the teacher's mask; of teachers that draw one.
        tau: temperature of D2 and D3.
        fade: last share of the updates over which all of it falls linearly to nothing.
        least_patches: targets smaller than this share of a patch of the teacher are left out of D2.
        rate: learning rate of the projectors, which are thrown away at the end; null takes that of the decoder.
        cache: ``memory`` or a folder; what the teacher said of an image and a phrase, kept in float16.
        audit: report that `s4eca distill audit --out` wrote of this teacher; null audits it on the validation split.
        audit_references: most references of such an audit; 0 takes all.
        force: learn from a teacher that its audit rejects, which is written into the run's record.

    Raises:
        ConfigError: a value outside its range.
    """

    teacher: str | None = None
    features: float = 1.0
    map: float = 1.0
    pairs: float = 0.5
    mask: float = 0.0
    tau: float = 0.07
    fade: float = 0.2
    least_patches: float = 0.25
    rate: float | None = None
    cache: str = "memory"
    audit: str | None = None
    audit_references: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        for name in NEEDS:
            _within(name, getattr(self, name), 0.0, 1000.0)
        _within("tau", self.tau, 0.001, 10.0)
        _within("fade", self.fade, 0.0, 1.0)
        _within("least_patches", self.least_patches, 0.0, 100.0)
        if self.rate is not None:
            _within("rate", self.rate, 0.0, 1.0)
        if self.audit_references < 0:
            raise ConfigError(f"model.distill.audit_references is {self.audit_references}; it must be at least 0.")

    @property
    def weights(self) -> dict[str, float]:
        """Losses that are asked for -> their weights; none without a teacher."""
        found = {} if self.teacher is None else {name: float(getattr(self, name)) for name in NEEDS}
        return {name: weight for name, weight in found.items() if weight > 0}

    @property
    def wanted(self) -> frozenset[str]:
        """Names of the targets that the losses asked for read."""
        return frozenset(need for name in self.weights for need in NEEDS[name])

    def check_teacher(self, gives: frozenset[str]) -> None:
        """Refuse a loss that the teacher has no target for.

        Args:
            gives: names of the targets that it has.

        Raises:
            ConfigError: the loss and what is missing are named.
        """
        missing = {"phrase": "no space that images and phrases share", "mask": "no mask to teach"}
        for name, weight in self.weights.items():
            lacking = [need for need in NEEDS[name] if need not in gives]
            if lacking:
                raise ConfigError(
                    f"model.distill.{name} is {weight:g}, but the teacher {self.teacher} has "
                    f"{missing.get(lacking[0], f'no {lacking[0]}')}; it must be 0."
                )


def _within(name: str, value: float, low: float, high: float) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        raise ConfigError(f"model.distill.{name} is {value:g}; it must be from {low:g} to {high:g}.")


NO_TEACHER = DistillConfig()

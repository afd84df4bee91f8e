"""The size of a method that meets a share of the frozen encoders: S4ECA's width, or the ranks of a baseline.

A method class that can be scaled names whole-number settings in `KNOBS`, that of the vision encoder first; `s4eca` has
its width. Methods without any come at their natural size alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from s4eca.budgets.count import count_trainable, specs
from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.records import TextSpec, VisionSpec
from s4eca.registry import method_class, method_settings

STEPS = (16, 8, 4, 2, 1)
# Of the share itself, in percentage points: METHOD's tolerance for the width of s4eca.
TOLERANCE = 0.0005
# Of the count that is asked for: how near a baseline has to come.
NEAR = 0.02
WIDEST = 1 << 16
# Knobs may have to be this large before a method takes them.
LARGEST_LEAST = 4
# Distance between the three values at which the count of a rewritten encoder is measured.
APART = 8
# Equal ranks above 50 always come within 2 %, so that unequal ones are small, and so are their differences.
MOST_APART = 8

Count = Callable[[int], int]


def knobs(config: S4ECAConfig) -> tuple[str, ...]:
    """Names of the whole numbers that scale the configuration's method; empty where nothing does."""
    return method_class(config).KNOBS


def setting(config: S4ECAConfig) -> dict[str, int]:
    """Name and value of every knob as the configuration has it."""
    own = method_settings(config)
    found: dict[str, int] = {}
    for name in knobs(config):
        value = getattr(own, name)
        # None of a text encoder's knob means that of the vision encoder.
        found[name] = int(next(iter(found.values())) if value is None else value)
    return found


def fit_to(
    config: S4ECAConfig,
    *,
    share: float | None = None,
    count: int | None = None,
    vision_spec: VisionSpec | None = None,
    text_spec: TextSpec | None = None,
) -> S4ECAConfig:
    """The configuration with the size of its method set so that the adapters meet a share or a count.

    A baseline gets equal ranks in both encoders where these come within 2 % of the count, multiples of 16 before those
    of 8, 4, 2 and 1 (ours, as for the width). Where no equal ranks do, they differ by as little as is needed, the
    vision encoder getting more if either may; if nothing comes within 2 %, the nearest ranks are taken.

    Args:
        config: all other settings.
        share: adapters / (frozen vision + frozen text), between 0 and 1.
        count: number of adapter parameters, in place of `share`.
        vision_spec: what is known of the vision encoder; None looks it up by its name in the configuration.
        text_spec: likewise of the text encoder.

    Raises:
        ConfigError: the target is out of range, or the method cannot be scaled to it.
        EncoderError: an encoder is unknown.
    """
    vision, text = specs(config, vision_spec, text_spec)
    backbone = vision.parameters + text.parameters
    if share is None:
        share = (count or 0) / backbone
    if not 0.0 < share < 1.0:
        raise ConfigError(f"target is {share}; it is a share of the frozen encoders and must lie between 0 and 1.")
    names = knobs(config)
    if not names:
        raise ConfigError(f"The method {config.method!r} has one size and cannot be scaled; leave out the target.")
    if _by_width(config):
        return config.replace(width=solve_width(share, config, vision, text))
    wanted = round(share * backbone) if count is None else count
    values = _solve_knobs(wanted, _Counted(config, names, vision, text))
    return config.replace(options={**config.options, **dict(zip(names, values, strict=True))})


def solve_width(
    target: float, config: S4ECAConfig, vision_spec: VisionSpec | None = None, text_spec: TextSpec | None = None
) -> int:
    """The width r at which the adapters of `s4eca` take a share of the frozen encoders.

    Of the multiples of 16, then 8, 4, 2 and 1, the one nearest to the target is looked at; the first that lies
    within 0.05 percentage points is taken (wide steps suit the hardware), else the nearest of all (ours).

    Args:
        target: the share, between 0 and 1.
        config: all other settings; its own width is not used.
        vision_spec: as for `fit_to`.
        text_spec: as for `fit_to`.

    Raises:
        ConfigError: the target is no share, or no width comes near it.
    """
    if not 0.0 < target < 1.0:
        raise ConfigError(f"target is {target}; it is a share of the frozen encoders and must lie between 0 and 1.")
    if not _by_width(config):
        raise ConfigError(f"The method {config.method!r} has no width to solve for; leave out the target.")
    vision, text = specs(config, vision_spec, text_spec)
    backbone = vision.parameters + text.parameters

    @cache
    def ratio(width: int) -> float:
        return count_trainable(config.replace(width=width), vision, text)[0] / backbone

    if ratio(1) > target + TOLERANCE:
        raise ConfigError(f"target is {target}; already the width 1 takes {ratio(1):.4%} of the frozen encoders.")
    below = _last_not_above(ratio, target, 1, "width")
    best = below
    for step in STEPS:
        best = _nearest_multiple(ratio, target, below, step)
        if abs(ratio(best) - target) <= TOLERANCE:
            break
    return best


def _by_width(config: S4ECAConfig) -> bool:
    """Whether the method is `s4eca` or made from it, whose size is the width alone."""
    method = method_class(config)
    return method.SETTINGS_IN_CONFIG and method.KNOBS == ("width",)


class _Counted:
    """Adapter parameters as a function of the knobs, each encoder's knob by itself.

    The knob of one encoder changes nothing in the other, so the count is a sum of one function a knob. For methods that
    rewrite the encoders, which takes a good part of a second, each function is a polynomial of degree 2 through three
    real counts; for the others every value is a real count.
    """

    def __init__(self, config: S4ECAConfig, names: Sequence[str], vision: VisionSpec, text: TextSpec) -> None:
        self.config, self.names, self.vision, self.text = config, tuple(names), vision, text
        self.rewrites = method_class(config).REWRITES
        self._kept: dict[tuple[int, ...], int] = {}
        self.least = self._least()
        self.base = self.real((self.least,) * len(names))

    def real(self, values: Sequence[int]) -> int:
        """Counted on the modules."""
        key = tuple(values)
        if key not in self._kept:
            options = {**self.config.options, **dict(zip(self.names, values, strict=True))}
            self._kept[key] = count_trainable(self.config.replace(options=options), self.vision, self.text)[0]
        return self._kept[key]

    def __call__(self, values: Sequence[int]) -> int:
        return self.base + sum(self._more(place, value) for place, value in enumerate(values))

    def _more(self, place: int, value: int) -> int:
        """What one knob adds to the count with all knobs at their least."""
        near = [self.least + i * APART for i in range(3)]
        if self.rewrites and value not in near:
            return _parabola(near, [self._more(place, v) for v in near], value)
        others = [self.least] * len(self.names)
        others[place] = value
        return self.real(others) - self.base

    def _least(self) -> int:
        """The smallest value that every knob takes."""
        for value in range(1, LARGEST_LEAST + 1):
            try:
                self.real((value,) * len(self.names))
            except ConfigError:
                if value == LARGEST_LEAST:
                    raise
            else:
                return value
        raise AssertionError


def _parabola(at: Sequence[int], values: Sequence[int], x: int) -> int:
    """Lagrange's polynomial through three points with equal distances, in whole numbers."""
    (a, b, c), h = at, at[1] - at[0]
    total = values[0] * (x - b) * (x - c) - 2 * values[1] * (x - a) * (x - c) + values[2] * (x - a) * (x - b)
    return total // (2 * h * h)


def _solve_knobs(wanted: int, counted: _Counted) -> tuple[int, ...]:
    """Values of all knobs for a count (see `fit_to`)."""
    many = len(counted.names)
    least, name = counted.least, counted.names[0]

    def equal(value: int) -> int:
        return counted((value,) * many)

    def off(values: Sequence[int]) -> float:
        return abs(counted(values) - wanted) / wanted

    if equal(least) > wanted * (1 + NEAR):
        raise ConfigError(
            f"target is {wanted:,} parameters; the method {counted.config.method!r} takes {equal(least):,} already at "
            f"{name} {least}."
        )
    below = _last_not_above(equal, wanted, least, name)
    tried = [(_nearest_multiple(equal, wanted, below, step, least),) * many for step in STEPS]
    tried += _unequal(below, least) if many == 2 else []
    found = next((values for values in tried if off(values) <= NEAR), None)
    values = found or min(tried, key=off)
    if counted(values) != counted.real(values):
        raise AssertionError(f"the count of {counted.config.method!r} is no polynomial of degree 2 in its knobs")
    return values


def _unequal(below: int, least: int) -> Iterator[tuple[int, int]]:
    """Pairs around the equal ranks, those that differ least first, and with more for the vision encoder first."""
    for gap in range(1, MOST_APART + 1):
        lower = [value for value in range(below - gap, below + 2) if value >= least]
        # The middle of the pair stays where equal ranks meet the target.
        lower.sort(key=lambda value: abs(2 * value + gap - 2 * below - 1))
        yield from ((value + gap, value) for value in lower[:2])
        yield from ((value, value + gap) for value in lower[:2])


def _last_not_above(count: Callable[[int], Any], target: float, least: int, name: str) -> int:
    """The largest value whose count is not above the target; `least` where none is."""
    low, high = least, 64
    while count(high) <= target:
        low, high = high, 2 * high
        if high > WIDEST:
            raise ConfigError(f"target is {target}; even {name} {high} stays below it.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= target else (low, middle)
    return low


def _nearest_multiple(count: Callable[[int], Any], target: float, below: int, step: int, least: int = 1) -> int:
    """The multiple of a step that comes nearest to the target, around the last value not above it."""
    lower = below // step * step
    return min((v for v in (lower, lower + step) if v >= least), key=lambda v: abs(count(v) - target))

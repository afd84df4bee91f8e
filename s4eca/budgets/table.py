"""Budgets of several pairs, methods and targets side by side, as Markdown or as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from s4eca.budgets.count import count_trainable, specs
from s4eca.budgets.report import budget
from s4eca.budgets.solve import fit_to, knobs
from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.registry import METHODS

PAIRS = (
    ("facebook/dinov2-with-registers-base", "openai/clip-vit-base-patch16"),
    ("facebook/dinov2-with-registers-large", "openai/clip-vit-large-patch14"),
    ("openai/clip-vit-base-patch16", "openai/clip-vit-base-patch16"),
    ("packaged:dinov2-s", "packaged:minilm-l6"),
)
TARGETS = (0.024,)
NATURAL = "natural size"
_HEAD = (
    "method", "setting", "adapters", "share", "decoder", "with decoder", "GFLOPs forward", "GFLOPs step", "dead"
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        vision, text: the pair.
        method, mode: what adapts it.
        target: the share that was asked for; None for a method that cannot be scaled.
        frozen: parameters of both encoders.
        setting: name and value of what scales the method.
        adapters, decoder: parameters.
        share, share_with_decoder: of the frozen encoders.
        flops_forward, flops_step: operations for one image and expression.
        dead: number of trainable tensors, or slices of them, that no update can move; those the method is known to have
            included.
        refused: why this row cannot be; the numbers are then 0.
    """

    vision: str
    text: str
    method: str
    mode: str
    target: float | None
    frozen: int
    setting: dict[str, int] = field(default_factory=dict)
    adapters: int = 0
    share: float = 0.0
    decoder: int = 0
    share_with_decoder: float = 0.0
    flops_forward: int | None = None
    flops_step: int | None = None
    dead: int = 0
    refused: str | None = None

    @property
    def name(self) -> str:
        """What the row is about, in words."""
        at = NATURAL if self.target is None else f"{self.target:.2%}"
        return f"{self.method} at {at} on {self.vision} + {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)


def rows(
    configs: Iterable[tuple[S4ECAConfig, float | None]], *, match: str | None = None, count_flops: bool = True
) -> Iterator[Row]:
    """The rows of some configurations (see `plan`), each made when it is asked for.

    Args:
        configs: configurations with the share each is to meet; None leaves one as it is.
        match: name of a method; others then meet the count that it has at the share.
        count_flops: whether to count floating-point operations.
    """
    for config, target in configs:
        vision, text = specs(config)
        frozen = vision.parameters + text.parameters
        known: dict[str, Any] = {name: getattr(config, name) for name in ("vision", "text", "method", "mode")}
        try:
            found = budget(_scaled(config, target, match), vision, text, count_flops=count_flops)
        except ConfigError as error:
            yield Row(**known, target=target, frozen=frozen, refused=str(error))
            continue
        yield Row(
            **known,
            target=target,
            frozen=frozen,
            setting=found.setting if target is not None else {},
            adapters=found.adapters,
            share=found.ratio_backbone,
            decoder=found.decoder,
            share_with_decoder=found.ratio_with_decoder,
            flops_forward=found.flops_forward,
            flops_step=found.flops_step,
            dead=len(found.dead),
        )


def _scaled(config: S4ECAConfig, target: float | None, match: str | None) -> S4ECAConfig:
    if target is None:
        return config
    return matched(config, match, target) if match not in (None, config.method) else fit_to(config, share=target)


def matched(config: S4ECAConfig, other: str | None, target: float | None) -> S4ECAConfig:
    """The configuration with the size of its method set to the count that another method has.

    Args:
        config: all settings; its width is that of the other method where that has one.
        other: name of the other method.
        target: share that the other method is solved for first; None takes it as it is.

    Raises:
        ConfigError: one of the two cannot be scaled, or nothing comes within 2 % of the count.
    """
    from s4eca.budgets.solve import NEAR

    like = config.replace(method=other, options={}, **({} if other == "s4eca" else {"mode": "side", "late_blocks": 0}))
    if target is not None:
        like = fit_to(like, share=target)
    vision, text = specs(config)
    wanted = count_trainable(like, vision, text)[0]
    if not wanted:
        raise ConfigError(f"The method {other!r} has no parameters in the encoders that another could match.")
    found = fit_to(config, count=wanted, vision_spec=vision, text_spec=text)
    count = count_trainable(found, vision, text)[0]
    if abs(count - wanted) > NEAR * wanted:
        raise ConfigError(
            f"The method {config.method!r} comes to {count:,} parameters at the nearest, more than {NEAR:.0%} from the "
            f"{wanted:,} of {other!r}."
        )
    return found


def plan(
    config: S4ECAConfig,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    methods: Sequence[str] = tuple(METHODS),
    targets: Sequence[float] = TARGETS,
) -> list[tuple[S4ECAConfig, float | None]]:
    """Every pair with every method at every target; a method that cannot be scaled stands once, at its natural size.

    Args:
        config: all other settings; its mode is for `s4eca` alone.
        pairs: vision and text encoder of each pair.
        methods: names of methods.
        targets: shares of the frozen encoders.

    Raises:
        ConfigError: an unknown method, or a target that is no share.
    """
    for target in targets:
        if not 0.0 < target < 1.0:
            raise ConfigError(f"--targets has {target}; each is a share and must lie between 0 and 1.")
    planned: list[tuple[S4ECAConfig, float | None]] = []
    for vision, text in pairs:
        for method in methods:
            own = {} if method == config.method else {"options": {}, "mode": "side", "late_blocks": 0}
            one = config.replace(vision=vision, text=text, method=method, **own)
            planned += [(one, target) for target in (targets if knobs(one) else (None,))]
    return planned


def excesses(found: Sequence[Row], max_ratio: float) -> list[str]:
    """One sentence for every row whose adapters take more than a share of the frozen encoders."""
    return [
        f"{row.name} takes {row.share:.4%} of the frozen encoders, more than the {max_ratio:.4%} allowed."
        for row in found
        if row.refused is None and row.share > max_ratio
    ]


def markdown(found: Sequence[Row]) -> str:
    """One table a pair, with the denominator of both shares said."""
    pairs = dict.fromkeys((row.vision, row.text, row.frozen) for row in found)
    parts = [_one_pair(*pair, [row for row in found if (row.vision, row.text) == pair[:2]]) for pair in pairs]
    parts.append(
        "Shares are of the frozen encoders, vision + text. GFLOPs are for one image and one expression, a multiply-add "
        "counted as 2; a step is forward and backward as they run."
    )
    return "\n\n".join(parts)


def _one_pair(vision: str, text: str, frozen: int, found: Sequence[Row]) -> str:
    lines = [f"### {vision} + {text} ({frozen:,} frozen parameters)", "", _line(_HEAD)]
    lines.append(_line(["---"] * 2 + ["---:"] * (len(_HEAD) - 2)))
    lines += [_line(_cells(row)) for row in found]
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    method = row.method if row.mode == "side" or row.method != "s4eca" else f"{row.method} ({row.mode})"
    if row.refused is not None:
        return [method, f"not at {row.target:.2%}: {row.refused}" if row.target else row.refused, *["-"] * 7]
    said = ", ".join(f"{name} {value}" for name, value in row.setting.items()) if row.target else NATURAL
    return [
        method,
        said,
        f"{row.adapters:,}",
        f"{row.share:.4%}",
        f"{row.decoder:,}",
        f"{row.share_with_decoder:.4%}",
        _giga(row.flops_forward),
        _giga(row.flops_step),
        f"{row.dead:,}",
    ]


def _giga(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e9:,.1f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

"""Which blocks carry an adapter or are changed by a method, and which maps the decoder reads."""

from __future__ import annotations

from typing import Any

from s4eca.config import S4ECAConfig, spread
from s4eca.errors import ConfigError
from s4eca.records import TextSpec, VisionSpec

BASELINE_MODES = ("side", "late-inject")


def vision_sites(config: S4ECAConfig, vision: VisionSpec) -> tuple[int, ...]:
    """Blocks with an adapter, spread evenly over all blocks of the encoder (METHOD 3.1, ours)."""
    return spread(config.vision_sites, vision.blocks)


def tapped(config: S4ECAConfig, vision: VisionSpec, sites: tuple[int, ...]) -> tuple[int, ...]:
    """The sites whose maps the decoder reads.

    In a plain encoder `config.taps` of them, spread evenly. In a hierarchical one the last site of every stage that
    has one: a residual cannot cross the patch merging outside the encoder, so each stage needs a reader of its own.
    """
    if not vision.hierarchical:
        return tuple(sites[i] for i in spread(config.taps, len(sites)))
    last: dict[int, int] = {}
    for site in sites:
        last[vision.strides[site]] = site
    return tuple(last.values())


def late(config: S4ECAConfig) -> int | None:
    """How many last blocks a baseline is limited to (m of ``late-inject``), or None where it has them all.

    Raises:
        ConfigError: m is 0, which would leave the method without blocks.
    """
    if config.mode != "late-inject":
        return None
    if config.late_blocks < 1:
        raise ConfigError(
            f"late_blocks is {config.late_blocks}; the method {config.method!r} needs at least 1 block in late-inject."
        )
    return config.late_blocks


def changed(config: S4ECAConfig, spec: VisionSpec | TextSpec) -> range:
    """Blocks of an encoder that a baseline may change: all of them, or in ``late-inject`` the last m.

    Of the text encoder as many layers as of the vision encoder (all of them, where it has fewer); METHOD says nothing
    of such a mode, this is ours. Embeddings and the final norm belong to no block.
    """
    last = late(config)
    return range(0 if last is None else max(spec.blocks - last, 0), spec.blocks)


def spread_over(count: int, blocks: range) -> tuple[int, ...]:
    """At most `count` of some blocks, spread evenly and ending at the last."""
    return tuple(blocks[place] for place in spread(min(count, len(blocks)), len(blocks)))


def inside(encoder: Any, blocks: range) -> tuple[str, ...]:
    """How the names of modules and parameters of these blocks begin inside the encoder's backbone, dots included.

    Args:
        encoder: a `s4eca.protocols.FrozenModule`.
        blocks: numbers of its blocks.
    """
    names = {module: name for name, module in encoder.backbone.named_modules()}
    return tuple(f"{names[encoder.block_module(index)]}." for index in blocks)

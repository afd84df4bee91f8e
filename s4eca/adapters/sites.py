"""Which vision blocks carry an adapter, and which of them the decoder reads."""

from __future__ import annotations

from s4eca.config import S4ECAConfig, spread
from s4eca.records import VisionSpec


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

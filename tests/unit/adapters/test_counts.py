"""METHOD's formulas for the number of adapter parameters, term by term, equal to the modules."""

from __future__ import annotations

import pytest
import torch

from s4eca.adapters.s4eca.method import S4ECAAdapter
from s4eca.adapters.s4eca.text_proxies import TextAdapter
from s4eca.adapters.s4eca.visual_adapter import VisualAdapter
from s4eca.config import S4ECAConfig
from s4eca.encoders.frozen import parameter_count
from s4eca.records import TextSpec, VisionSpec

KERNELS = [((3, 1), (5, 1), (5, 3)), ((3, 1),), ((3, 1), (7, 2))]


@pytest.fixture(autouse=True)
def meta():
    with torch.device("meta"):
        yield


@pytest.mark.parametrize("d", [16, 384, 1024])
@pytest.mark.parametrize("r", [1, 7, 86, 160])
def test_text_adapter(d, r):
    assert parameter_count(TextAdapter(d, r)) == 2 * d * r + d + r + 4 * r * r
    assert parameter_count(TextAdapter(d, r, write_back=False)) == d * r + r + 4 * r * r


@pytest.mark.parametrize("d", [16, 384, 1024])
@pytest.mark.parametrize("r", [1, 7, 86, 160])
@pytest.mark.parametrize("kernels", KERNELS)
def test_visual_adapter(d, r, kernels):
    s, q = len(kernels), sum(k * k for k, _ in kernels)
    formula = 2 * d * r + d + (6 + q + 2 * s) * r + (s + 5) * r * r + s + 2
    assert parameter_count(VisualAdapter(d, r, kernels, 8)) == formula


def specs(d_v, d_t):
    vision = VisionSpec("v", "dinov2", (d_v,) * 12, (14,) * 12, 5, (0.5,) * 3, (0.5,) * 3, 1)
    return vision, TextSpec("t", "clip-text", d_t, 12, 77, 1)


@pytest.mark.parametrize(
    ("d_v", "d_t", "r", "expected"),
    [(768, 512, 160, 3_578_174), (384, 512, 128, 2_025_886), (768, 768, 184, 4_662_326)],
)
def test_a_whole_pair(d_v, d_t, r, expected):
    """Three rows of METHOD's table with twelve layers on each side; it counts the form without `candidate_order`."""
    adapter = S4ECAAdapter(S4ECAConfig(width=r, candidate_order=False), *specs(d_v, d_t))
    assert parameter_count(adapter) == expected


@pytest.mark.parametrize(
    ("sites", "expected"), [((6, 3), (1, 3, 5, 7, 9, 11)), ((4, 2), (2, 5, 8, 11)), ((12, 6), tuple(range(12)))]
)
def test_sites_are_spread_evenly_and_end_at_the_last_block(sites, expected):
    adapter = S4ECAAdapter(S4ECAConfig(vision_sites=sites[0], text_sites=sites[1], width=8), *specs(16, 16))
    assert adapter.sites == expected
    assert len(adapter.text) == sites[1] and "11" in adapter.text
    assert adapter.taps[-1] == 11 and set(adapter.taps) <= set(expected)


def test_the_default_taps_are_blocks_3_7_11():
    assert S4ECAAdapter(S4ECAConfig(width=8), *specs(16, 16)).taps == (3, 7, 11)

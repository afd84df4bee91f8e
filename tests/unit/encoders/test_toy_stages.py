"""The hierarchical toy: stages, merging, sizes."""

from __future__ import annotations

import pytest
import torch

from s4eca.encoders.toy import toy_pair
from s4eca.errors import EncoderError


def test_the_first_block_of_a_stage_merges():
    vision = toy_pair(stages=(2, 1, 2), widths=(8, 12, 16))[0]
    assert vision.spec.widths == (8, 8, 12, 16, 16) and vision.spec.strides == (4, 4, 8, 16, 16)
    tokens = vision.embed(torch.randn(2, 3, 32, 48))
    grids = []
    for index, width in enumerate(vision.spec.widths):
        tokens = vision.block(index, tokens)
        grids.append(tokens.grid)
        assert tokens.values.shape == (2, tokens.grid[0] * tokens.grid[1], width)
    assert grids == [(8, 12), (8, 12), (4, 6), (2, 3), (2, 3)]
    assert vision.finish(tokens).values.shape == (2, 6, 16) and vision.spec.hierarchical


def test_merging_joins_neighbours():
    vision = toy_pair(stages=(1, 1), widths=(1, 4), patch=1)[0]
    with torch.no_grad():
        vision.body.merges["1"].weight.copy_(torch.eye(4))
        vision.body.merges["1"].bias.zero_()
    tokens = vision.embed(torch.zeros(1, 3, 2, 4))
    merged = vision._merged(1, tokens.with_values(torch.arange(8.0).view(1, 8, 1)))
    assert merged.grid == (1, 2) and merged.values.tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7]]]


def test_sizes_are_multiples_of_the_last_stride():
    vision = toy_pair(stages=(1, 1, 1))[0]
    assert vision.grid(32, 16) == (8, 4) and vision.spec.widths == (16, 32, 64)
    with pytest.raises(EncoderError, match="multiples of 16"):
        vision.grid(24, 32)


def test_merging_may_shrink_one_side_alone():
    vision = toy_pair(stages=(1, 1, 1), widths=(8, 8, 8), merge=(1, 2))[0]
    tokens = vision.embed(torch.randn(1, 3, 12, 48))
    grids = [(tokens := vision.block(index, tokens)).grid for index in range(3)]
    assert grids == [(3, 12), (3, 6), (3, 3)] and vision.spec.hierarchical
    with pytest.raises(EncoderError, match="multiples of 4 and 16"):
        vision.grid(4, 24)

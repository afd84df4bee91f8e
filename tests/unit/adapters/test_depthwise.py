"""Gradients of depth-wise convolutions are those of float32, up to rounding, in the order that tokens lie in."""

from __future__ import annotations

import pytest
import torch

from s4eca.adapters.s4eca.dense_extractor import DenseExtractor
from s4eca.decoder.parts.context_enhancement import ContextEnhancement, ContextEnhancementSettings
from s4eca.layers.depthwise import Depthwise
from s4eca.optional import PyramidSizes

GRIDS = [(16, 16), (31, 33), (32, 32), (37, 50)]


def gradients(module, run, *, half):
    """Those of all parameters of a module from one backward, optionally under bfloat16 autocast."""
    module.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        out = run()
    torch.manual_seed(1)
    out.float().backward(torch.randn(out.shape))
    return {name: tensor.grad.clone() for name, tensor in module.named_parameters() if tensor.requires_grad}


def compare(module, run):
    exact, rounded = gradients(module, run, half=False), gradients(module, run, half=True)
    for name, gradient in exact.items():
        assert (rounded[name] - gradient).norm() < 0.1 * gradient.norm() + 1e-6, name


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (5, 1), (3, 3), (5, 3)])
@pytest.mark.parametrize("grid", GRIDS)
def test_weights_of_a_depthwise_convolution(grid, kernel, dilation):
    torch.manual_seed(0)
    layer, tokens = Depthwise(40, kernel, dilation), torch.randn(2, grid[0] * grid[1], 40)
    image = tokens.reshape(2, *grid, 40).permute(0, 3, 1, 2)
    assert layer(image).shape == image.shape
    compare(layer, lambda: layer(image))
    whole = Depthwise(40, kernel, dilation).bfloat16()
    whole.load_state_dict(layer.state_dict())
    whole(image.bfloat16()).float().square().sum().backward()
    layer.zero_grad()
    layer(image).square().sum().backward()
    assert (whole.weight.grad.float() - layer.weight.grad).norm() < 0.05 * layer.weight.grad.norm()


@pytest.mark.parametrize("grid", GRIDS)
def test_weights_of_the_dense_extractor(grid):
    torch.manual_seed(0)
    extractor, tokens = DenseExtractor(40, [(3, 1), (5, 1), (5, 3)]), torch.randn(2, grid[0] * grid[1], 40)
    compare(extractor, lambda: torch.cat(extractor(tokens, grid), 1))


@pytest.mark.parametrize("grid", GRIDS)
def test_weights_of_the_context(grid):
    torch.manual_seed(0)
    part = ContextEnhancement(ContextEnhancementSettings(width=40), PyramidSizes(widths=(24, 16, 8), sentence=12))
    first = torch.randn(2, *grid, 24).permute(0, 3, 1, 2)
    for parameter in (*part.gammas.parameters(), *part.leave.parameters()):
        parameter.requires_grad_(False)
    compare(part, lambda: part.context(first))


@pytest.mark.parametrize(("dilation", "half", "kept"), [(1, True, True), (3, False, True), (3, True, False)])
def test_maps_are_put_in_order_only_where_the_gradient_needs_it(dilation, half, kept, monkeypatch):
    """By the order that the convolution sees, so that it is noticed on processors without the fault too."""
    seen = []
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda self, image: seen.append(image) or image)
    image = torch.randn(2, 16, 40, 8).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        Depthwise(16, 3, dilation)(image)
    assert (seen[0] is image) == kept and seen[0].is_contiguous() != kept

"""Where a patch stands among the candidates of a proxy."""

from __future__ import annotations

import pytest
import torch
from sizes import SMALL

from s4eca.adapters.s4eca.candidate_order import CandidateOrder, relations
from s4eca.adapters.s4eca.selection import SpatialSelection
from s4eca.config import S4ECAConfig
from s4eca.encoders.toy import toy_pair
from s4eca.errors import ConfigError
from s4eca.model.model import attach

GRID = (6, 8)


def marked(*places: tuple[int, int]) -> torch.Tensor:
    image = torch.zeros(1, *GRID, 1)
    for row, col in places:
        image[0, row, col] = 1.0
    return image.flatten(1, 2)


def of(image: torch.Tensor, place: tuple[int, int]) -> torch.Tensor:
    return relations(image, GRID)[0, place[0] * GRID[1] + place[1], 0]


def test_the_foremost_of_three_are_told_by_their_order():
    ships = [(1, 1), (4, 3), (2, 6)]
    image = marked(*ships)
    left = [float(of(image, ship)[0]) for ship in ships]
    assert left == pytest.approx([-2 / 3, 0, 2 / 3], abs=1e-3)
    above = [float(of(image, ship)[1]) for ship in ships]
    assert above == pytest.approx([-2 / 3, 2 / 3, 0], abs=1e-3)


def test_the_largest_is_told_by_its_size():
    large = [(row, col) for row in (0, 1, 2) for col in (0, 1, 2)]
    image = marked(*large, (4, 6))
    assert float(of(image, (1, 1))[2]) == pytest.approx(1.0, abs=2e-3)
    assert float(of(image, (4, 6))[2]) == pytest.approx(1 / 9, abs=2e-3)


def test_offsets_are_from_the_middle_of_the_candidates():
    image = marked((2, 4))
    across, down, distance = (float(x) for x in of(image, (2, 6))[4:7])
    assert (across, down) == pytest.approx((0.5, 0.0), abs=2e-3) and distance == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize("turned", ["across", "down"])
def test_a_mirrored_image_has_mirrored_relations(turned):
    image = torch.rand(2, GRID[0] * GRID[1], 3, generator=torch.Generator().manual_seed(0))
    axis, signs = (2, [0, 4]) if turned == "across" else (1, [1, 5])
    flip = lambda x: x.unflatten(1, GRID).flip(axis).flatten(1, 2)  # noqa: E731
    wanted = flip(relations(image, GRID)).clone()
    wanted[..., signs] *= -1
    torch.testing.assert_close(relations(flip(image), GRID), wanted)


SWITCHES = [{}, {"proxies": 1}, {"spatial_gate": False}, {"text_proxies": False}, {"language_read": False},
            {"residual_norm": True}, {"carry": False}]  # fmt: skip
PAIRS = {"plain": {}, "hierarchical": {"stages": (2, 2, 2)}}


@pytest.mark.parametrize("mode", ["side", "inject"])
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_an_adapter_with_it_changes_nothing_at_the_start(pair, mode):
    torch.manual_seed(0)
    encoders = toy_pair(**pair)
    torch.manual_seed(1)
    bare = attach(*encoders, S4ECAConfig(image_size=64, **{**SMALL, "mode": mode}, candidate_order=False))
    ordered = attach(*encoders, S4ECAConfig(image_size=64, **{**SMALL, "mode": mode}, candidate_order=True))
    lost = ordered.load_state_dict(bare.state_dict(), strict=False)
    assert {name.rsplit(".order.")[-1] for name in lost.missing_keys} == {"ask.weight", "level"}
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        one, other = (model.eval()(pixels, ["the left roof", "a car"]) for model in (bare, ordered))
    assert torch.equal(one, other)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_all_of_it_learns_from_the_second_update_on(switches):
    torch.manual_seed(0)
    model = attach(*toy_pair(), S4ECAConfig(image_size=32, **{**SMALL, **switches}, candidate_order=True))
    own = {name: p for name, p in model.named_parameters() if ".order." in name}
    assert own
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        optimiser.zero_grad()
        model(torch.randn(2, 3, 32, 32), ["the left roof", "a car"]).square().mean().backward()
        optimiser.step()
    silent = [name for name, p in own.items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


def test_language_decides_what_counts():
    torch.manual_seed(0)
    plain, order = SpatialSelection(16, 4), SpatialSelection(16, 4, order=True)
    order.load_state_dict(plain.state_dict(), strict=False)
    g, proxies = torch.randn(2, 48, 16), torch.randn(2, 4, 16)
    assert isinstance(order.order, CandidateOrder)
    with torch.no_grad():
        order.order.ask.weight.zero_()
    assert torch.equal(plain(g, proxies, GRID)[1], order(g, proxies, GRID)[1])
    with torch.no_grad():
        order.order.ask.weight.normal_()
    assert not torch.allclose(plain(g, proxies, GRID)[1], order(g, proxies, GRID)[1])


def test_no_candidate_at_all_is_finite():
    found = relations(torch.zeros(1, 48, 2), GRID)
    assert found.isfinite().all()


@pytest.mark.parametrize("off", [{"language_read": False}, {"proxies": 1}, {"text_proxies": False}])
def test_an_order_of_nothing_is_refused(off):
    with pytest.raises(ConfigError, match="candidate_order is true, but no affinity is left"):
        S4ECAConfig(candidate_order=True, spatial_gate=False, **off)
    assert S4ECAConfig(candidate_order=True, spatial_gate=True, **off).candidate_order


def test_where_nothing_is_said_it_is_on_if_there_is_something_to_order():
    assert S4ECAConfig().candidate_order and S4ECAConfig().residual_norm
    off = {"spatial_gate": False, "language_read": False}
    assert not S4ECAConfig(**off).candidate_order and not S4ECAConfig().replace(**off).candidate_order
    assert S4ECAConfig().replace(spatial_gate=False).candidate_order
    assert not S4ECAConfig(candidate_order=False).replace(spatial_gate=False).candidate_order
    with pytest.raises(ConfigError, match="candidate_order is true, but no affinity is left"):
        S4ECAConfig().replace(**off, candidate_order=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_of_another_type_are_taken(dtype):
    torch.manual_seed(0)
    space = SpatialSelection(16, 4, order=True).to(dtype)
    h, gate = space(torch.randn(2, 48, 16, dtype=dtype), torch.randn(2, 4, 16, dtype=dtype), GRID)
    assert h.dtype == dtype and h.isfinite().all() and gate.isfinite().all()

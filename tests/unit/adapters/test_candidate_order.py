"""Where a patch stands among the candidates of a proxy."""

from __future__ import annotations

import pytest
import torch

from s4eca.adapters.s4eca.candidate_order import CandidateOrder, relations
from s4eca.adapters.s4eca.selection import SpatialSelection

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


def test_nothing_changes_at_the_start_and_language_decides_what_counts():
    torch.manual_seed(0)
    plain, order = SpatialSelection(16, 4), SpatialSelection(16, 4, order=True)
    order.load_state_dict(plain.state_dict(), strict=False)
    g, proxies = torch.randn(2, 48, 16), torch.randn(2, 4, 16)
    for one, other in zip(plain(g, proxies, GRID), order(g, proxies, GRID), strict=True):
        assert torch.equal(one, other)
    assert isinstance(order.order, CandidateOrder)
    with torch.no_grad():
        order.order.ask.weight.normal_()
    assert not torch.allclose(plain(g, proxies, GRID)[1], order(g, proxies, GRID)[1])


def test_no_candidate_at_all_is_finite():
    found = relations(torch.zeros(1, 48, 2), GRID)
    assert found.isfinite().all()

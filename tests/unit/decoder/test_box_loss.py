"""Box losses against numbers worked out by hand, their bounds, and what happens at the edges of their domain."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s4eca.decoder.box_loss import BoxLossConfig, box_loss, box_losses, centre_target, centred, mask_boxes, nwd
from s4eca.errors import ConfigError

ONLY = {"l1": 0.0, "giou": 0.0, "nwd": 0.0, "centre": 0.0}
SIDE = 64.0


def only(**weights):
    return BoxLossConfig(**{**ONLY, **weights})


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32)


@st.composite
def drawn_boxes(draw):
    x, y = (draw(st.floats(0, 60, width=32)) for _ in range(2))
    w, h = (draw(st.floats(0.25, 40, width=32)) for _ in range(2))
    return [x, y, x + w, y + h]


@pytest.mark.parametrize(("first", "last"), [(3, 8), (0, 0), (9, 9), (0, 9)])
def test_right_and_bottom_lie_behind_the_last_pixel(first, last):
    """torchvision's masks_to_boxes ends on the last pixel, and a target of one pixel has no box at all."""
    mask = torch.zeros(1, 1, 10, 10, dtype=torch.bool)
    mask[0, 0, 2:5, first : last + 1] = True
    box, present = mask_boxes(mask)
    assert present.item() and box[0].tolist() == pytest.approx([first / 10, 0.2, (last + 1) / 10, 0.5])


def test_sides_that_differ_are_each_their_own_unit():
    mask = torch.zeros(1, 1, 4, 20, dtype=torch.bool)
    mask[0, 0, 1, 5:15] = True
    assert mask_boxes(mask)[0][0].tolist() == pytest.approx([0.25, 0.25, 0.75, 0.5])


def test_an_empty_mask_has_no_box():
    box, present = mask_boxes(torch.zeros(2, 1, 5, 5))
    assert not present.any() and not box.any()


@given(*(st.integers(0, 38) for _ in range(4)))
def test_the_box_of_an_averaged_mask_is_within_a_cell_and_never_cuts_a_rectangle(x, y, w, h):
    """40 pixels averaged to 10 cells: within the cells touched, around the rectangle."""
    x2, y2 = min(40, x + w + 1), min(40, y + h + 1)
    mask = torch.zeros(1, 1, 40, 40, dtype=torch.float64)
    mask[0, 0, y:y2, x:x2] = 1
    box = (mask_boxes(torch.nn.functional.avg_pool2d(mask, 4))[0][0] * 40).tolist()
    true = [x, y, x2, y2]
    for place, (found, edge) in enumerate(zip(box, true, strict=True)):
        cell = math.floor(edge / 4) * 4 if place < 2 else math.ceil(edge / 4) * 4
        assert min(edge, cell) - 1e-9 <= found <= max(edge, cell) + 1e-9
    if x2 - x >= 7:  # a cell in the middle is covered from side to side
        assert (box[0], box[2]) == pytest.approx((x, x2))


@given(drawn_boxes(), drawn_boxes())
@settings(deadline=None)  # torchvision is imported in the first
def test_bounds_and_symmetry(one, other):
    a, b = boxes(one), boxes(other)
    centres, present = torch.zeros(1, 1, 4, 4), torch.tensor([True])
    overlap = float(box_loss(a, centres, b, present, SIDE, only(giou=1.0)))
    assert -1e-6 <= overlap <= 2
    alike = nwd(a, b, 12.8)
    assert torch.equal(alike, nwd(b, a, 12.8))
    assert 0 <= 1 - float(alike) < 1
    assert float(box_loss(a, centres, b, present, SIDE, only(l1=1.0))) >= 0


def test_equal_boxes_cost_nothing_and_their_gradient_is_finite():
    truth = boxes([10, 12, 16, 18])
    found = truth.clone().requires_grad_()
    present, centres = torch.tensor([True]), torch.zeros(1, 1, 8, 8, requires_grad=True)
    for config in (only(giou=1.0), only(l1=1.0)):
        assert box_loss(found, centres, truth, present, SIDE, config).item() == pytest.approx(0, abs=1e-6)
    assert box_loss(found, centres, truth, present, SIDE, only(nwd=1.0)).item() == pytest.approx(0, abs=1e-4)
    box_loss(found, centres, truth, present, SIDE).backward()
    assert found.grad.isfinite().all() and centres.grad.isfinite().all()


@pytest.mark.parametrize(
    ("side", "shift", "iou", "alike"), [(6, 1, 0.53, 0.90), (6, 4, 0.06, 0.64), (36, 4, 0.65, 0.64)]
)
def test_a_shift_costs_a_tiny_box_its_iou_and_not_its_nwd(side, shift, iou, alike):
    truth, found = (
        boxes([20, 20, 20 + side, 20 + side]),
        boxes([20 + shift, 20 + shift, 20 + shift + side, 20 + shift + side]),
    )
    assert float(nwd(found, truth, 12.8)) == pytest.approx(alike, abs=0.005)
    both = (side - shift) ** 2
    assert both / (2 * side**2 - both) == pytest.approx(iou, abs=0.005)


def test_the_sum_by_hand():
    """GIoU of squares side by side: IoU 0, hull 2, union 2 -> loss 1. L1: dx = 8 of 64. NWD: distance 8 of C = 8."""
    found, truth = boxes([8, 0, 16, 8]), boxes([0, 0, 8, 8])
    centres, present = torch.zeros(1, 1, 8, 8), torch.tensor([True])
    wanted = 5 * 8 / 64 + 2 * 1 + (1 - math.exp(-1)) + math.log(64)
    assert float(box_loss(found, centres, truth, present, SIDE, BoxLossConfig(scale=8.0))) == pytest.approx(
        wanted, abs=1e-4
    )


def test_width_and_height_of_the_frame_may_differ():
    found, truth = boxes([8, 10, 16, 18]), boxes([4, 8, 12, 16])
    size = torch.tensor([[40.0, 20.0]])
    cost = box_loss(found, torch.zeros(1, 1, 2, 2), truth, torch.tensor([True]), size, only(l1=1.0))
    assert float(cost) == pytest.approx(4 / 40 + 2 / 20)


def test_samples_without_a_target_cost_nothing_and_give_no_gradient():
    """Whatever stands in their rows; a mean over all samples is that of processes that share them unevenly."""
    found = boxes([1, 1, 5, 5], [float("nan")] * 4, [2, 2, 9, 9]).requires_grad_()
    truth = boxes([2, 2, 6, 6], [0, 0, 0, 0], [3, 3, 8, 8])
    centres = torch.zeros(3, 1, 4, 4, requires_grad=True)
    present = torch.tensor([True, False, True])
    each = box_losses(found, centres, truth, present, SIDE)
    assert each[1] == 0 and (each[[0, 2]] > 0).all()
    alone = box_losses(found[2:], centres[2:], truth[2:], present[2:], SIDE)
    assert torch.equal(each[2:], alone)
    cost = box_loss(found, centres, truth, present, SIDE)
    assert cost.item() == pytest.approx(each.sum().item() / 3)
    cost.backward()
    assert torch.equal(found.grad[1], torch.zeros(4)) and not centres.grad[1].any()


def test_a_batch_without_any_target_still_has_a_graph():
    """DDP waits for the gradient of every parameter."""
    found, centres = boxes([1, 1, 5, 5]).requires_grad_(), torch.zeros(1, 1, 4, 4, requires_grad=True)
    cost = box_loss(found, centres, torch.zeros(1, 4), torch.tensor([False]), SIDE)
    cost.backward()
    assert cost == 0 and not found.grad.any() and not centres.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite(dtype):
    """Areas of 800 px would overflow float16."""
    found = torch.tensor([[0, 0, 700, 800], [1, 1, 1.5, 1.5]]).to(dtype).requires_grad_()
    centres = torch.full((2, 1, 4, 4), 60.0, dtype=dtype, requires_grad=True)
    truth = torch.tensor([[10.0, 0, 790, 800], [790, 790, 796, 796]])
    cost = box_loss(found, centres, truth, torch.tensor([True, True]), 800.0)
    cost.backward()
    assert cost.dtype == torch.float32 and cost.isfinite()
    assert found.grad.isfinite().all() and centres.grad.isfinite().all()


@pytest.mark.parametrize("side", [0.001, 0.05, 0.5])
def test_the_centre_target_lies_on_the_centre_also_of_a_box_below_a_cell(side):
    box = boxes([0.30 - side / 2, 0.70 - side / 2, 0.30 + side / 2, 0.70 + side / 2])
    target = centre_target(box, (10, 20))[0].reshape(10, 20)
    assert float(target.sum()) == pytest.approx(1, abs=1e-5) and target.isfinite().all()
    best = divmod(int(target.argmax()), 20)
    assert best[0] in (6, 7) and best[1] in (5, 6)


def test_the_centre_loss_asks_for_the_target():
    """Its gradient is softmax - target: none where they agree."""
    truth = boxes([16, 16, 48, 48])
    wanted = centre_target(truth / SIDE, (8, 8))
    centres = wanted.clamp(min=1e-12).log().reshape(1, 1, 8, 8).requires_grad_()
    box_loss(truth, centres, truth, torch.tensor([True]), SIDE, only(centre=1.0)).backward()
    assert centres.grad.abs().max() < 1e-6


def test_a_quarter_turn_turns_the_cost():
    def turned(rows):
        x1, y1, x2, y2 = rows.unbind(1)
        return torch.stack([y1, SIDE - x2, y2, SIDE - x1], dim=1)

    g = torch.Generator().manual_seed(0)
    centres = torch.randn(1, 1, 8, 8, generator=g)
    found, truth, present = boxes([3, 5, 20, 11]), boxes([8, 9, 22, 30]), torch.tensor([True])
    straight = box_loss(found, centres, truth, present, SIDE)
    other = box_loss(turned(found), centres.rot90(1, (2, 3)), turned(truth), present, SIDE)
    assert float(other) == pytest.approx(float(straight), rel=1e-5)


def test_centred_by_hand():
    assert centred(boxes([1, 2, 5, 10])).tolist() == [[3, 6, 4, 8]]


@pytest.mark.parametrize("wrong", [{"l1": -1.0}, {"nwd": float("nan")}, {"scale": 0.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        BoxLossConfig(**wrong)

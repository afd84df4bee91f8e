"""Box losses: true boxes from masks, GIoU and NWD at their limits, the target of the centre, half precision."""

from __future__ import annotations

import pytest
import torch

from s4eca.decoder.box_loss import BoxWeights, box_loss, boxes_of, centre_target, nwd


def mask(*box, size=(20, 30)):
    made = torch.zeros(1, 1, *size)
    left, top, right, bottom = box
    made[:, :, top:bottom, left:right] = 1
    return made


def only(**weights):
    return BoxWeights(**{**dict.fromkeys(("l1", "giou", "nwd", "centre"), 0.0), **weights})


def loss(boxes, truth, weights, centres=None, present=None):
    logits = torch.zeros(len(truth), 1, 5, 6) if centres is None else centres
    there = torch.ones(len(truth), dtype=torch.bool) if present is None else present
    return box_loss(boxes, logits, truth, there, weights, 512)


def test_boxes_end_behind_the_last_pixel():
    boxes, there = boxes_of(torch.cat([mask(3, 5, 9, 6), mask(0, 0, 30, 20), torch.zeros(1, 1, 20, 30)]))
    assert there.tolist() == [True, True, False]
    expected = [[3 / 30, 5 / 20, 9 / 30, 6 / 20], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert torch.allclose(boxes, torch.tensor(expected), atol=1e-6)


def test_a_target_that_the_working_size_thinned_still_has_its_place():
    faint = torch.zeros(1, 1, 20, 30)
    faint[0, 0, 4, 7], faint[0, 0, 4, 8] = 0.2, 0.1
    boxes, there = boxes_of(faint)
    assert there.item() and torch.allclose(boxes[0], torch.tensor([7 / 30, 4 / 20, 8 / 30, 5 / 20]), atol=1e-6)


def test_every_term_is_least_at_the_true_box():
    truth = mask(6, 4, 18, 12)
    true, _ = boxes_of(truth)
    assert loss(true, truth, only(l1=1.0)) == 0
    assert loss(true, truth, only(giou=1.0)) == pytest.approx(0, abs=1e-5)
    assert loss(true, truth, only(nwd=1.0)) < 1e-3
    for shift in (0.02, 0.1, 0.6):
        moved = true + torch.tensor([shift, 0.0, shift, 0.0])
        for name in ("l1", "giou", "nwd"):
            assert loss(moved, truth, only(**{name: 1.0})) > loss(true, truth, only(**{name: 1.0}))
        assert loss(moved, truth, only(giou=1.0)) <= 2


def test_nwd_is_symmetric_bounded_and_differentiable_where_it_is_perfect():
    made = torch.Generator().manual_seed(0)
    first, second = (torch.rand(50, 4, generator=made) * 200 + 1 for _ in range(2))
    assert torch.equal(nwd(first, second, 12.8), nwd(second, first, 12.8))
    values = nwd(first, second, 12.8)
    assert ((values >= 0) & (values < 1)).all() and (nwd(first, first, 12.8) < 1).all()
    same = first.clone().requires_grad_()
    nwd(same, first, 12.8).sum().backward()
    assert same.grad.isfinite().all()


def test_nwd_by_hand_and_blind_to_the_size_of_what_is_shifted():
    small, large = torch.tensor([[10.0, 10, 6, 6]]), torch.tensor([[10.0, 10, 36, 36]])
    for shift, value in ((1, 0.8954), (4, 0.6428)):  # exp(-sqrt(2) shift / 12.8), of METHOD's notes on NWD
        moved = torch.tensor([[shift, shift, 0.0, 0.0]])
        for box in (small, large):
            assert nwd(box, box + moved, 12.8).item() == pytest.approx(value, abs=1e-3)


def test_the_target_of_the_centre_sums_to_one_and_lies_in_the_box():
    target = centre_target(torch.tensor([[0.5, 0.25, 0.7, 0.35], [0.101, 0.101, 0.102, 0.102]]), (10, 20))
    assert torch.allclose(target.sum(1), torch.ones(2))
    rows, cols = target.argmax(1) // 20, target.argmax(1) % 20
    assert rows[0] in (2, 3) and rows[1] == 1 and cols[0] in (11, 12) and cols[1] in (1, 2)


def test_the_term_of_the_centre_is_least_where_the_logits_are_the_target():
    truth = mask(6, 4, 18, 12)
    true, _ = boxes_of(truth)
    right = centre_target(true, (5, 6)).log().reshape(1, 1, 5, 6)
    best = loss(true, truth, only(centre=1.0), right)
    assert best < loss(true, truth, only(centre=1.0)) and best < loss(true, truth, only(centre=1.0), right.flip(-1))


def test_samples_without_a_target_do_not_count():
    truth = torch.cat([mask(6, 4, 18, 12), torch.zeros(1, 1, 20, 30), mask(1, 1, 4, 4)])
    boxes = torch.rand(3, 4).sort(1).values.requires_grad_()
    present = torch.tensor([True, True, False])
    found = loss(boxes, truth, BoxWeights(), present=present)
    assert found.item() == pytest.approx(loss(boxes[:1], truth[:1], BoxWeights()).item())
    found.backward()
    assert boxes.grad.isfinite().all() and boxes.grad[1:].abs().sum() == 0 and boxes.grad[0].abs().sum() > 0
    assert loss(boxes, torch.zeros_like(truth), BoxWeights()) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite(dtype):
    truth = mask(6, 4, 7, 5)
    boxes = torch.tensor([[0.2, 0.2, 0.9, 0.9]], dtype=dtype, requires_grad=True)
    centres = torch.full((1, 1, 5, 6), 3e4, dtype=dtype, requires_grad=True)
    loss(boxes, truth, BoxWeights(), centres).backward()
    assert boxes.grad.isfinite().all() and centres.grad.isfinite().all()

"""BCE and Dice against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from s4eca.decoder.loss import dice_loss, segmentation_loss, upsample


def logit(p):
    return math.log(p / (1 - p))


def test_dice_by_hand():
    """p = (.8 .2; .5 .5), y = (1 0; 1 0): I = 1.3, sums 2 and 2."""
    logits = torch.tensor([[[[logit(0.8), logit(0.2)], [0.0, 0.0]]]])
    truth = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    assert float(dice_loss(logits, truth)) == pytest.approx(1 - (2 * 1.3 + 1) / (2 + 2 + 1))


def test_dice_is_averaged_over_samples_not_pixels():
    logits = torch.cat([torch.full((1, 1, 2, 2), 50.0), torch.full((1, 1, 2, 2), -50.0)])
    truth = torch.cat([torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)])
    assert float(dice_loss(logits, truth)) == pytest.approx((0 + (1 - 1 / 5)) / 2, abs=1e-6)


def test_empty_truth_asks_for_an_empty_mask():
    empty = torch.zeros(1, 1, 4, 4)
    losses = [float(dice_loss(torch.full((1, 1, 4, 4), x), empty)) for x in (-20.0, 0.0, 20.0)]
    assert losses[0] == pytest.approx(0.0, abs=1e-5)
    assert losses[1] == pytest.approx(1 - 1 / 9)
    assert losses[2] == pytest.approx(1 - 1 / 17)
    logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    segmentation_loss(logits, empty).backward()
    assert (logits.grad > 0).all(), "every pixel is pushed down"


def test_the_sum_by_hand():
    """At logits 0: BCE is log 2 whatever the truth; Dice from p = 1/2 everywhere."""
    truth = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    wanted = math.log(2) + 1 - (2 * 0.5 + 1) / (2 + 1 + 1)
    assert float(segmentation_loss(torch.zeros(1, 1, 2, 2), truth)) == pytest.approx(wanted)


def test_logits_are_drawn_up_to_the_truth_and_never_the_other_way():
    """A target of one pixel of 64 x 64 still has its gradient."""
    truth = torch.zeros(1, 1, 64, 64)
    truth[0, 0, 10, 50] = 1.0
    logits = torch.full((1, 1, 4, 4), -3.0, requires_grad=True)
    empty = logits.detach().clone().requires_grad_()
    segmentation_loss(logits, truth).backward()
    segmentation_loss(empty, torch.zeros_like(truth)).backward()
    difference = (logits.grad - empty.grad)[0, 0]
    assert difference[0, 3] < 0 and difference[3, 0].abs() < difference[0, 3].abs()


def test_upsample_has_no_offset():
    ramp = torch.arange(4.0).reshape(1, 1, 1, 4)
    drawn = upsample(ramp, (2, 8))[0, 0, 0]
    assert drawn.tolist() == pytest.approx([0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0])
    assert upsample(ramp, (1, 4)).equal(ramp)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_loss_is_float32_whatever_comes(dtype):
    logits = torch.randn(2, 1, 4, 4).to(dtype)
    loss = segmentation_loss(logits, torch.ones(2, 1, 8, 8, dtype=torch.uint8))
    assert loss.dtype == torch.float32 and loss.isfinite()


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much():
    truth = (torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    right, wrong = 40 * (2 * truth - 1), -40 * (2 * truth - 1)
    assert float(segmentation_loss(right, truth)) < 1e-4
    assert float(segmentation_loss(wrong, truth)) > 10


def test_the_gradient_is_that_of_finite_differences():
    g = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 1, 4, 4, generator=g)
    logits = torch.randn(2, 1, 4, 4, generator=g).requires_grad_()
    segmentation_loss(logits, truth).backward()
    step = torch.zeros(2, 1, 4, 4)
    step[1, 0, 2, 3] = 1e-2
    with torch.no_grad():
        slope = (segmentation_loss(logits + step, truth) - segmentation_loss(logits - step, truth)) / 2e-2
    assert float(slope) == pytest.approx(float(logits.grad[1, 0, 2, 3]), rel=1e-2)

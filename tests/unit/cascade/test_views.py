"""Boxes of masks, windows around boxes, what a refiner is shown, and how its answer comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s4eca.cascade.boxes import LEAST_MARGIN, box_of, clipped, margin_of, mask_box, parts_of, window
from s4eca.cascade.isolation import FILL, isolate
from s4eca.cascade.joint import agreed

MEAN = (1, 2, 3)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)


def test_a_box_ends_behind_the_last_pixel_of_the_surest_component():
    p = torch.zeros(30, 40)
    p[5:7, 10:20] = 0.6  # 20 px, 12 in sum
    p[20:24, 3:7] = 0.9  # 16 px, 14.4 in sum
    assert box_of(p).tolist() == [3, 20, 7, 24]
    p[20:24, 3:7] = 0.5
    assert box_of(p).tolist() == [10, 5, 20, 7]
    assert box_of(torch.zeros(30, 40)) is None


def test_pixels_that_touch_at_a_corner_are_one_part():
    p = torch.zeros(20, 20)
    p[3, 3] = p[4, 4] = p[5, 5] = 0.9
    boxes, rest = parts_of(p, most=5)
    assert [b.tolist() for b in boxes] == [[3, 3, 6, 6]] and not rest.any()
    p[10, 10] = 0.6
    boxes, rest = parts_of(p, most=1)
    assert len(boxes) == 1 and rest.nonzero().tolist() == [[10, 10]]
    assert mask_box(p > 0.5).tolist() == [3, 3, 11, 11]


def test_boxes_are_cut_at_the_border_and_dropped_below_a_pixel():
    boxes = torch.tensor(
        [[-5.0, -5, 10, 10], [79.5, 3, 120, 9], [90, 3, 120, 9], [5, 5, 5.5, 30], [3, 3, 9, float("nan")]]
    )
    cut, there = clipped(boxes, (60, 80))
    assert cut[0].tolist() == [0, 0, 10, 10] and there.tolist() == [True, False, False, False, False]
    assert clipped(torch.zeros(0, 4), (60, 80))[0].shape == (0, 4)


BOXES = [(10, 10, 20, 14), (0, 0, 3, 3), (70, 50, 80, 60), (0, 0, 80, 60), (-3, 2, 4, 58), (40.3, 7.2, 41.9, 9)]


@pytest.mark.parametrize("box", BOXES)
def test_windows_are_square_hold_the_box_and_stay_inside(box):
    given = torch.tensor(box, dtype=torch.float32)
    margin = margin_of(given, 0.25)
    assert margin >= LEAST_MARGIN
    left, top, right, bottom = window(given, margin, (60, 80))
    assert 0 <= left < right <= 80 and 0 <= top < bottom <= 60
    assert right - left == bottom - top or bottom - top == 60
    assert left <= max(box[0], 0) and top <= max(box[1], 0) and right >= min(box[2], 80) and bottom >= min(box[3], 60)


def test_an_inner_window_is_the_box_with_its_margin():
    assert window(torch.tensor([30.0, 30, 40, 34]), 8, (100, 100)) == (22, 19, 48, 45)


@pytest.mark.parametrize("isolation", ["none", "crop", "mask_out"])
@pytest.mark.parametrize("box", [(10, 12, 20, 18), (0, 0, 5, 5), (70, 40, 80, 60)])
def test_what_is_shown_comes_back_to_its_place(image, isolation, box):
    logits = torch.randn(60, 80)
    view = isolate(image, torch.tensor(box, dtype=torch.float32), logits, isolation, 0.25, MEAN)
    left, top, right, bottom = view.place
    assert view.image.shape[:2] == (bottom - top, right - left) == tuple(view.coarse.shape)
    back = view.back(view.coarse, (60, 80))
    assert torch.equal(back[top:bottom, left:right], logits[top:bottom, left:right])
    outside = torch.ones(60, 80, dtype=torch.bool)
    outside[top:bottom, left:right] = False
    assert (back[outside] == FILL).all() and bool(outside.any()) == (isolation == "crop")
    x1, y1, x2, y2 = (int(v) for v in view.box)
    assert np.array_equal(view.image[y1:y2, x1:x2], image[box[1] : box[3], box[0] : box[2]])


def test_masked_out_pixels_have_the_mean_colour_and_no_others(image):
    view = isolate(image, torch.tensor([30.0, 20, 40, 30]), None, "mask_out", 0.25, MEAN)
    kept = np.zeros((60, 80), bool)
    kept[12:38, 22:48] = True
    assert np.array_equal(view.image[kept], image[kept]) and (view.image[~kept] == MEAN).all()
    assert not np.shares_memory(view.image, image)


def test_agreement_listens_to_detector_and_mask():
    p = torch.zeros(40, 40)
    p[10:20, 10:20] = 0.9
    boxes = torch.tensor([[0.0, 0, 40, 40], [10, 10, 20, 20], [10, 10, 12, 12], [30, 30, 38, 38]])
    scores = torch.tensor([0.5, 0.3, 0.3, 0.9])
    assert (
        agreed(boxes, scores, p, 1.0) == 3 and agreed(boxes, scores, p, 0.0) == 1 and agreed(boxes, scores, p, 0.5) == 1
    )
    assert agreed(boxes, scores, torch.zeros(40, 40), 0.0) == 3  # a mask of nothing has no say
    assert agreed(boxes[[1, 1]], scores[[1, 1]], p, 0.5) == 0  # ties go to the first

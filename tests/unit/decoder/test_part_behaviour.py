"""What each part of the decoder sees, and what it must not: places, levels, language, other images."""

from __future__ import annotations

import pytest
import torch

from s4eca.decoder.parts.bifusion_neck import BiFusionNeck, BiFusionNeckSettings
from s4eca.decoder.parts.box_head import ReferringBoxHead, ReferringBoxHeadSettings, boxes_at
from s4eca.decoder.parts.context_enhancement import ContextEnhancement, ContextEnhancementSettings
from s4eca.decoder.parts.detail_stem import DetailStem, DetailStemSettings
from s4eca.decoder.parts.foreground_gate import BOUND, ForegroundGate, ForegroundGateSettings, gate_loss
from s4eca.decoder.pyramid import LazyPyramid
from s4eca.layers.channel_norm import ChannelNorm
from s4eca.optional import PyramidSizes
from s4eca.records import BOX_SCORES, BOXES

SIZES = PyramidSizes((16, 8, 4), 16)
H, W = 8, 6


def maps(seed=0, batch=2):
    made = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, c, H * 2**n, W * 2**n, generator=made) for n, c in enumerate(SIZES.widths)]


def pyramid(found, sentence=None, fine=None):
    said = torch.ones(len(found[0]), SIZES.sentence) if sentence is None else sentence
    return LazyPyramid(found[0], lambda level, below: found[level], said, fine)


def built(kind, settings, seed=0):
    torch.manual_seed(seed)
    return kind(settings, SIZES)


class Told(torch.nn.Module):
    """Says the same of whatever it sees."""

    def __init__(self, told):
        super().__init__()
        self.told = told

    def forward(self, hidden):
        return self.told


def changed(before, after):
    """(h, w) bool, where any channel differs."""
    return (before != after).any(0).any(0)


def test_a_channel_norm_mixes_neither_places_nor_samples():
    norm, image = ChannelNorm(8), torch.randn(2, 8, 5, 4)
    before = norm(image)
    image[1, :, 2, 3] += 9
    places = (norm(image) != before).any(1)
    assert places.sum() == 1 and places[1, 2, 3]
    assert norm(image).mean(1).abs().max() < 1e-5


@pytest.mark.parametrize("place", [(0, 0), (37, 53), (64, 40), (126, 94)])
def test_a_dot_of_the_image_changes_the_detail_around_it_alone(place):
    stem = built(DetailStem, DetailStemSettings())
    fine = torch.randn(1, 3, 16 * H, 16 * W)
    before = stem.look(pyramid(maps(batch=1), fine=fine))
    row, col = place
    fine[:, :, row : row + 2, col : col + 2] += 1
    where = changed(before, stem.look(pyramid(maps(batch=1), fine=fine))).nonzero()
    assert len(where)
    pixels = where * 4
    assert (pixels - torch.tensor(place)).abs().max() <= 15 and len(where) <= 25


def test_the_neck_sees_both_neighbours_of_the_middle_level():
    neck = built(BiFusionNeck, BiFusionNeckSettings())
    one_way = {name: built(BiFusionNeck, BiFusionNeckSettings(direction=name)) for name in ("finer", "coarser")}
    own = maps()
    before = neck.look(pyramid(own))[1]
    for other, blind in ((0, "finer"), (2, "coarser")):
        without = [m.clone() for m in own]
        without[other].zero_()
        assert not torch.equal(neck.look(pyramid(without))[1], before)
        part = one_way[blind]
        assert torch.equal(part.look(pyramid(without))[1], part.look(pyramid(own))[1])


@pytest.mark.parametrize("settings", [{}, {"parallel": 3}, {"direction": "fpn"}, {"text": "none"}, {"width": 5}])
def test_the_neck_keeps_shapes_and_starts_silent(settings):
    neck, own = built(BiFusionNeck, BiFusionNeckSettings(**settings)), maps()
    looked = neck.look(pyramid(own))
    for level, image in enumerate(own):
        assert looked[level].shape == image.shape and torch.equal(neck.refine(level, image, looked), image)


def test_parallel_fusions_begin_finer_and_finer():
    neck = built(BiFusionNeck, BiFusionNeckSettings(parallel=3))
    assert [list(head.levels) for head in neck.heads] == [[0, 1, 2], [1, 2], [2]]


def test_the_text_gate_opens_by_what_is_said():
    neck, own = built(BiFusionNeck, BiFusionNeckSettings()), maps()
    silent = built(BiFusionNeck, BiFusionNeckSettings(text="none"))
    one, two = torch.randn(2, 16), torch.randn(2, 16)
    assert not torch.equal(neck.look(pyramid(own, one))[1], neck.look(pyramid(own, two))[1])
    assert torch.equal(silent.look(pyramid(own, one))[1], silent.look(pyramid(own, two))[1])
    opened = neck.opening(100 * one)
    assert ((opened >= 0) & (opened <= 1)).all()
    neck.gate.weight.data.zero_()
    assert (neck.opening(one) == 0.5).all()


def test_context_reaches_the_far_corner_and_without_the_mean_only_three_places():
    for branches, far in (("both", True), ("global", True), ("local", False)):
        part = built(ContextEnhancement, ContextEnhancementSettings(branches=branches))
        first = torch.randn(1, 16, 16, 16)
        before = part.context(first)
        first[:, :, 0, 0] += 3
        where = changed(before, part.context(first))
        assert bool(where[15, 15]) == far
        assert far or not where[4:].any() and not where[:, 4:].any()
        assert far or where[3, 3]  # as far as the widest of the three reaches


def test_a_gate_can_neither_erase_nor_explode():
    part, own = built(ForegroundGate, ForegroundGateSettings()), maps()
    with torch.no_grad():
        for theta in (1e4, -1e4):
            part.theta.fill_(theta)
            looked = part.look(pyramid(own, 1e4 * torch.randn(2, 16)))
            factor = part.refine(2, own[2], looked) / own[2]
            assert factor.min() > 0.0999 and factor.max() < 1.9001 and looked[1][2].abs().max() <= BOUND


def test_a_gate_learns_at_its_first_update_and_is_silent_in_eval():
    part, own = built(ForegroundGate, ForegroundGateSettings(aux=0.0)), maps()
    part.refine(1, own[1], part.look(pyramid(own))).square().sum().backward()
    assert part.theta.grad[0] != 0 and part.theta.grad[1] == 0
    part = built(ForegroundGate, ForegroundGateSettings())
    looked = part.look(pyramid(own))
    part.refine(1, own[1], looked)
    assert list(part.tell(own, own[2], looked)) == ["foreground_gate.1"]
    assert part.eval().tell(own, own[2], looked) == {}


def test_the_auxiliary_loss_falls_to_its_floor_at_the_true_share():
    truth = torch.zeros(2, 1, 32, 32)
    truth[0, :, 3:17, 5:22] = 1
    share = torch.nn.functional.avg_pool2d(truth, 4)
    right = torch.logit(share.clamp(1e-6, 1 - 1e-6))
    floor = gate_loss(right, truth, "area")
    assert 0 <= floor < 0.2  # Dice of soft masks is above 0 by the shares between
    wrong = [gate_loss(m, truth, "area") for m in (torch.zeros_like(right), -right, right + 1)]
    assert all(floor < w for w in wrong)
    # The empty sample is not asked: it changes nothing.
    other = right.clone()
    other[1] += 5
    assert gate_loss(other, truth, "area") == floor


def test_a_target_that_no_cell_holds_is_asked_by_any_and_not_by_area():
    truth = torch.zeros(1, 1, 64, 64)
    truth[:, :, 10, 10:12] = 1  # 2 of the 64 pixels of a cell
    gate = torch.zeros(1, 1, 8, 8)
    assert gate_loss(gate, truth, "area") == 0 and gate_loss(gate, truth, "any") > 0


def test_a_constant_centre_gives_the_mean_box_and_a_sure_one_its_own():
    head = built(ReferringBoxHead, ReferringBoxHeadSettings())
    told = torch.randn(1, 4, 16, 12)
    cells = boxes_at(told)
    head.box, head.centre = Told(told), Told(torch.zeros(1, 1, 16, 12))
    found = head.train().tell(maps(batch=1), torch.zeros(1, 1, 32, 24), None)
    middle = (found[BOXES][:, :2] + found[BOXES][:, 2:]) / 2
    assert torch.allclose(middle, cells[:, :2].mean((2, 3)), atol=1e-5)
    sure = torch.full((1, 1, 16, 12), -50.0)
    sure[0, 0, 5, 7] = 50.0
    head.centre = Told(sure)
    found = head.tell(maps(batch=1), torch.zeros(1, 1, 32, 24), None)
    want = cells[0, :, 5, 7]
    assert torch.allclose(found[BOXES][0, 2:] - found[BOXES][0, :2], want[2:], atol=1e-5)
    assert found[BOX_SCORES].item() == pytest.approx(1.0)


def test_a_box_ends_at_the_edge_of_the_image_where_it_is_told():
    head = built(ReferringBoxHead, ReferringBoxHeadSettings())
    head.box = Told(torch.full((1, 4, 16, 12), 9.0))
    places = (maps(batch=1), torch.zeros(1, 1, 32, 24), None)
    assert head.train().tell(*places)[BOXES].abs().max() > 1, "while it learns it feels how far out it is"
    told = head.eval().tell(*places)[BOXES]
    assert told.min() >= 0 and told.max() <= 1 and (told[:, :2] < told[:, 2:]).all()


def test_cells_are_placed_on_the_image():
    told = torch.zeros(1, 4, 4, 2)
    cells = boxes_at(told)
    assert cells[0, :, 0, 0].tolist() == [0.25, 0.125, 0.5, 0.25] and cells[0, :2, 3, 1].tolist() == [0.75, 0.875]
    told[:, 2:] = 1e9
    assert boxes_at(told).isfinite().all()


def test_the_head_leaves_the_mask_and_may_leave_the_decoder_alone():
    own = [m.requires_grad_() for m in maps()]
    logits = torch.randn(2, 1, 4 * H, 4 * W, requires_grad=True)
    for shares in (True, False):
        head = built(ReferringBoxHead, ReferringBoxHeadSettings(shares=shares)).train()
        told = head.tell(own, logits, None)
        truth = torch.zeros(2, 1, 64, 48)
        truth[:, :, 10:20, 10:30] = 1
        own[1].grad = None
        head.losses(told, truth, torch.tensor([True, True]))["box_head"].backward()
        assert logits.grad is None and (own[1].grad is not None) == shares

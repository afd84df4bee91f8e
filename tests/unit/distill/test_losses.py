"""The four losses: their floors, their symmetries, and whom their gradients reach."""

from __future__ import annotations

import pytest
import torch

from s4eca.distill import losses
from s4eca.distill.gathered import first_of_each
from s4eca.distill.losses import unit

B, H, W, E = 3, 4, 5, 6


@pytest.fixture
def drawn():
    torch.manual_seed(0)
    return {
        "student": torch.randn(B, H, W, E, requires_grad=True),
        "phrase": torch.randn(B, E, requires_grad=True),
        "patch": unit(torch.randn(B, H, W, E)),
        "said": unit(torch.randn(B, E)),
        "valid": torch.ones(B, H, W, dtype=torch.bool),
    }


def test_features_equal_orthogonal_and_of_any_scale(drawn):
    valid, patch = drawn["valid"], drawn["patch"]
    assert torch.allclose(losses.feature_consistency(3.7 * patch, patch, valid), torch.zeros(B), atol=1e-6)
    across = torch.zeros(B, H, W, E)
    across[..., 0] = 1
    other = across.roll(1, -1)
    assert torch.allclose(losses.feature_consistency(5 * other, across, valid), torch.full((B,), 2.0))
    assert torch.allclose(losses.feature_consistency(-across, across, valid), torch.full((B,), 4.0))
    found = losses.feature_consistency(drawn["student"], patch, valid)
    assert torch.allclose(found, losses.feature_consistency(9 * drawn["student"], patch, valid), atol=1e-5)
    cosine = (unit(drawn["student"]) * patch).sum(-1).mean((1, 2))
    assert torch.allclose(found, 2 - 2 * cosine, atol=1e-5)


def test_maps_are_nought_at_equality_and_never_below(drawn):
    sim = torch.einsum("bhwe,be->bhw", unit(drawn["student"]), unit(drawn["phrase"])).detach()
    same = losses.map_consistency(drawn["student"], drawn["phrase"], sim, drawn["valid"], 0.07)
    assert torch.allclose(same, torch.zeros(B), atol=1e-6)
    for seed in range(20):
        torch.manual_seed(seed)
        found = losses.map_consistency(drawn["student"], drawn["phrase"], torch.rand(B, H, W), drawn["valid"], 0.07)
        assert (found > 0).all()


def test_a_map_loss_against_its_formula(drawn):
    sim, tau = torch.rand(B, H, W), 0.2
    ours = torch.einsum("bhwe,be->bhw", unit(drawn["student"]), unit(drawn["phrase"])).flatten(1)
    p, q = (sim.flatten(1) / tau).softmax(1), (ours / tau).softmax(1)
    wanted = tau**2 * (p * (p / q).log()).sum(1)
    found = losses.map_consistency(drawn["student"], drawn["phrase"], sim, drawn["valid"], tau)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_pairs_are_nought_at_equality_never_below_and_know_no_order(drawn):
    torch.manual_seed(1)
    image, phrase = torch.randn(5, E), torch.randn(5, E)
    theirs = unit(torch.randn(5, E)), unit(torch.randn(5, E))
    assert float(losses.pair_consistency(image, phrase, unit(image), unit(phrase), 0.07)) == pytest.approx(0, abs=1e-5)
    found = losses.pair_consistency(image, phrase, *theirs, 0.07)
    assert float(found) > 0
    order = torch.tensor([3, 0, 4, 1, 2])
    mixed = losses.pair_consistency(image[order], phrase[order], *(t[order] for t in theirs), 0.07)
    assert float(mixed) == pytest.approx(float(found), rel=1e-5)
    wrong = losses.pair_consistency(image[order], phrase, *theirs, 0.07)
    assert float(wrong) != pytest.approx(float(found), rel=1e-3)
    # Rows and columns by hand.
    ours, teacher = unit(image) @ unit(phrase).T / 0.07, theirs[0] @ theirs[1].T / 0.07
    kl = [(t.softmax(1) * (t.log_softmax(1) - s.log_softmax(1))).sum(1).mean()
          for t, s in ((teacher, ours), (teacher.T, ours.T))]  # fmt: skip
    assert float(found) == pytest.approx(float(sum(kl) / 2), rel=1e-4)


def test_one_pair_compares_nothing_and_stays_in_the_graph(drawn):
    found = losses.pair_consistency(drawn["phrase"][:1], drawn["phrase"][:1], drawn["said"][:1], drawn["said"][:1], 0.1)
    assert float(found.detach()) == 0 and found.requires_grad


def test_a_mask_loss_has_its_floor_at_nought():
    torch.manual_seed(0)
    mask = torch.rand(2, 1, 8, 8)
    assert torch.allclose(losses.mask_consistency(mask.logit(), mask), torch.zeros(2), atol=1e-6)
    assert (losses.mask_consistency(torch.randn(2, 1, 8, 8), mask) > 0).all()
    unsure = torch.full((2, 1, 8, 8), 0.5)
    assert torch.equal(losses.mask_consistency(torch.randn(2, 1, 8, 8), unsure), torch.zeros(2))
    hard = (mask > 0.5).float()
    logits = torch.randn(2, 1, 8, 8)
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, hard, reduction="none").flatten(1).mean(1)
    assert torch.allclose(losses.mask_consistency(logits, hard), plain, atol=1e-6)
    finer = hard.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert losses.mask_consistency(logits, finer).isfinite().all()


def test_gradients_reach_the_student_alone(drawn):
    theirs = {name: drawn[name].clone().requires_grad_() for name in ("patch", "said")}
    sim, mask = torch.rand(B, H, W, requires_grad=True), torch.rand(B, 1, 8, 8, requires_grad=True)
    logits = torch.randn(B, 1, 8, 8, requires_grad=True)
    (
        losses.feature_consistency(drawn["student"], theirs["patch"], drawn["valid"]).sum()
        + losses.map_consistency(drawn["student"], drawn["phrase"], sim, drawn["valid"], 0.1).sum()
        + losses.pair_consistency(drawn["student"].mean((1, 2)), drawn["phrase"], theirs["said"], theirs["said"], 0.1)
        + losses.mask_consistency(logits, mask).sum()
    ).backward()
    for name in ("student", "phrase"):
        assert drawn[name].grad is not None and drawn[name].grad.abs().sum() > 0
    assert logits.grad is not None and logits.grad.abs().sum() > 0
    assert all(value.grad is None for value in (*theirs.values(), sim, mask))


def test_what_is_not_valid_changes_nothing(drawn):
    valid = drawn["valid"].clone()
    valid[:, :, 3:] = False
    sim = torch.rand(B, H, W)
    other = {"student": drawn["student"].detach().clone(), "patch": drawn["patch"].clone(), "sim": sim.clone()}
    for values in other.values():
        values[:, :, 3:] = 100 * torch.randn_like(values[:, :, 3:])
    given = drawn["student"], drawn["phrase"], sim
    changed = other["student"], drawn["phrase"], other["sim"]
    assert torch.equal(losses.map_consistency(*given, valid, 0.07), losses.map_consistency(*changed, valid, 0.07)), (
        "maps"
    )
    assert torch.equal(
        losses.feature_consistency(drawn["student"], drawn["patch"], valid),
        losses.feature_consistency(other["student"], other["patch"], valid),
    )
    nothing = torch.zeros_like(valid)
    for found in (
        losses.map_consistency(*given, nothing, 0.07),
        losses.feature_consistency(drawn["student"], drawn["patch"], nothing),
    ):
        assert torch.equal(found, torch.zeros(B))


def test_the_term_fades_over_the_last_part_alone():
    factors = [losses.fading(step, 101, 0.2) for step in range(101)]
    assert factors[:81] == [1.0] * 81
    assert factors[-1] == 0 and all(a > b for a, b in zip(factors[80:], factors[81:], strict=False))
    assert factors[90] == pytest.approx(0.5)
    assert losses.fading(100, 101, 0.0) == 1.0 and losses.fading(0, 1, 0.2) == 1.0


def test_repeats_of_an_image_are_dropped():
    numbers, counted = torch.tensor([5, 7, 5, 9, 7]), torch.tensor([True, False, True, True, True])
    assert first_of_each(numbers, counted).tolist() == [0, 3, 4]

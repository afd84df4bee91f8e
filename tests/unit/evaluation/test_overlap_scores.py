"""Counts and the arithmetic on them, against hand-computed cases, formulas in loops, and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s4eca.evaluation import overlap
from s4eca.evaluation.protocols import PROTOCOLS, scoring_protocol

CUTS = (0.5, 0.6, 0.7, 0.8, 0.9)
PAIRS = st.lists(
    st.integers(0, 40).flatmap(lambda union: st.tuples(st.integers(0, union), st.just(union))), min_size=1, max_size=12
)
FAST = settings(max_examples=60, deadline=None)


def by_formula(pairs: list[tuple[int, int]], name: str) -> dict[str, float]:
    """The formulas of the three scoring protocols once more, in plain loops."""
    values = []
    for inter, union in pairs:
        if name == "cris":
            values.append(inter / (union + 1e-6))
        else:
            values.append(0.0 if union == 0 else inter / union)
    scores = {"mIoU": sum(values) / len(values)}
    below = sum(union for _, union in pairs)
    scores["oIoU"] = sum(inter for inter, _ in pairs) / below if below else 0.0
    singles = torch.arange(0.5, 1.0, 0.1)
    for cut, single in zip(CUTS, singles, strict=True):
        if name == "cris":
            reached = [value > single.double().item() for value in values]
        else:
            reached = [value >= cut for value in values]
        scores[f"P@{cut}"] = sum(reached) / len(reached)
    return scores


@FAST
@given(pairs=PAIRS, name=st.sampled_from(sorted(PROTOCOLS)))
def test_scores_are_the_formulas(pairs: list[tuple[int, int]], name: str) -> None:
    above, below = zip(*pairs, strict=True)
    assert PROTOCOLS[name].scores(above, below) == pytest.approx(by_formula(pairs, name), abs=1e-12)


@FAST
@given(pairs=PAIRS, name=st.sampled_from(sorted(PROTOCOLS)), seed=st.integers(0, 9))
def test_the_order_of_samples_changes_nothing(pairs: list[tuple[int, int]], name: str, seed: int) -> None:
    mixed = [pairs[i] for i in np.random.default_rng(seed).permutation(len(pairs))]
    scores = [PROTOCOLS[name].scores(*zip(*some, strict=True)) for some in (pairs, mixed)]
    assert scores[0] == scores[1]


@FAST
@given(pairs=PAIRS, name=st.sampled_from(sorted(PROTOCOLS)))
def test_precision_falls_with_the_cut_and_scores_stay_in_range(pairs: list[tuple[int, int]], name: str) -> None:
    scores = PROTOCOLS[name].scores(*zip(*pairs, strict=True))
    precisions = [scores[f"P@{cut}"] for cut in CUTS]
    assert precisions == sorted(precisions, reverse=True)
    assert all(0.0 <= value <= 1.0 for value in scores.values())
    assert tuple(scores) == overlap.SCORES


@FAST
@given(bits=st.lists(st.booleans(), min_size=6, max_size=6), name=st.sampled_from(sorted(PROTOCOLS)))
def test_identical_masks_score_one(bits: list[bool], name: str) -> None:
    mask = np.array([*bits, True], dtype=np.bool_)
    counts = overlap.count(mask, mask)
    scores = PROTOCOLS[name].scores([counts.intersection], [counts.union])
    assert all(value == pytest.approx(1.0, abs=1e-6) for value in scores.values())


def test_counts_of_two_masks_by_hand() -> None:
    predicted = np.array([[1, 1, 0], [0, 1, 0]], dtype=np.bool_)
    truth = np.array([[0, 1, 1], [0, 1, 1]], dtype=np.bool_)
    assert overlap.count(predicted, truth) == overlap.Counts(intersection=2, union=5, predicted=3, truth=4)


@pytest.mark.parametrize(
    ("inter", "union", "cut", "inclusive", "strict", "cris"),
    [
        (1, 2, 0.5, 1, 0, 0),  # an exact half, the tie that tiny targets make
        (3, 5, 0.6, 1, 0, 0),  # 0.6 in float32 lies above 0.6
        (7, 10, 0.7, 1, 0, 0),  # 0.7 in float32 lies below 0.7; the epsilon decides
        (700_000_000, 1_000_000_000, 0.7, 1, 0, 1),  # so large that the epsilon does not: only float32 does
        (4, 5, 0.8, 1, 0, 0),
        (9, 10, 0.9, 1, 0, 0),
        (51, 100, 0.5, 1, 1, 1),
        (49, 100, 0.5, 0, 0, 0),
    ],
)
def test_ties_at_the_cut(inter: int, union: int, cut: float, inclusive: int, strict: int, cris: int) -> None:
    key = f"P@{cut}"
    assert PROTOCOLS["lavt"].scores([inter], [union])[key] == inclusive
    assert PROTOCOLS["native"].scores([inter], [union])[key] == inclusive
    assert scoring_protocol("lavt", strict=True).scores([inter], [union])[key] == strict
    assert PROTOCOLS["cris"].scores([inter], [union])[key] == cris


def test_single_precision_cuts_are_those_of_torch_arange() -> None:
    assert overlap.cut_values(single=True).tolist() == torch.arange(0.5, 1.0, 0.1).double().tolist()
    assert overlap.cut_values(single=False).tolist() == list(CUTS)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_two_empty_masks(name: str) -> None:
    assert set(PROTOCOLS[name].scores([0], [0]).values()) == {0.0}
    assert set(scoring_protocol(name, empty="one").scores([0], [0]).values()) == {1.0}


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
@pytest.mark.parametrize("policy", overlap.EMPTY_POLICIES)
def test_false_pixels_on_an_empty_truth_cost_the_overall_iou(name: str, policy: str) -> None:
    scores = scoring_protocol(name, empty=policy).scores([30, 0], [40, 10])
    assert scores["oIoU"] == 30 / 50
    assert scores["mIoU"] == pytest.approx(0.375, abs=1e-6)


def test_the_epsilon_is_exact() -> None:
    assert PROTOCOLS["cris"].scores([3], [4])["mIoU"] == 3 / (4 + 1e-6)
    assert PROTOCOLS["cris"].scores([3], [4])["oIoU"] == 0.75


def test_huge_counts_do_not_overflow() -> None:
    many = [2**40] * 1000
    assert overlap.overall_iou(many, [2**41] * 1000) == 0.5


@pytest.mark.parametrize(
    ("above", "below"), [([1], [1, 2]), ([3], [2]), ([-1], [2]), ([0.5], [1.0]), ([[1]], [[1]]), ([], [])]
)
def test_impossible_counts_are_refused(above: list[int], below: list[int]) -> None:
    with pytest.raises(ValueError):
        overlap.aggregate(above, below)


def test_masks_of_other_shapes_or_types_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        overlap.count(np.zeros((2, 3), np.bool_), np.zeros((3, 2), np.bool_))
    with pytest.raises(ValueError, match="boolean"):
        overlap.count(np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.bool_))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 9, 9), (6, 16, 20)])
def test_torchmetrics_agrees(shape: tuple[int, int, int]) -> None:
    from torchmetrics.classification import BinaryJaccardIndex

    random = np.random.default_rng(7)
    truth = random.random(shape) < 0.4
    predicted = truth ^ (random.random(shape) < 0.15)
    counts = [overlap.count(p, t) for p, t in zip(predicted, truth, strict=True)]
    scores = PROTOCOLS["native"].scores([c.intersection for c in counts], [c.union for c in counts])
    whole = BinaryJaccardIndex()
    one = []
    for p, t in zip(predicted, truth, strict=True):
        whole.update(torch.from_numpy(p).int(), torch.from_numpy(t).int())
        one.append(BinaryJaccardIndex()(torch.from_numpy(p).int(), torch.from_numpy(t).int()).item())
    assert scores["oIoU"] == pytest.approx(whole.compute().item(), abs=1e-6)
    assert scores["mIoU"] == pytest.approx(sum(one) / len(one), abs=1e-6)


def test_the_interval_is_repeatable_and_holds_the_mean() -> None:
    values = np.random.default_rng(0).random(200)
    low, high = overlap.bootstrap(values, seed=4)
    assert (low, high) == overlap.bootstrap(values, seed=4)
    assert (low, high) != overlap.bootstrap(values, seed=5)
    assert low < values.mean() < high
    deviation = values.std() / np.sqrt(values.size)
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert overlap.bootstrap([0.3]) == (0.3, 0.3)
    with pytest.raises(ValueError, match="no sample"):
        overlap.bootstrap([])

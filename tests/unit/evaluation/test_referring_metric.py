"""The torchmetrics shell: batches, processes and resets change nothing."""

from __future__ import annotations

import math

import pytest
import torch

from s4eca.evaluation.overlap import SCORES
from s4eca.evaluation.protocols import PROTOCOLS
from s4eca.evaluation.referring_metric import ReferringScores


def masks(count: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    truth = torch.rand(count, 12, 14, generator=generator) < 0.4
    return truth ^ (torch.rand(count, 12, 14, generator=generator) < 0.2), truth


def plain(metric: ReferringScores) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
@pytest.mark.parametrize("batch", [1, 3, 7])
def test_batches_change_nothing(name: str, batch: int) -> None:
    predicted, truth = masks()
    metric, by_counts = ReferringScores(name), ReferringScores(PROTOCOLS[name])
    inter, union = (predicted & truth).sum((1, 2)), (predicted | truth).sum((1, 2))
    for start in range(0, 7, batch):
        part = slice(start, start + batch)
        metric.update(predicted=predicted[part], truth=truth[part])
        by_counts.update(intersection=inter[part], union=union[part])
    assert plain(metric) == plain(by_counts) == PROTOCOLS[name].scores(inter.tolist(), union.tolist())
    assert tuple(plain(metric)) == SCORES


def test_two_processes_are_one_set() -> None:
    predicted, truth = masks()
    whole = ReferringScores()
    whole.update(predicted=predicted, truth=truth)
    other = ReferringScores()
    other.update(predicted=predicted[3:], truth=truth[3:])
    lists = iter([torch.cat(other.intersection), torch.cat(other.union)])
    here = ReferringScores(
        dist_sync_fn=lambda state, group=None: [state, next(lists)], distributed_available_fn=lambda: True
    )
    here.update(predicted=predicted[:3], truth=truth[:3])
    assert plain(here) == plain(whole)


def test_nothing_seen_is_nan_and_reset_forgets() -> None:
    metric = ReferringScores()
    predicted, truth = masks()
    metric.update(predicted=predicted, truth=truth)
    metric.reset()
    metric.update(intersection=torch.zeros(0, dtype=torch.int64), union=torch.zeros(0, dtype=torch.int64))
    assert all(math.isnan(value) for value in plain(metric).values())


def test_half_precision_never_touches_counts() -> None:
    metric = ReferringScores().half()
    metric.update(intersection=torch.tensor([2**33]), union=torch.tensor([2**34]))
    assert plain(metric)["oIoU"] == 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"predicted": torch.zeros(1, 2, 2, dtype=torch.bool)},
        {"intersection": torch.tensor([1.0]), "union": torch.tensor([2.0])},
        {"intersection": torch.tensor([1]), "union": torch.tensor([2, 3])},
        {"predicted": torch.zeros(1, 2, 2), "truth": torch.zeros(1, 2, 2)},
        {"predicted": torch.zeros(2, 2, dtype=torch.bool), "truth": torch.zeros(2, 2, dtype=torch.bool)},
    ],
)
def test_other_input_is_refused(wrong: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError):
        ReferringScores().update(**wrong)

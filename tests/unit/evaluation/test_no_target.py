"""N-acc, T-acc and gIoU by hand, the same over several processes, with and without a no-target head."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from s4eca.errors import CalibrationError, ConfigError, DataError
from s4eca.evaluation.calibration import GRID, Measured, choose, measure
from s4eca.evaluation.no_target import no_target_scores, separation
from s4eca.evaluation.protocols import scoring_protocol
from s4eca.evaluation.records import Record
from s4eca.evaluation.referring_metric import PresenceScores
from s4eca.evaluation.report import table
from s4eca.evaluation.run import evaluate
from s4eca.records import PRESENCE, Prediction


@pytest.fixture
def headed(oracle: Any) -> Any:
    """An oracle of the masks whose head gives each expression a presence of its own."""

    def make(dataset: Any, presence: dict[str, float], gate: float | None = None, **settings: Any) -> Any:
        model = oracle(dataset, **settings)
        plain = model.decode
        logits = {said: float(np.log(p / (1 - p))) for said, p in presence.items()}

        def decode(encoded: Any, expressions: list[str]) -> Prediction:
            told = torch.tensor([logits[expression] for expression in expressions])
            return Prediction(plain(encoded, expressions).logits, {PRESENCE: told})

        model.decode = decode
        model.tells_presence, model.presence_threshold = True, gate
        model.probabilities_and_presence = lambda windows, expressions: (None, None)
        return model

    return make


PRESENCE_OF = {
    "the pool": 0.9, "the field": 0.8, "left roof": 0.2, "right roof": 0.7, "no ship": 0.3, "the lake": 0.95,
    "water": 0.6,
}  # fmt: skip


def test_by_hand() -> None:
    """Two without a target (one right), three with one (one missed, one at half)."""
    scores = no_target_scores([0, 0, 10, 0, 5], [0, 7, 10, 4, 10], [0, 7, 10, 0, 10], [0, 0, 10, 4, 5])
    assert scores == {"N-acc": 1 / 2, "T-acc": 2 / 3, "gIoU": pytest.approx((1 + 0 + 1 + 0 + 0.5) / 5)}
    assert no_target_scores([3], [3], [3], [3]) == {"N-acc": None, "T-acc": 1.0, "gIoU": 1.0}
    with pytest.raises(ValueError, match="no sample"):
        no_target_scores([], [], [], [])


def test_separation_is_the_share_of_pairs_in_order() -> None:
    presence, target = np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False])
    pairs = [(0.9, 0.4), (0.9, 0.1), (0.4, 0.4), (0.4, 0.1)]
    wanted = np.mean([1.0 if some > none else 0.5 if some == none else 0.0 for some, none in pairs])
    assert separation(presence, target) == wanted
    assert separation(presence, np.ones(4, bool)) is None


def test_processes_add_up_and_batches_do_not_matter() -> None:
    random = np.random.default_rng(0)
    masks = [torch.from_numpy(random.random((12, 6, 6)) < share) for share in (0.3, 0.2)]
    masks[0][:4], masks[1][2:6] = False, False
    presence = torch.from_numpy(random.random(12).astype(np.float32))
    whole, first, second = PresenceScores(0.4), PresenceScores(0.4), PresenceScores(0.4)
    whole.update(predicted=masks[0], truth=masks[1], presence=presence)
    for metric, places in ((first, range(0, 12, 2)), (second, range(1, 12, 2))):
        metric.update(predicted=masks[0][:0], truth=masks[1][:0], presence=presence[:0])
        for i in places:
            metric.update(predicted=masks[0][i][None], truth=masks[1][i][None], presence=presence[i : i + 1])
    merged = PresenceScores(0.4)
    merged.counts = [torch.cat([*first.counts, *second.counts])]
    merged.presence = [torch.cat([*first.presence, *second.presence])]
    assert {name: float(value) for name, value in merged.compute().items()} == pytest.approx(
        {name: float(value) for name, value in whole.compute().items()}
    )
    first.reset()
    first.update(predicted=masks[0][:0], truth=masks[1][:0], presence=presence[:0])
    assert all(value.isnan() for value in first.compute().values())


def test_the_report_shows_both_ways_and_published_rules_stay_plain(blocks: Any, headed: Any) -> None:
    """One of seven has no target, and the oracle's mask of it is empty; its head loses one roof at 0.5."""
    found: list[Record] = []
    report = evaluate(headed(blocks, PRESENCE_OF, 0.5, size=224), blocks, progress=False, on_record=found.append)
    told = report["no_target"]
    assert (told["target"], told["no_target"], told["added"]) == (6, 1, 0)
    native = told["protocols"]["native"]
    assert native["mask"]["N-acc"] == native["mask"]["T-acc"] == 1.0
    assert native["head"]["T-acc"] == 5 / 6 and native["head"]["threshold"] == 0.5
    assert native["head"]["separation"] == 5 / 6
    assert native["head"]["gIoU"] == pytest.approx(native["mask"]["gIoU"] - 1 / 7, abs=0.02)
    # The usual scores are of what a user gets: native empties, the published rules know of no head.
    assert report["protocols"]["native"]["P@0.8"] == 5 / 7 and report["protocols"]["lavt"]["P@0.8"] == 6 / 7
    assert "presence < 0.5" in report["definitions"]["native"] and "presence" not in report["definitions"]["lavt"]
    assert "native, head >= 0.5" in table(report)
    lost = next(record for record in found if record.expression == "left roof")
    assert lost.counts["native"].predicted == 0 < lost.masks["native"].predicted
    assert Record.from_dict(json.loads(lost.to_json())) == lost
    everywhere = evaluate(headed(blocks, PRESENCE_OF), blocks, progress=False, presence_threshold=0.5)
    assert everywhere["protocols"]["lavt"]["P@0.8"] == 5 / 7


def test_without_a_head_only_masks_speak_and_a_split_with_targets_says_nothing(blocks: Any, oracle: Any) -> None:
    report = evaluate(oracle(blocks, size=112, flat=9.0), blocks, ["native"], progress=False)
    assert report["no_target"]["protocols"] == {
        "native": {"mask": {"N-acc": 0.0, "T-acc": 1.0, "gIoU": pytest.approx(report["protocols"]["native"]["mIoU"])}}
    }
    blocks.references = tuple(r for r in blocks.references if r.expression != "no ship")
    assert "no_target" not in evaluate(oracle(blocks, size=56), blocks, ["native"], progress=False)


def test_a_gate_without_a_head_is_refused(tmp_path: Any) -> None:
    from s4eca.evaluation.protocols import scoring_protocol
    from s4eca.evaluation.run import resolve_protocols

    class Plain:
        image_size, threshold, bands, band_ranges, fill = 28, 0.5, (), (), (0.0, 0.0, 0.0)

    with pytest.raises(ConfigError, match="presence_threshold is 0.5, but the model has no no-target head"):
        resolve_protocols(["native"], Plain(), presence_threshold=0.5)
    with pytest.raises(ConfigError, match="'native' has presence = 0.5"):
        resolve_protocols([scoring_protocol("native", threshold=0.5, presence=0.5)], Plain())


def test_thresholds_are_not_chosen_on_what_is_reported() -> None:
    from s4eca.config import check_calibration_split

    check_calibration_split("val")
    for split in ("test", "testA", "TEST"):
        with pytest.raises(ConfigError, match="choose thresholds on val"):
            check_calibration_split(split)


def test_absent_expressions_enter_the_no_target_scores_alone(tmp_path: Any) -> None:
    from s4eca.data.open import open_dataset
    from s4eca.data.rendered.scenes import render_scene
    from s4eca.data.rendered.write import write_layout

    write_layout(tmp_path / "set", "rrsisd", {"val": [render_scene(10 + i, (96, 96)) for i in range(4)]})
    split = open_dataset(tmp_path / "set", "rrsisd", "val", exhaustive=True)

    class Everything:
        image_size, threshold, bands, band_ranges, fill = 28, 0.5, (), (), (0.0, 0.0, 0.0)
        encode = staticmethod(lambda images: None)
        probabilities = staticmethod(lambda windows, expressions: None)

        def decode(self, encoded: Any, expressions: list[str]) -> Prediction:
            return Prediction(torch.full((len(expressions), 8, 8), 9.0))

    plain = evaluate(Everything(), split, ["native"], progress=False)
    with_absent = evaluate(Everything(), split, ["native"], progress=False, absent=1)
    assert "no_target" not in plain
    assert with_absent["protocols"] == plain["protocols"] and with_absent["count"] == plain["count"] == len(split)
    told = with_absent["no_target"]
    assert 0 < told["added"] <= len(split) and told["no_target"] == told["added"]
    assert told["protocols"]["native"]["mask"]["N-acc"] == 0.0
    open_ended = open_dataset(tmp_path / "set", "rrsisd", "val", exhaustive=False)
    with pytest.raises(DataError, match="exhaustive"):
        evaluate(Everything(), open_ended, progress=False, absent=1)


def by_force(measured: Measured, place: int, least: float) -> float:
    """The largest N-acc of any threshold of presence that leaves the T-acc."""
    cuts = [0.0, *(p + step for p in measured.presence for step in (0, 1e-9)), 1.0]
    told = [measured.told(place, cut) for cut in cuts]
    return max(one["N-acc"] for one in told if one["T-acc"] >= least)


@pytest.mark.parametrize("seed", range(6))
def test_the_choice_is_that_of_trying_every_threshold(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, truth = 60, np.where(np.arange(60) < 30, random.integers(1, 50, 60), 0)
    predicted = np.sort(random.integers(0, 60, (count, 3)), axis=1)[:, ::-1]
    both = np.minimum(predicted, truth[:, None]) * random.integers(0, 2, (count, 1))
    presence = np.clip(random.normal(np.where(truth > 0, 0.7, 0.4), 0.2), 0, 1).round(2)
    measured = Measured((0.3, 0.5, 0.7), both, predicted, truth, presence, ("a",) * count, truth < 0)
    chosen = choose(measured, t_acc=0.8)
    place = measured.grid.index(chosen.threshold)
    assert chosen.mean_iou == measured.mean_iou().max() == chosen.curve[f"{chosen.threshold:g}"]
    assert chosen.head["T-acc"] >= 0.8 and chosen.head["N-acc"] == by_force(measured, place, 0.8)
    assert chosen.head == measured.told(place, chosen.presence_threshold)


def test_counts_of_the_grid_are_those_of_the_scoring_protocol(blocks: Any, headed: Any) -> None:
    model = headed(blocks, PRESENCE_OF, size=56)
    measured = measure(model, blocks, progress=False, batch_size=2)
    rules = [scoring_protocol("native", threshold=cut) for cut in GRID]
    for place, rule in enumerate(rules):
        found: list[Record] = []
        evaluate(model, blocks, [rule], progress=False, on_record=found.append)
        ordered = sorted(found, key=lambda record: record.id)
        assert [r.counts["native"].intersection for r in ordered] == measured.intersection[:, place].tolist()
        assert [r.counts["native"].predicted for r in ordered] == measured.predicted[:, place].tolist()
    assert measured.presence == pytest.approx([PRESENCE_OF[r.expression] for r in blocks.references])


def test_what_cannot_be_chosen_is_said() -> None:
    counts = np.array([[4], [0]])
    measured = Measured((0.5,), counts, counts, np.array([4, 4]), np.array([0.9, 0.2]), ("a", "b"), np.zeros(2, bool))
    with pytest.raises(DataError, match="nothing without a target"):
        choose(measured)
    missed = Measured((0.5,), counts[[1, 1]], counts[[1, 1]], np.array([4, 0]), np.array([0.9, 0.2]), ("a", "b"),
                      np.zeros(2, bool))  # fmt: skip
    with pytest.raises(CalibrationError, match="0.0000 by the masks alone"):
        choose(missed)
    with pytest.raises(ConfigError, match=r"t_acc is 1\.5"):
        choose(measured, t_acc=1.5)

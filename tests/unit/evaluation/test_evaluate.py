"""The whole way from a data set and a model to a report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s4eca.errors import ConfigError, DataError
from s4eca.evaluation.protocols import PROTOCOLS, scoring_protocol
from s4eca.evaluation.records import Record
from s4eca.evaluation.run import evaluate, image_groups, resolve_protocols


def test_an_oracle_scores_high_and_background_scores_zero(blocks: Any, oracle: Any) -> None:
    good = evaluate(oracle(blocks, size=224), blocks, progress=False)
    assert good["count"] == 7 and good["empty"] == 1 and good["images"] == 3
    for name in PROTOCOLS:
        assert good["protocols"][name]["P@0.8"] == pytest.approx(6 / 7), name
        assert good["protocols"][name]["oIoU"] > 0.9, name
        assert good["empty_where_scored"][name] == 1
    nothing = evaluate(oracle(blocks, size=112, flat=-9.0), blocks, progress=False)
    assert all(value == 0 for scores in nothing["protocols"].values() for value in scores.values())
    all_of_it = evaluate(oracle(blocks, size=112, flat=9.0), blocks, ["native"], progress=False)
    area = sum(int(blocks.mask(r).sum()) for r in blocks.references)
    assert all_of_it["protocols"]["native"]["oIoU"] == area / sum(blocks.mask(r).size for r in blocks.references)


def test_groups_and_names_of_the_report(blocks: Any, oracle: Any) -> None:
    report = evaluate(oracle(blocks, size=56), blocks, progress=False)
    assert list(report["per_class"]) == ["field", "flat roof", "pool", "ship"]
    assert {kind: part["count"] for kind, part in report["per_kind"].items()} == {"position": 2, "unique": 4}
    assert {size: part["count"] for size, part in report["per_size"].items()} == {"16-32": 4, "32-64": 2}
    assert report["dataset"] == "memory" and report["split"] == "val" and report["image_size"] == 56
    assert report["findings"][0] == "a finding" and report["shuffle_seed"] is None


@pytest.mark.parametrize(
    ("protocols", "per_image"), [(["lavt", "native"], 1), (["cris"], 1), (["lavt", "cris", "native"], 2)]
)
def test_each_image_is_encoded_once_for_each_way_in(
    blocks: Any, oracle: Any, protocols: list[str], per_image: int
) -> None:
    model = oracle(blocks, size=56)
    blocks.image_reads.clear()
    evaluate(model, blocks, protocols, progress=False, batch_size=2)
    assert model.encodings == 3 * per_image  # four files, two of them the same picture
    assert len(blocks.image_reads) == 3
    assert max(model.batches) == 2


def test_batches_and_the_order_of_references_change_nothing(blocks: Any, oracle: Any, memory_dataset: Any) -> None:
    one = evaluate(oracle(blocks, size=56), blocks, progress=False, batch_size=1)
    order = np.random.default_rng(0).permutation(len(blocks))
    references = [blocks.references[i] for i in order]
    mixed = memory_dataset([(r, blocks.image(r), blocks.mask(r)) for r in references], blocks.classes)
    many = evaluate(oracle(mixed, size=56), mixed, progress=False, batch_size=9)
    for key in ("protocols", "per_class", "per_kind", "per_size", "count", "empty"):
        assert one[key] == many[key]


def test_records_come_one_by_one_with_true_counts(blocks: Any, oracle: Any) -> None:
    found: list[Record] = []
    evaluate(oracle(blocks, size=56), blocks, progress=False, on_record=found.append)
    assert [record.id for record in found] == ["1", "2", "3", "4", "5", "6", "7"]
    assert [record.image for record in found] == ["a.png"] * 2 + ["b.png"] * 3 + ["c.png"] * 2
    for record, reference in zip(found, blocks.references, strict=True):
        assert record.area == record.counts["native"].truth == record.counts["cris"].truth
        assert record.area == int(blocks.mask(reference).sum())
        assert list(record.counts) == list(PROTOCOLS)


def test_shuffled_expressions_come_from_other_images(blocks: Any, oracle: Any) -> None:
    found: list[Record] = []
    report = evaluate(oracle(blocks, size=56), blocks, progress=False, shuffle_seed=4, on_record=found.append)
    assert report["shuffle_seed"] == 4
    owners: dict[str, set[str]] = {}
    for group, reference in zip(image_groups(blocks), blocks.references, strict=True):
        owners.setdefault(reference.expression, set()).add(group)
    assert all(record.image not in owners[record.expression] for record in found)
    assert sorted(record.expression for record in found) == sorted(r.expression for r in blocks.references)
    assert report["protocols"]["native"]["mIoU"] == 0
    assert report["per_kind"].keys() == {"position", "unique"}


def test_the_models_stored_threshold_is_natives_own(blocks: Any, oracle: Any) -> None:
    model = oracle(blocks, size=56)
    model.threshold = 0.42
    assert {b.name: b.threshold for b in resolve_protocols(list(PROTOCOLS), model)} == {
        "lavt": 0.5,
        "cris": 0.35,
        "native": 0.42,
    }
    assert {b.threshold for b in resolve_protocols(list(PROTOCOLS), model, 0.3)} == {0.3}
    report = evaluate(model, blocks, ["native", PROTOCOLS["lavt"].replace(threshold=0.9)], progress=False)
    assert report["threshold"] == {"native": 0.42, "lavt": 0.9}


def test_impossible_requests_are_refused(blocks: Any, oracle: Any, memory_dataset: Any) -> None:
    with pytest.raises(DataError, match="no reference in split 'val'"):
        evaluate(oracle(blocks, size=56), memory_dataset([]), progress=False)
    with pytest.raises(ConfigError, match="threshold is 3"):
        evaluate(oracle(blocks, size=56), blocks, progress=False, threshold=3.0)
    with pytest.raises(ConfigError, match="did you mean 'native'"):
        evaluate(oracle(blocks, size=56), blocks, ["nativ"], progress=False)


def test_a_mask_of_another_size_than_its_image(memory_reference: Any, memory_dataset: Any, oracle: Any) -> None:
    """As in fourteen images of RRSIS-D: the prediction goes to the mask's size."""
    image = np.random.default_rng(0).integers(0, 255, (98, 100, 3), dtype=np.uint8)
    mask = np.zeros((100, 100), dtype=np.bool_)
    mask[20:60, 30:80] = True
    dataset = memory_dataset([(memory_reference("1", Path("a.png"), "field"), image, mask)])
    found: list[Record] = []
    report = evaluate(oracle(dataset, size=112), dataset, progress=False, on_record=found.append)
    assert found[0].counts["native"].truth == found[0].counts["cris"].truth == 40 * 50
    assert all(scores["mIoU"] > 0.9 for scores in report["protocols"].values())


def test_progress_goes_to_stderr_alone(blocks: Any, oracle: Any, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(oracle(blocks, size=56), blocks, ["native"])
    out, err = capsys.readouterr()
    assert out == "" and "7/7" in err


def test_scoring_needs_neither_lightning_nor_torchmetrics() -> None:
    heavy = "('torch', 'lightning', 'torchmetrics', 'cv2')"
    code = f"import sys, s4eca.evaluation.run; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "[]"


@pytest.mark.realdata
@pytest.mark.parametrize("flat", [None, -9.0])
def test_an_oracle_on_real_imagery(oracle: Any, flat: float | None) -> None:
    """A protocol's own resizing costs little: the truth itself, seen through a 448 px decoder, scores high."""
    root = os.environ.get("S4ECA_REALDATA")
    if root is None or not (Path(root) / "vhr10-ref").is_dir():
        pytest.skip("set S4ECA_REALDATA to a folder that holds vhr10-ref")
    from s4eca.data.open import open_dataset

    dataset = open_dataset(Path(root) / "vhr10-ref", "rrsisd", "val")
    report = evaluate(oracle(dataset, flat=flat), dataset, progress=False)
    assert report["count"] == 305 and report["empty"] == 0
    assert {size: part["count"] for size, part in report["per_size"].items()} == {
        "<16": 6,
        "16-32": 32,
        "32-64": 96,
        "64-128": 114,
        ">128": 57,
    }
    for name, scores in report["protocols"].items():
        if flat is None:
            assert scores["mIoU"] > (0.85 if name == "cris" else 0.9) and scores["P@0.5"] > 0.99, (name, scores)
        else:
            assert set(scores.values()) == {0.0}
    json.dumps(report, allow_nan=False)


def test_empty_masks_that_count_nothing_are_said(oracle: Any, blocks: Any) -> None:
    """The cap of mIoU is told where a rule has one, and is what a perfect model reaches."""
    report = evaluate(oracle(blocks), blocks, "native", progress=False)
    (said,) = [text for text in report["findings"] if "empty mask" in text]
    assert said.startswith("1 of 7 references have an empty mask and are 0 under native whatever is predicted")
    assert "mIoU is at most 85.71" in said and "--empty one" in said and "docs/presence.md" in said
    assert report["protocols"]["native"]["mIoU"] <= 6 / 7
    assert "caps its mIoU" in report["definitions"]["empty"]
    other = evaluate(oracle(blocks), blocks, scoring_protocol("native", empty="one"), progress=False)
    assert other["findings"] == ["a finding"] and "caps its mIoU" not in other["definitions"]["empty"]

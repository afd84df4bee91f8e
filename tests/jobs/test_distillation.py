"""The distillation experiment: a small one from end to end, skipped, listed, cut and gone on with."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
PARTS = (
    "distillation", "distil_arms", "distil_training", "grid_ahead", "grid_data", "grid_graph", "grid_rows",
    "grid_scores", "grid_store", "grid_tasks", "grid_training", "record", "cost_measures",
)  # fmt: skip
ARMS = ("none", "D1+D2+D4", "shuffled")


@pytest.fixture(scope="module")
def parts() -> Any:
    """The modules of benchmarks/ by name."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield {name: importlib.import_module(name) for name in PARTS}
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
        for name in PARTS:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def small(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Folder of a finished small run, and the words that made it."""
    place = tmp_path_factory.mktemp("distil")
    words = ["run", "--small", "--percent", "50", "--work", str(place), "--out", str(place / "rows.json"), "--arms"]
    assert parts["distillation"].main([*words, *ARMS]) == 0
    return place, words


def test_each_arm_is_a_row_with_scores(small: Any, parts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    place, _ = small
    content, beside = (json.loads((place / name).read_text()) for name in ("rows.json", "rows_references.json"))
    assert [row["arm"] for row in content["rows"].values()] == list(ARMS)
    for key, row in content["rows"].items():
        assert row["updates"] == 2 and row["train_seconds"] > 0 and row["commit"]
        ious = beside["rows"][key]["rendered"]
        assert np.mean(ious) / 10_000 == pytest.approx(row["scores"]["rendered"]["mIoU"], abs=1e-4)
        assert (row["teacher"] in key) == (row["arm"] != "none")
    assert not list((place / "checkpoints").iterdir()), "what is done needs no checkpoint"
    assert parts["distillation"].main(["table", "--out", str(place / "rows.json")]) == 0
    printed = capsys.readouterr().out
    assert "| 50 % | shuffled | 1 |" in printed and "D1+D2+D4 - shuffled" in printed


def test_what_is_done_is_skipped_and_the_rest_is_listed(
    small: Any, parts: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place, words = small
    before = (place / "rows.json").read_bytes()
    assert parts["distillation"].main([*words, *ARMS]) == 0
    capsys.readouterr()
    assert parts["distillation"].main([*words, "none", "longer", "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "longer, 50 % of the labels, s4eca, side on rendered, seed 0, 56 px"
    ]
    assert (place / "rows.json").read_bytes() == before


def test_labels_are_limited_by_image_and_shares_are_nested(small: Any, parts: Any) -> None:
    arms, sets = parts["distil_arms"], parts["grid_data"].Sets({"rendered": small[0] / "rendered"})
    split = sets.split("rendered", "train")
    found = [arms.labelled(split, percent, 3) for percent in (17, 50, 100)]
    assert [len(one.images()) for one in found] == [1, 3, 6]
    for less, more in zip(found, found[1:], strict=False):
        assert set(less.images()) < set(more.images())
        own = set(less.images())
        assert less.references == tuple(r for r in split.references if r.image in own)
    assert arms.labelled(split, 50, 4).images() != found[1].images()


def test_a_cut_row_goes_on_to_the_same_numbers(small: Any, parts: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    from s4eca.distill.teachers.named import load_teacher
    from s4eca.layers.trainable import trainable_state

    rows, training, distil = parts["grid_rows"], parts["grid_training"], parts["distil_training"]
    recipe = replace(rows.Recipe(**parts["distillation"].SMALL), updates=4)
    teacher = load_teacher(f"s4eca:{small[0] / 'teacher'}")
    row = rows.Row(rows.Form("s4eca", "side"), "rendered", 1, recipe)
    cell = parts["distil_arms"].Cell("D1+D2+D4", 50, row, teacher.id)
    place = training.Place({"rendered": small[0] / "rendered"}, "memory", tmp_path)

    class Cut(training.Workshop):
        """Out of time at the third look at the clock."""

        looks = 0

        def check(self) -> None:
            Cut.looks += 1
            if Cut.looks == 3:
                raise training.OutOfTimeError

    whole, cut = training.Workshop(place), Cut(place)
    cut.prefixes = whole.prefixes
    ours, _ = distil.trained(whole, cell, teacher, small[0] / "targets", "whole")
    with pytest.raises(training.OutOfTimeError):
        distil.trained(cut, cell, teacher, small[0] / "targets", "cut")
    assert torch.load(tmp_path / "cut.pt", weights_only=True)["done"] == 2
    theirs, _ = distil.trained(whole, cell, teacher, small[0] / "targets", "cut")
    one, other = trainable_state(ours), trainable_state(theirs)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_random_teacher_has_the_shapes_and_hears_the_phrase_alone(parts: Any) -> None:
    arms = parts["distil_arms"]
    teacher = arms.RandomProjection((4, 4), 5, (16, 16))
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    found = teacher.targets([image, image], ["a ship", "a road"])
    assert torch.equal(found.patch[0], found.patch[1]) and not torch.equal(found.sim[0], found.sim[1])
    assert found.mask.shape == (2, 1, 16, 16) and 0 <= float(found.mask.min()) <= float(found.mask.max()) <= 1


def test_nothing_is_distilled_from_masks(small: Any, parts: Any, tmp_path: Path) -> None:
    """With no label for an image its mask cannot matter: an update is the same where that mask is another."""
    from s4eca.data.augment.symmetries import Symmetry
    from s4eca.distill.teachers.named import load_teacher
    from s4eca.layers.trainable import trainable_state

    rows, training, distil, data = (parts[n] for n in ("grid_rows", "grid_training", "distil_training", "grid_data"))
    split = data.Sets({"rendered": small[0] / "rendered"}).split("rendered", "train")
    teacher = load_teacher(f"s4eca:{small[0] / 'teacher'}")
    row = rows.Row(rows.Form("s4eca", "side"), "rendered", 1, rows.Recipe(**parts["distillation"].SMALL))
    cell, ends = parts["distil_arms"].Cell("D1+D2+D4", 50, row, teacher.id), []
    for turned in (False, True):
        model = training.fresh(row)
        made = distil.distiller_of(cell, model, teacher, split, small[0] / "targets")
        run = distil.Run(cell, model, made, 4, tmp_path / f"{turned}.pt")
        own, other = data.loader(model, split, None, (Symmetry.IDENTITY,), [[(0, 0, 0)], [(7, 0, 0)]], 0)
        if turned:
            other.truths = [255 - truth for truth in other.truths]
        run.update(own, other)
        ends.append(trainable_state(model))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize("words", [[], ["--data", "x"], ["--data", "x=y"]])
def test_a_mistake_is_one_sentence(words: list[str], parts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert parts["distillation"].main(["run", *words]) == 2
    assert capsys.readouterr().err.startswith("distillation: error: run needs --data NAME=FOLDER and --teacher")


def test_the_page_has_the_table_of_the_committed_rows(parts: Any) -> None:
    store = parts["grid_store"].Store(ROOT / "benchmarks" / "results" / "distillation.json")
    page = (ROOT / "docs" / "distillation.md").read_text()
    begin, end = "<!-- distillation: python benchmarks/distillation.py table -->", "<!-- end of distillation -->"
    assert page.partition(begin)[2].partition(end)[0].strip() == parts["distillation"].table(store)
    assert all(row["command"] and row["commit"] for row in store.content["rows"].values())

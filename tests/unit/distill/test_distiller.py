"""What stands beside a training step: which samples take part in what, and whom the gradients reach."""

from __future__ import annotations

import dataclasses

import doubles
import numpy as np
import pytest
import torch

from s4eca.data.augment.symmetries import Symmetry
from s4eca.data.open import open_dataset
from s4eca.data.preprocess import stretch, working_mask
from s4eca.distill.audit import audit
from s4eca.distill.cache import TargetCache
from s4eca.distill.distiller import Distiller
from s4eca.distill.report import bucket_names
from s4eca.distill.settings import DistillConfig
from s4eca.distill.source import TargetSource
from s4eca.distill.teachers.named import load_teacher
from s4eca.errors import ConfigError, TeacherRejected
from s4eca.model.encodings import drawn
from s4eca.registry import TEACHERS

ONE = {"features": 0.0, "map": 0.0, "pairs": 0.0, "mask": 0.0}


@pytest.fixture(scope="module")
def split(rendered):
    return open_dataset(rendered, "rrsisd", "val")


@pytest.fixture
def student(toy_model, split):
    """The distiller of some settings, and what it takes of six references (of three images, if none are named)."""
    model = toy_model()

    def made(teacher=None, references=None, **settings):
        config = DistillConfig(teacher="double", **{"least_patches": 0.0, **settings})
        distiller = Distiller(config, model, teacher or doubles.knowing(split))
        chosen = list(references or split.references[:6])
        known = [r or split.references[0] for r in chosen]
        images = np.stack([stretch(split.image(r), 32) for r in known])
        truth = np.stack([working_mask(split.mask(r), 64) for r in known])
        encoded = model.encode(model.normalise(torch.from_numpy(images).permute(0, 3, 1, 2)))
        fused = model.fuse(encoded, model.tokenize([r.expression for r in known], cut=True))
        found = drawn(model, encoded, fused)
        given = chosen, [Symmetry.IDENTITY] * len(chosen), torch.from_numpy(truth)[:, None].float() / 255, fused, found
        return distiller, given

    made.model = model
    return made


@pytest.mark.parametrize("name", ["features", "map", "pairs", "mask"])
def test_each_loss_alone_reaches_the_student_and_what_it_needs(name, student):
    distiller, given = student(**{**ONE, name: 1.0})
    loss = distiller(*given)
    assert loss > 0
    loss.backward()
    reached = {n for n, p in student.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached and not any(n.startswith(("vision.", "text.")) for n in reached)
    made = {n.partition(".")[0] for n, p in distiller.named_parameters() if p.grad.abs().sum() > 0}
    assert made == {"features": {"seen"}, "map": {"seen", "said"}, "pairs": {"seen", "said"}, "mask": set()}[name]


def test_the_sum_is_weighted(student):
    weights = {"features": 2.0, "map": 3.0, "pairs": 0.25, "mask": 1.5}
    parts = {}
    for name in weights:
        distiller, given = student(**{**ONE, name: 1.0})
        parts[name] = float(distiller(*given).detach())
    torch.manual_seed(0)
    whole, given = student(**weights)
    assert float(whole(*given).detach()) == pytest.approx(sum(weights[n] * v for n, v in parts.items()), rel=1e-4)


def test_absent_expressions_are_not_asked_about(student, split):
    references = [split.references[0], None, split.references[1], None]
    teacher = doubles.knowing(split)
    distiller, given = student(teacher, references)
    distiller(*given)
    assert teacher.calls == 2
    distiller, given = student(teacher, [None, None])
    loss = distiller(*given)
    assert float(loss.detach()) == 0 and teacher.calls == 2
    loss.backward()
    assert all(p.grad is not None for p in distiller.parameters()), "other processes wait for these"


def test_targets_too_small_for_a_patch_are_left_out_of_maps_alone(student, split):
    shares = {r.id: split.mask(r).mean() * np.prod(doubles.GRID) for r in split.references}
    order = sorted(split.references, key=lambda r: shares[r.id])
    place = max(range(2, len(order) - 2), key=lambda n: shares[order[n].id] / shares[order[n - 1].id])
    least = (shares[order[place - 1].id] * shares[order[place].id]) ** 0.5
    both, alone = order[place - 2 : place + 2], order[place : place + 2]
    for name, same in (("map", True), ("features", False)):
        found = []
        for references in (both, alone):
            distiller, given = student(references=references, **{**ONE, name: 1.0, "least_patches": least})
            found.append(float(distiller(*given).detach()))
        assert (found[0] == pytest.approx(found[1], rel=1e-4)) is same, name


def test_closed_sizes_are_left_out_of_maps_and_masks(student, split):
    report = audit(TargetSource(doubles.knowing(split), frozenset({"sim"}), TargetCache()), split, progress=False)
    for name, nothing in (("map", True), ("mask", True), ("features", False), ("pairs", False)):
        distiller, given = student(**{**ONE, name: 1.0})
        distiller.report = dataclasses.replace(report, closed=bucket_names())
        assert (float(distiller(*given).detach()) == 0) is nothing, name


def test_what_an_audit_allows(student, split):
    distiller, _ = student(mask=1.0)
    distiller.begin([split], "cpu")
    assert distiller.weights == {"features": 1.0, "map": 1.0, "pairs": 0.5, "mask": 1.0}
    assert distiller.record["audit"]["passed"] and not distiller.record["forced"]
    distiller, _ = student(doubles.seeing_classes(split), mask=1.0)
    distiller.begin([split], "cpu")
    assert distiller.weights == {"features": 1.0, "pairs": 0.5}, "the class alone: no places"
    distiller, _ = student(doubles.seeing_classes(split), **{**ONE, "map": 1.0})
    with pytest.raises(TeacherRejected, match="may not teach places"):
        distiller.begin([split], "cpu")
    rejected = doubles.Double(doubles.random_map)
    distiller, _ = student(rejected)
    with pytest.raises(TeacherRejected, match="fails its audit"):
        distiller.begin([split], "cpu")
    distiller, _ = student(rejected, force=True)
    distiller.begin([split], "cpu")
    assert distiller.record["forced"] is True and distiller.record["audit"]["reasons"]


def test_a_report_of_another_teacher_is_refused_and_its_own_is_believed(student, split, tmp_path):
    teacher = doubles.knowing(split)
    report = audit(TargetSource(teacher, frozenset({"sim"}), TargetCache()), split, progress=False)
    (tmp_path / "own.json").write_text(report.to_json())
    distiller, _ = student(teacher, audit=str(tmp_path / "own.json"))
    calls = teacher.calls
    distiller.begin([split], "cpu")
    assert teacher.calls == calls and distiller.report == report
    (tmp_path / "other.json").write_text(dataclasses.replace(report, teacher="clip:x@1").to_json())
    distiller, _ = student(teacher, audit=str(tmp_path / "other.json"))
    with pytest.raises(ConfigError, match="a report on clip:x@1; the teacher here is truth@0"):
        distiller.begin([split], "cpu")


def test_autocast_changes_nothing(student):
    distiller, given = student(mask=1.0)
    plain = distiller(*given)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(distiller(*given), plain)


def test_what_lacks_a_part_of_a_teacher_is_none(monkeypatch):
    monkeypatch.setitem(TEACHERS._own, "odd", "builtins:len")
    with pytest.raises(ConfigError, match="'odd:four', of builtins:len, is a int, which lacks a part"):
        load_teacher("odd:four")

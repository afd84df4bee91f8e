"""Targets: turned with the image, asked for with the words of the data set, and kept."""

from __future__ import annotations

import dataclasses

import doubles
import numpy as np
import pytest
import torch

from s4eca.data.augment.symmetries import Symmetry, apply_symmetry
from s4eca.data.open import open_dataset
from s4eca.distill.cache import TargetCache, entry_key
from s4eca.distill.grid import turned
from s4eca.distill.source import TargetSource
from s4eca.teaching import TeacherTargets

ALL = frozenset({"patch", "phrase", "image", "sim", "mask"})


@pytest.fixture(scope="module")
def split(rendered):
    return open_dataset(rendered, "rrsisd", "val")


@pytest.fixture
def teacher():
    return doubles.Double(doubles.random_map)


@pytest.mark.parametrize("symmetry", Symmetry)
def test_targets_turn_as_arrays_do(symmetry):
    torch.manual_seed(0)
    given = TeacherTargets(
        torch.rand(1, 3, 4) > 0.3, torch.randn(1, 3, 4, 2), torch.randn(1, 2), torch.randn(1, 2), torch.randn(1, 3, 4),
        torch.rand(1, 1, 6, 8),
    )  # fmt: skip
    found = turned(given, symmetry)
    for name, place in (("valid", 0), ("patch", 0), ("sim", 0)):
        wanted = apply_symmetry(getattr(given, name)[place].numpy(), symmetry)
        assert np.array_equal(getattr(found, name)[place].numpy(), wanted), name
    assert np.array_equal(found.mask[0, 0].numpy(), apply_symmetry(given.mask[0, 0].numpy(), symmetry))
    assert torch.equal(found.phrase, given.phrase) and torch.equal(found.image, given.image)


def test_a_knowing_teacher_under_a_symmetry_shows_the_turned_truth(split):
    """The teacher is asked with the data set's own words, though the student reads turned ones."""
    source = TargetSource(doubles.knowing(split), frozenset({"sim"}), TargetCache())
    from s4eca.distill.grid import area_shares

    for reference, symmetry in zip(split.references[:8], Symmetry, strict=True):
        found = source.of([reference], [symmetry], "cpu").sim[0].numpy()
        truth = area_shares(apply_symmetry(split.mask(reference), symmetry), doubles.GRID)
        assert np.allclose(found, truth, atol=1e-3) and found.max() > 0


@pytest.mark.parametrize("kept", ["memory", "folder"])
def test_a_hit_is_what_was_computed(kept, split, teacher, tmp_path):
    place = tmp_path / "kept" if kept == "folder" else None
    cache, chosen = TargetCache(place), list(split.references[:4])
    same = [Symmetry.IDENTITY] * 4
    source = TargetSource(teacher, ALL, cache)
    fresh = source.of(chosen, same, "cpu")
    calls = teacher.calls
    again = TargetSource(teacher, ALL, TargetCache(place) if place else cache).of(chosen, same, "cpu")
    assert teacher.calls == calls == 4
    direct = teacher.targets([split.image(r) for r in chosen], [r.expression for r in chosen])
    for field in dataclasses.fields(TeacherTargets):
        one, other = getattr(fresh, field.name), getattr(again, field.name)
        assert torch.equal(one, other), "bit for bit, whether it was kept or not"
        assert torch.allclose(one.float(), getattr(direct, field.name).float(), atol=1e-3, rtol=1e-3)
        assert not one.requires_grad


def test_patches_of_an_image_are_kept_once(split, teacher, tmp_path):
    group = [r for r in split.references if r.image == split.references[0].image][:3]
    assert len(group) == 3
    cache = TargetCache(tmp_path)
    TargetSource(teacher, ALL, cache).of(group, [Symmetry.IDENTITY] * 3, "cpu")
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1 + 3


@pytest.mark.parametrize("what", ["weights", "settings", "image", "phrase"])
def test_a_stale_entry_is_a_miss(what, split, tmp_path):
    cache = TargetCache(tmp_path)
    reference = split.references[0]
    TargetSource(doubles.Double(doubles.random_map), ALL, cache).pair(reference, reference.expression)
    other = doubles.Double(lambda image, phrase: np.full(doubles.GRID, 0.25))
    said, shown = reference.expression, reference
    if what == "weights":
        other.id = "double@1"
    if what == "settings":
        other.settings = {"grid": [7, 7]}
    if what == "image":
        shown = next(r for r in split.references if r.image != reference.image)
    if what == "phrase":
        said = "another phrase"
    found = TargetSource(other, ALL, cache).pair(shown, said)
    assert other.calls == 1 and torch.equal(found.sim, torch.full_like(found.sim, 0.25))


def test_an_entry_under_a_wrong_name_or_damaged_is_a_miss(teacher, tmp_path):
    cache = TargetCache(tmp_path)
    one, other = (entry_key(teacher, "image", phrase) for phrase in ("a", "b"))
    cache.put(one, {"sim": torch.ones(1, 2, 2)})
    place = cache._path(other)
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(cache._path(one).read_bytes())
    assert cache.get(one) and not cache.get(other)
    cache._path(one).write_bytes(b"nothing of the kind")
    assert not cache.get(one)


def test_an_entry_with_less_than_is_wanted_is_asked_for_again(split, teacher):
    cache, reference = TargetCache(), split.references[0]
    TargetSource(teacher, frozenset({"sim"}), cache).pair(reference, reference.expression)
    found = TargetSource(teacher, ALL, cache).pair(reference, reference.expression)
    assert teacher.calls == 2 and found.patch is not None and found.mask is not None


def test_blanks_make_no_other_phrase(split, teacher):
    source, reference = TargetSource(teacher, ALL, TargetCache()), split.references[0]
    source.pair(reference, "the  red roof ")
    source.pair(reference, "the red roof")
    assert teacher.calls == 1

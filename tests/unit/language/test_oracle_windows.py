"""Where a sample is scaled, cropped or padded, the oracle reads the same target from its words and what it shows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from oracle import Picture as Seen
from oracle import Thing as SeenThing
from oracle import meant

from s4eca.data.augment.draw import draw_symmetry
from s4eca.data.augment.settings import Augmentation
from s4eca.data.augment.symmetries import apply_symmetry
from s4eca.data.augment.truth import Truths
from s4eca.data.describe.annotations import Annotated, Picture, Thing, read_annotated
from s4eca.data.describe.describe import scene_of
from s4eca.data.instances import Instance
from s4eca.data.masks import Nothing
from s4eca.data.pixels import read_rgb
from s4eca.data.rendered.scenes import CLASSES, render_scene
from s4eca.data.run_lengths import RunLengths
from s4eca.data.sample import Reference
from s4eca.language.generate import KINDS, Wishes, generate
from s4eca.language.lexicon import Lexicon

WISHES = Wishes(most=40, wordings=3)


def drawn(seed):
    """A rendered scene as an annotated picture, and its image."""
    scene = render_scene(seed, (160, 160))
    things = tuple(
        Thing(n, thing.category, RunLengths.of(Instance.of("", thing.mask).rle, "thing"), False)
        for n, thing in enumerate(scene.things)
    )
    path = Path(f"/rendered/{seed}.png")
    return Picture(seed, path, path.name, "train", (160, 160), things, frozenset()), scene.image


def held_against(truths, picture, image, classes, key, oracle_counts):
    """What the oracle finds otherwise in the windows of one picture."""
    scene = scene_of(picture, classes, image, WISHES.margins.smallest)
    masks = [thing.runs.read() for thing in picture.things]
    numbers = {thing.id: n for n, thing in enumerate(picture.things)}
    wrong = []
    for number, said in enumerate(generate(scene, Lexicon.of(classes.values()), WISHES, key)):
        reference = Reference(str(number), picture.file, said.text, "train", Nothing(picture.file))
        true = np.logical_or.reduce([masks[numbers[i]] for i in said.ids] or [np.zeros(picture.size, bool)])
        draws = np.random.default_rng([key, number])
        window = truths.draw(reference, image, lambda true=true: true, draws)
        oracle_counts["asked", said.kind] += 1
        if window is None:
            continue
        symmetry, text = draw_symmetry(said.text, draws)
        shown = [apply_symmetry(np.ascontiguousarray(window.cut(mask, False)), symmetry) for mask in masks]
        things = [
            SeenThing(n, classes[thing.category], mask)
            for n, (thing, mask) in enumerate(zip(picture.things, shown, strict=True)) if mask.any()
        ]  # fmt: skip
        rgb = apply_symmetry(np.ascontiguousarray(window.cut(image, 0)), symmetry)
        found = meant(text, Seen(things, rgb.shape, rgb), set(classes.values()))
        if found != tuple(sorted(numbers[i] for i in said.ids)):
            wrong.append((key, said.text, text, window, symmetry, found, said.ids))
            continue
        truth = apply_symmetry(np.ascontiguousarray(window.cut(true, False)), symmetry)
        assert (truth == np.logical_or.reduce([shown[n] for n in found] or [np.zeros(truth.shape, bool)])).all()
        assert all(shown[n].sum() >= truths.settings.keep * masks[n].sum() for n in found)
        oracle_counts["kept", said.kind] += 1
    return wrong


@pytest.mark.parametrize(
    "changes", [{"scale": (1.0, 2.5)}, {"scale": (0.5, 1.0)}, {"scale": (0.7, 2.0), "keep": 0.6}],
    ids=["crops", "padding", "cut targets"],
)  # fmt: skip
@pytest.mark.parametrize("seeds", [range(10), pytest.param(range(10, 600), marks=pytest.mark.slow)], ids=["10", "600"])
def test_rendered_scenes(seeds, changes):
    classes, counts, wrong = {name: name for name in CLASSES}, Counter(), []
    for seed in seeds:
        picture, image = drawn(seed)
        truths = Truths(Annotated((picture,), classes, 0), Augmentation(reframe=1.0, **changes))
        wrong += held_against(truths, picture, image, classes, seed, counts)
    assert not wrong, wrong[:4]
    kept = {kind: counts["kept", kind] / counts["asked", kind] for kind in (*KINDS, "absent") if counts["asked", kind]}
    assert set(kept) == {*KINDS, "absent"} and min(kept.values()) > 0.3, kept


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "most"), [
    ("vhr10-ref", 5), pytest.param("vhr10-ref", 10**6, marks=pytest.mark.slow),
    pytest.param("isaid-ref", 80, marks=pytest.mark.slow),
], ids=["some of vhr10", "all of vhr10", "some of isaid"])  # fmt: skip
def test_real_training_annotations(realdata, name, most):
    annotated = read_annotated(realdata / name, "rrsisd", "train", {"exhaustive": True})
    truths = Truths(annotated, Augmentation(reframe=1.0, scale=(0.6, 2.0)))
    counts, wrong = Counter(), []
    for picture in annotated.pictures[:: max(1, len(annotated.pictures) // most)]:
        wrong += held_against(truths, picture, read_rgb(picture.file), annotated.classes, picture.id, counts)
    assert not wrong, wrong[:4]
    kept, asked = (sum(n for (what, _), n in counts.items() if what == part) for part in ("kept", "asked"))
    assert kept > 0.6 * asked

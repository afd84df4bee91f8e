"""An oracle written apart from the generator (oracle.py) finds the same targets for every expression and contrast."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from oracle import Picture, Thing, meant

from s4eca.data.describe.annotations import read_annotated
from s4eca.data.describe.colours import colour_shares
from s4eca.data.describe.describe import scene_of
from s4eca.data.layouts.rrsisd_files import find_files, read_instances, read_refs
from s4eca.data.pixels import read_rgb
from s4eca.data.rendered.scenes import CLASSES, render_scene
from s4eca.language.generate import KINDS, Wishes, generate
from s4eca.language.lexicon import Lexicon
from s4eca.language.parser import parse
from s4eca.language.resolve import resolve
from s4eca.language.scene import Scene, measured
from s4eca.language.tree import Phrase

EVERYTHING = Wishes(most=500, wordings=9, contrasts=1.0)
SYNONYMS = {
    "plane": "airplane", "baseball field": "baseball diamond", "dock": "pier", "boat": "ship", "pool": "swimming pool",
    "football field": "soccer field",
}  # fmt: skip


def disagreements(scene, picture, nouns, key):
    """Texts for which the oracle finds something else, and how many there are of each kind."""
    said = generate(scene, Lexicon.of(nouns), EVERYTHING, key)
    assert said
    wrong = [(e.text, e.ids, found) for e in said if (found := meant(e.text, picture, nouns)) != e.ids]
    return wrong, Counter(e.kind for e in said)


def rendered(seed):
    drawn = render_scene(seed, (160, 160))
    things = [
        measured(thing.mask, number, thing.category, colours=colour_shares(drawn.image[thing.mask]))
        for number, thing in enumerate(drawn.things)
    ]
    seen = [Thing(number, thing.category, thing.mask) for number, thing in enumerate(drawn.things)]
    return Scene(160, 160, tuple(things)), Picture(seen, drawn.image.shape, drawn.image)


@pytest.mark.parametrize(
    "seeds", [range(80), pytest.param(range(80, 2000), marks=pytest.mark.slow)], ids=["first 80", "2000"]
)
def test_rendered_scenes(seeds):
    wrong, kinds = [], Counter()
    for seed in seeds:
        found, counts = disagreements(*rendered(seed), set(CLASSES), seed)
        wrong += [(seed, *row) for row in found]
        kinds += counts
    assert not wrong, wrong[:5]
    assert set(kinds) == {*KINDS, "absent"}


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["vhr10-ref", "isaid-ref"])
@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_real_training_annotations(realdata, name, step):
    annotated = read_annotated(realdata / name, "rrsisd", "train", {"exhaustive": True})
    nouns = set(annotated.classes.values())
    wrong, kinds = [], Counter()
    for picture in annotated.pictures[::step]:
        rgb = read_rgb(picture.file)
        things = [Thing(t.id, annotated.classes[t.category], t.runs.read()) for t in picture.things]
        scene = scene_of(picture, annotated.classes, rgb, EVERYTHING.margins.smallest)
        found, counts = disagreements(scene, Picture(things, rgb.shape, rgb), nouns, picture.id)
        wrong += [(picture.id, *row) for row in found]
        kinds += counts
    assert not wrong, wrong[:5]
    assert set(kinds) == {*KINDS, "absent"}


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["vhr10-ref", "isaid-ref"])
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_the_files_own_expressions_mean_what_their_masks_say(realdata, name, step):
    """Every one is read; its targets are those of its mask, or the margins here are wider; none is denied."""
    annotated = read_annotated(realdata / name, "rrsisd", None, {"exhaustive": True})
    classes = set(annotated.classes.values())
    lexicon = Lexicon.of(classes, {noun: name for noun, name in SYNONYMS.items() if name in classes})
    files = find_files(realdata / name, "unc")
    annotations = read_instances(files.instances)["annotations"]
    members = {a["id"]: tuple(sorted(a.get("members", [a["id"]]))) for a in annotations}
    scenes = {picture.id: scene_of(picture, annotated.classes, None) for picture in annotated.pictures[::step]}
    answers, own = Counter(), defaultdict(dict)
    for ref in (ref for ref in read_refs(files.refs) if ref["image_id"] in scenes):
        for sentence in ref["sentences"]:
            tree = parse(sentence["sent"], lexicon)
            assert isinstance(tree, Phrase), (ref["ref_id"], tree)
            found = resolve(tree, scenes[ref["image_id"]])
            assert found.status != "none", ref["ref_id"]
            assert found.status == "ambiguous" or found.ids == members[ref["ann_id"]], ref["ref_id"]
            answers[found.status] += 1
            own[ref["image_id"]][tree] = members[ref["ann_id"]]
    # Of plurals that count in things of a few pixels nothing is said; isaid-ref has many.
    assert answers["found"] > (0.9 if name == "vhr10-ref" else 0.8) * answers.total()
    shared = 0
    for number, scene in scenes.items():
        for expression in generate(scene, Lexicon.of(classes), EVERYTHING, number):
            if expression.tree in own[number]:
                shared += 1
                assert expression.ids == own[number][expression.tree], (number, expression.text)
    assert shared > 5000 / step

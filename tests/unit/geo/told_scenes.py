"""Rendered scenes with true answers for whatever windows are asked, and sentences whose things are known."""

from __future__ import annotations

import numpy as np
import rasterio
from rasterio.crs import CRS

from s4eca.data.rendered.scenes import CLASSES, render_scene
from s4eca.geo.request import asked_of_windows
from s4eca.geo.write.chosen import Chosen
from s4eca.language.generate import Wishes, generate
from s4eca.language.lexicon import Lexicon
from s4eca.language.parser import parse
from s4eca.language.scene import Scene, measured
from s4eca.language.sentence import read_sentence
from s4eca.records import RasterName, SceneFacts

LEXICON = Lexicon.of(CLASSES)


def facts_of(scene, **changed):
    height, width = scene.image.shape[:2]
    given = {
        "name": RasterName("scene.tif"), "files": (), "height": height, "width": width, "count": 3, "dtype": "uint8",
        "bands": (1, 2, 3), "alpha": (), "crs": CRS.from_string(scene.crs),
        "transform": rasterio.Affine(*scene.transform), "area_or_point": None, "pixel_size": (scene.gsd,) * 2,
        "notes": (),
    }  # fmt: skip
    return SceneFacts(**{**given, **changed})


def true_mask(scene, prompt):
    """What the class and the colours of a prompt mean."""
    tree = parse(prompt, LEXICON)
    found = np.zeros(scene.image.shape[:2], bool)
    for thing in scene.things:
        if thing.category == tree.category and all(colour == thing.colour for colour in tree.colours):
            found |= thing.mask
    return found


def told(scene, seed, **wishes):
    """(sentence, true mask, kind): of the renderer itself, and of the describer, which knows other margins."""
    yield from ((r.expression, r.mask, f"rendered {r.kind}") for r in scene.references)
    things = [measured(thing.mask, number, thing.category) for number, thing in enumerate(scene.things)]
    annotated = Scene(*scene.image.shape[:2], tuple(thing for thing in things if thing is not None))
    for one in generate(annotated, LEXICON, Wishes(**wishes), seed):
        relation = one.tree.relation
        kind = one.kind if relation is None else f"{one.kind} {relation.name}"
        if one.kind == "absent" and one.tree.kind in ("count", "unique"):
            continue  # fewer than are said: those that are there are marked, and it is said
        yield one.text, np.logical_or.reduce([np.zeros(annotated_shape(annotated), bool),
                                              *(scene.things[i].mask for i in one.ids)]), kind  # fmt: skip


def annotated_shape(annotated):
    return annotated.height, annotated.width


def resolved(scene, texts, room, strip=70, facts=None):
    """(K, H, W) masks of sentences on true polygons, strip by strip, and the choices."""
    sentences = [read_sentence(text) for text in texts]
    prompts = asked_of_windows(sentences)
    chosen = Chosen(facts or facts_of(scene), sentences, prompts, room, sure=False)
    bands = np.stack([true_mask(scene, prompt) for prompt in prompts]).astype(np.uint8)
    for row in range(0, bands.shape[1], strip):
        chosen.add(bands[:, row : row + strip], None)
    found = np.concatenate([values for values, _ in chosen.finish()], axis=1)
    chosen.close()
    return found == 1, chosen.choices


def rendered(seed):
    return render_scene(seed, (160, 160) if seed % 2 else (224, 288) if seed % 8 else (336, 448))

"""Sentences about rendered scenes with known answers: on true polygons, on a trained model's, and window by window.

    python benchmarks/scene_sentences.py --work runs/scene-sentences --out benchmarks/results/scene_sentences.json

A small model (the packaged pair in side mode at 224 px, features of the frozen encoder cached) is trained for some
minutes on rendered scenes: on their own expressions, positions and relations too, so that it can answer these window by
window, and on what `--scope scene` asks of windows, "the buildings" and "the red buildings". Then scenes of several
windows, whose seeds no training scene has, are searched by sentences of `s4eca.language.generate`, which states the
things that each means, by margins of its own. A sentence is right where mask and truth share more than half of their
union (IoU above 0.5), with --scope scene on true masks of what is asked of windows, on the model's masks, and with
--scope window. Done steps are kept in --work: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import rasterio
import record
import torch
from numpy.typing import NDArray

from s4eca.data.rendered.objects import Thing
from s4eca.data.rendered.scenes import CLASSES, Scene, render_scene
from s4eca.data.rendered.words import RenderedReference
from s4eca.data.rendered.write import write_layout
from s4eca.demo.recipe import config
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.write.rendered import write_scene_geotiff
from s4eca.language.generate import Expression, Wishes, generate
from s4eca.language.lexicon import Lexicon
from s4eca.language.margins import Margins
from s4eca.language.parser import parse
from s4eca.language.scene import Scene as Annotated
from s4eca.language.scene import measured
from s4eca.language.sentence import chooses
from s4eca.language.tree import Phrase
from s4eca.language.vocabulary import plural
from s4eca.model.model import S4ECAModel
from s4eca.model.predictor import Predictor
from s4eca.saved.folder import Card, save, sha256
from s4eca.training.datamodule import ReferringData
from s4eca.training.optim import OptimConfig
from s4eca.training.quick import prepare, train

SIDE, LARGE, TEST = 224, (448, 448), (448, 672)
WHOLE, CUT, TEST_SEED = 140, 40, 50_000  # scenes as they are, scenes cut into windows, first seed of the test scenes
CUT_SEED = 5_000
RIGHT = 0.5
MARGINS = Margins(size=1.2, size_plain=1.5)  # among many things the largest is seldom half as large again as the next
LEXICON = Lexicon.of(CLASSES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for data, adapter and results of scenes")
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--scenes", type=int, default=8, help="test scenes (%(default)s)")
    parser.add_argument("--sentences", type=int, default=30, help="sentences of a scene at most (%(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    adapter, seconds = trained(args.work, args.updates)
    predictor = Predictor(S4ECAModel.from_pretrained(adapter))
    answers = [answered(predictor, args.work, seed, args.sentences) for seed in seeds(args.scenes)]
    settings = {"updates": args.updates, "scenes": args.scenes, "size": TEST, "window": SIDE, "right above IoU": RIGHT}
    result = {**record.provenance(), "settings": settings, "training_seconds": seconds, "adapter": sha256(adapter)}
    record.write(args.out, {**result, **scored([row for rows in answers for row in rows])})


def seeds(count: int) -> range:
    """Seeds of the test scenes."""
    return range(TEST_SEED, TEST_SEED + count)


# ---- training


def trained(work: Path, updates: int) -> tuple[Path, float]:
    """The adapter folder, and the seconds that training took."""
    folder, told = work / "adapter", work / "training.json"
    if not told.exists():
        began = time.monotonic()
        data = work / "data"
        if not data.exists():
            write_layout(data, "rrsisd", {"train": list(training_scenes())})
        module = prepare(config(), OptimConfig(lr_adapter=1.5e-3, lr_decoder=1.5e-3, warmup=20, average=0.97))
        split = ReferringData(
            str(data), "rrsisd", batch_size=8, val_split=None, symmetries=("IDENTITY",), cache="memory",
            absent_share=0.25,
        )  # fmt: skip
        train(module, split, updates, work)
        save(module.model, folder, Card(name="scene sentences", data="rendered scenes", licence="apache-2.0", gsd=0.5))
        told.write_text(json.dumps(time.monotonic() - began))
    return folder, round(json.loads(told.read_text()))


def training_scenes() -> Iterator[Scene]:
    """Scenes with their own expressions, and windows of larger ones, both with what is asked of windows."""
    for seed in range(WHOLE):
        scene = render_scene(seed)
        yield replace(scene, references=(*scene.references, *asked_of_windows(scene)))
    for seed in range(CUT_SEED, CUT_SEED + CUT):
        large = render_scene(seed, LARGE)
        for row, col in ((0, 0), (0, SIDE), (SIDE, 0), (SIDE, SIDE)):
            scene = window_of(large, row, col)
            yield replace(scene, references=tuple(asked_of_windows(scene)))


def window_of(scene: Scene, row: int, col: int) -> Scene:
    """A square of a scene, with what is seen of its things."""
    place = slice(row, row + SIDE), slice(col, col + SIDE)
    things = [replace(thing, mask=thing.mask[place].copy()) for thing in scene.things if thing.mask[place].any()]
    present = frozenset(thing.category for thing in things)
    return replace(
        scene, image=scene.image[place].copy(), references=(), things=tuple(things), present=present,
        absent=tuple(name for name in CLASSES if name not in present), masks={},
    )  # fmt: skip


def asked_of_windows(scene: Scene) -> Iterator[RenderedReference]:
    """Every class, and every class of a colour, in the plural whatever their number."""
    said = {reference.expression for reference in scene.references}
    groups: dict[str, list[Thing]] = defaultdict(list)
    for thing in scene.things:
        groups[f"the {plural(thing.category)}"].append(thing)
        if thing.category in ("road", "water"):
            groups[f"the {thing.category}"].append(thing)
        if thing.colour:
            groups[f"the {thing.colour} {plural(thing.category)}"].append(thing)
    for text, things in groups.items():
        mask = np.logical_or.reduce([thing.mask for thing in things])
        if text not in said and mask.sum() >= 60:
            yield RenderedReference(text, mask, "asked of windows", things[0].category)


# ---- answers


class Truth:
    """Answers prompts of windows by the true masks of a scene: of the class, and of the colour where it is said.

    A window is found in the scene by its pixels, which no other window shares.
    """

    image_size, threshold, bands, band_ranges, fill = SIDE, 0.5, (), (), (0.0, 0.0, 0.0)

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def probabilities(self, windows: NDArray[Any], expressions: Any) -> NDArray[np.float32]:
        """(B, K, h, w) 0 and 1."""
        masks = np.stack([true_mask(self.scene, expression) for expression in expressions])
        return np.stack([masks[:, r : r + SIDE, c : c + SIDE] for r, c in map(self._place, windows)]).astype(np.float32)

    def _place(self, window: NDArray[Any]) -> tuple[int, int]:
        view = np.lib.stride_tricks.sliding_window_view(self.scene.image, (4, 4, 3))[:, :, 0]
        rows, cols = np.nonzero((view == window[:4, :4]).all(axis=(2, 3, 4)))
        places = zip(rows.tolist(), cols.tolist(), strict=True)
        return next((r, c) for r, c in places if np.array_equal(self.scene.image[r : r + SIDE, c : c + SIDE], window))


def true_mask(scene: Scene, prompt: str) -> NDArray[np.bool_]:
    """(H, W) what a prompt of windows means."""
    tree = parse(prompt, LEXICON)
    assert isinstance(tree, Phrase) and not chooses(tree), prompt
    wanted = [t for t in scene.things if t.category == tree.category and all(c == t.colour for c in tree.colours)]
    return np.logical_or.reduce([np.zeros(scene.image.shape[:2], bool), *(thing.mask for thing in wanted)])


def sentences_of(scene: Scene, seed: int, most: int) -> list[Expression]:
    """Sentences with a target, the kinds in turns, one wording each; without colours, which are words of windows."""
    things = [measured(thing.mask, number, thing.category) for number, thing in enumerate(scene.things)]
    annotated = Annotated(*scene.image.shape[:2], tuple(thing for thing in things if thing is not None))
    wishes = Wishes(seed=1, most=most, least=0, wordings=1, contrasts=0.0, margins=MARGINS)
    return generate(annotated, LEXICON, wishes, seed)


def answered(predictor: Predictor, work: Path, seed: int, most: int) -> list[dict[str, Any]]:
    """The IoU of every sentence of a scene in the three ways."""
    kept = work / f"scene-{seed}.json"
    if kept.exists():
        rows: list[dict[str, Any]] = json.loads(kept.read_text())
        return rows
    scene = render_scene(seed, TEST)
    tif = write_scene_geotiff(work / f"scene-{seed}.tif", scene)
    said = sentences_of(scene, seed, most)
    truths = np.stack([np.logical_or.reduce([scene.things[i].mask for i in one.ids]) for one in said])
    texts = [one.text for one in said]
    ways = {
        "true polygons": searched(tif, texts, Truth(scene), work, "scene"),
        "model, scope scene": searched(tif, texts, predictor, work, "scene"),
        "model, scope window": searched(tif, texts, predictor, work, "window"),
    }
    rows = [
        {"text": one.text, "kind": kind_of(one), "chooses": chooses(one.tree),
         **{way: iou(masks[number], truths[number]) for way, masks in ways.items()}}
        for number, one in enumerate(said)
    ]  # fmt: skip
    kept.write_text(json.dumps(rows, indent=1))
    return rows


def searched(tif: Path, texts: list[str], segmenter: Any, work: Path, scope: str) -> NDArray[np.bool_]:
    """(K, H, W) what is found for sentences."""
    out = work / "mask.tif"
    segment_geotiff(tif, texts, segmenter, out, scope=scope, overwrite=True, progress=False, say=lambda note: None)
    with rasterio.open(out) as file:
        found: NDArray[np.bool_] = file.read() == 1
    return found


def iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return round(float((found & truth).sum() / max((found | truth).sum(), 1)), 4)


def kind_of(expression: Expression) -> str:
    """The kind, of relations with their name."""
    relation = expression.tree.relation
    return expression.kind if relation is None else f"relation: {relation.name}"


def scored(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Percent of sentences that are right, of those that choose among objects, of the others, and by kind."""
    ways = ("true polygons", "model, scope scene", "model, scope window")

    def share(some: list[dict[str, Any]]) -> dict[str, Any]:
        right = {way: round(100 * float(np.mean([row[way] > RIGHT for row in some])), 1) for way in ways}
        return {"sentences": len(some), **right}

    kinds = sorted({row["kind"] for row in rows})
    return {
        "choosing among objects": share([row for row in rows if row["chooses"]]),
        "all of a class": share([row for row in rows if not row["chooses"]]),
        "by kind": {kind: share([row for row in rows if row["kind"] == kind]) for kind in kinds},
    }


if __name__ == "__main__":
    main()

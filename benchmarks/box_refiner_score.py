"""What a refiner is worth: an adapter's masks alone, refined in every view and number of rounds, ceiling and floor.

    python benchmarks/box_refiner_score.py --adapter benchmarks/adapters/vhr10-ref --refine box-prompt:FOLDER \
        --data vhr10-ref=DATA/vhr10-ref --out benchmarks/results/box_refiner.json

On the validation split, native grid: mIoU, oIoU, P@0.5, P@0.8, P@0.9 and boundary F (edges within 2 px). ``truth`` is
the true box of the target through the refiner, the ceiling of any detector; ``filled`` is the box of the adapter's mask
as a rectangle, the floor. Of each way the difference to the adapter alone has a 95 % interval, a bootstrap over images,
paired by reference, by size of the target too; and the rank correlation of the foretold IoU with the true one. Targets
of one part have a difference of their own: one box is not that of several. The verdict is that of systems_verdicts.py,
with the sizes below 32 px as the primary bucket. Every way is written as it ends.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cv2
import numpy as np
import record
import torch
from equal_budget import place_of
from numpy.typing import NDArray
from systems_verdicts import compared, difference, inside
from tqdm import tqdm

from s4eca.cascade.boxes import box_of
from s4eca.cascade.cascade import MEAN, Cascade, filled
from s4eca.cascade.hub import load_refiner
from s4eca.cascade.recursion import refined
from s4eca.cascade.settings import CascadeSettings
from s4eca.data.layouts.recognise import recognise
from s4eca.data.open import open_dataset
from s4eca.evaluation.resampling import image_numbers
from s4eca.evaluation.run import image_groups
from s4eca.model.model import S4ECAModel
from s4eca.model.predictor import Predictor

BUCKETS = ("<16", "16-32", "32-64", "64-128", ">128")
TOLERANCE = 2
Way = Callable[[NDArray[np.uint8], torch.Tensor, NDArray[np.bool_]], tuple[torch.Tensor, float]]


def main() -> None:
    """Score every way on every set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--refine", required=True)
    parser.add_argument("--data", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--most", type=int, default=0, help="references of a set, spread evenly; 0 takes all")
    parser.add_argument("--ways", nargs="+", default=[], metavar="WAY", help="those alone (default: all)")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    predictor = Predictor(S4ECAModel.from_pretrained(args.adapter), precision="auto")
    refiner = load_refiner(args.refine)
    found = json.loads(args.out.read_text())["sets"] if args.out.exists() else {}
    for name, folder in map(place_of, args.data):
        coarse = _coarse(predictor, folder, args.most)
        found[name] = {"adapter": Path(args.adapter).name, "refiner": refiner.name, "ways": {}}
        plain = _scored(coarse, lambda image, logits, truth: (logits, float("nan")))
        found[name]["ways"]["s4eca"] = _told(plain, plain, coarse)
        chosen = {label: way for label, way in ways(refiner).items() if not args.ways or label in args.ways}
        for label, way in chosen.items():
            began = time.monotonic()
            rows = _scored(coarse, way)
            told = _told(rows, plain, coarse)
            found[name]["ways"][label] = {**told, "seconds_each": round((time.monotonic() - began) / len(rows), 3)}
            record.write(args.out, {"sets": found, **record.provenance()})


def ways(refiner: Any) -> dict[str, Way]:
    """Name -> how an image and its coarse logits become refined ones, with the IoU that is foretold."""
    made: dict[str, Way] = {"filled": _filled}
    for isolation, rounds in (("crop", 1), ("crop", 2), ("none", 1), ("mask_out", 1)):
        made[f"{isolation}, R {rounds}"] = _cascade(Cascade(refiner, None, _settings(isolation, rounds)))
    made["crop, R 1, one part"] = _cascade(Cascade(refiner, None, CascadeSettings("cascade", "crop", 1, parts=1)))
    made["crop, R 2, last"] = _cascade(Cascade(refiner, None, _settings("crop", 2, "last")))
    made["truth, box alone"] = _truth(refiner, False)
    made["truth, box and mask"] = _truth(refiner, True)
    return made


def _settings(isolation: str, rounds: int, choice: str = "best") -> CascadeSettings:
    return CascadeSettings("cascade", isolation, rounds, choice=choice)


def _filled(image: NDArray[np.uint8], logits: torch.Tensor, truth: NDArray[np.bool_]) -> tuple[torch.Tensor, float]:
    box = box_of(logits.sigmoid())
    return (logits if box is None else filled(box, logits)), float("nan")


def _cascade(cascade: Cascade) -> Way:
    def way(image: NDArray[np.uint8], logits: torch.Tensor, truth: NDArray[np.bool_]) -> tuple[torch.Tensor, float]:
        found, foretold = cascade.apply(image, logits[None], [""])
        return found[0], float(foretold[0])

    return way


def _truth(refiner: Any, with_mask: bool) -> Way:
    settings = CascadeSettings("detector", "crop", 1)

    def way(image: NDArray[np.uint8], logits: torch.Tensor, truth: NDArray[np.bool_]) -> tuple[torch.Tensor, float]:
        rows, cols = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
        box = torch.tensor([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1], dtype=torch.float32)
        found = refined(image, box, filled(box, logits), logits if with_mask else None, refiner, settings, MEAN)
        return found.logits, found.iou

    return way


def _coarse(predictor: Predictor, folder: Path, most: int) -> dict[str, Any]:
    """Native logits of the adapter in half precision, truths and images of a validation split."""
    layout = recognise(folder)
    assert layout is not None, folder
    data = open_dataset(folder, layout, "val")
    groups = image_groups(data)
    chosen = np.unique(np.linspace(0, len(data) - 1, min(most or len(data), len(data))).astype(int)).tolist()
    rows, image, shown = [], None, None
    for place in tqdm(chosen, desc="adapter", mininterval=20):
        reference = data.references[place]
        if groups[place] != shown:
            image, shown = data.image(reference), groups[place]
            encoded = predictor.encode(predictor.stretched(image[None]))
        logits = predictor.decode(encoded, [reference.expression]).logits
        drawn = predictor.refined(image, logits, [reference.expression])[0].cpu().half()
        truth = data.mask(reference)
        parts = cv2.connectedComponents(truth.astype(np.uint8), connectivity=8)[0] - 1
        rows.append({"image": image, "logits": drawn, "truth": truth, "parts": parts})
    numbers = image_numbers([groups[place] for place in chosen])
    return {"rows": rows, "images": numbers, "sizes": np.sqrt([row["truth"].sum() for row in rows])}


def _scored(coarse: dict[str, Any], way: Way) -> list[dict[str, float]]:
    """IoU, its counts, boundary F and the foretold IoU of every reference; NaN where the way is not for it."""
    found = []
    for row in tqdm(coarse["rows"], mininterval=20, leave=False):
        logits, foretold = way(row["image"], row["logits"].float(), row["truth"])
        mask, truth = (logits > 0).numpy(), row["truth"]
        both, either = int((mask & truth).sum()), int((mask | truth).sum())
        found.append(
            {
                "iou": both / max(either, 1),
                "both": both,
                "either": either,
                "edge": boundary_f(mask, truth),
                "said": foretold,
            }
        )
    return found


def boundary_f(mask: NDArray[np.bool_], truth: NDArray[np.bool_], tolerance: int = TOLERANCE) -> float:
    """F of edge pixels that lie within some pixels of the other mask's edge; 0 where one has none."""
    edges = [m.astype(np.uint8) - cv2.erode(m.astype(np.uint8), np.ones((3, 3), np.uint8)) for m in (mask, truth)]
    if not edges[0].any() or not edges[1].any():
        return 0.0
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * tolerance + 1,) * 2)
    near = [cv2.dilate(edge, disc) for edge in edges]
    precision = float((edges[0] & near[1]).sum() / edges[0].sum())
    recall = float((edges[1] & near[0]).sum() / edges[1].sum())
    return 2 * precision * recall / max(precision + recall, 1e-12)


def _told(rows: list[dict[str, float]], plain: list[dict[str, float]], coarse: dict[str, Any]) -> dict[str, Any]:
    iou, before = (np.array([row["iou"] for row in some]) for some in (rows, plain))
    edge, edges = (np.array([row["edge"] for row in some]) for some in (rows, plain))
    said = np.array([row["said"] for row in rows])
    told: dict[str, Any] = {"references": len(rows), "mIoU": round(float(iou.mean()), 4)}
    told["oIoU"] = round(sum(r["both"] for r in rows) / sum(r["either"] for r in rows), 4)
    told |= {f"P@{x}": round(float((iou >= x).mean()), 4) for x in (0.5, 0.8, 0.9)}
    told["boundary_F"] = round(float(edge.mean()), 4)
    if rows is plain:
        return told
    images, sizes = coarse["images"], coarse["sizes"]
    single = np.array([row["parts"] == 1 for row in coarse["rows"]])
    everything = np.ones(len(rows), bool)
    told["difference"] = difference(100 * (iou - before), images, everything)
    told["difference_of_single_targets"] = difference(100 * (iou - before), images, single)
    told["difference_of_boundary_F"] = difference(100 * (edge - edges), images, everything)
    told["verdict"] = compared(
        [(10_000 * iou).round().tolist()], [(10_000 * before).round().tolist()], images.tolist(), sizes.tolist(), "<32"
    )["verdict"]
    told["below_32_px"] = difference(100 * (iou - before), images, inside(sizes, "<32"))
    told["by_size"] = {name: difference(100 * (iou - before), images, inside(sizes, name)) for name in BUCKETS}
    known = np.isfinite(said)
    if known.sum() > 10:
        told["foretold"] = {"all": _spearman(said[known], iou[known])}
        for name in BUCKETS:
            held = known & inside(sizes, name)
            if held.sum() > 10:
                told["foretold"][name] = _spearman(said[held], iou[held])
    return told


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return round(float(np.corrcoef(ranks[0], ranks[1])[0, 1]), 3)


if __name__ == "__main__":
    main()

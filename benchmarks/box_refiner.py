"""Train the box-prompt refiner: a mask from a box and a coarse mask, whatever the class, on frozen features.

    python benchmarks/box_refiner.py --data vhr10-ref=DATA/vhr10-ref --data isaid-ref=DATA/isaid-ref \
        --work runs/box-prompt --out benchmarks/refiners/box-prompt

Views of every object (windows of several margins around jittered boxes) are encoded once and kept under --work;
training goes on from its checkpoint there. `box_refiner_score.py` measures what it is worth.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cv2
import numpy as np
import record
import torch
import torch.nn.functional as F
from box_refiner_data import corrupted, instances, jittered, view_of
from equal_budget import place_of, precision_of
from torch import Tensor
from tqdm import tqdm

from s4eca.cascade.box_prompt import BoxPrompt, save
from s4eca.cascade.box_prompt_network import BoxPromptSizes

CARD = """# box-prompt refiner

Draws a mask from a box, with a coarse mask or without, whatever the class (s4eca, `--refine box-prompt:FOLDER`). A
small network on frozen DINOv2-S features of a window around the box; ours, after the idea of prompted segmentation.

Trained on {count} objects of the train splits of {sets}, whose imagery is for research only (vhr10-ref: images cropped
from Google Earth and the Vaihingen set of the DGPF, Cheng et al. 2014 and 2016; isaid-ref: DOTA, Xia et al. 2018, masks
of iSAID, Waqas Zamir et al. 2019). So is this refiner.

Made by: `{command}`, commit {commit}.
"""


def main() -> None:
    """Encode, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--views", type=int, default=2, help="of each object")
    parser.add_argument("--passes", type=int, default=6)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--most", type=int, default=0, help="objects; 0 takes all")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    places = dict(map(place_of, args.data))
    model = BoxPrompt(BoxPromptSizes())
    half = precision_of(args.precision, "cpu") == "bf16"
    args.work.mkdir(parents=True, exist_ok=True)
    asked = f"{sorted(places)} {args.views} {args.most} {args.seed} {model.sizes}"
    mark = hashlib.sha256(asked.encode()).hexdigest()[:8]
    kept = args.work / f"views-{mark}.pt"
    if not kept.exists():
        _saved(encoded(model, args, places, half), kept)
    views = torch.load(kept, weights_only=True, mmap=True)
    print(f"{len(views['pixels'])} views of {views['objects']} objects", flush=True)
    plan = f"{mark} {args.passes} {args.batch} {args.rate} {half}"
    train(model, views, args, half, args.work / f"training-{hashlib.sha256(plan.encode()).hexdigest()[:8]}.pt")
    said = record.provenance()
    card = CARD.format(
        count=f"{int(views['objects']):,}", sets=" and ".join(places), command=said["command"], commit=said["commit"]
    )
    print(save(model.eval(), args.out, card))


def _saved(state: dict[str, object], path: Path) -> None:
    """Whole or not at all."""
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


@torch.no_grad()
def encoded(model: BoxPrompt, args: argparse.Namespace, places: dict[str, Path], half: bool) -> dict[str, Tensor]:
    """Pixels, features and masks of all views, in half precision and bytes; boxes in pixels of the view's square."""
    random = np.random.default_rng(args.seed)
    side = model.sizes.side
    found: dict[str, list[Tensor]] = {"pixels": [], "features": [], "masks": [], "boxes": []}
    objects = list(instances(places, "train"))
    if args.most:
        objects = [objects[i] for i in random.permutation(len(objects))[: args.most]]
    image, name = None, None
    for data, one in tqdm(objects, desc="encoding", mininterval=20):
        if one.image != name:
            name = one.image
            image = data.image(next(r for r in data.references if r.image == name))
        for _ in range(args.views):
            box = jittered(one.box, random)
            left, top, right, bottom = view_of(box, one.mask.shape, random)
            cut = one.mask[top:bottom, left:right].astype(np.float32)
            scale = torch.tensor([side / (right - left), side / (bottom - top)] * 2)
            pixels, shown = model.seen([image[top:bottom, left:right]])
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                features = model.features(shown)
            found["pixels"].append(pixels[0].half())
            found["features"].append(features[0].half())
            drawn = cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA if len(cut) > side else cv2.INTER_LINEAR)
            found["masks"].append(torch.from_numpy(np.round(drawn * 255).astype(np.uint8)))
            found["boxes"].append((box - torch.tensor([left, top, left, top])) * scale)
    return {**{key: torch.stack(rows) for key, rows in found.items()}, "objects": torch.tensor(len(objects))}


def train(model: BoxPrompt, views: dict[str, Tensor], args: argparse.Namespace, half: bool, path: Path) -> None:
    """AdamW with warm-up and cosine; the foretold IoU learns from the masks that were drawn."""
    count = len(views["pixels"])
    total = args.passes * count // args.batch
    optimiser = torch.optim.AdamW(model.network.parameters(), lr=args.rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.rate, total_steps=total, pct_start=0.05)
    done, losses = 0, []
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        done = state["done"]
    began = time.monotonic()
    for step in tqdm(range(done, total), initial=done, total=total, mininterval=20, desc="training"):
        epoch, place = divmod(step * args.batch, count)
        order = np.random.default_rng((args.seed, epoch)).permutation(count)
        loss = loss_of(model, views, order[place : place + args.batch], np.random.default_rng((args.seed, step)), half)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 200 == 0 or step + 1 == total:
            state = {"network": model.network.state_dict(), "optimiser": optimiser.state_dict()}
            _saved({**state, "schedule": schedule.state_dict(), "done": step + 1}, path)
            print(f"{step + 1}: {np.mean(losses[-200:]):.4f}, {time.monotonic() - began:.0f} s", flush=True)


def loss_of(model: BoxPrompt, views: dict[str, Tensor], chosen: np.ndarray, random: np.random.Generator, half: bool):
    """BCE and Dice of the masks, and the squared error of the foretold IoU."""
    rows = torch.from_numpy(np.sort(chosen))
    pixels, features = views["pixels"][rows].float(), views["features"][rows].float()
    truth = views["masks"][rows].float()[:, None] / 255
    side = model.sizes.side
    prompts = torch.stack(
        [
            model.prompts(views["boxes"][row], corrupted(views["masks"][row].numpy() > 127, random), (side, side))
            for row in rows.tolist()
        ]
    )
    flips = random.uniform(size=3) < 0.5
    for on, axes in zip(flips, ((2,), (3,), None), strict=True):
        if on:
            maps = (pixels, prompts, features, truth)
            pixels, prompts, features, truth = (m.transpose(2, 3) if axes is None else m.flip(axes) for m in maps)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits, foretold = model.network(pixels, prompts, features)
    logits, foretold = logits.float(), foretold.float()
    p, y = logits.sigmoid().flatten(1), truth.flatten(1)
    dice = 1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)
    with torch.no_grad():
        drawn, true = p > 0.5, y > 0.5
        iou = (drawn & true).sum(1) / (drawn | true).sum(1).clamp(min=1)
    return F.binary_cross_entropy_with_logits(logits, truth) + dice.mean() + F.mse_loss(foretold.sigmoid(), iou.float())


if __name__ == "__main__":
    main()

"""A no-target head on a saved adapter: trained alone, calibrated, and measured with controls.

    python benchmarks/presence.py --data DATA/vhr10-ref --layout rrsisd --adapter benchmarks/adapters/vhr10-ref \
        --folder benchmarks/adapters/vhr10-ref-presence --out benchmarks/results/presence.json

Everything but the head stays as it is, and what the head reads has no parameter: it is computed once for every image
and expression of the training split, with as many absent expressions for each reference as --rounds says, and the head
is trained on that in seconds. (`s4eca fit --run.start ADAPTER --model.optim.presence_alone true` does the same with
symmetries, a forward for every update.) What it reads was chosen by cross-validation over images of the training split,
which the result holds. On the validation split, with one absent expression for each reference, the thresholds are
chosen for a T-acc of 0.95; since a choice flatters the split that it was made on, it is also made on one half of the
images and measured on the other. With --cache FOLDER what was computed is kept there, and a second run takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import record
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from s4eca.budgets.report import budget
from s4eca.data.augment.absent import AbsentSampler
from s4eca.data.open import open_dataset
from s4eca.data.sample import ReferringDataset
from s4eca.decoder.presence import STATISTICS, area, likely, shape_free, statistics, weighed
from s4eca.evaluation.calibration import Calibration, Measured, choose, measure
from s4eca.evaluation.no_target import separation
from s4eca.evaluation.run import evaluate
from s4eca.model.model import S4ECAModel, attach
from s4eca.model.predictor import Predictor
from s4eca.saved.folder import Card, read_config, read_settings, save, sha256
from s4eca.saved.start import start_from
from s4eca.saved.thresholds import store_thresholds

HIDDEN, EPOCHS, BATCH, RATE, DECAY = 16, 30, 64, 2e-3, 1e-1
FOLDS = 5
T_ACC = 0.95
ASKED = (0.95, 0.96, 0.97, 0.98)  # what halves are asked for: a choice at the edge falls short elsewhere
COUNTS = ("intersection", "predicted", "truth", "added")
# What a head may read, in the order of `blocks`; and what those of the cross-validation read, the saved one last.
BLOCKS = ("likely", "area", "mean", "sentence", "statistics")
READS = (
    ("statistics",), ("sentence", "statistics"),
    ("likely", "sentence", "statistics"), ("area", "sentence", "statistics"),
    ("mean", "sentence", "statistics"), ("likely", "mean", "sentence", "statistics"),
    ("area", "mean", "sentence", "statistics"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--layout", required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2, help="absent expressions for each train reference")
    parser.add_argument("--folder", type=Path, required=True, help="adapter folder to write, with the head")
    parser.add_argument("--cache", type=Path, help="folder for what a head may read of each sample")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train, val = (open_dataset(args.data, args.layout, split, exhaustive=True) for split in ("train", "val"))
    note = read_config(args.adapter)
    model = with_head(args.adapter, note)
    listener = Listener(model)
    seen = kept(args.cache, "train", lambda: on_train(listener, train, args.rounds))
    samples, present = seen["blocks"], seen["present"]
    result: dict[str, Any] = {**record.provenance(), "adapter_sha256": sha256(args.adapter), "hidden": HIDDEN}
    result["samples"] = {"train": len(present), "train without a target": int((~present).sum())}
    result["cross-validation on train"] = {
        ", ".join(reads): cross_validated(part_of(samples, reads), present, seen["images"]) for reads in READS
    }
    head: Any = model.decoder.presence
    fresh = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    head.load_state_dict(trained(part_of(samples, READS[-1]), present).state_dict())
    told = kept(args.cache, "val", lambda: on_val(listener, val))
    measured = with_presence(told, head)
    result["val"] = scored(measured)
    chosen = choose(measured, t_acc=T_ACC)
    save(model, args.folder, card(note, model, result["command"]), dtype="float16")
    about = {"data": val.name, "layout": val.layout, "split": "val", "references": len(val)}
    about |= {"images": len(set(measured.groups)), "absent": int(measured.added.sum()), "seed": 0, "least_T-acc": T_ACC}
    store_thresholds(args.folder, {**about, **chosen.to_dict()})
    result["saved_sha256"], result["head_parameters"] = sha256(args.folder), sum(t.numel() for t in fresh.values())
    shuffled = kept(args.cache, "shuffled", lambda: on_shuffled(listener, val))["blocks"]
    result["controls"] = controls(head, fresh, told, shuffled, measured, chosen)
    record.write(args.out, result)


class Listener:
    """Notes at each forward what a head of the model may read."""

    def __init__(self, model: S4ECAModel) -> None:
        self.predictor = Predictor(model)
        self._rows: list[Tensor] = []
        head: Any = model.decoder.presence
        head.register_forward_hook(lambda module, given, found: self._rows.append(blocks(*given)))

    def taken(self) -> Tensor:
        """All rows since the last time."""
        rows, self._rows = torch.cat(self._rows), []
        return rows


def blocks(patches: Tensor, sentence: Tensor, logits: Tensor) -> Tensor:
    """(B, 4 D + 3) of `BLOCKS`; the saved head's `evidence` is a part of it."""
    averages = [weighed(patches, how(logits)) for how in (likely, area)]
    shaped = [shape_free(values) for values in (*averages, patches.mean(1), sentence)]
    return torch.cat([*shaped, statistics(logits)], 1).float().clone()


def part_of(rows: Tensor, reads: tuple[str, ...]) -> Tensor:
    """The columns of some of `BLOCKS`."""
    width = (rows.shape[1] - STATISTICS) // 4
    edges = [*range(0, 4 * width + 1, width), rows.shape[1]]
    return torch.cat([rows[:, edges[i] : edges[i + 1]] for i in map(BLOCKS.index, reads)], 1)


def kept(cache: Path | None, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Tensors and lists from the cache, made where it lacks them."""
    path = None if cache is None else cache / f"{name}.pt"
    if path is not None and path.exists():
        found: dict[str, Any] = torch.load(path, weights_only=True)
        return found
    found = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(found, path)
    return found


def with_head(adapter: Path, note: dict[str, Any]) -> S4ECAModel:
    """The adapter with a fresh head (seed 0)."""
    torch.manual_seed(0)
    model = attach(config=read_settings(adapter, note).replace(presence=HIDDEN))
    start_from(model, adapter)
    return model.eval()


def on_train(listener: Listener, train: ReferringDataset, rounds: int) -> dict[str, Any]:
    """Of all references, and absent ones as training draws them: what a head may read, which are there, images."""
    by_image: dict[Path, list[Any]] = {}
    sampler = AbsentSampler(train, share=0.5, seed=0)
    drawn = [reference for number in range(rounds) for reference in sampler.draw(number)]
    for reference in (*train.references, *drawn):
        by_image.setdefault(reference.image, []).append(reference)
    present, images = [], []
    for image, references in tqdm(by_image.items(), desc="what a head reads", disable=not sys.stderr.isatty()):
        listener.predictor.set_image(train.image(references[0]))
        listener.predictor.segment([reference.expression for reference in references])
        present += [reference.kind != "absent" for reference in references]
        images += [image.name] * len(references)
    return {"blocks": listener.taken(), "present": torch.tensor(present), "images": images}


def on_val(listener: Listener, val: ReferringDataset) -> dict[str, Any]:
    """Counts at every threshold of the mask, and what a head may read, in the order of the samples."""
    measured = measure(listener.predictor, val, absent=1.0)
    members: dict[str, list[int]] = {}
    for place, group in enumerate(measured.groups):
        members.setdefault(group, []).append(place)
    rows = listener.taken()
    placed = torch.empty_like(rows)
    placed[[place for places in members.values() for place in places]] = rows
    counts = {name: torch.from_numpy(getattr(measured, name)) for name in COUNTS}
    return {"blocks": placed, "grid": list(measured.grid), "groups": list(measured.groups), **counts}


def on_shuffled(listener: Listener, val: ReferringDataset) -> dict[str, Any]:
    """What a head may read of expressions of another image."""
    evaluate(listener.predictor, val, ("native",), shuffle_seed=0)
    return {"blocks": listener.taken()}


def with_presence(told: dict[str, Any], head: nn.Module) -> Measured:
    """What was measured, with the probabilities of a head."""
    counts = {name: told[name].numpy() for name in COUNTS}
    presence = probabilities(head, told["blocks"])
    return Measured(grid=tuple(told["grid"]), groups=tuple(told["groups"]), presence=presence, **counts)


@torch.no_grad()
def probabilities(head: nn.Module, rows: Tensor) -> Any:
    """(N,) presence by the layers of a head."""
    layers = Layers(head.hidden.in_features)
    layers.load_state_dict(head.state_dict())
    return layers(part_of(rows, READS[-1])).sigmoid().double().numpy()


class Layers(nn.Module):
    """The layers of `s4eca.decoder.presence.PresenceHead`, behind what it reads."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(inputs, HIDDEN), nn.Linear(HIDDEN, 1)

    def forward(self, read: Tensor) -> Tensor:
        """(N, inputs) to logits (N,)."""
        found: Tensor = self.out(F.gelu(self.hidden(read)))[:, 0]
        return found


def trained(read: Tensor, present: Tensor, seed: int = 0) -> nn.Module:
    """A head's two layers after `EPOCHS` over some rows, AdamW with a linear decay."""
    torch.manual_seed(seed)
    layers = Layers(read.shape[1])
    steps = EPOCHS * -(-len(read) // BATCH)
    optimiser = torch.optim.AdamW(layers.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(read)).split(BATCH):
            loss = F.binary_cross_entropy_with_logits(layers(read[rows]), present[rows].float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return layers


def cross_validated(read: Tensor, present: Tensor, images: list[str]) -> dict[str, Any]:
    """Separation and N-acc at T-acc 0.95 of a head on images that it was not trained on."""
    names = sorted(set(images))
    fold = torch.tensor([names.index(image) % FOLDS for image in images])
    told = torch.zeros(len(read))
    for number in range(FOLDS):
        layers = trained(read[fold != number], present[fold != number])
        with torch.no_grad():
            told[fold == number] = layers(read[fold == number])
    return {"parameters": read.shape[1] * HIDDEN + 2 * HIDDEN + 1, **parted(told.numpy(), present.numpy())}


def parted(told: Any, present: Any) -> dict[str, float | None]:
    """How well a number parts what is there from what is not."""
    cut = np.sort(told[present])[int((1 - T_ACC) * present.sum())]
    return {"separation": separation(told, present), "N-acc at T-acc 0.95": float((told[~present] < cut).mean())}


def scored(measured: Measured) -> dict[str, Any]:
    """The choice on the whole split, and by halves of its images: chosen on one, measured on the other."""
    whole = choose(measured, t_acc=T_ACC)
    at_half = measured.grid.index(0.5)
    return {
        "references": int((~measured.added).sum()), "absent": int(measured.added.sum()),
        "separation": separation(measured.presence, measured.truth > 0),
        "chosen on all of it": whole.to_dict(),
        "chosen on the other half": {f"for a T-acc of {least:g}": halves(measured, least) for least in ASKED},
        "mask alone at 0.5": measured.told(at_half, None), "mIoU at 0.5": float(measured.mean_iou()[at_half]),
        "curve": curve(measured, measured.grid.index(whole.threshold)),
    }  # fmt: skip


def halves(measured: Measured, least: float) -> dict[str, Any]:
    """Thresholds chosen on the images of one half, measured on those of the other, and both together."""
    names = sorted(set(measured.groups))
    half = np.asarray([names.index(group) % 2 == 0 for group in measured.groups])
    parts = []
    for first in (half, ~half):
        chosen, rest = choose(measured.part(first), t_acc=least), measured.part(~first)
        place = rest.grid.index(chosen.threshold)
        parts.append(
            {
                "threshold": chosen.threshold, "presence_threshold": chosen.presence_threshold,
                "references": int((~rest.added).sum()), "absent": int(rest.added.sum()),
                "mIoU": float(rest.mean_iou()[place]),
                "mask": rest.told(place, None), "head": rest.told(place, chosen.presence_threshold),
            }
        )  # fmt: skip
    weights = {"N-acc": "absent", "T-acc": "references"}
    both = {
        name: sum(part["head"][name] * part[count] for part in parts) / sum(part[count] for part in parts)
        for name, count in weights.items()
    }
    return {"both": both, "halves": parts}


def curve(measured: Measured, place: int) -> dict[str, dict[str, float | None]]:
    """N-acc, T-acc and gIoU over thresholds of presence."""
    return {f"{cut:g}": measured.told(place, cut) for cut in np.linspace(0.05, 0.95, 19).round(2).tolist()}


def controls(
    head: nn.Module, fresh: dict[str, Tensor], told: dict[str, Any], shuffled: Tensor, measured: Measured,
    chosen: Calibration,
) -> dict[str, Any]:  # fmt: skip
    """A head as it is before training; what masks alone part; and expressions of another image."""
    untrained = Layers(head.hidden.in_features)
    untrained.load_state_dict(fresh)
    target, cut = measured.truth > 0, chosen.presence_threshold
    assert cut is not None and measured.presence is not None
    return {
        "head untrained": parted(probabilities(untrained, told["blocks"]), target),
        "no head, masks alone": measured.told(measured.grid.index(chosen.threshold), None),
        "no head, largest logit": parted(told["blocks"][:, -STATISTICS].numpy(), target),
        "shuffled expressions": {
            "said to be there": float((probabilities(head, shuffled) >= cut).mean()),
            "with their own": float((measured.presence[~measured.added] >= cut).mean()),
        },
    }


def card(note: dict[str, Any], model: S4ECAModel, command: str) -> Card:
    """The adapter's own card, with the head in name, command and budget."""
    counted = {key: value for key, value in budget(model, check_effective=False).to_dict().items() if key != "dead"}
    own = {**note["card"], "budget": counted}
    own |= {"name": f"{own['name']}, with a no-target head", "command": f"{own['command']}; then {command}"}
    return Card(**own)


if __name__ == "__main__":
    main()

"""A no-target head on a saved adapter: trained alone, calibrated, and measured with controls.

    python benchmarks/presence.py --data DATA/vhr10-ref --layout rrsisd --adapter benchmarks/adapters/vhr10-ref \
        --folder benchmarks/adapters/vhr10-ref-presence --out benchmarks/results/presence.json

Everything but the head stays as it is, and what the head reads has no parameter: it is computed once for every image
and expression of the training split, with as many absent expressions for each reference as --rounds says, and the head
is trained on that in seconds. (`s4eca fit --run.start ADAPTER --model.optim.presence_alone true` does the same with
symmetries, a forward for every update.) The head's size, inputs and recipe were chosen by cross-validation over images
of the training split. On the validation split, with one absent expression for each reference, the thresholds are
chosen for a T-acc of 0.95; since a choice flatters the split that it was made on, it is also made on one half of the
images and measured on the other.
"""

from __future__ import annotations

import argparse
import sys
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
from s4eca.data.augment.absent import absent_beside
from s4eca.data.open import open_dataset
from s4eca.data.sample import ReferringDataset
from s4eca.decoder.presence import STATISTICS, evidence
from s4eca.evaluation.calibration import Calibration, Measured, choose, measure
from s4eca.evaluation.no_target import separation
from s4eca.evaluation.records import Record
from s4eca.evaluation.run import evaluate
from s4eca.model.model import S4ECAModel, attach
from s4eca.model.predictor import Predictor
from s4eca.saved.folder import Card, read_config, read_settings, save, sha256
from s4eca.saved.start import start_from
from s4eca.saved.thresholds import store_thresholds

HIDDEN, EPOCHS, BATCH, RATE, DECAY = 16, 30, 64, 2e-3, 1e-1
FOLDS = 5
T_ACC = 0.95


class Listener:
    """What the head of a model reads, noted at each forward."""

    def __init__(self, model: S4ECAModel) -> None:
        self.rows: list[Tensor] = []
        head: Any = model.decoder.presence
        head.register_forward_hook(self._note)

    def _note(self, module: nn.Module, given: tuple[Tensor, Tensor, Tensor], found: Tensor) -> None:
        self.rows.append(evidence(*given).float().clone())

    def taken(self) -> Tensor:
        """All rows (N, 2 D + 3) since the last time."""
        rows, self.rows = torch.cat(self.rows), []
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--layout", required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2, help="absent expressions for each train reference")
    parser.add_argument("--folder", type=Path, required=True, help="adapter folder to write, with the head")
    parser.add_argument("--cache", type=Path, help="file for what the head reads of the training split")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train, val = (open_dataset(args.data, args.layout, split, exhaustive=True) for split in ("train", "val"))
    note = read_config(args.adapter)
    model = with_head(args.adapter, note)
    listener, predictor = Listener(model), Predictor(model)
    read, present, images = training_rows(predictor, listener, train, args.rounds, args.cache)
    result: dict[str, Any] = {**record.provenance(), "adapter_sha256": sha256(args.adapter), "hidden": HIDDEN}
    result["samples"] = {"train": len(present), "train without a target": int((~present).sum())}
    result["cross-validation on train"] = cross_validated(read, present, images)
    fresh = {name: tensor.clone() for name, tensor in head_of(model).state_dict().items()}
    head_of(model).load_state_dict(trained(read, present).state_dict())
    measured = measure(predictor, val, absent=1.0)
    on_val = in_order(listener.taken(), measured)
    result["val"] = scored(measured)
    chosen = choose(measured, t_acc=T_ACC)
    save(model, args.folder, card(note, model, result["command"]), dtype="float16")
    about = {"data": val.name, "layout": val.layout, "split": "val", "references": len(val)}
    about |= {"images": len(set(measured.groups)), "absent": int(measured.added.sum()), "seed": 0, "least_T-acc": T_ACC}
    store_thresholds(args.folder, {**about, **chosen.to_dict()})
    result["saved_sha256"], result["head parameters"] = sha256(args.folder), sum(t.numel() for t in fresh.values())
    result["controls"] = controls(predictor, fresh, on_val, measured, chosen, val)
    record.write(args.out, result)


def with_head(adapter: Path, note: dict[str, Any]) -> S4ECAModel:
    """The adapter with a fresh head (seed 0)."""
    torch.manual_seed(0)
    model = attach(config=read_settings(adapter, note).replace(presence=HIDDEN))
    start_from(model, adapter)
    return model.eval()


def head_of(model: S4ECAModel) -> Any:
    """The head of a model."""
    return model.decoder.presence


def training_rows(
    predictor: Predictor, listener: Listener, train: ReferringDataset, rounds: int, cache: Path | None
) -> tuple[Tensor, Tensor, list[str]]:
    """What the head reads (N, 2 D + 3) of all references and absent expressions, which are there (N,), and images."""
    if cache is not None and cache.exists():
        kept = torch.load(cache, weights_only=True)
        return kept["read"], kept["present"], kept["images"]
    by_image: dict[Path, list[Any]] = {}
    for reference in (*train.references, *absent_beside(train, rounds)):
        by_image.setdefault(reference.image, []).append(reference)
    present, images = [], []
    for image, references in tqdm(by_image.items(), desc="what the head reads", disable=not sys.stderr.isatty()):
        predictor.set_image(train.image(references[0]))
        predictor.segment([reference.expression for reference in references])
        present += [bool(reference.kind != "absent") for reference in references]
        images += [image.name] * len(references)
    read = listener.taken()
    if cache is not None:
        torch.save({"read": read, "present": torch.tensor(present), "images": images}, cache)
    return read, torch.tensor(present), images


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


class Layers(nn.Module):
    """The layers of `s4eca.decoder.presence.PresenceHead`, behind what it reads."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(inputs, HIDDEN), nn.Linear(HIDDEN, 1)

    def forward(self, read: Tensor) -> Tensor:
        """(N, inputs) to logits (N,)."""
        found: Tensor = self.out(F.gelu(self.hidden(read)))[:, 0]
        return found


def cross_validated(read: Tensor, present: Tensor, images: list[str]) -> dict[str, Any]:
    """Separation and N-acc at T-acc 0.95 of heads that read parts of it, on images that they were not trained on."""
    names = sorted(set(images))
    fold = torch.tensor([names.index(image) % FOLDS for image in images])
    width = (read.shape[1] - STATISTICS) // 2
    parts = {"statistics": (2 * width, None), "sentence, statistics": (width, None), "all": (0, None)}
    found = {}
    for name, (start, end) in parts.items():
        chosen, told = read[:, start:end], torch.zeros(len(read))
        for number in range(FOLDS):
            layers = trained(chosen[fold != number], present[fold != number])
            with torch.no_grad():
                told[fold == number] = layers(chosen[fold == number])
        found[name] = parted(told.numpy(), present.numpy())
    return found


def parted(told: Any, present: Any) -> dict[str, float | None]:
    """How well a number parts what is there from what is not."""
    cut = np.sort(told[present])[int((1 - T_ACC) * present.sum())]
    return {"separation": separation(told, present), "N-acc at T-acc 0.95": float((told[~present] < cut).mean())}


def scored(measured: Measured) -> dict[str, Any]:
    """The choice on the whole split, and by halves of its images: chosen on one, measured on the other."""
    whole = choose(measured, t_acc=T_ACC)
    names = sorted(set(measured.groups))
    half = np.asarray([names.index(group) % 2 == 0 for group in measured.groups])
    parts = []
    for first in (half, ~half):
        chosen, rest = choose(measured.part(first), t_acc=T_ACC), measured.part(~first)
        place = rest.grid.index(chosen.threshold)
        parts.append(
            {
                "threshold": chosen.threshold, "presence_threshold": chosen.presence_threshold,
                "references": int((~rest.added).sum()), "absent": int(rest.added.sum()),
                "mIoU": float(rest.mean_iou()[place]),
                "mask": rest.told(place, None), "head": rest.told(place, chosen.presence_threshold),
            }
        )  # fmt: skip
    mean = {name: float(np.mean([part["head"][name] for part in parts])) for name in parts[0]["head"]}
    at_half = measured.grid.index(0.5)
    return {
        "references": int((~measured.added).sum()), "absent": int(measured.added.sum()),
        "chosen on all of it": whole.to_dict(), "chosen on the other half": {"mean": mean, "halves": parts},
        "mask alone at 0.5": measured.told(at_half, None), "mIoU at 0.5": float(measured.mean_iou()[at_half]),
        "curve": curve(measured, measured.grid.index(whole.threshold)),
    }  # fmt: skip


def curve(measured: Measured, place: int) -> dict[str, dict[str, float | None]]:
    """N-acc, T-acc and gIoU over thresholds of presence."""
    return {f"{cut:g}": measured.told(place, cut) for cut in np.linspace(0.05, 0.95, 19).round(2).tolist()}


def controls(
    predictor: Predictor, fresh: dict[str, Tensor], on_val: Tensor, measured: Measured, chosen: Calibration,
    val: ReferringDataset,
) -> dict[str, Any]:  # fmt: skip
    """A head as it is before training; what masks alone part; and expressions of another image."""
    untrained = Layers(on_val.shape[1])
    untrained.load_state_dict(fresh)
    target = measured.truth > 0
    with torch.no_grad():
        told = untrained(on_val).numpy()
    place = measured.grid.index(chosen.threshold)
    largest = on_val[:, -STATISTICS].numpy()
    said: list[Record] = []
    evaluate(predictor, val, ("native",), shuffle_seed=0, on_record=said.append)
    assert chosen.presence_threshold is not None and measured.presence is not None
    own = measured.presence[~measured.added]
    return {
        "head untrained": parted(told, target),
        "no head, masks alone": measured.told(place, None),
        "no head, largest logit": parted(largest, target),
        "shuffled expressions": {
            "said to be there": float(np.mean([r.presence["native"] >= chosen.presence_threshold for r in said])),
            "with their own": float((own >= chosen.presence_threshold).mean()),
        },
    }


def in_order(rows: Tensor, measured: Measured) -> Tensor:
    """Rows as they were read, image by image, in the order of the samples."""
    members: dict[str, list[int]] = {}
    for place, group in enumerate(measured.groups):
        members.setdefault(group, []).append(place)
    placed = torch.empty_like(rows)
    placed[[place for places in members.values() for place in places]] = rows
    return placed


def card(note: dict[str, Any], model: S4ECAModel, command: str) -> Card:
    """The adapter's own card, with the head in name, command and budget."""
    counted = {key: value for key, value in budget(model, check_effective=False).to_dict().items() if key != "dead"}
    own = {**note["card"], "budget": counted}
    own |= {"name": f"{own['name']}, with a no-target head", "command": f"{own['command']}; then {command}"}
    return Card(**own)


if __name__ == "__main__":
    main()

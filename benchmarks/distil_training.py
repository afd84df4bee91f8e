"""Training of one cell of the distillation experiment, cut and gone on with at any update."""

from __future__ import annotations

import io
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from distil_arms import WEIGHTS, Cell, RandomProjection, Shuffled, labelled
from grid_data import batches, loader
from grid_training import CLIP, KEPT_EVERY, OutOfTimeError, Workshop, drawn_symmetries, fresh, optimiser_settings
from tqdm import tqdm

from s4eca.data.augment.symmetries import Symmetry
from s4eca.decoder.loss import segmentation_loss
from s4eca.distill.cache import TargetCache
from s4eca.distill.distiller import Distiller
from s4eca.distill.settings import DistillConfig
from s4eca.files import write_whole
from s4eca.layers.trainable import trainable_parameters, trainable_state
from s4eca.model.encodings import drawn
from s4eca.model.model import S4ECAModel
from s4eca.teaching import Teacher
from s4eca.training.averaging import MovingAverage
from s4eca.training.batch import Batch
from s4eca.training.optim import build_optimiser


def distiller_of(cell: Cell, model: S4ECAModel, teacher: Teacher, split: Any, place: Path) -> Distiller | None:
    """What an arm learns from; None where labels are all.

    Nothing of it looks at a mask, so that images without labels can take part: no size is left out of D2.
    """
    weights = {"features": 0.0, "map": 0.0, "pairs": 0.0, "mask": 0.0, **WEIGHTS[cell.arm]}
    config = DistillConfig(teacher=teacher.id, cache=str(place), least_patches=0.0, force=True, **weights)
    if not config.weights:
        return None
    cache = TargetCache(place)
    if cell.arm == "random":
        reference = split.references[0]
        known = teacher.targets([split.image(reference)], [reference.expression])
        assert known.mask is not None
        teacher = RandomProjection(known.grid, teacher.width, tuple(known.mask.shape[-2:]))  # type: ignore[arg-type]
    made = Distiller(config, model, teacher)
    if cell.arm == "shuffled":
        made.source = Shuffled(teacher, config.wanted, cache, split, cell.row.seed)
    return made


class Run:
    """A student on its way through its updates: a batch of labels, and with a teacher one of any images.

    Args:
        cell: what it is.
        model: untrained, where it is to be trained.
        distiller: of the arm, or None.
        total: number of updates.
        path: of the checkpoint, read if it is there.
    """

    def __init__(self, cell: Cell, model: S4ECAModel, distiller: Distiller | None, total: int, path: Path) -> None:
        self.model, self.distiller, self.path, self.total = model.train(), distiller, path, total
        optim = optimiser_settings(cell.row, cell.row.recipe.rate, total)
        self.trained = list(trainable_parameters(model).values())
        beside: list[dict[str, Any]] = []
        if distiller is not None:
            distiller.total = total
            found = list(distiller.parameters())
            beside = [{"name": "projectors", "params": found, "lr": optim.lr_decoder, "weight_decay": 1e-2}]
            self.trained += found
        self.optimiser, self.schedule = build_optimiser(model, optim, total, beside)
        self.average = MovingAverage(optim.average)
        self.done, self.seconds, self.since = 0, 0.0, time.monotonic()
        if path.exists():
            self._go_on(torch.load(path, map_location="cpu", weights_only=True))

    def update(self, batch: Batch, any_images: Batch | None) -> None:
        """One update."""
        fused, found = self._said(batch)
        loss = segmentation_loss(found.logits.float(), _truth(batch))
        if self.distiller is not None and any_images is not None:
            fused, found = self._said(any_images)
            blind = torch.zeros_like(_truth(any_images))  # no mask of theirs is looked at
            taught = self.distiller(any_images.references, any_images.symmetries, blind, fused, found)
            loss = loss + self.distiller.factor(self.done) * taught
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.trained, CLIP)
        self.optimiser.step()
        self.schedule.step()
        self.done += 1
        module: Any = SimpleNamespace(model=self.model)
        at: Any = SimpleNamespace(global_step=self.done)
        self.average.on_train_batch_end(at, module)

    def _said(self, batch: Batch) -> Any:
        encoded = batch.encoded
        if encoded is None:
            assert batch.images is not None
            encoded = self.model.encode(self.model.normalise(batch.images))
        fused = self.model.fuse(encoded, self.model.tokenize(batch.expressions, cut=True))
        return fused, drawn(self.model, encoded, fused)

    def keep(self) -> None:
        """Write the checkpoint, whole or not at all."""
        now = time.monotonic()
        self.seconds, self.since = self.seconds + now - self.since, now
        state = {
            "done": self.done, "seconds": self.seconds, "model": trainable_state(self.model),
            "optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict(),
            "average": self.average.state_dict(),
            "projectors": {} if self.distiller is None else self.distiller.state_dict(),
        }  # fmt: skip
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, buffer.getvalue())

    @torch.no_grad()
    def _go_on(self, state: dict[str, Any]) -> None:
        self.done, self.seconds = state["done"], state["seconds"]
        for name, tensor in trainable_state(self.model).items():
            tensor.copy_(state["model"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.average.load_state_dict(state["average"])
        if self.distiller is not None:
            self.distiller.load_state_dict(state["projectors"])


def _truth(batch: Batch) -> torch.Tensor:
    return torch.stack(batch.truths).unsqueeze(1).float() / 255


def trained(shop: Workshop, cell: Cell, teacher: Teacher, targets: Path, mark: str) -> tuple[S4ECAModel, Run]:
    """Train a cell's student, from its checkpoint where it has one.

    Args:
        shop: where.
        cell: what.
        teacher: the true one.
        targets: folder for what teachers said.
        mark: name of the checkpoint.

    Raises:
        OutOfTimeError: it could not be finished; a checkpoint says how far it came.
    """
    row, device = cell.row, shop.place.device
    split = shop.sets.split(row.train, "train")
    own = labelled(split, cell.percent, row.seed)
    total, symmetries = cell.updates(len(split)), tuple(Symmetry[name] for name in row.recipe.symmetries)
    model = fresh(row).to(device)
    cache = shop.prefixes.of(model, split, drawn_symmetries(row), shop.check)
    distiller = distiller_of(cell, model, teacher, split, targets)
    if distiller is not None:
        distiller.to(device).source.to(device)
    run = Run(cell, model, distiller, total, shop.place.checkpoints / f"{mark}.pt")

    def steps(of: Any, seed: int) -> Any:
        drawn = list(batches(len(of), row.recipe.batch, seed, run.done, total))
        return loader(model, of, cache, symmetries, drawn, shop.place.workers) if drawn else ()

    beside = steps(split, row.seed + 1000) if distiller is not None else None
    others = iter(beside) if beside is not None else None
    try:
        for batch in tqdm(steps(own, row.seed), desc=cell.name, initial=run.done, total=total, delay=2, leave=False):
            shop.check()
            run.update(batch.to(device), None if others is None else next(others).to(device))
            if run.done % KEPT_EVERY == 0:
                run.keep()
        run.keep()
    except OutOfTimeError:
        run.keep()
        raise
    run.average.apply(model)
    return model.eval(), run

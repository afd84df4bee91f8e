"""Training of one row of the equal-budget grid: the same loop for every method, cut and gone on with at any update."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from cost_measures import Peak
from grid_data import Prefixes, Sets, batches, loader
from grid_graph import Replayed, Sample, of_length
from grid_rows import MIDDLE_RATE, Row
from tqdm import tqdm

from s4eca.data.augment.symmetries import Symmetry
from s4eca.decoder.loss import segmentation_loss
from s4eca.decoder.mask_decoder import MaskDecoder
from s4eca.files import write_whole
from s4eca.layers.trainable import trainable_parameters, trainable_state
from s4eca.model.model import S4ECAModel, attach
from s4eca.records import Prediction
from s4eca.training.averaging import MovingAverage
from s4eca.training.optim import OptimConfig, build_optimiser

KEPT_EVERY = 250  # updates between two checkpoints
AVERAGE = 0.99
CLIP = 1.0


# Of a model, what it says, the truths (B, 1, M, M) and the sizes (B,) of the targets in pixels of their images.
Objective = Callable[[S4ECAModel, Prediction, torch.Tensor, torch.Tensor], torch.Tensor]


def plain_objective(model: S4ECAModel, found: Prediction, truth: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """The loss of the mask, and of the decoder's parts where there are any; every reference has a target."""
    del sizes
    present = torch.ones(len(truth), dtype=torch.bool, device=truth.device)
    terms: Any = model.decoder.losses(found.extras, truth, present)  # type: ignore[operator]
    return sum(terms.values(), segmentation_loss(found.logits.float(), truth))


class OutOfTimeError(Exception):
    """The minutes are over; whatever was begun lies in a checkpoint."""


@dataclass(frozen=True)
class Place:
    """Where rows are trained, and how; a process of its own makes a `Workshop` of it.

    Attributes:
        places: data sets by name.
        cache: place of the feature caches (see `grid_data.Prefixes`).
        checkpoints: folder of rows that were cut.
        device: where the model is.
        workers: loader processes.
        end: `time.monotonic()` at which to stop, which all processes of a machine read alike.
        at_once: number of processes that train beside one another.
        graph: record an update as a CUDA graph and replay it.
        keep: folder for the trained tensors of rows, and a regular expression that their names hold; None keeps none.
    """

    places: dict[str, Path]
    cache: str
    checkpoints: Path
    device: str = "cpu"
    workers: int = 0
    end: float = float("inf")
    at_once: int = 1
    graph: bool = False
    keep: tuple[Path, str] | None = None


class Workshop:
    """A place with its data sets opened and its feature caches at hand.

    Args:
        place: it.

    Attributes:
        sets: the data sets.
        prefixes: feature caches.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.sets, self.prefixes = Sets(place.places), Prefixes(place.cache, place.device)

    def encode(self, row: Row, part: int = 0, parts: int = 1) -> None:
        """Encode a share of the images that a row is trained on, where its features are cached.

        Args:
            row: what they are for.
            part: of `parts`, the share.
            parts: number of shares.

        Raises:
            OutOfTimeError: the minutes are over.
        """
        split = self.sets.split(row.train, "train")
        images = sorted({reference.image for reference in split.references})[part::parts]
        mine = set(images)
        share = replace(split, references=tuple(r for r in split.references if r.image in mine))
        if share.references:
            self.prefixes.of(fresh(row), share, drawn_symmetries(row), self.check)

    def check(self) -> None:
        """Stop here if the minutes are over.

        Raises:
            OutOfTimeError: they are.
        """
        if time.monotonic() >= self.place.end:
            raise OutOfTimeError


def drawn_symmetries(row: Row) -> tuple[Symmetry, ...]:
    """Those under which images are encoded: a sample whose expression no drawn one keeps true falls back to none."""
    return tuple(dict.fromkeys((Symmetry.IDENTITY, *(Symmetry[name] for name in row.recipe.symmetries))))


def optimiser_settings(row: Row, rate: float, updates: int) -> OptimConfig:
    """The recipe with a method's rate: that of its adapters, also inside the encoders; of the decoder alone, its own.

    The decoder has the same rate in every other row. Its control gets the benefit of a search as well.
    """
    alone = row.form.method == "decoder-only"
    return OptimConfig(
        lr_adapter=rate,
        lr_encoders=rate,
        lr_decoder=rate if alone else MIDDLE_RATE,
        warmup=min(100, max(1, updates // 10)),
        average=AVERAGE,
    )


def autocast(row: Row, device: str) -> torch.autocast:
    """Autocast to bf16 where the row's recipe says so; ``tf32`` rounds what matrix products read, and no more."""
    torch.set_float32_matmul_precision("high" if row.recipe.precision == "tf32" else "highest")
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=row.recipe.precision == "bf16")


def trained(
    shop: Workshop,
    row: Row,
    rate: float,
    mark: str,
    begin: Callable[[S4ECAModel], None] | None = None,
    objective: Objective | None = None,
) -> tuple[S4ECAModel, dict[str, Any]]:
    """Train a row's model, from its checkpoint where it has one.

    Args:
        shop: where.
        row: what.
        rate: learning rate of the method.
        mark: name of the checkpoint.
        begin: gives the untrained model what it is to start with; None leaves it as it is.
        objective: what is minimised; None takes the loss of the mask with those of the decoder's parts.

    Returns:
        The model in eval mode, holding the moving average, and what was measured: seconds of the updates, peak in MiB,
        mean loss of the first and last quarter, number of updates.

    Raises:
        OutOfTimeError: it could not be finished; a checkpoint says how far it came.
    """
    split = shop.sets.split(row.train, "train")
    total = row.updates(len(split))
    model = fresh(row)
    if begin is not None:
        begin(model)
    model = model.to(shop.place.device)
    symmetries = tuple(Symmetry[name] for name in row.recipe.symmetries)
    cache = shop.prefixes.of(model, split, drawn_symmetries(row), shop.check)
    path = shop.place.checkpoints / f"{mark}.pt"
    run = _Run(model, row, optimiser_settings(row, rate, total), total, path, shop.place.graph, objective)
    drawn = list(batches(len(split), row.recipe.batch, row.seed, run.done, total))
    peak = Peak(shop.place.device)
    peak.begin()
    try:
        steps = loader(model, split, cache, symmetries, drawn, shop.place.workers) if drawn else ()
        for batch in tqdm(steps, desc=row.name, initial=run.done, total=total, delay=2, leave=False):
            shop.check()
            with autocast(row, shop.place.device):
                run.update(batch.to(shop.place.device))
            if run.done % KEPT_EVERY == 0:
                run.keep()
        run.peak = max(run.peak, peak.most())
        run.keep()
        shop.check()
    except OutOfTimeError:
        run.peak = max(run.peak, peak.most())
        run.keep()
        raise
    run.average.apply(model)
    return model.eval(), run.measured()


@torch.no_grad()
def fresh(row: Row) -> S4ECAModel:
    """An untrained model, whose decoder starts as that of every other method with this seed.

    Adapters draw different amounts of random numbers in front of the decoder. A projection of proxies, which no other
    method has, keeps its own start.
    """
    torch.manual_seed(row.seed)
    model = attach(config=row.config())
    torch.manual_seed(row.seed)
    widths = [model.vision.spec.widths[tap] for tap in model.adapter.taps]
    common = MaskDecoder(model.config, widths, model.text.spec, proxy_width=None)
    own = model.decoder.state_dict()
    for name, tensor in common.state_dict().items():
        own[name].copy_(tensor)
    return model


class _Run:
    """A model with its optimiser on the way through its updates.

    Args:
        model: untrained, where it is to be trained.
        row: what it is.
        optim: settings of the optimiser.
        total: number of updates.
        path: of the checkpoint, read if it is there.
        graph: record an update and replay it.
        objective: what is minimised.
    """

    def __init__(
        self,
        model: S4ECAModel,
        row: Row,
        optim: OptimConfig,
        total: int,
        path: Path,
        graph: bool = False,
        objective: Objective | None = None,
    ) -> None:
        self.objective = objective or plain_objective
        self.model, self.row, self.path, self.total = model.train(), row, path, total
        self.optimiser, self.schedule = build_optimiser(model, optim, total)
        self.trained = list(trainable_parameters(model).values())
        self.replayed = self._recordable() if graph else None
        self.average = MovingAverage(optim.average)
        self.done, self.seconds, self.peak = 0, 0.0, 0.0
        self.losses: list[float] = []
        self._sizes = torch.zeros(0)
        self._open: list[torch.Tensor] = []
        self._since = time.monotonic()
        if path.exists():
            self._go_on(torch.load(path, map_location="cpu", weights_only=True))

    def update(self, batch: Any) -> None:
        """One update; an accelerator may still be at it when this returns (see `_settle`)."""
        said = self.model.tokenize(batch.expressions, cut=True)
        if self.replayed is not None:
            said = of_length(said, self.model.config.text_length)
        truth = torch.stack(batch.truths).unsqueeze(1).float() / 255
        sample, self._sizes = Sample(batch.encoded, batch.images, said, truth), batch.sizes
        loss = self._work(sample) if self.replayed is None else self.replayed(sample)
        self.schedule.step()
        self.done += 1
        module: Any = SimpleNamespace(model=self.model)
        at: Any = SimpleNamespace(global_step=self.done)
        self.average.on_train_batch_end(at, module)
        self._open.append(loss)

    def _work(self, sample: Sample) -> torch.Tensor:
        """Forward, backward and step; the rate is the schedule's."""
        encoded = sample.encoded
        if encoded is None:
            assert sample.images is not None
            encoded = self.model.encode(self.model.normalise(sample.images))
        loss = self.objective(self.model, self.model.decode(encoded, sample.said), sample.truth, self._sizes)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.trained, CLIP)
        self.optimiser.step()
        return loss.detach()

    def _recordable(self) -> Replayed:
        """The optimiser keeps its rate and its count on the device, where a recorded step finds them."""
        for group in self.optimiser.param_groups:
            group["capturable"] = True
            group["lr"] = torch.tensor(float(group["lr"]), device=self.model.device)
        return Replayed(self._work, self.optimiser.zero_grad)

    def _settle(self) -> None:
        """Read the losses since the last time: that waits for the device, so the clock sees the work done."""
        if self._open:
            self.losses += torch.stack(self._open).tolist()
            self._open = []
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now

    def keep(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self._settle()
        state = {
            "done": self.done,
            "seconds": self.seconds,
            "peak": self.peak,
            "losses": self.losses,
            "model": trainable_state(self.model),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self.average.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, buffer.getvalue())

    @torch.no_grad()
    def _go_on(self, state: dict[str, Any]) -> None:
        self.done, self.seconds, self.peak = state["done"], state["seconds"], state["peak"]
        self.losses = list(state["losses"])
        for name, tensor in trainable_state(self.model).items():
            tensor.copy_(state["model"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.average.load_state_dict(state["average"])

    def measured(self) -> dict[str, Any]:
        """What the training showed, beside the model."""
        quarter = max(1, self.total // 4)
        return {
            "updates": self.total,
            "graph": self.replayed is not None and not self.replayed.refused,
            "train_seconds": round(self.seconds, 2),
            "peak_mib": round(self.peak, 1),
            "loss_first_quarter": sum(self.losses[:quarter]) / quarter,
            "loss_last_quarter": sum(self.losses[-quarter:]) / quarter,
        }

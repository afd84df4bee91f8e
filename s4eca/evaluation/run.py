"""`evaluate`: score a model on a data set under the three scoring protocols.

The trainer has no part in it, so a number cannot depend on how a model was trained.
"""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4eca.data.augment.absent import with_absent
from s4eca.data.band_agreement import require_bands
from s4eca.errors import ConfigError, DataError, ExpressionWarning, NotFiniteError
from s4eca.evaluation import overlap, report
from s4eca.evaluation.boxes import Boxes, boxes_of
from s4eca.evaluation.protocols import PROTOCOLS, ScoringProtocol, scoring_protocol
from s4eca.evaluation.records import Record
from s4eca.evaluation.shuffled import derange
from s4eca.evaluation.warps import Geometry, probabilities_on_image
from s4eca.optional import RefiningSegmenter
from s4eca.protocols import PresenceSegmenter, Segmenter
from s4eca.records import BOXES, Encoded, Prediction

if TYPE_CHECKING:
    from torch import Tensor

    from s4eca.data.sample import Reference, ReferringDataset
    from s4eca.evaluation.overlap import Counts
    from s4eca.model.model import S4ECAModel


def evaluate(
    model: Segmenter | S4ECAModel,
    dataset: ReferringDataset,
    protocols: str | ScoringProtocol | Sequence[str | ScoringProtocol] = tuple(PROTOCOLS),
    *,
    shuffle_seed: int | None = None,
    batch_size: int = 16,
    progress: bool = True,
    threshold: float | None = None,
    on_record: Callable[[Record], None] | None = None,
    absent: float = 0.0,
    presence_threshold: float | None = None,
) -> dict[str, Any]:
    """Scores of a model on every reference of a split (PROTOCOL 4.4).

    Each distinct image (by the bytes of its file) is encoded once per way of entering the square, however many
    expressions it has; `lavt` and `native` share one way.

    Args:
        model: a `Segmenter`, for instance a `s4eca.Predictor`, or a `S4ECAModel`.
        dataset: the split to score.
        protocols: names of scoring protocols, or scoring protocols with flags changed; a single one needs no list.
        shuffle_seed: give every sample the expression of another image, never one that reads the same.
        batch_size: most expressions decoded at a time.
        progress: show a progress bar on stderr.
        threshold: of all named scoring protocols; by default each has its own, and `native` the model's.
        on_record: called with each reference's counts as soon as they are known.
        absent: absent expressions for each reference, for the no-target scores alone; needs exhaustive annotations.
        presence_threshold: of all named scoring protocols; by default `native` has the model's and the others none.

    Returns:
        What `s4eca.evaluation.report.build` gives, with keys ``dataset``, ``layout``, ``findings``, ``shuffle_seed``.

    Raises:
        DataError: no reference, other bands than the model's, a damaged file, or no way to shuffle or to be absent.
        ConfigError: an unknown protocol, no protocol at all, an impossible threshold, or a model that is none.
        NotFiniteError: the model gave NaN or infinity.
    """
    if not len(dataset):
        raise DataError(f"{dataset.root} has no reference in split {dataset.split!r}, so there is nothing to score.")
    segmenter = _segmenter(model)
    require_bands(dataset, segmenter.bands)
    own, dataset = len(dataset), with_absent(dataset, absent)
    lost = _unread(segmenter, [reference.expression for reference in dataset.references])
    rules = resolve_protocols(protocols, segmenter, threshold, presence_threshold)
    records: dict[int, Record] = {}
    for place, record in _score(segmenter, dataset, rules, own, shuffle_seed, batch_size, progress):
        records[place] = record
        if on_record is not None:
            on_record(record)
    ordered = [records[place] for place in sorted(records)]
    findings = [*dataset.findings, *lost, *report.capped(ordered[:own], rules)]
    extra = {"dataset": dataset.name, "layout": dataset.layout, "findings": findings, "shuffle_seed": shuffle_seed}
    return report.build(
        ordered[:own], rules, split=dataset.split, image_size=segmenter.image_size, extra=extra, absent=ordered[own:]
    )


def resolve_protocols(
    protocols: str | ScoringProtocol | Sequence[str | ScoringProtocol],
    segmenter: Segmenter,
    threshold: float | None = None,
    presence_threshold: float | None = None,
) -> list[ScoringProtocol]:
    """Scoring protocols as they are to be used with one model.

    A name means that protocol with `threshold` and `presence_threshold`; without them each has its own, of which the
    published ones have no presence, and `native` those stored with the model. A `ScoringProtocol` is taken as it is.

    Raises:
        ConfigError: an unknown name, no name at all, an impossible threshold, or one of presence without a head.
    """
    rules = []
    has_head = isinstance(segmenter, PresenceSegmenter) and segmenter.tells_presence
    told = segmenter.presence_threshold if isinstance(segmenter, PresenceSegmenter) else None
    if presence_threshold is not None and not has_head:
        raise ConfigError(
            f"presence_threshold is {presence_threshold}, but the model has no no-target head; leave it out."
        )
    asked = [protocols] if isinstance(protocols, str | ScoringProtocol) else list(protocols)
    if not asked:
        raise ConfigError(f"protocols is empty; it must name some of {', '.join(PROTOCOLS)}.")
    for protocol in asked:
        if isinstance(protocol, ScoringProtocol):
            if protocol.presence is not None and not has_head:
                raise ConfigError(
                    f"The scoring protocol {protocol.name!r} has presence = {protocol.presence}, but the model has no "
                    "no-target head; leave it out."
                )
            rules.append(protocol)
            continue
        own = segmenter.threshold if protocol == "native" else None
        gate = told if protocol == "native" else None
        rules.append(
            scoring_protocol(
                protocol,
                threshold=own if threshold is None else threshold,
                presence=gate if presence_threshold is None else presence_threshold,
            )
        )
    return list({rule.name: rule for rule in rules}.values())


def image_groups(dataset: ReferringDataset, progress: bool = False) -> list[str]:
    """For each reference a name of its image, equal where the bytes are equal: copies under several ids are one image.

    Args:
        dataset: the split.
        progress: show a progress bar on stderr where it lasts.

    Raises:
        DataError: an image file cannot be read.
    """
    from tqdm import tqdm

    root = dataset.root.resolve()
    folder = root.parent if root.is_file() else root
    names: dict[Path, str] = {}
    first: dict[bytes, str] = {}
    for reference in tqdm(dataset.references, desc="reading images", delay=2, leave=False, disable=not progress):
        path = reference.image
        if path not in names:
            short = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
            names[path] = first.setdefault(hashlib.sha256(dataset.image_bytes(reference)).digest(), short)
    return [names[reference.image] for reference in dataset.references]


def _segmenter(model: Segmenter | S4ECAModel) -> Segmenter:
    """The model itself where it can encode squares, a `Predictor` around a `S4ECAModel`.

    Raises:
        ConfigError: it is neither.
    """
    from s4eca.model.model import S4ECAModel
    from s4eca.model.predictor import Predictor

    found: Any = Predictor(model) if isinstance(model, S4ECAModel) else model
    if not isinstance(found, Segmenter):
        raise ConfigError(f"model is a {type(model).__name__}; it must be a s4eca.Predictor or a S4ECAModel.")
    return found


def _score(
    segmenter: Segmenter,
    dataset: ReferringDataset,
    rules: Sequence[ScoringProtocol],
    own: int,
    shuffle_seed: int | None,
    batch_size: int,
    progress: bool,
) -> Iterator[tuple[int, Record]]:
    """Records of all references with their places, image by image; only the first `own` expressions are shuffled."""
    from tqdm import tqdm

    groups = image_groups(dataset, progress)
    expressions = [reference.expression for reference in dataset.references]
    if shuffle_seed is not None:
        order = derange(groups[:own], expressions[:own], shuffle_seed)
        expressions[:own] = [expressions[giver] for giver in order]
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    with tqdm(total=len(groups), desc=dataset.split, unit="ref", disable=not progress) as bar:
        for group, places in members.items():
            references = [dataset.references[place] for place in places]
            texts = [expressions[place] for place in places]
            scored = _score_image(segmenter, dataset, rules, group, references, texts, batch_size)
            yield from zip(places, scored, strict=True)
            bar.update(len(places))


def _score_image(
    segmenter: Segmenter,
    dataset: ReferringDataset,
    rules: Sequence[ScoringProtocol],
    group: str,
    references: Sequence[Reference],
    texts: Sequence[str],
    batch_size: int,
) -> list[Record]:
    """Records of the references of one image: one encoding per way of entering the square."""
    image = dataset.image(references[0])
    masks = [dataset.mask(reference) for reference in references]
    counts: list[dict[str, Counts]] = [{} for _ in references]
    presence: list[dict[str, float]] = [{} for _ in references]
    boxes: list[Boxes | None] = [None] * len(references)
    main = report.main_of(rules)
    for fit in dict.fromkeys(rule.fit for rule in rules):
        fitting = [rule for rule in rules if rule.fit == fit]
        enter = fitting[0].bands_in if dataset.bands else fitting[0].image_in
        square, geometry = enter(image, segmenter.image_size)
        encoded = segmenter.encode(square[None])
        for start in range(0, len(texts), batch_size):
            chosen = list(texts[start : start + batch_size])
            found = predicted(segmenter, encoded, chosen, group)
            lying, lies = _refined(segmenter, image, found.logits, geometry, chosen, fitting)
            for place, one in enumerate(lying, start=start):
                for rule in fitting:
                    drawn, truth = rule.masks_out(one, lies, masks[place])
                    counts[place][rule.name] = overlap.count(drawn, truth)
                    if rule is main:
                        said = found.extras[BOXES][place - start].tolist() if BOXES in found.extras else None
                        boxes[place] = boxes_of(drawn, truth, said, geometry, rule.grid == "native")
            if found.presence is not None:
                for place, probability in enumerate(found.presence.tolist(), start=start):
                    presence[place] |= {rule.name: probability for rule in fitting}
    return [
        _record(dataset, reference, group, text, mask, rules, counts[place], presence[place], boxes[place])
        for place, (reference, text, mask) in enumerate(zip(references, texts, masks, strict=True))
    ]


def _refined(
    segmenter: Segmenter,
    image: NDArray[Any],
    logits: Tensor,
    geometry: Geometry,
    texts: Sequence[str],
    rules: Sequence[ScoringProtocol],
) -> tuple[Tensor, Geometry]:
    """Logits as they are scored, and how they lie on the square: refined ones cover the whole image and no margin."""
    if not (isinstance(segmenter, RefiningSegmenter) and segmenter.refines):
        return logits, geometry
    if geometry.fit != "stretch":
        for rule in rules:
            if rule.grid == "input":
                raise ConfigError(
                    f"The scoring protocol {rule.name!r} meets on the letterboxed input, where refined masks do not "
                    "lie; score it on the image's own grid."
                )
        import torch

        found = [probabilities_on_image(one, geometry, geometry.image) for one in logits]
        logits = torch.logit(torch.from_numpy(np.stack(found)), eps=1e-6)
    return segmenter.refined(image, logits, texts), dataclasses.replace(geometry, fit="stretch")


def predicted(segmenter: Segmenter, encoded: Encoded, texts: list[str], image: str) -> Prediction:
    """What is said of one image, logits (K, h', w'); NaN and infinity, which would count as background, are refused.

    Raises:
        NotFiniteError: with the image's name.
    """
    from s4eca.model.finite import require_finite

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExpressionWarning)  # counted once, among the findings
            found = segmenter.decode(encoded, texts)
        for values in (found.logits, *(found.extras[name] for name in (BOXES,) if name in found.extras)):
            require_finite(values, texts)
    except NotFiniteError as error:
        raise NotFiniteError(f"{image}: {error}") from error
    return found


def _unread(segmenter: Segmenter, expressions: Sequence[str]) -> list[str]:
    """What of the expressions the model's text encoder does not read, counted; known of a `Predictor` alone."""
    from s4eca.model.predictor import Predictor

    return segmenter.unread(expressions) if isinstance(segmenter, Predictor) else []


def _record(
    dataset: ReferringDataset,
    reference: Reference,
    group: str,
    text: str,
    mask: NDArray[np.bool_],
    rules: Sequence[ScoringProtocol],
    counts: dict[str, Counts],
    presence: dict[str, float],
    boxes: Boxes | None,
) -> Record:
    category = reference.category
    spoken = None if category is None else dataset.classes.get(category, category)
    masks = {rule.name: counts[rule.name] for rule in rules}
    gates = {rule.name: rule.presence for rule in rules if presence and rule.presence is not None}
    lacking = {name for name, gate in gates.items() if presence[name] < gate}
    final = {name: count.emptied() if name in lacking else count for name, count in masks.items()}
    told = {rule.name: presence[rule.name] for rule in rules} if presence else {}
    before = {name: masks[name] for name in masks if name in lacking}
    if boxes is not None and report.main_of(rules).name in lacking:
        boxes = boxes.emptied()
    return Record(reference.id, group, text, reference.kind, spoken, int(mask.sum()), final, told, before, boxes)

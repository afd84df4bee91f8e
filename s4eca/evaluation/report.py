"""One JSON and one table out of counts: overall, per class, per size, per kind, with the definitions beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from s4eca.evaluation.boxes import BOX_SCORES, box_scores
from s4eca.evaluation.no_target import NO_TARGET_SCORES, UNCALIBRATED, no_target_scores, separation
from s4eca.evaluation.overlap import SCORES, Counts, bootstrap
from s4eca.evaluation.protocols import ScoringProtocol
from s4eca.evaluation.records import Record
from s4eca.evaluation.resampling import RESAMPLES

SIZES = ("<16", "16-32", "32-64", "64-128", ">128")
_SIDES = (16, 32, 64)
_LARGEST = 128
_MEANINGS = {
    "mIoU": "mIoU (mean; gIoU elsewhere): the mean over samples of the IoU of each.",
    "oIoU": "oIoU (overall, cumulative; cIoU elsewhere): summed intersections over summed unions.",
    "P@X": "P@X: share of samples whose IoU reaches X.",
    "size": "Size: square root of the mask's area in pixels of the original image; a lower border belongs to its "
    "bucket, and 128 to 64-128; empty truths are in no bucket.",
    "empty": "Empty: references whose true mask holds no pixel on its own grid.",
    "interval": f"95 %: percentile bootstrap of mIoU over samples, {RESAMPLES} resamples; expressions of one image "
    "are not independent, so the true uncertainty is larger.",
}

_NO_TARGET = (
    "No target, after gRefCOCO (Liu et al., CVPR 2023): N-acc is the share of samples without a target of which "
    "nothing is predicted, T-acc the share of those with one of which something is, gIoU the mean IoU with 1 where "
    "both are empty. By the mask: no pixel above the threshold; head: or its probability of presence is smaller than "
    "said. Absent expressions that were added enter these scores alone."
)

_BOXES = (
    "Boxes: of the masks that {main} scores, right and bottom behind the last pixel; mIoU and P@X (IoU >= X) are of "
    "boxes, samples without a target are left out; of_mask is the predicted mask's own box, predicted a box head's."
)

_CAP = (
    "A rule that counts 0 where prediction and truth are both empty gives each of them 0 whatever is predicted, which "
    "caps its mIoU and P@X."
)


def size_bucket(area: int) -> str | None:
    """Bucket of the square root of a mask's area in pixels; None for an empty mask.

    Buckets are half open, [16, 32) and so on, but for the last border: ``>128`` is what exceeds 128.
    """
    if area < 0:
        raise ValueError(f"an area cannot be {area}")
    if area == 0:
        return None
    for side, name in zip(_SIDES, SIZES, strict=False):
        if area < side * side:
            return name
    return SIZES[3] if area <= _LARGEST * _LARGEST else SIZES[4]


def build(
    records: Sequence[Record],
    protocols: Sequence[ScoringProtocol],
    *,
    split: str,
    image_size: int | None = None,
    seed: int = 0,
    extra: Mapping[str, Any] | None = None,
    absent: Sequence[Record] = (),
) -> dict[str, Any]:
    """The report of one run, ready for JSON; every score is 0..1.

    Keys: ``protocols`` (name -> mIoU, oIoU, P@0.5 .. P@0.9), ``per_class``, ``per_size``, ``per_kind`` (group -> count,
    the scores under the main protocol, and under ``protocols`` those of all), ``main`` (which one that is: ``native``
    where it is among them), ``count``, ``images``, ``empty``, ``empty_where_scored``, ``interval``,
    ``threshold``, ``image_size``, ``split``, ``definitions``, and whatever `extra` adds. Where something without a
    target was scored, or the adapter has a no-target head, ``no_target`` as well (see `no_target`). ``boxes`` where the
    records have boxes: ``of_mask``, and ``predicted`` of a box head -> count, mIoU, P@0.5 .. P@0.9, and ``per_size``.

    Args:
        records: counts of every reference, under every scoring protocol given.
        protocols: the rules to score by.
        split: which split this is; part of every result line.
        image_size: side of the model's input in pixels.
        seed: of the bootstrap.
        extra: further keys, for instance the data set's name.
        absent: records of absent expressions beside the split's own; they enter the no-target scores alone.

    Raises:
        ValueError: there is no record or no scoring protocol.
    """
    if not records or not protocols:
        raise ValueError("a report needs at least one record and one scoring protocol")
    main = main_of(protocols)
    groups: dict[str, Callable[[Record], str | None]] = {
        "per_class": lambda record: record.category,
        "per_size": lambda record: size_bucket(record.area),
        "per_kind": lambda record: record.kind,
    }
    return {
        **(extra or {}),
        "split": split,
        "image_size": image_size,
        "count": len(records),
        "images": len({record.image for record in records}),
        "empty": sum(record.area == 0 for record in records),
        "empty_where_scored": {b.name: sum(r.counts[b.name].truth == 0 for r in records) for b in protocols},
        "threshold": {rule.name: rule.threshold for rule in protocols},
        "main": main.name,
        "protocols": {rule.name: _scores(records, rule) for rule in protocols},
        "interval": {"level": 0.95, "seed": seed, "mIoU": {p.name: _interval(records, p, seed) for p in protocols}},
        **{name: _per_group(records, protocols, main, key) for name, key in groups.items()},
        **(no_target := _no_target(records, absent, protocols)),
        **(boxes := _boxes(records)),
        "definitions": {
            **_definitions(protocols, image_size, bool(no_target), bool(capped(records, protocols))),
            **({"boxes": _BOXES.format(main=main.name)} if boxes else {}),
        },
    }


def main_of(protocols: Sequence[ScoringProtocol]) -> ScoringProtocol:
    """The rule that leads a report: `native` where it is among them."""
    return next((rule for rule in protocols if rule.name == "native"), protocols[0])


def capped(records: Sequence[Record], protocols: Sequence[ScoringProtocol]) -> list[str]:
    """What is to be said of references with an empty mask, where rules count them 0 whatever is predicted."""
    empty, rules = sum(record.area == 0 for record in records), [p.name for p in protocols if p.empty == "zero"]
    if not empty or not rules:
        return []
    most = 100 * (1 - empty / len(records))
    return [
        f"{empty} of {len(records)} references have an empty mask and are 0 under {', '.join(rules)} whatever is "
        f"predicted, so that mIoU is at most {most:.2f}; N-acc, T-acc and gIoU tell of them (docs/presence.md), and "
        "--empty one counts them 1 where nothing is predicted."
    ]


def _definitions(
    protocols: Sequence[ScoringProtocol], image_size: int | None, no_target: bool = False, cap: bool = False
) -> dict[str, str]:
    more = {"no target": _NO_TARGET} if no_target else {}
    if cap:
        more["empty"] = f"{_MEANINGS['empty']} {_CAP}"
    return {**_MEANINGS, **more, **{rule.name: rule.definition(image_size) for rule in protocols}}


def _no_target(
    records: Sequence[Record], absent: Sequence[Record], protocols: Sequence[ScoringProtocol]
) -> dict[str, Any]:
    """``no_target``: counts, and per scoring protocol the scores by the mask alone and with the head.

    Nothing where every sample has a target and no head says whether it is there. Without a threshold of its own, the
    head is shown at 0.5.
    """
    both = [*records, *absent]
    if not absent and not any(record.presence or not record.area for record in both):
        return {}
    empty = sum(record.area == 0 for record in both)
    found = {}
    for rule in protocols:
        plain = [record.masks.get(rule.name, record.counts[rule.name]) for record in both]
        found[rule.name] = {"mask": _told(both, plain)}
        if all(record.presence for record in both):
            cut = UNCALIBRATED if rule.presence is None else rule.presence
            presence = [record.presence[rule.name] for record in both]
            gated = [count.emptied() if p < cut else count for count, p in zip(plain, presence, strict=True)]
            area = separation(presence, [record.area > 0 for record in both])
            found[rule.name]["head"] = {**_told(both, gated), "threshold": cut, "separation": area}
    counts = {"target": len(both) - empty, "no_target": empty, "added": len(absent)}
    return {"no_target": {**counts, "protocols": found}}


def _boxes(records: Sequence[Record]) -> dict[str, Any]:
    """``boxes``; nothing of records without any, or where no sample has a target."""
    boxes = [record.boxes for record in records if record.boxes is not None]
    if len(boxes) < len(records):
        return {}
    found = box_scores(boxes, [size_bucket(record.area) for record in records], SIZES)
    return {"boxes": found} if found else {}


def _told(records: Sequence[Record], counts: Sequence[Counts]) -> dict[str, float | None]:
    return no_target_scores(
        [c.intersection for c in counts], [c.union for c in counts], [c.predicted for c in counts],
        [r.area for r in records],
    )  # fmt: skip


def _counts(records: Sequence[Record], name: str) -> tuple[list[int], list[int]]:
    return [r.counts[name].intersection for r in records], [r.counts[name].union for r in records]


def _scores(records: Sequence[Record], rule: ScoringProtocol) -> dict[str, float]:
    return rule.scores(*_counts(records, rule.name))


def _interval(records: Sequence[Record], rule: ScoringProtocol, seed: int) -> list[float]:
    return list(bootstrap(rule.ious(*_counts(records, rule.name)), seed=seed, resamples=RESAMPLES))


def _per_group(
    records: Sequence[Record],
    protocols: Sequence[ScoringProtocol],
    main: ScoringProtocol,
    key: Callable[[Record], str | None],
) -> dict[str, Any]:
    """Scores of each group, sizes in their order and others in the alphabet's; a record without a group is left out."""
    members: dict[str, list[Record]] = {}
    for record in records:
        if (name := key(record)) is not None:
            members.setdefault(name, []).append(record)
    order = {name: place for place, name in enumerate(SIZES)}
    result = {}
    for name in sorted(members, key=lambda group: (order.get(group, len(order)), group)):
        scores = {rule.name: _scores(members[name], rule) for rule in protocols}
        result[name] = {"count": len(members[name]), **scores[main.name], "protocols": scores}
    return result


def table(report: Mapping[str, Any]) -> str:
    """The report for people: percentages, with the definitions below."""
    lines = [_title(report), "", _row("protocol", ("n", *SCORES, "95 % of mIoU"))]
    for name, scores in report["protocols"].items():
        low, high = report["interval"]["mIoU"][name]
        lines.append(_row(name, (str(report["count"]), *_percent(scores), f"{100 * low:.1f} .. {100 * high:.1f}")))
    for key, title in (("per_class", "class"), ("per_size", "size (px)"), ("per_kind", "kind")):
        if report[key]:
            lines += ["", _row(f"{title}, {report['main']}", ("n", *SCORES))]
            lines += [_row(group, (str(part["count"]), *_percent(part))) for group, part in report[key].items()]
    lines += _no_target_rows(report["no_target"]) if "no_target" in report else []
    lines += _box_rows(report["boxes"]) if "boxes" in report else []
    lines += ["", "Definitions"]
    lines += [f"- {sentence}" for sentence in report["definitions"].values()]
    return "\n".join(lines) + "\n"


def _no_target_rows(told: Mapping[str, Any]) -> list[str]:
    """The no-target scores for people."""
    lines = ["", _row("no target", ("n", "empty", *NO_TARGET_SCORES))]
    n = (str(told["target"] + told["no_target"]), str(told["no_target"]))
    for name, found in told["protocols"].items():
        for how, scores in found.items():
            words = f"{name}, by the mask" if how == "mask" else f"{name}, head >= {scores['threshold']:.3g}"
            said = ["-" if scores[s] is None else f"{100 * scores[s]:.2f}" for s in NO_TARGET_SCORES]
            lines.append(_row(words, (*n, *said)))
    return lines


def _box_rows(told: Mapping[str, Any]) -> list[str]:
    """The scores of boxes for people."""
    lines = ["", _row("boxes", ("n", *BOX_SCORES))]
    for kind, found in told.items():
        words = "of the mask" if kind == "of_mask" else kind
        for name, part in {"": found, **found["per_size"]}.items():
            said = [f"{100 * part[score]:.2f}" for score in BOX_SCORES]
            lines.append(_row(f"{words}, {name} px" if name else words, (str(part["count"]), *said)))
    return lines


def _title(report: Mapping[str, Any]) -> str:
    """What was scored, in one line."""
    name = report.get("dataset", "data")
    words = f"{name}, split {report['split']}: {report['count']} references on {report['images']} images, "
    words += f"{report['empty']} empty"
    if report.get("image_size"):
        words += f", input {report['image_size']} px"
    if report.get("shuffle_seed") is not None:
        words += f", EXPRESSIONS SHUFFLED (seed {report['shuffle_seed']})"
    if report.get("untrained"):
        words += ", UNTRAINED"
    return words


def _percent(scores: Mapping[str, float]) -> list[str]:
    return [f"{100 * scores[name]:.2f}" for name in SCORES]


def _row(head: str, cells: Sequence[str]) -> str:
    return f"{head:<28}" + "".join(f"{cell:>8}" if len(cell) < 8 else f"  {cell}" for cell in cells)

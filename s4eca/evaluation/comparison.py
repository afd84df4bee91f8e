"""Results of one data set side by side: scores, and paired differences with bootstrap intervals over images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.errors import ConfigError, DataError
from s4eca.evaluation.overlap import SCORES, hits
from s4eca.evaluation.protocols import ScoringProtocol
from s4eca.evaluation.report import SIZES, size_bucket
from s4eca.evaluation.resampling import LEVEL, RESAMPLES, image_numbers, percentile_interval, resampled_sums
from s4eca.evaluation.result_file import Result

VERSION = 1
GROUPS = ("kind", "size", "class")


def compare(
    results: Sequence[Result],
    *,
    against: int = 0,
    protocols: Sequence[str] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Scores of every result, and their differences to one of them; ready for JSON, every score 0..1.

    Keys: ``files`` (label, path and what was scored, of each), ``against`` (a label), ``split``, ``count``, ``images``,
    ``main`` (the scoring protocol of the groups), ``left_out`` (protocols that not all files have), ``interval``
    (level, seed, resamples), ``protocols`` (name -> ``definition`` and a part), and ``per_kind``, ``per_size`` and
    ``per_class`` (group -> a part under the main protocol). A part is ``count``, ``images``, ``scores`` (label -> score
    -> value) and ``differences`` (label -> score -> value, low, high); low and high are null where there is one image.

    Args:
        results: of one split of one data set, at least one.
        against: which of them the differences are taken to.
        protocols: names of the scoring protocols; empty takes all that every file has.
        seed: of the resampling.
        resamples: how many; a group's images are drawn among those that show a member of it.

    Raises:
        ConfigError: no result, or a protocol that a file lacks.
        DataError: the files are not of the same references, or score by different rules.
    """
    if not results:
        raise ConfigError("There is no file to compare; name at least one of s4eca evaluate --out.")
    first = results[0]
    orders = [_order(first, other) for other in results]
    names, left_out = _shared(results, protocols)
    labels = _labels(results)
    bank = _Bank(results, orders, labels, against, seed, resamples)
    main = "native" if "native" in names else names[0]
    groups = {
        "kind": list(first.kinds), "size": [size_bucket(int(area)) for area in first.areas],
        "class": list(first.classes),
    }  # fmt: skip
    return {
        "version": VERSION,
        "files": [_about(label, result) for label, result in zip(labels, results, strict=True)],
        "against": labels[against],
        "split": first.split,
        "count": len(first.ids),
        "images": len(set(first.images)),
        "main": main,
        "left_out": left_out,
        "interval": {"level": LEVEL, "seed": seed, "resamples": resamples},
        "protocols": {name: {"definition": _definition(results, name), **bank.part(name)} for name in names},
        **{f"per_{group}": _grouped(bank, main, values) for group, values in groups.items()},
    }


def _order(first: Result, other: Result) -> NDArray[np.int64]:
    """Where the references of the first file stand in another one.

    Raises:
        DataError: they are not the same references, or not of the same split.
    """
    if other.split != first.split:
        raise DataError(
            f"{first.path} is of split {first.split!r} and {other.path} of {other.split!r}; only results of one "
            "split can be compared."
        )
    places = {name: place for place, name in enumerate(other.ids)}
    lost = [name for name in first.ids if name not in places]
    if lost or len(first.ids) != len(other.ids):
        more = f", and reference {lost[0]!r} is not in the latter" if lost else ""
        raise DataError(
            f"{first.path} has {len(first.ids)} references and {other.path} {len(other.ids)}{more}; only results of "
            "the same references can be compared."
        )
    for name, image, area in zip(first.ids, first.images, first.areas, strict=True):
        place = places[name]
        if (other.images[place], other.areas[place]) != (image, area):
            raise DataError(
                f"Reference {name!r} is {area} pixels of {image} in {first.path} and {other.areas[place]} pixels of "
                f"{other.images[place]} in {other.path}; only results of the same data can be compared."
            )
    return np.array([places[name] for name in first.ids], dtype=np.int64)


def _shared(results: Sequence[Result], asked: Sequence[str]) -> tuple[list[str], list[str]]:
    """The scoring protocols to compare by, and those that not all files have.

    Raises:
        ConfigError: one that is asked for is not in a file.
        DataError: no protocol is in all files, or one of them means different rules.
    """
    for name in asked:
        for result in results:
            if name not in result.rules:
                raise ConfigError(
                    f"--protocol is {name}, and {result.path} is scored by {', '.join(result.rules)} alone."
                )
    known = list(dict.fromkeys(name for result in results for name in result.rules))
    names = list(dict.fromkeys(asked)) or [name for name in known if all(name in r.rules for r in results)]
    if not names:
        said = "; ".join(f"{result.path}: {', '.join(result.rules)}" for result in results)
        raise DataError(f"No scoring protocol is in all files ({said}); score them by a common one.")
    for name in names:
        for result in results[1:]:
            _check_rule(results[0], result, name)
    return names, [] if asked else [name for name in known if name not in names]


def _check_rule(first: Result, other: Result, name: str) -> None:
    """Refuse one name for two rules; the thresholds of `native` are the model's own.

    Raises:
        DataError: a setting of the protocol differs, or what it is scored at.
    """
    ours, theirs = _settings(first, name), _settings(other, name)
    for field, value in ours.items():
        if theirs[field] != value:
            raise DataError(
                f"{name} is scored with {field} {value} in {first.path} and {theirs[field]} in {other.path}; they are "
                "two protocols (--protocol chooses others that the files share)."
            )


def _settings(result: Result, name: str) -> dict[str, Any]:
    rule = result.rules[name]
    own = {"name", "source", *({"threshold", "presence"} if name == "native" else ())}
    settings = {key: value for key, value in dataclasses.asdict(rule).items() if key not in own}
    return settings | ({"image size": result.image_size} if rule.grid == "input" else {})


def _labels(results: Sequence[Result]) -> list[str]:
    """Short names of the files: without folder and ending where that tells them apart, else the whole path."""
    stems = [result.path.stem for result in results]
    return [str(r.path) if stems.count(stem) > 1 else stem for r, stem in zip(results, stems, strict=True)]


def _definition(results: Sequence[Result], name: str) -> str:
    sizes = {result.image_size for result in results}
    said = results[0].rules[name].definition(results[0].image_size if len(sizes) == 1 else None)
    if len({(result.rules[name].threshold, result.rules[name].presence) for result in results}) > 1:
        said += f" Thresholds are those of {results[0].path.stem}; every file has its own, in the table of files."
    return said


def _about(label: str, result: Result) -> dict[str, Any]:
    """What was scored, for the table of files."""
    report = result.report
    own = {"dataset", "image_size", "threshold", "shuffle_seed", "untrained"}
    adapter = report.get("adapter")
    return {
        "label": label,
        "path": str(result.path),
        "adapter": dict(adapter) if isinstance(adapter, Mapping) else {},
        **{name: report.get(name) for name in sorted(own)},
        "presence": {name: rule.presence for name, rule in result.rules.items() if rule.presence is not None},
    }


class _Bank:
    """Sums of every result under a protocol, resampled with the same images for all.

    Args:
        results: the files.
        orders: for each where the first one's references stand in it.
        labels: their names.
        against: which of them the differences are taken to.
        seed, resamples: of the bootstrap.
    """

    def __init__(
        self, results: Sequence[Result], orders: Sequence[NDArray[np.int64]], labels: Sequence[str], against: int,
        seed: int, resamples: int,
    ) -> None:  # fmt: skip
        self.results, self.orders, self.labels = results, orders, labels
        self.against, self.seed, self.resamples = against, seed, resamples
        self.images = image_numbers(results[0].images)

    def part(self, name: str, chosen: NDArray[np.int64] | None = None) -> dict[str, Any]:
        """Scores and differences of all references, or of some, under one scoring protocol."""
        some = np.arange(len(self.images)) if chosen is None else chosen
        images = image_numbers(self.images[some])
        pairs = list(zip(self.results, self.orders, strict=True))
        rows = [_quantities(result.rules[name], result.counts[name][:, order[some]]) for result, order in pairs]
        sums = resampled_sums(np.concatenate(rows), images, seed=self.seed, resamples=self.resamples)
        parts = zip(pairs, np.split(sums, len(rows)), strict=True)
        drawn = {label: _ratios(r.rules[name], s) for label, ((r, _), s) in zip(self.labels, parts, strict=True)}
        scores = {
            label: result.rules[name].scores(*result.counts[name][:, order[some]])
            for label, (result, order) in zip(self.labels, pairs, strict=True)
        }
        ours = self.labels[self.against]
        certain = int(images.max()) > 0
        differences = {
            label: {
                score: _difference(scores[label][score] - scores[ours][score], drawn[label][score] - drawn[ours][score],
                                   certain)
                for score in SCORES
            }
            for label in self.labels if label != ours
        }  # fmt: skip
        return {"count": len(some), "images": int(images.max()) + 1, "scores": scores, "differences": differences}


def _difference(value: float, drawn: NDArray[np.float64], certain: bool) -> dict[str, float | None]:
    low, high = percentile_interval(drawn) if certain else (None, None)
    return {"value": value, "low": low, "high": high}


def _quantities(rule: ScoringProtocol, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(9, N): one, IoU, intersection, union, and whether each of five P@X is met."""
    ious = rule.ious(*counts)
    met = hits(ious, strict=rule.strict, single=rule.single)
    return np.concatenate([np.ones((1, len(ious))), ious[None], counts.astype(np.float64), met.astype(np.float64)])


def _ratios(rule: ScoringProtocol, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Scores (resamples,) of resampled quantities."""
    number, ious, intersection, union, *met = sums
    empty = 1.0 if rule.empty == "one" else 0.0
    overall = np.divide(intersection, union, out=np.full_like(union, empty), where=union > 0)
    return dict(zip(SCORES, [ious / number, overall, *(row / number for row in met)], strict=True))


def _grouped(bank: _Bank, main: str, groups: Sequence[str | None]) -> dict[str, Any]:
    """The parts of each group, sizes in their order and others in the alphabet's."""
    order = {name: place for place, name in enumerate(SIZES)}
    names = sorted({group for group in groups if group is not None}, key=lambda g: (order.get(g, len(order)), g))
    return {
        name: bank.part(main, np.array([place for place, group in enumerate(groups) if group == name]))
        for name in names
    }

"""What an audit found of a teacher: numbers, the verdict, and what may be taught; read, written and shown."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s4eca.errors import ConfigError, TeacherRejected

EDGES = (16, 32, 64, 128)  # sides of targets, square roots of their areas, in pixels of the image


def bucket_names() -> tuple[str, ...]:
    """Names of the sizes, the smallest first."""
    between = (f"{low}-{high}" for low, high in zip(EDGES, EDGES[1:], strict=False))
    return (f"<{EDGES[0]}", *between, f">={EDGES[-1]}")


@dataclass(frozen=True)
class Report:
    """An audit.

    Attributes:
        teacher: its id.
        data, split: what it was audited on.
        references, images: how many of them were scored.
        seed, resamples: of draws and intervals.
        scores: name -> mean, lower and upper bound (95 %, bootstrap over images), or None where nothing was measured.
        buckets: size -> the same of its targets.
        passed: whether it may teach.
        reasons: what it fails by, in phrases.
        class_only: whether another expression of the same image does as well: it may not teach places.
        closed: sizes whose targets are left out of D2 and D4, being below the threshold or not measured.
    """

    teacher: str
    data: str
    split: str
    references: int
    images: int
    seed: int
    resamples: int
    scores: dict[str, list[float] | None]
    buckets: dict[str, dict[str, Any]]
    passed: bool
    reasons: tuple[str, ...]
    class_only: bool
    closed: tuple[str, ...]

    def to_json(self) -> str:
        """As text, one object."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    def require(self) -> None:
        """Refuse a teacher that failed.

        Raises:
            TeacherRejected: with the numbers.
        """
        if not self.passed:
            raise TeacherRejected(
                f"The teacher {self.teacher} fails its audit on {self.references} references of the split "
                f"{self.split!r} of {self.data}: {'; '.join(self.reasons)}; take another teacher, or "
                "model.distill.force: true to learn from it all the same."
            )

    def is_open(self, sides: ArrayLike) -> NDArray[np.bool_]:
        """Whether targets of these sides (pixels of their image) may be taught by place."""
        names, closed = bucket_names(), set(self.closed)
        return np.array([names[place] not in closed for place in np.digitize(np.asarray(sides, float), EDGES)], bool)

    def table(self) -> str:
        """For people."""
        of_what = f"{self.teacher} on {self.data}, split {self.split}"
        lines = [f"{of_what}: {self.references} references of {self.images} images", ""]
        lines += [f"{'':<22}{'mean':>8}{'95 % interval':>20}{'references':>12}"]
        lines += [_line(name, score, self.references) for name, score in self.scores.items()]
        lines += ["", "AUC by size of the target (px):"]
        lines += [_line(f"  {name}", found["AUC"], found["references"]) for name, found in self.buckets.items()]
        return "\n".join([*lines, "", self.verdict, ""])

    @property
    def verdict(self) -> str:
        """One sentence."""
        if not self.passed:
            return f"rejected: {'; '.join(self.reasons)}."
        if self.class_only:
            return "passed for features and pairs alone: another expression of the same image does as well."
        left = f"; D2 and D4 leave out the sizes {', '.join(self.closed)}" if self.closed else ""
        return f"passed{left}."


def _line(name: str, score: list[float] | None, count: int) -> str:
    if score is None:
        return f"{name:<22}{'-':>8}{'':>20}{count:>12}"
    mean, low, high = score
    return f"{name:<22}{mean:>8.3f}{f'{low:.3f} .. {high:.3f}':>20}{count:>12}"


def read_report(path: Path | str) -> Report:
    """A report that `s4eca distill audit --out` wrote.

    Raises:
        ConfigError: there is none, or it is something else.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        return Report(**{**values, "reasons": tuple(values["reasons"]), "closed": tuple(values["closed"])})
    except OSError as error:
        raise ConfigError(f"model.distill.audit is {path}, which cannot be read: {error.strerror or error}.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"model.distill.audit is {path}, which is no report of an audit; write one by s4eca distill audit --out."
        ) from error

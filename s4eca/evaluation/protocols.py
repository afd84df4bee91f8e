"""The three scoring protocols: `lavt`, `cris` and `native` (PROTOCOL 4.4).

A scoring protocol says how an image enters the model, on which grid prediction and truth meet, above which probability
a pixel is foreground, and how counts become scores. Published tables of this field mix them; each choice is a field,
so a table can show what one choice alone is worth.

- `lavt`: LAVT's test script, unchanged in RMSIN, FIANet and RS2-SAM2: everything at the model's input size.
- `cris`: the validation of CRIS, ETRIS and DETRIS: letterbox in, warped back to the image's own size.
- `native`: ours and the default: the mask is never resized, logits are brought to it.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s4eca.config import check_presence_threshold
from s4eca.errors import ConfigError
from s4eca.evaluation import overlap, warps
from s4eca.evaluation.overlap import Counts
from s4eca.evaluation.warps import Geometry

GRIDS = ("native", "input")


@dataclass(frozen=True)
class ScoringProtocol:
    """One rule of scoring.

    Attributes:
        name: name in tables.
        fit: ``stretch`` or ``letterbox``, how the image enters the square.
        grid: ``input`` scores at S x S with the truth resized to it (nearest), ``native`` on the mask's own grid.
        threshold: a pixel is foreground where its probability is larger (never equal).
        strict: P@X counts IoU > X; otherwise IoU >= X.
        single: X is rounded to float32 first.
        epsilon: added to the union of each sample.
        empty: worth of a sample where prediction and truth are both empty, ``zero`` or ``one``.
        source: where the rule comes from.
        presence: probability of presence below which a prediction is emptied; None empties none.
    """

    name: str
    fit: str
    grid: str
    threshold: float
    strict: bool
    single: bool
    epsilon: float
    empty: str
    source: str
    presence: float | None = None

    def __post_init__(self) -> None:
        """Refuse settings that are no rule.

        Raises:
            ConfigError: a value is out of range or unknown.
        """
        if not 0.0 <= self.threshold <= 1.0:
            raise ConfigError(f"threshold is {self.threshold}; it must lie between 0 and 1.")
        if self.presence is not None:
            check_presence_threshold("presence", self.presence)
        for field, value, known in (
            ("fit", self.fit, warps.FITS),
            ("grid", self.grid, GRIDS),
            ("empty", self.empty, overlap.EMPTY_POLICIES),
        ):
            if value not in known:
                raise ConfigError(f"{field} is {value!r}; it must be one of {', '.join(known)}.")

    def replace(self, **flags: Any) -> ScoringProtocol:
        """The same scoring protocol with some flags changed; None leaves a flag as it is."""
        return dataclasses.replace(self, **{key: value for key, value in flags.items() if value is not None})

    def geometry(self, image: tuple[int, int], size: int) -> Geometry:
        """How an image of (H, W) enters a square of side `size`."""
        return Geometry(self.fit, size, image)

    def bands_in(self, image: NDArray[np.float32], size: int) -> tuple[NDArray[np.float32], Geometry]:
        """(H, W, n) float32 of any range to (size, size, n) float32, and how it was put there.

        Raises:
            ValueError: the array is not (H, W, n) float32.
        """
        geometry = self.geometry((image.shape[0], image.shape[1]), size)
        return warps.bands_in(image, geometry), geometry

    def image_in(self, image: NDArray[np.uint8], size: int) -> tuple[NDArray[np.float32], Geometry]:
        """(H, W, 3) uint8 RGB to (size, size, 3) float32 in 0..255, and how it was put there.

        Raises:
            ValueError: the array is not (H, W, 3) uint8.
        """
        geometry = self.geometry((image.shape[0], image.shape[1]), size)
        return warps.image_in(image, geometry), geometry

    def probabilities_out(self, logits: Any, geometry: Geometry, native: tuple[int, int]) -> NDArray[np.float32]:
        """Decoder logits (h', w'), numpy or torch, to probabilities on the grid where this scoring protocol scores.

        Args:
            logits: what the model says on the square, at the decoder's resolution.
            geometry: how the image entered the square.
            native: (h, w) of the true mask's own grid.
        """
        if self.grid == "input":
            return warps.probabilities_on_square(logits, geometry)
        return warps.probabilities_on_image(logits, geometry, native)

    def prediction_out(
        self, logits: Any, geometry: Geometry, native: tuple[int, int], threshold: float | None = None
    ) -> NDArray[np.bool_]:
        """Decoder logits to a boolean mask on the grid where this scoring protocol scores; compared in float32.

        Args:
            logits: what the model says on the square, at the decoder's resolution.
            geometry: how the image entered the square.
            native: (h, w) of the true mask's own grid.
            threshold: in place of the scoring protocol's own.
        """
        cut = np.float32(self.threshold if threshold is None else threshold)
        return np.asarray(self.probabilities_out(logits, geometry, native) > cut)

    def truth_out(self, mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.bool_]:
        """The true mask on the grid where this scoring protocol scores."""
        return warps.truth_in(mask, geometry) if self.grid == "input" else np.asarray(mask, dtype=np.bool_)

    def masks_out(
        self, logits: Any, geometry: Geometry, mask: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Prediction and truth where they meet, from decoder logits (h', w') and the true mask on its own grid."""
        native = (mask.shape[0], mask.shape[1])
        return self.prediction_out(logits, geometry, native), self.truth_out(mask, geometry)

    def count(self, logits: Any, geometry: Geometry, mask: NDArray[np.bool_]) -> Counts:
        """Pixel counts of one sample, of what `masks_out` gives."""
        return overlap.count(*self.masks_out(logits, geometry, mask))

    def ious(self, intersection: ArrayLike, union: ArrayLike) -> NDArray[np.float64]:
        """IoU of each sample by this scoring protocol's arithmetic, (N,) in 0..1."""
        return overlap.ious(intersection, union, epsilon=self.epsilon, empty=self.empty)

    def scores(self, intersection: ArrayLike, union: ArrayLike) -> dict[str, float]:
        """mIoU, oIoU and P@0.5 .. P@0.9 of N samples, each 0..1."""
        return overlap.aggregate(
            intersection, union, strict=self.strict, single=self.single, epsilon=self.epsilon, empty=self.empty
        )

    def definition(self, size: int | None = None) -> str:
        """One sentence that a table can print below itself; `size` is the model's input size where it is known."""
        side = "S" if size is None else str(size)
        image, way = _WAYS[self.fit, self.grid]
        where = f"{side} x {side} with the truth resized to it (nearest)" if self.grid == "input" else _NATIVE
        ratio = f"I / (U + {self.epsilon:g})" if self.epsilon else "I / U"
        worth = "1" if self.empty == "one" else "0"
        gate = "" if self.presence is None else f", nowhere where presence < {self.presence:g}"
        return (
            f"{self.name}: scored at {where}; image {image} to {side} x {side}; {way}; foreground where p > "
            f"{self.threshold:g}{gate}; IoU of a sample = {ratio}, {worth} where prediction and truth are both empty; "
            f"P@X counts IoU {'>' if self.strict else '>='} X{' (X in float32)' if self.single else ''}. {self.source}"
        )


_NATIVE = "the mask's own size, the truth never resized"
_WAYS = {
    ("stretch", "input"): ("stretched (bilinear, antialiased)", "logits bilinear to that size, then sigmoid"),
    ("stretch", "native"): ("stretched (bilinear, antialiased)", "logits bilinear to the mask's size, then sigmoid"),
    ("letterbox", "input"): ("letterboxed (cubic)", "sigmoid, then bicubic with aligned corners to that size"),
    ("letterbox", "native"): (
        "letterboxed (cubic)",
        "sigmoid, bicubic with aligned corners to the input size, cubic inverse warp to the mask's size",
    ),
}

PROTOCOLS = {
    "lavt": ScoringProtocol(
        "lavt", "stretch", "input", 0.5, False, False, 0.0, "zero", "As LAVT, RMSIN, FIANet and RS2-SAM2 score."
    ),
    "cris": ScoringProtocol(
        "cris", "letterbox", "native", 0.35, True, True, 1e-6, "zero", "As CRIS, ETRIS and DETRIS score (oIoU: DETRIS)."
    ),
    "native": ScoringProtocol("native", "stretch", "native", 0.5, False, False, 0.0, "zero", "Ours, the default."),
}


def scoring_protocol(name: str, **flags: Any) -> ScoringProtocol:
    """A scoring protocol by name, with flags changed where a value is given (`threshold`, `grid`, `strict` ...).

    Raises:
        ConfigError: the name is unknown or a flag has an impossible value.
    """
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"protocol is {name!r}, which is none of {', '.join(PROTOCOLS)}{hint or '.'}")
    return PROTOCOLS[name].replace(**flags)

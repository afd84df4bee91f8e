"""One radiometric scaling for the whole scene: the same roof looks the same in every window.

Bytes are shown as they are. Other types are stretched between two percentiles per band, estimated in one seeded pass
over sampled valid pixels, so that a second run (or another machine) finds the same numbers. Where an adapter declares
a range for each of its bands, nothing is estimated and the model does the scaling.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.errors import ConfigError
from s4eca.geo.read.band_names import Declared
from s4eca.geo.read.source import Scene
from s4eca.geo.windows import Box

PERCENTILES = (2.0, 98.0)
SEED = 0
CELL = 256  # side of a sampled square in pixels
CELLS = 64  # squares with anything valid in them that make a sample
PIXELS = 4096  # pixels taken from a whole square


@dataclass(frozen=True)
class Scaling:
    """How the values of a file become what a model takes: 0..255, or the units of the bands that it declares.

    Attributes:
        kind: ``identity`` (bytes), ``percentile`` (estimated here), ``given``, or ``declared`` (by the adapter).
        low, high: per channel as the scene reads them, the values shown as 0 and 255; empty for identity. Of declared
            bands, in their own order, the range that the model scales by.
        bands: names of declared bands.
    """

    kind: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    bands: tuple[str, ...] = ()

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """(C, ...) values to 0..255: bytes unchanged under identity, else float32 cut to the range.

        Values of declared bands stay in their units, as float32. Where low equals high (a scene of one value) the
        middle grey is shown.
        """
        if self.kind == "identity":
            return values
        if self.kind == "declared":
            return np.asarray(values, np.float32)
        shown = np.empty(values.shape, np.float32)
        for channel, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if high > low:
                with np.errstate(invalid="ignore", over="ignore"):
                    stretched = (values[channel].astype(np.float64) - low) * (255.0 / (high - low))
                shown[channel] = np.clip(np.nan_to_num(stretched, nan=0.0), 0.0, 255.0)
            else:
                shown[channel] = 127.5
        return shown

    def to_json(self) -> str:
        """The numbers as one line of JSON, for the tags of the output."""
        record: dict[str, Any] = {"kind": self.kind}
        if self.kind != "identity":
            record.update(low=list(self.low), high=list(self.high))
        if self.kind == "percentile":
            record.update(percentiles=list(PERCENTILES), seed=SEED)
        if self.kind == "declared":
            record.update(bands=list(self.bands))
        return json.dumps(record)


def declared_scaling(declared: Declared) -> Scaling:
    """The scaling of bands whose ranges an adapter declares."""
    low, high = zip(*declared.ranges, strict=True)
    return Scaling("declared", low, high, declared.names)


def find_scaling(scene: Scene, given: Sequence[float] | None = None) -> Scaling:
    """The scaling of a scene: as given (low, high), identity for bytes, or estimated.

    Raises:
        ConfigError: the given range is not two rising finite numbers.
    """
    if given is not None:
        low, high = check_range(given)
        return Scaling("given", (low,) * scene.channels, (high,) * scene.channels)
    if scene.is_bytes:
        return Scaling("identity")
    sample = _sample(scene)
    if sample.shape[1] == 0:
        return Scaling("percentile", (0.0,) * scene.channels, (1.0,) * scene.channels)
    ends = np.percentile(sample, PERCENTILES, axis=1)
    flat = ends[0] == ends[1]
    ends[0] = np.where(flat, sample.min(axis=1), ends[0])
    ends[1] = np.where(flat, sample.max(axis=1), ends[1])
    return Scaling("percentile", tuple(map(float, ends[0])), tuple(map(float, ends[1])))


def check_range(given: Sequence[float]) -> tuple[float, float]:
    """Two rising finite numbers.

    Raises:
        ConfigError: they are not.
    """
    if isinstance(given, str):
        raise ConfigError(f"scale is the text {given!r}; it must be two rising numbers, for instance (0, 3000).")
    values = [float(v) for v in given]
    if len(values) != 2 or not all(np.isfinite(values)) or values[0] >= values[1]:
        raise ConfigError(f"scale is {values}; it must be two rising numbers, the values shown as black and white.")
    return values[0], values[1]


def _sample(scene: Scene) -> NDArray[np.float64]:
    """(C, N) valid pixels from random squares; the squares are visited until enough of them held anything."""
    dice = np.random.default_rng(SEED)
    rows, cols = scene.sample_cell(CELL)
    down, across = -(-scene.facts.height // rows), -(-scene.facts.width // cols)
    order = dice.permutation(down * across)
    share = min(1.0, PIXELS / (rows * cols))
    taken: list[NDArray[np.float64]] = [np.zeros((scene.channels, 0))]
    for first in range(0, len(order), CELLS):
        if len(taken) > CELLS:
            break
        for index in np.sort(order[first : first + CELLS]):
            row, col = int(index) // across * rows, int(index) % across * cols
            box = Box(row, col, min(rows, scene.facts.height - row), min(cols, scene.facts.width - col))
            values, valid = scene.read(box)
            pixels = values[:, valid]
            if pixels.shape[1]:
                count = int(np.ceil(share * pixels.shape[1]))
                taken.append(pixels[:, dice.choice(pixels.shape[1], count, replace=False)].astype(np.float64))
    return np.concatenate(taken, axis=1)

"""Values that the user calls nodata: stored values of pixels to leave out, beside what the file declares itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.errors import ConfigError, RasterError
from s4eca.records import RasterName


def check_nodata(given: float | Sequence[float] | None) -> tuple[float, ...]:
    """The values as a tuple, empty for None.

    Raises:
        ConfigError: they are no numbers.
    """
    if given is None:
        return ()
    try:
        numbers = [given] if isinstance(given, int | float | np.number) else list(given)
        values = tuple(float(v) for v in numbers)
    except (TypeError, ValueError):
        values = ()
    if not values:
        raise ConfigError(f"nodata is {given!r}; it must be a number (nan is one), or a number for each band.")
    return values


def nodata_values(
    name: RasterName, given: Sequence[float], order: Sequence[int], dtype: np.dtype[Any]
) -> NDArray[Any] | None:
    """The values for the channels that are read, in their type: one for all, or one for each; None where there is none.

    Args:
        name: the file, for messages.
        given: as the user says, for bands in the order in which the model sees them.
        order: for each of these bands, the channel that it is read as.
        dtype: type of the values.

    Raises:
        RasterError: another number of values than of bands, or a value that cannot occur.
    """
    if not given:
        return None
    places = list(dict.fromkeys(order))
    if len(given) not in (1, len(places)):
        raise RasterError(
            f"--nodata has {len(given)} values, but {len(places)} bands of {name} are used; give one for all of them, "
            "or one for each."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(given, np.float64).astype(dtype)
    for value, cast in zip(given, values, strict=True):
        fits = np.isnan(value) or np.isinf(value) or np.isfinite(cast) if dtype.kind == "f" else float(cast) == value
        if not fits:
            raise RasterError(
                f"--nodata is {value:g}, a value that the type {dtype} of {name} cannot hold; leave it out."
            )
    if len(values) == 1:
        return values
    by_channel = np.empty_like(values)
    by_channel[places] = values
    return by_channel


def holds(values: NDArray[Any], nodata: NDArray[Any]) -> NDArray[np.bool_]:
    """(h, w) where (channels, h, w) values hold nodata: one value in any channel, or the value of each in all."""
    wanted = nodata.reshape(-1, 1, 1)
    hit = (values == wanted) | (np.isnan(values) & np.isnan(wanted)) if values.dtype.kind == "f" else values == wanted
    found: NDArray[np.bool_] = hit.any(axis=0) if len(nodata) == 1 else hit.all(axis=0)
    return found


def spelt(values: Sequence[Any]) -> str:
    """Stored values as `--nodata` takes them, with the sign of equality where a minus would look like an option."""
    text = ",".join(f"{int(v)}" if abs(float(v)) < 1e15 and float(v).is_integer() else str(v) for v in values)
    return f"--nodata={text}" if text.startswith("-") else f"--nodata {text}"

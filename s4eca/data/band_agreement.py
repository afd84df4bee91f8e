"""The one place where the bands of a data set are held against those that a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from s4eca.errors import DataError

if TYPE_CHECKING:
    from s4eca.data.sample import ReferringDataset


def require_bands(dataset: ReferringDataset, bands: Sequence[str]) -> None:
    """Refuse a data set whose images are not what a model takes: values of other bands would score as nonsense.

    Args:
        dataset: a split; without bands its images are 8-bit RGB.
        bands: names of the model's input bands in their order, empty for RGB.

    Raises:
        DataError: with the bands of both.
    """
    read, wanted = tuple(dataset.bands), tuple(bands)
    if read == wanted:
        return
    if not wanted:
        raise DataError(
            f"{dataset.root} is read by the bands {', '.join(read)}, but the adapter takes 8-bit RGB; take an adapter "
            "that declares these bands, or leave the reader option bands out if the images are 8-bit RGB."
        )
    if not read:
        raise DataError(
            f"{dataset.root} holds 8-bit RGB images, but the adapter takes the bands {', '.join(wanted)}; take an "
            f"adapter for RGB, or read the data by these bands (reader option bands={','.join(wanted)})."
        )
    raise DataError(
        f"{dataset.root} is read by the bands {', '.join(read)}, but the adapter takes {', '.join(wanted)}, in this "
        "order; read the data by these."
    )

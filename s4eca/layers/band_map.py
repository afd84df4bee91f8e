"""Inputs of other bands than RGB: scaling by declared ranges, and n bands to the three an encoder was made for (ours).

A value is scaled by the range its band declares and by nothing else, so that it means the same in every tile. Then
either three chosen bands feed the frozen encoder, or a small trainable map makes three colours out of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from s4eca.config import S4ECAConfig
from s4eca.errors import DataError
from s4eca.layers.colours import colour_places


def rgb_alone(images: Tensor) -> Tensor:
    """The images (B, 3, H, W) themselves; others than RGB are refused: a single channel would be taken for all three.

    Raises:
        DataError: another number of channels.
    """
    if images.shape[1] != 3:
        raise DataError(f"The images have {images.shape[1]} channels, but the model takes RGB; it must be 3.")
    return images


class DeclaredRanges(nn.Module):
    """Values of n bands to 0..1 by the range each band declares; no parameters.

    Args:
        config: its `bands`, `band_ranges` and `chosen`.
        mean: the vision encoder's mean colour in 0..1, which stands in where a value is unknown.
    """

    low: Tensor
    high: Tensor
    unknown: Tensor

    def __init__(self, config: S4ECAConfig, mean: Sequence[float]) -> None:
        super().__init__()
        self.names = config.bands
        colours = tuple(self.names.index(name) for name in config.chosen) or colour_places(self.names)
        self.taken = list(colours) if config.chosen else list(range(len(self.names)))
        share = {place: value for place, value in zip(colours, mean, strict=True) if place is not None}
        average = sum(mean) / len(mean)
        values = {
            "low": [low for low, _ in config.band_ranges],
            "high": [high for _, high in config.band_ranges],
            "unknown": [share.get(place, average) for place in range(len(self.names))],
        }
        for name, column in values.items():
            self.register_buffer(name, torch.tensor(column).view(-1, 1, 1), persistent=False)

    def fill(self) -> tuple[float, ...]:
        """Per band, in its own units, the value that the encoder sees as its mean colour: for pixels without data."""
        filled = self.low + self.unknown * (self.high - self.low)
        return tuple(filled.flatten().tolist())

    def forward(self, images: Tensor) -> Tensor:
        """(B, n, H, W) values in the bands' own units to (B, 3 or n, H, W) in 0..1.

        Three where bands are chosen, all n where a `BandAdapter` follows. What lies outside a range is cut off; NaN and
        infinities are unknown and become the encoder's mean.

        Raises:
            DataError: another number of bands.
        """
        check_count(int(images.shape[1]), self.names)
        low, high, unknown = self.low[self.taken], self.high[self.taken], self.unknown[self.taken]
        values = images.to(low.device, torch.float32)[:, self.taken]
        shown = ((values - low) / (high - low)).clamp(0.0, 1.0)
        return torch.where(values.isfinite(), shown, unknown)


class BandAdapter(nn.Module):
    """n bands in 0..1 to three colours by one linear map a pixel (ours): 3 n + 3 parameters.

    A colour starts as the band of its name (see `s4eca.layers.colours`), or as the mean of all bands where there is
    none, so that training on red, green, blue and others starts from what the encoder says of the RGB image alone.

    Args:
        bands: names of the input bands.
    """

    def __init__(self, bands: Sequence[str]) -> None:
        super().__init__()
        count = len(bands)
        rows = [
            [1.0 / count] * count if place is None else [float(place == other) for other in range(count)]
            for place in colour_places(bands)
        ]
        self.weight = nn.Parameter(torch.tensor(rows))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, shares: Tensor) -> Tensor:
        """(B, n, H, W) in 0..1 to (B, 3, H, W)."""
        # No matrix product: half precision or TF32 would cut the pixels to fewer bits than a file has.
        return (self.weight[..., None, None] * shares.unsqueeze(1)).sum(2) + self.bias.view(-1, 1, 1)


def build_bands(config: S4ECAConfig, mean: Sequence[float]) -> tuple[DeclaredRanges | None, BandAdapter | None]:
    """What stands between the pixels of a configuration and its vision encoder; (None, None) for RGB in 0..255."""
    if not config.bands:
        return None, None
    return DeclaredRanges(config, mean), None if config.chosen else BandAdapter(config.bands)


def check_count(found: int, names: Sequence[str]) -> None:
    """Refuse images of another number of bands.

    Raises:
        DataError: they do not have as many bands as there are names.
    """
    if found != len(names):
        raise DataError(f"The image has {found} bands; the adapter takes {len(names)}, in order {', '.join(names)}.")

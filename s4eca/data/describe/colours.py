"""The colours that pixels plainly have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST = 4096  # pixels looked at; shares do not need more

# Hue in degrees, from .. to; what lies between two colours is plainly neither, and perhaps both.
_HUES = {
    "red": (-14.0, 11.0),
    "orange": (16.0, 38.0),
    "yellow": (46.0, 66.0),
    "green": (78.0, 165.0),
    "cyan": (174.0, 196.0),
    "blue": (204.0, 252.0),
    "purple": (262.0, 322.0),
}
_BETWEEN = {
    "red": (-42.0, 18.0),
    "orange": (9.0, 50.0),
    "yellow": (36.0, 82.0),
    "green": (62.0, 178.0),
    "cyan": (160.0, 210.0),
    "blue": (192.0, 266.0),
    "purple": (248.0, 348.0),
}


def colour_shares(pixels: NDArray[np.uint8]) -> dict[str, tuple[float, float]]:
    """Shares 0..1 of pixels that have a colour of `s4eca.language.vocabulary.COLOURS`: plainly, and perhaps.

    The two differ by what a viewer could call otherwise. Colours that no pixel perhaps has are left out.

    Args:
        pixels: (n, 3) RGB.
    """
    if not len(pixels):
        return {}
    step = -(-len(pixels) // _MOST)
    values = pixels[::step].astype(np.float32) / 255.0
    high, low = values.max(axis=1), values.min(axis=1)
    spread = high - low
    strong = spread / np.maximum(high, 1e-6)
    hue = _hue(values, high, spread)
    plain: dict[str, NDArray[np.bool_]] = {
        "black": high < 0.2,
        "white": (low > 0.76) & (spread < 0.1),
        "gray": (strong < 0.12) & (high > 0.28) & (high < 0.7),
        **_in_hues(hue, _HUES, (strong > 0.35) & (high > 0.3)),
    }
    plain["red"] &= strong > 0.45  # below it is pink, or a reddish brown
    plain["yellow"] &= (strong > 0.45) & (high > 0.6)  # below it is beige, or olive
    plain["brown"] = plain["orange"] & (high < 0.5)
    plain["orange"] &= (high > 0.62) & (strong > 0.4)
    perhaps: dict[str, NDArray[np.bool_]] = {
        "black": high < 0.34,
        "white": (low > 0.55) & (spread < 0.25),
        "gray": (strong < 0.28) & (high > 0.16) & (high < 0.88),
        **_in_hues(hue, _BETWEEN, (strong > 0.12) & (high > 0.14)),
    }
    perhaps["brown"] = (hue >= 0.0) & (hue <= 66.0) & (strong > 0.12) & (high > 0.14) & (high < 0.68)
    perhaps["orange"] &= high > 0.48
    shares = {name: (float(plain[name].mean()), float(mask.mean())) for name, mask in perhaps.items()}
    return {name: share for name, share in shares.items() if share[1] > 0}


def has_colours(image: NDArray[np.uint8]) -> bool:
    """Whether an image (H, W, 3) is more than a panchromatic one, in which everything would be called gray.

    One pixel in a hundred whose channels differ by a sixteenth of the range is enough.
    """
    part = image[:: max(1, image.shape[0] // 128), :: max(1, image.shape[1] // 128)].astype(np.int16)
    return float((part.max(axis=2) - part.min(axis=2) > 16).mean()) > 0.01


def _in_hues(
    hue: NDArray[np.float32], ranges: dict[str, tuple[float, float]], coloured: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    return {name: coloured & ((hue - start) % 360.0 <= end - start) for name, (start, end) in ranges.items()}


def _hue(values: NDArray[np.float32], high: NDArray[np.float32], spread: NDArray[np.float32]) -> NDArray[np.float32]:
    """Degrees round the colour wheel, red at 0; anything for greys."""
    red, green, blue = values.T
    width = np.maximum(spread, 1e-6)
    by_red, by_green, by_blue = (green - blue) / width % 6.0, (blue - red) / width + 2.0, (red - green) / width + 4.0
    sixths = np.where(high == red, by_red, np.where(high == green, by_green, by_blue))
    degrees: NDArray[np.float32] = (60.0 * sixths).astype(np.float32)
    return degrees

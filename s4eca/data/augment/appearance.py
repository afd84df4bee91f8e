"""Colours, blur and haze of a training image, as another day, sensor or sky would have shown it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional

from s4eca.data.augment.settings import Augmentation

# Each has draws of its own, so that switching one on leaves the others' as they were.
STREAMS = {"reframe": 1, "haze": 2, "blur": 3, "recolour": 4}
# Beginnings of words: one that means no colour ("bluff", "greenhouse") only leaves a sample as it is.
_STEMS = (
    "whit|gra?e?y|gre[iy]|black|red(?!uc)|rust|orang|yellow|green|cyan|turquois|blu|purpl|violet|brown"
    "|dark|light|bright|pal[ei]"
    r"|silver|beig|pink|tan(?!\w)|gold|cream|nav[yi]|oliv|maroon|magent|teal|crimson|scarlet|ivor|lila|khaki|sand|indigo|azur"
    "|amber|bronz|copper|charcoal|tint|shad(?:e|y)"
)
_COLOUR = re.compile(rf"\b(?:{_STEMS})\w*|colou?r", re.I)


def stream(name: str, seed: int) -> np.random.Generator:
    """The draws of one kind of change for a sample; a pure function of the sample's seed."""
    return np.random.default_rng([seed, STREAMS[name]])


def says_colour(text: str) -> bool:
    """Whether an expression may speak of colours: it has a word of colour, or letters that are not English."""
    return _COLOUR.search(text) is not None or any(letter.isalpha() and not letter.isascii() for letter in text)


def change_look(image: NDArray[Any], expression: str, settings: Augmentation, seed: int) -> NDArray[Any]:
    """An image with haze, blur and other colours, as often and as much as the settings say, in that order.

    Light passes the air, then the optics, then what a provider does to the values.

    Args:
        image: (S, S, 3) uint8 RGB, or (S, S, n) float32 bands.
        expression: its words; where they speak of colours, haze and other colours are left out.
        settings: what is done.
        seed: of the sample; decides every draw.

    Returns:
        The image of the same type and shape; `image` itself where nothing is done.
    """
    said = says_colour(expression)
    drawn = {name: stream(name, seed) for name in ("haze", "blur", "recolour")}
    chosen = [name for name, draws in drawn.items() if draws.random() < getattr(settings, name)]
    chosen = [name for name in chosen if name == "blur" or not said]
    if not chosen:
        return image
    rgb = image.dtype == np.uint8
    pixels = torch.tensor(image).permute(2, 0, 1)
    pixels = pixels.float() / 255.0 if rgb else pixels
    for name in chosen:
        if name == "haze":
            pixels = hazed(pixels, drawn[name], settings.veil)
        elif name == "blur":
            pixels = blurred(pixels, float(drawn[name].uniform(*settings.sigma)))
        else:
            pixels = (recoloured if rgb else regained)(pixels, drawn[name], settings)
    changed = pixels.permute(1, 2, 0)
    if rgb:
        return (changed * 255.0).round().clamp(0, 255).to(torch.uint8).contiguous().numpy()
    return changed.contiguous().numpy()


def hazed(pixels: Tensor, draws: np.random.Generator, veil: tuple[float, float]) -> Tensor:
    """Haze of one thickness over the picture (ours): I t + A (1 - t), the scattering model of Koschmieder (1924).

    1 - t is drawn from `veil`; the light A of the air is grey, from 0.7 to 0.95, and up to 0.06 more blue than red.

    Args:
        pixels: (3, H, W) RGB in 0..1.
        draws: decide.
        veil: least and most of 1 - t.
    """
    lost, light, blue = (float(draws.uniform(low, high)) for low, high in (veil, (0.7, 0.95), (0.0, 0.06)))
    air = torch.tensor([light - blue / 2, light, light + blue / 2]).clamp(max=1.0).view(3, 1, 1)
    return pixels * (1.0 - lost) + air * lost


def blurred(pixels: Tensor, sigma: float) -> Tensor:
    """A Gaussian as the point spread of a sensor, over three sigmas each way; unknown pixels (NaN) stay and spread not.

    Args:
        pixels: (C, H, W).
        sigma: standard deviation in pixels.
    """
    reach = min(int(np.ceil(3.0 * sigma)), (min(pixels.shape[-2:]) - 1) // 2)
    size, spread = [2 * reach + 1] * 2, [sigma, sigma]
    unknown = pixels.isnan()
    if not unknown.any():
        smooth: Tensor = functional.gaussian_blur(pixels, size, spread)
        return smooth
    weight: Tensor = functional.gaussian_blur((~unknown).float(), size, spread)
    total: Tensor = functional.gaussian_blur(torch.where(unknown, 0.0, pixels), size, spread)
    return torch.where(unknown, torch.nan, total / weight)


def recoloured(pixels: Tensor, draws: np.random.Generator, settings: Augmentation) -> Tensor:
    """Brightness, contrast, saturation and hue of RGB, as torchvision's ColorJitter changes them, in this order.

    Args:
        pixels: (3, H, W) RGB in 0..1.
        draws: decide.
        settings: how much at most.
    """
    steps = (
        (functional.adjust_brightness, settings.brightness, 1.0),
        (functional.adjust_contrast, settings.contrast, 1.0),
        (functional.adjust_saturation, settings.saturation, 1.0),
        (functional.adjust_hue, settings.hue, 0.0),
    )
    for adjust, most, none in steps:
        amount = none + float(draws.uniform(-most, most))
        if amount != none:
            pixels = adjust(pixels, amount)
    return pixels


def regained(pixels: Tensor, draws: np.random.Generator, settings: Augmentation) -> Tensor:
    """Gain and offset of each band by itself: contrast about the band's mean, and a shift in its standard deviations.

    Needs no ranges, and means the same for reflectance and for decibels.

    Args:
        pixels: (n, H, W) values in the bands' own units; NaN stays.
        draws: decide.
        settings: `contrast` and `brightness` are the most.
    """
    known = ~pixels.isnan()
    count = known.sum((1, 2), keepdim=True).clamp(min=1)
    mean = torch.where(known, pixels, 0.0).sum((1, 2), keepdim=True) / count
    spread = (torch.where(known, pixels - mean, 0.0).square().sum((1, 2), keepdim=True) / count).sqrt()
    gain, shift = (
        torch.from_numpy(draws.uniform(-most, most, len(pixels)).astype(np.float32)).view(-1, 1, 1)
        for most in (settings.contrast, settings.brightness)
    )
    return mean + (pixels - mean) * (1.0 + gain) + shift * spread

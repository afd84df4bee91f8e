"""Colours of things found, the same on maps, previews and pictures: far from one another, also on an orthophoto."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]

# The first is the red of a single mask.
COLOURS: tuple[Colour, ...] = (
    (227, 26, 28), (31, 120, 180), (51, 160, 44), (255, 191, 0), (152, 78, 163), (255, 127, 0), (23, 190, 207),
    (247, 129, 191), (177, 89, 40), (188, 189, 34), (102, 194, 165), (140, 140, 255),
)  # fmt: skip


def colours(count: int) -> list[Colour]:
    """That many different colours, red, green, blue in 0..255; the same ones every time."""
    found = list(COLOURS[:count])
    for number in range(len(found), count):
        hue = number * 0.618033988749895 % 1.0
        shade = colorsys.hsv_to_rgb(hue, 0.85 - 0.25 * (number % 3), 0.95 - 0.2 * (number % 2))
        found.append((round(255 * shade[0]), round(255 * shade[1]), round(255 * shade[2])))
    return found

"""What the fields of an annotation must hold, asked before anything is done with them.

A check raises `DataError` with where the field stands, what it holds and what would be right.
"""

from __future__ import annotations

import math
from typing import Any

from s4eca.errors import DataError

MOST_PIXELS = 2**31 - 1  # of a mask: pycocotools counts in 32 bits


def short(value: Any) -> str:
    """A value as it may stand in a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def is_whole(value: Any) -> bool:
    """Whether a value is an integer (true and false are not)."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def check_id(value: Any, where: str) -> None:
    """An id: a whole number or a text.

    Raises:
        DataError: it is anything else.
    """
    if not (is_whole(value) or isinstance(value, str) or (isinstance(value, float) and value.is_integer())):
        raise DataError(f"{where} is {short(value)}; an id is a whole number or a text.")


def check_text(value: Any, where: str) -> None:
    """A text that is not blank and that can be written as UTF-8.

    Raises:
        DataError: it is anything else.
    """
    if not (isinstance(value, str) and value.strip()):
        raise DataError(f"{where} is {short(value)}; it must be a text that is not empty.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where} is {ascii(value)[:60]}; half of a surrogate pair is no character.") from error


def check_numbers(value: Any, count: int, where: str, meaning: str) -> None:
    """A list of that many finite numbers.

    Raises:
        DataError: it is anything else.
    """
    if not (isinstance(value, list | tuple) and len(value) == count and all(map(is_finite, value))):
        raise DataError(f"{where} is {short(value)}; it must be {meaning}, or be left out.")


def checked_side(value: Any, where: str) -> int:
    """The height or width of an image.

    Raises:
        DataError: it is anything but a whole number above 0.
    """
    if not _is_side(value):
        raise DataError(f"{where} is {short(value)}; it must be a whole number of pixels above 0.")
    return int(value)


def checked_size(size: Any, where: str) -> tuple[int, int]:
    """[height, width] of a mask that can be drawn.

    Raises:
        DataError: it is anything else.
    """
    if not (isinstance(size, list | tuple) and len(size) == 2 and all(map(_is_side, size))):
        raise DataError(f"{where} is {short(size)}; it must be [height, width], two whole numbers above 0.")
    height, width = int(size[0]), int(size[1])
    if height * width > MOST_PIXELS:
        raise DataError(f"{where} is {short(size)}; a mask has at most {MOST_PIXELS} pixels.")
    return height, width


def _is_side(value: Any) -> bool:
    return is_finite(value) and 0 < value <= MOST_PIXELS and value == int(value)

"""Where the windows of a scene lie: plain arithmetic, one global grid for the whole scene.

The placement is MONAI's (`sliding_window_inference`), so that the blended result can be checked against it.
"""

from __future__ import annotations

from dataclasses import dataclass

from s4eca.errors import ConfigError


def starts(length: int, window: int, overlap: float) -> tuple[int, ...]:
    """First pixels of the windows along one axis.

    Windows advance by ``int(window * (1 - overlap))`` until the axis is covered; the last is moved back to end with
    the axis. The expression is kept in floating point as it stands, because its rounding is part of the convention.

    Args:
        length: pixels along the axis, at least `window`.
        window: side of a window in pixels.
        overlap: share of a window that the next one covers again, 0 to below 1.
    """
    step = window if window == length else max(int(window * (1.0 - overlap)), 1)
    places = [0]
    while places[-1] + window < length:
        places.append(places[-1] + step)
    places[-1] = length - window
    return tuple(places)


def padding(length: int, window: int) -> tuple[int, int]:
    """Pixels to add (before, after) an axis shorter than a window, so that the content stands in the middle."""
    missing = max(window - length, 0)
    return missing // 2, missing - missing // 2


@dataclass(frozen=True)
class Plan:
    """The one grid of windows over a scene.

    Attributes:
        height, width: size of the scene in pixels.
        window: side of the square window in pixels.
        overlap: share of a window that the next one covers again.
        mirrored: whether rows, and columns, are counted from the other end when windows are placed, so that a scene
            stored upside down gets the windows that it would get the right way up.
    """

    height: int
    width: int
    window: int
    overlap: float
    mirrored: tuple[bool, bool] = (False, False)

    def __post_init__(self) -> None:
        """Refuse windows that cannot be placed.

        Raises:
            ConfigError: window below 1 or overlap outside 0 to 1.
        """
        if self.window < 1:
            raise ConfigError(f"window is {self.window}; it must be at least 1 pixel.")
        if not 0.0 <= self.overlap < 1.0:
            raise ConfigError(f"overlap is {self.overlap}; it must be at least 0 and below 1.")

    @property
    def top(self) -> int:
        """Rows added above a scene lower than a window."""
        return padding(self.height, self.window)[int(self.mirrored[0])]

    @property
    def left(self) -> int:
        """Columns added left of a scene narrower than a window."""
        return padding(self.width, self.window)[int(self.mirrored[1])]

    @property
    def padded_height(self) -> int:
        """Rows of the scene with its padding."""
        return max(self.height, self.window)

    @property
    def padded_width(self) -> int:
        """Columns of the scene with its padding."""
        return max(self.width, self.window)

    @property
    def rows(self) -> tuple[int, ...]:
        """First padded row of each row of windows."""
        return self._starts(self.padded_height, self.mirrored[0])

    @property
    def cols(self) -> tuple[int, ...]:
        """First padded column of each window in a row."""
        return self._starts(self.padded_width, self.mirrored[1])

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.rows) * len(self.cols)

    def _starts(self, length: int, mirrored: bool) -> tuple[int, ...]:
        places = starts(length, self.window, self.overlap)
        return tuple(length - self.window - place for place in reversed(places)) if mirrored else places

    def spans(self) -> list[tuple[int, int]]:
        """Per row of windows, its first padded row and the first padded row that it does not yet finish."""
        rows = self.rows
        return list(zip(rows, (*rows[1:], self.padded_height), strict=True))

"""Where things lie in a scene as a person sees it on a map, north up, in metres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from s4eca.geo.ground import Ground
from s4eca.records import SceneFacts


class Frame:
    """Pixel coordinates of a scene to places on the map.

    Left, right, up and down are those of the map with north up, whichever way the file's own rows and columns run; what
    is left is so in the scene as it is stored only where nothing is known of north. Distances are metres around the
    middle of the scene, of which the axes are laid along those of the map.

    Args:
        facts: the scene.

    Attributes:
        ground: measures areas.
        pixel: side of a pixel in metres (the mean of both), or 1.
        size: (width, height) of what the scene covers, north up, in pixels.
        in_metres: whether metres are known.
    """

    def __init__(self, facts: SceneFacts) -> None:
        self.ground = Ground(facts.crs, facts.transform)
        height, width = facts.height, facts.width
        upright = self.ground.upright
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64) @ upright.T
        self._upright, self._low = upright, corners.min(axis=0)
        self._reach = corners.max(axis=0) - self._low
        side = np.sqrt(abs(float(np.linalg.det(upright))))  # of a pixel, in units of the map
        self.size = (float(self._reach[0] / side), float(self._reach[1] / side))
        self._metres = self.ground.flat(height, width)
        self._turn, self._middle = np.eye(2), np.array([width / 2.0, height / 2.0])
        self.pixel = 1.0
        if self._metres is not None:
            steps = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]) + self._middle - 0.5
            here = self._metres(steps)
            moved = (here[1:] - here[0]).T  # (2, 2): columns are a step along a row, and one down
            self.pixel = float(np.sqrt(abs(np.linalg.det(moved))))
            # Of all turns and mirrorings the one that brings metres nearest to right and down on the map.
            u, _, vt = np.linalg.svd(upright @ np.linalg.inv(moved))
            self._turn = u @ vt

    @property
    def in_metres(self) -> bool:
        """Whether metres are known."""
        return self._metres is not None

    def shares(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) pixel coordinates (column, row) to shares of the width and height that the scene covers, north up."""
        found: NDArray[np.float64] = (pixels @ self._upright.T - self._low) / self._reach
        return found

    def places(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) pixel coordinates to metres (or pixels) to the right and down, north up."""
        if self._metres is None:
            return pixels @ self._upright.T
        found: NDArray[np.float64] = self._metres(pixels) @ self._turn.T
        return found

"""Class maps: rasters whose values are classes, read on the grid of a scene, and what of them lies in a tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import reproject, transform_bounds

from s4eca.data.instances import Instance
from s4eca.errors import DataError, RasterError
from s4eca.geo.read.opening import not_read, open_raster
from s4eca.geo.tiles.scene import TileScene
from s4eca.records import Box, RasterName

UNKNOWN = -(2**31)  # on our grid, a pixel of which no map says anything


class ClassMaps:
    """Open class maps over any number of scenes. Use as a context manager.

    Args:
        paths: one-band rasters of whole numbers; of several that know a pixel the first has the word.
        legend: value -> name, None for no class; empty names every value ``class N``.

    Raises:
        RasterError: a map cannot be opened or is no map of classes.
    """

    def __init__(self, paths: Sequence[Path], legend: Mapping[int, str | None]) -> None:
        self._legend = dict(legend)
        self._files: list[tuple[RasterName, Any]] = []
        try:
            for path in paths:
                name = RasterName(str(path))
                file = open_raster(name)
                self._files.append((name, file))
                if file.count != 1 or np.dtype(file.dtypes[0]).kind not in "iu":
                    raise RasterError(
                        f"--classes is {name}, which has {file.count} band(s) of {file.dtypes[0]}; a class map has one "
                        "band of whole numbers."
                    )
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> ClassMaps:
        """The maps themselves."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the files."""
        for _, file in self._files:
            file.close()

    def check_over(self, scene: TileScene) -> None:
        """Refuse a map that cannot be laid over a scene.

        Raises:
            RasterError: one of the two has a CRS and the other has none.
        """
        for name, file in self._files:
            if bool(file.crs) != (scene.crs is not None):
                with_crs, without = (name, scene.name) if file.crs else (scene.name, name)
                raise RasterError(
                    f"{without} has no CRS and {with_crs} has one, so they cannot be laid over each other; give it "
                    f"one, for instance with 'gdal_edit.py -a_srs EPSG:32633 {without.short}'."
                )

    def covers(self, scene: TileScene) -> bool:
        """Whether the frame of any map meets that of a scene, as far as frames tell."""
        return any(self._meets(file, scene) for _, file in self._files)

    @staticmethod
    def _meets(file: Any, scene: TileScene) -> bool:
        west, south, east, north = _frame(scene.transform, scene.height, scene.width)
        if file.crs and file.crs != scene.crs:
            try:
                west, south, east, north = transform_bounds(scene.crs, file.crs, west, south, east, north)
            except RasterioError:
                return True  # not known; what is read there tells
            if not np.isfinite([west, south, east, north]).all() or west > east:
                return True
        left, bottom, right, top = _frame(file.transform, file.height, file.width)
        return west < right and left < east and south < top and bottom < north

    def values(self, scene: TileScene, box: Box) -> NDArray[np.int64]:
        """(h, w) values on a box of a scene's grid, which may reach beyond the scene; `UNKNOWN` where none is known.

        Raises:
            RasterError: a map is damaged there.
        """
        found = np.full((box.height, box.width), UNKNOWN, np.int64)
        for name, file in self._files:
            here = self._on_grid(name, file, scene, box)
            found = np.where(found == UNKNOWN, here, found)
        return found

    @staticmethod
    def _on_grid(name: RasterName, file: Any, scene: TileScene, box: Box) -> NDArray[np.int64]:
        grid = scene.transform * Affine.translation(box.col, box.row)
        there = np.full((box.height, box.width), UNKNOWN, np.float64)
        coarser = abs(scene.transform.determinant) > 1.5 * abs(file.transform.determinant)
        same_units = file.crs == scene.crs
        nodata = file.nodata
        try:
            with rasterio.Env():
                reproject(
                    rasterio.band(file, 1), there, src_crs=file.crs or scene.plane(), src_nodata=nodata,
                    dst_transform=grid, dst_crs=scene.plane(), dst_nodata=UNKNOWN, init_dest_nodata=True,
                    resampling=Resampling.mode if coarser and same_units else Resampling.nearest,
                )  # fmt: skip
        except RasterioError as error:
            raise not_read(name, 0, file.height - 1, error) from error
        return there.astype(np.int64)

    def name_of(self, value: int) -> str | None:
        """The class of a value, None for one that is no class.

        Raises:
            DataError: the legend does not have it.
        """
        if not self._legend:
            return f"class {value}"
        if value not in self._legend:
            names = ", ".join(str(name) for name, _ in self._files)
            raise DataError(
                f"{names} has the value {value}, which the legend does not have; add a line for it, with an empty "
                "name where it is no class."
            )
        return self._legend[value]

    def instances(self, scene: TileScene, box: Box, valid: NDArray[np.bool_]) -> tuple[list[Instance], float]:
        """The connected areas (8 neighbours) of each class in a tile, and the share of its pixels that has a class.

        An area is cut where it goes on beyond the tile's edge, by the map itself, or under pixels without data.
        """
        import cv2

        wide = self.values(scene, Box(box.row - 1, box.col - 1, box.height + 2, box.width + 2))
        inner = (slice(1, -1), slice(1, -1))
        found: list[Instance] = []
        known = wide[inner] != UNKNOWN
        for value in np.unique(wide[inner][known]):
            name = self.name_of(int(value))
            if name is None:
                continue
            here = (wide == value).astype(np.uint8)
            count, labels = cv2.connectedComponents(here, connectivity=8)
            pieces = np.where(valid, labels[inner], 0)
            rim = set(np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])))
            hidden = set(np.unique(labels[inner][~valid]))
            for label in range(1, count):
                mask = pieces == label
                if mask.any():
                    found.append(Instance.of(name, mask, cut=label in rim or label in hidden))
        return found, float((known & valid).mean())


def _frame(transform: Affine, height: int, width: int) -> tuple[float, float, float, float]:
    """West, south, east and north of a grid."""
    corners = [transform * (col, row) for col in (0, width) for row in (0, height)]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return min(xs), min(ys), max(xs), max(ys)

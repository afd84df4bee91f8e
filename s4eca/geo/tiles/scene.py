"""A scene as tiles are cut from it: all its data bands as stored, north up, at its own or another pixel size."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.warp import reproject
from rasterio.windows import Window

from s4eca.errors import RasterError
from s4eca.geo.ground import Ground
from s4eca.geo.read.choice import Bands
from s4eca.geo.read.nodata import nodata_values
from s4eca.geo.read.opening import not_read, number_type, open_raster
from s4eca.geo.read.placing import check_place, turned_over
from s4eca.geo.read.validity import Validity, with_own_masks
from s4eca.geo.tiles.request import TileRequest
from s4eca.records import Box, RasterName

PLANE = CRS.from_epsg(3857)  # stands in where there is no CRS: both sides are on one plane, and nothing is projected
MARGIN = 2  # source pixels read beyond a tile that is resampled


class TileScene:
    """An open scene, north up. Use as a context manager.

    Attributes:
        name: what it is called.
        height, width: size of its grid in pixels, after `TileRequest.gsd`.
        transform: grid to CRS.
        crs: the CRS object, or None.
        bands: the bands that tiles hold, counted from 1.
        notes: what a user should know about how it was understood.

    Args:
        source: a file, or another name that GDAL knows.
        request: pixel size, bands, nodata.

    Raises:
        RasterError: it cannot be opened, lies nowhere, lacks a band, or its metres are not known and needed.
    """

    def __init__(self, source: str | Path, request: TileRequest) -> None:
        self.name = RasterName(str(source))
        self._file = open_raster(self.name)
        try:
            self._understand(request)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TileScene:
        """The scene itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._file.close()

    def _understand(self, request: TileRequest) -> None:
        file = self._file
        remarks = check_place(self.name, file, request.allow_ungeoreferenced)
        nowhere = f"{self.name.short} has no CRS; its tiles are placed in the coordinates of the file."
        if file.transform.is_identity:
            nowhere = f"{self.name.short} lies nowhere on the ground; its tiles are placed by its pixels."
        self.notes = remarks if file.crs or not remarks else [nowhere]
        self.crs = file.crs or None
        said = Bands(file.colorinterp, file.descriptions)
        believed = said.alpha if request.alpha and not request.bands else ()
        chosen = request.bands or [(band, None) for band in range(1, file.count + 1) if band not in believed]
        for band, _ in chosen:
            if not 1 <= band <= file.count:
                raise RasterError(f"--bands names band {band}, but {self.name} has bands 1 to {file.count}.")
        if not chosen:
            raise RasterError(f"{self.name} has no band but alpha; with --no-alpha it is data.")
        self.bands = tuple(band for band, _ in chosen)
        self._names = _each_its_own([name or said.text(band) or None for band, name in chosen])
        self._dtype = number_type(self.name, file, list(self.bands))
        alpha = [band for band in believed if band not in self.bands]
        nodata = nodata_values(self.name, request.nodata, range(len(self.bands)), self._dtype)
        self._validity = Validity(alpha, with_own_masks(file, self.bands), nodata)
        over, _ = turned_over(self.name, file)
        if any(over):
            self.notes.append(f"{self.name.short} is not stored north up; its tiles are.")
        self._over = over
        self._lay_grid(over, request.gsd)

    def _lay_grid(self, over: tuple[bool, bool], gsd: float | None) -> None:
        """The grid that tiles lie on: the scene's own, turned north up and with pixels of another size if asked."""
        file = self._file
        upright = file.transform
        if over[0]:
            upright = upright * Affine.translation(0, file.height) * Affine.scale(1, -1)
        if over[1]:
            upright = upright * Affine.translation(file.width, 0) * Affine.scale(-1, 1)
        self._upright, self._step = upright, (1.0, 1.0)
        self.transform, self.height, self.width = upright, file.height, file.width
        if gsd is None:
            return
        size = Ground(file.crs, file.transform).pixel_size(file.height, file.width)
        if size is None:
            raise RasterError(f"--gsd is {gsd:g}, but how many metres a pixel of {self.name} covers is not known.")
        down, across = gsd / size[0], gsd / size[1]
        self.height, self.width = int(file.height / down + 1e-6), int(file.width / across + 1e-6)
        if min(self.height, self.width) < 1:
            raise RasterError(f"--gsd is {gsd:g} metres, more than the whole of {self.name}; give a smaller one.")
        if max(abs(down - 1), abs(across - 1)) < 1e-6:
            return
        self._step = (down, across)
        self.transform = upright * Affine.scale(across, down)
        if min(down, across) < 0.5:
            own = sum(size) / 2
            self.notes.append(f"{self.name.short} has pixels of {own:.3g} m; at {gsd:g} m its tiles show nothing more.")

    @property
    def place(self) -> dict[str, Any]:
        """CRS (as a text) and transform of the grid."""
        return placed(self.crs, self.transform)

    def plane(self) -> Any:
        """The CRS to warp with: the scene's own, or a stand-in where it has none."""
        return self.crs or PLANE

    def read(self, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(bands, h, w) values in the stored units and (h, w) validity of a box of the grid.

        Raises:
            RasterError: the file is damaged there.
        """
        if self._step == (1.0, 1.0):
            return self._upright_read(box)
        down, across = self._step
        top, left = max(int(box.row * down) - MARGIN, 0), max(int(box.col * across) - MARGIN, 0)
        bottom = min(int(np.ceil((box.row + box.height) * down)) + MARGIN, self._file.height)
        right = min(int(np.ceil((box.col + box.width) * across)) + MARGIN, self._file.width)
        values, valid = self._upright_read(Box(top, left, bottom - top, right - left))
        return self._resampled(box, values, valid, Affine.translation(left, top))

    def _resampled(
        self, box: Box, values: NDArray[Any], valid: NDArray[np.bool_], corner: Affine
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values at the grid's own pixel size: means where it is coarser, and of a colour table the nearest."""
        finer = min(self._step) < 1
        how = Resampling.bilinear if finer else Resampling.average
        if self._file.colorinterp[self.bands[0] - 1] == ColorInterp.palette:
            how = Resampling.nearest
        numbers = values.astype(np.float64 if self._dtype.itemsize > 2 else np.float32)
        numbers[:, ~valid] = np.nan
        found = np.full((len(values), box.height, box.width), np.nan, numbers.dtype)
        reproject(
            numbers, found, src_transform=self._upright * corner, src_crs=self.plane(), src_nodata=np.nan,
            dst_transform=self.transform * Affine.translation(box.col, box.row), dst_crs=self.plane(),
            dst_nodata=np.nan, resampling=how,
        )  # fmt: skip
        known: NDArray[np.bool_] = np.asarray(np.isfinite(found).all(axis=0))
        found[:, ~known] = 0
        if self._dtype.kind in "iu":
            limits = np.iinfo(self._dtype)
            found = np.clip(np.rint(found), limits.min, limits.max)
        return found.astype(self._dtype), known

    def _upright_read(self, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """A box of the scene's own pixels, north up."""
        row = self._file.height - box.row - box.height if self._over[0] else box.row
        col = self._file.width - box.col - box.width if self._over[1] else box.col
        window = Window(col, row, box.width, box.height)
        try:
            values = np.stack([self._file.read(band, window=window).astype(self._dtype) for band in self.bands])
            valid = self._validity.of(self._file, values, window)
        except RasterioError as error:
            raise not_read(self.name, row, row + box.height - 1, error) from error
        down, across = (slice(None, None, -1 if over else 1) for over in self._over)
        return np.ascontiguousarray(values[:, down, across]), np.ascontiguousarray(valid[down, across])

    def declared_nodata(self) -> float | None:
        """The one nodata value that the file declares for all its kept bands, or None."""
        declared = {self._file.nodatavals[band - 1] for band in self.bands}
        if any(value is not None and np.isnan(value) for value in declared):
            return float("nan") if all(value is not None and np.isnan(value) for value in declared) else None
        return declared.pop() if len(declared) == 1 else None

    def write(self, path: Path, box: Box, values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """A tile as a GeoTIFF: what the scene says of its bands is kept, and nodata or a mask tells what is no data.

        Raises:
            OSError: the file system refuses.
        """
        file, nodata = self._file, self.declared_nodata()
        flags = [file.colorinterp[band - 1] for band in self.bands]
        flags = [ColorInterp.undefined if flag == ColorInterp.alpha else flag for flag in flags]
        profile = {
            "driver": "GTiff", "height": box.height, "width": box.width, "count": len(self.bands),
            "dtype": str(self._dtype), "crs": self.crs, "compress": "deflate", "nodata": nodata,
            "transform": self.transform * Affine.translation(box.col, box.row), "alpha": "NO",
        }  # fmt: skip
        if nodata is not None:
            values = values.copy()
            values[:, ~valid] = nodata
        # Written in memory first: GDAL does not say in every case that a disk is full, Python does.
        # That a tile of a scene without a place has none is said once, of the scene.
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with memory.open(**profile) as tile:
                self._fill(tile, values, valid, flags)
            path.write_bytes(memory.read())

    def _fill(self, tile: Any, values: NDArray[Any], valid: NDArray[np.bool_], flags: list[ColorInterp]) -> None:
        """What a tile says of its bands, and their values."""
        file = self._file
        if self._dtype == np.uint8 and len(flags) > 1:
            tile.colorinterp = flags
        if flags[0] == ColorInterp.palette:
            tile.write_colormap(1, file.colormap(self.bands[0]))
        tile.descriptions = self._names
        tile.scales = [file.scales[band - 1] for band in self.bands]
        tile.offsets = [file.offsets[band - 1] for band in self.bands]
        tile.units = [file.units[band - 1] or "" for band in self.bands]
        kept = {key: value for key, value in file.tags().items() if key == "AREA_OR_POINT"}
        tile.update_tags(**kept)
        tile.write(values)
        if tile.nodata is None and not valid.all():
            tile.write_mask(valid)

    @property
    def plain(self) -> bool:
        """Whether its tiles are pictures that need no declared bands."""
        return self._dtype == np.uint8 and len(self.bands) in (1, 3)

    def band_names(self) -> tuple[str | None, ...]:
        """Name of each band that is kept, or None."""
        return self._names


def _each_its_own(names: list[str | None]) -> tuple[str | None, ...]:
    """Names by which every band is found: where some are named, all are, and no two alike; or none at all."""
    if not any(names):
        return tuple(names)
    found: list[str] = []
    for number, name in enumerate(names, 1):
        name = name or f"band{number}"
        found.append(f"{name}-{number}" if name.lower() in (other.lower() for other in found) else name)
    return tuple(found)


def placed(crs: Any, transform: Any) -> dict[str, Any]:
    """A place as annotations say it: ``crs`` (an authority's code, else WKT, or None) and six numbers."""
    code = None
    if crs:
        authority = crs.to_authority()
        code = ":".join(authority) if authority else crs.to_wkt()
    return {"crs": code, "transform": [float(n) for n in tuple(transform)[:6]]}

"""Cloud-optimised GeoTIFFs: made by GDAL's COG driver from a finished strip file, and checked like any other output."""

from __future__ import annotations

import warnings
from pathlib import Path

import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from s4eca.files import discard_all
from s4eca.geo.write.geotiff import GeoTiffSink
from s4eca.geo.write.outputs import Staged, cannot_write
from s4eca.geo.write.tile_rows import TILE
from s4eca.records import RasterLayout


class CogSink(GeoTiffSink):
    """A cloud-optimised GeoTIFF; keeps to `s4eca.protocols.RasterSink`.

    Overviews of masks and classes take the most frequent value, those of probabilities the mean of what is known. While
    it is made, the strip file it comes from lies beside it, and the overviews for a while too: it takes about 2.5 times
    its own size on the disk.

    Args:
        path: final name.
        layout: as for `GeoTiffSink`.

    Raises:
        RasterError: the file cannot be created.
    """

    def __init__(self, path: Path, layout: RasterLayout) -> None:
        super().__init__(path, layout)
        self._cog = Staged(path)

    def close(self) -> None:
        """Finish the strip file, make the other from it, and compare every row of that with what was written.

        Raises:
            RasterError: rows are missing, or what lies on disk is not what was written.
        """
        super().close()
        is_float = self._layout.dtype == "float32"
        options = {
            "BLOCKSIZE": str(TILE), "COMPRESS": "DEFLATE", "PREDICTOR": "YES" if is_float else "NO",
            "BIGTIFF": "IF_SAFER", "OVERVIEW_RESAMPLING": "AVERAGE" if is_float else "MODE", "COPY_SRC_MDD": "YES",
        }  # fmt: skip
        source, target = self._staged.temporary.absolute(), self._cog.temporary.absolute()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                rasterio.shutil.copy(source, target, driver="COG", **options)
                with rasterio.open(target) as file:
                    if file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") != "COG":
                        raise OSError("what was written is not laid out as a cloud-optimised GeoTIFF")
            self._check(target)
        except (RasterioError, OSError) as error:
            raise cannot_write(self._cog.path, error) from error
        self._staged.abandon()

    def commit(self) -> None:
        """Give the checked file its final name."""
        self._cog.commit()

    def abandon(self) -> None:
        """Take away what was written; safe to call at any time."""
        super().abandon()
        if "_cog" not in self.__dict__:
            return  # the strip file itself could not be begun
        discard_all([self._cog.temporary])  # with .ovr.tmp and the like

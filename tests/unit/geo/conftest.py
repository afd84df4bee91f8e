"""Small rasters of every kind, and segmenters whose answers can be computed by hand."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from places import PLACE, UTM
from rasterio.enums import ColorInterp

ODD = Path(__file__).parents[2] / "odd_inputs"
FILL = (123.675, 116.28, 103.53)


class Brightness:
    """Probability of expression k: channel k (red, green, blue, red, ...) divided by 255."""

    threshold, bands, band_ranges, fill = 0.5, (), (), FILL

    def __init__(self, image_size=32):
        self.image_size = image_size
        self.shapes = []

    def probabilities(self, windows, expressions):
        self.shapes.append(windows.shape)
        return np.stack([windows[..., k % 3] / np.float32(255) for k in range(len(expressions))], axis=1)


class PlaceCoded(Brightness):
    """Mixes brightness with the place in the window, so that every seam would show."""

    def probabilities(self, windows, expressions):
        plain = super().probabilities(windows, expressions)
        side = windows.shape[1]
        ramp = np.linspace(0, 1, side, dtype=np.float32)
        return 0.5 * plain + 0.3 * ramp[:, None] + 0.2 * ramp[None, ::-1] ** 2


class Never(Brightness):
    """Fails when it is asked: for runs that must be refused before the model is used."""

    def probabilities(self, windows, expressions):
        raise AssertionError("the model was used")


@pytest.fixture
def brightness():
    return Brightness


@pytest.fixture
def place_coded():
    return PlaceCoded


@pytest.fixture
def never():
    return Never()


@pytest.fixture
def odd(tmp_path):
    """A folder with copies of the odd inputs."""
    return Path(shutil.copytree(ODD, tmp_path / "odd"))


@pytest.fixture
def raster(tmp_path):
    """Writes a GeoTIFF: `raster(array (C,H,W), name=..., colours=..., mask=..., **profile)`; returns its path."""

    def write(array, name="scene.tif", *, colours=None, mask=None, descriptions=None, tags=None, **profile):
        array = np.asarray(array)
        array = array[None] if array.ndim == 2 else array
        path = Path(tmp_path) / name
        given = {
            "driver": "GTiff", "count": array.shape[0], "height": array.shape[1], "width": array.shape[2],
            "dtype": array.dtype, "crs": UTM, "transform": PLACE, **profile,
        }  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path, "w", **{k: v for k, v in given.items() if v is not None}) as file:
                file.write(array)
                if colours is not None:
                    file.colorinterp = [ColorInterp[c] for c in colours]
                if descriptions is not None:
                    file.descriptions = descriptions
                if mask is not None:
                    file.write_mask(mask)
                if tags:
                    file.update_tags(**tags)
        return path

    return write


@pytest.fixture
def vector(tmp_path):
    """Writes shapes to a vector file; returns its path."""

    def write(*shapes, name="aoi.gpkg", crs=UTM, **options):
        path = tmp_path / name
        kinds = {one.geom_type for one in shapes if one is not None}
        kind = kinds.pop() if len(kinds) == 1 else "Unknown"
        geometry = np.array([None if s is None else shapely.to_wkb(s) for s in shapes], object)
        pyogrio.raw.write(path, geometry, [np.arange(len(shapes))], ["id"], crs=crs, geometry_type=kind, **options)
        return path

    return write


@pytest.fixture
def rgb():
    """A seeded uint8 (3, H, W) picture."""

    def make(height=70, width=90, seed=0):
        return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)

    return make


@pytest.fixture
def predict(tmp_path, brightness):
    """Runs `segment_geotiff` quietly and reads everything back."""
    from s4eca.geo.segment import segment_geotiff

    class Run:
        def __init__(self, source, expressions=("roof",), segmenter=None, out="out.tif", **options):
            self.said = []
            options = {"progress": False, "say": self.said.append, "scores": tmp_path / "scores.tif", **options}
            out = tmp_path / out
            self.result = segment_geotiff(source, list(expressions), segmenter or brightness(), out, **options)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with rasterio.open(out) as file:
                    self.mask, self.profile, self.file_tags = file.read(), file.profile, file.tags()
                    self.tags = file.tags(ns="S4ECA")
                    self.descriptions = file.descriptions
                if options["scores"] is not None:
                    with rasterio.open(Path(options["scores"]).absolute()) as file:
                        self.scores = file.read()

    return Run


@pytest.fixture(scope="module")
def threads():
    """A client of two workers in this process."""
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client

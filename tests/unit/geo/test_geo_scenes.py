"""Every raster of geo-scenes is predicted on, with the expected outcome beside it (real files of every kind)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyogrio
import pytest
import rasterio

from s4eca.errors import RasterError
from s4eca.geo.segment import segment_geotiff

pytestmark = pytest.mark.realdata


@dataclass(frozen=True)
class Expected:
    """What must come of a scene as it lies on disk.

    shape: rows, columns. valid: pixels that count. bands: what the model is shown. gsd: metres on the ground.
    scaling: of the values. notes: words of the remarks, in order.
    """

    shape: tuple[int, int]
    valid: int
    bands: str
    gsd: float | None
    scaling: str = "identity"
    notes: tuple[str, ...] = ()
    crs: str | None = None


TABLE = {
    # one band: shown as grey, stretched; nodata 0 is declared but no pixel has it
    "atlanta_pan_uint16": Expected((900, 900), 810_000, "1,1,1", 0.5, "percentile", ("one band",), "EPSG:32616"),
    # geographic CRS: 2.7e-6 degrees are 0.30 m down and 0.24 m across
    "vegas_pan_wgs84": Expected((1300, 1300), 1_690_000, "1,1,1", 0.271, "percentile", ("one band",), "EPSG:4326"),
    # four bands without colours: taken as they come (blue, green, red), and it is said
    "rotterdam_ms4_float": Expected((300, 300), 90_000, "1,2,3", 1.0, "percentile", ("--bands",), "EPSG:32631"),
    # nodata 255: 44 bright pixels have it in one band at least
    "sjer_rgb_crowns": Expected((400, 400), 159_956, "1,2,3", 0.1, crs="EPSG:32611"),
    "australia_tree": Expected((708, 751), 531_708, "1,2,3", 0.018, crs="EPSG:32753"),
    # black corners without a nodata flag are searched, and named; map metres are longer than ground metres
    "manila_river_3395": Expected(
        (2048, 2048), 4_194_304, "1,2,3", 0.0968, notes=("--nodata 0,0,0 leaves",), crs="EPSG:3395"
    ),
    # no CRS: refused unless allowed
    "yell_no_crs": Expected((1035, 1249), 1_292_715, "1,2,3", None, notes=("no CRS",)),
    # the fourth band is near infrared, declared as alpha: believed, and nowhere 0
    "naip_road_rgbn": Expected((204, 266), 54_264, "1,2,3", 0.599, crs="EPSG:26911"),
    # true alpha, 0 on a ninth of the scene
    "colorado_rgba": Expected((232, 383), 78_812, "1,2,3", 0.15, crs="EPSG:26913"),
    "bali_drone_rgba": Expected((758, 686), 455_325, "1,2,3", 0.3527, crs="EPSG:32750"),
    "olinda_l7_6band": Expected((352, 349), 122_848, "1,2,3", 28.5, notes=("--bands",), crs="EPSG:31985"),
    # nodata -9999 is declared, no pixel has it; negative values are values
    "hls_10band_float": Expected((224, 224), 50_176, "1,2,3", 30.0, "percentile", ("--bands",), "EPSG:32614"),
    # turned by 25 degrees: half of the raster is nodata
    "naip_road_rotated": Expected((337, 337), 54_153, "1,2,3", 0.6, crs="EPSG:26911"),
}


@pytest.fixture
def root(realdata):
    return realdata / "geo-scenes"


def run(scene, folder, segmenter, **options):
    said = []
    result = segment_geotiff(
        scene, ["bright", "green", "nothing at all"], segmenter, folder / "out.tif",
        polygons=folder / "p.gpkg", scores=folder / "s.tif", progress=False, say=said.append,
        threshold=0.985, **options,
    )  # fmt: skip
    return result, said


@pytest.fixture
def careful(brightness):
    class Careful(brightness):
        """Finds bright red, bright green, and never the third."""

        def probabilities(self, windows, expressions):
            found = super().probabilities(windows, expressions)
            found[:, 2] *= 0.5
            return found

    return Careful(112)


def test_the_table_holds_every_raster(root):
    assert {path.stem for path in root.glob("*.tif")} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_scene(name, root, tmp_path, careful):
    expected = TABLE[name]
    scene = root / f"{name}.tif"
    result, said = run(scene, tmp_path, careful, allow_ungeoreferenced=expected.crs is None)
    assert result.valid_pixels == expected.valid
    assert result.gsd == (None if expected.gsd is None else pytest.approx(expected.gsd, rel=0.01))
    assert f'"{expected.scaling}"' in result.scaling
    assert len(said) == len(expected.notes) and all(w in n for w, n in zip(expected.notes, said, strict=True))
    with rasterio.open(scene) as source, rasterio.open(result.mask) as mask:
        assert mask.shape == source.shape == expected.shape and mask.count == 3
        assert mask.crs == source.crs and mask.transform == source.transform
        assert mask.crs == (None if expected.crs is None else rasterio.crs.CRS.from_string(expected.crs))
        assert mask.tags(ns="S4ECA")["bands"] == expected.bands
        values = mask.read()
    assert ((values != 255).sum(axis=(1, 2)) == expected.valid).all()
    assert [p.pixels for p in result.prompts] == [(band == 1).sum() for band in values]
    assert result.prompts[2].pixels == 0 and result.prompts[2].polygons == 0
    assert result.encoded == result.windows
    _, _, geometry, (prompts, scores, areas, sources) = pyogrio.raw.read(tmp_path / "p.gpkg")
    assert len(geometry) == sum(p.polygons for p in result.prompts)
    assert set(sources) <= {f"{name}.tif"} and "nothing at all" not in set(prompts)
    assert ((scores > 0.985) & (scores <= 1)).all()
    if expected.gsd is None:
        assert np.isnan(areas).all()
    else:
        pixels = sum(p.pixels for p in result.prompts)
        assert areas.sum() == pytest.approx(pixels * ground_area(scene), rel=0.01)


def ground_area(path):
    """Square metres of the middle pixel."""
    from s4eca.geo.read.opening import gdal_env
    from s4eca.geo.read.source import Scene

    with gdal_env(), Scene(path) as scene:
        down, across = scene.facts.pixel_size
    return down * across


def test_turned_scene_has_windows_without_a_pixel(root, tmp_path, careful):
    result, _ = run(root / "naip_road_rotated.tif", tmp_path, careful, window=56)
    assert result.encoded < result.windows and result.valid_pixels == 54_153


def test_no_crs_is_refused_without_the_flag(root, tmp_path, never):
    with pytest.raises(RasterError, match="no CRS"):
        run(root / "yell_no_crs.tif", tmp_path, never)
    assert not list(tmp_path.iterdir())


def test_near_infrared_declared_as_alpha(root, tmp_path, careful):
    """Named as data, the band is shown; the other bands named, it is left alone, and that is said."""
    shown, _ = run(root / "naip_road_rgbn.tif", tmp_path, careful, bands=[4, 1, 2])
    with rasterio.open(shown.mask) as mask:
        assert mask.tags(ns="S4ECA")["bands"] == "4,1,2"
    alone, said = run(root / "naip_road_rgbn.tif", tmp_path, careful, bands=[1, 2, 3], overwrite=True)
    assert shown.valid_pixels == alone.valid_pixels == 54_264
    assert len(said) == 1 and "flagged as alpha but is not among --bands" in said[0]


def test_black_corners_are_left_out_on_request(root, tmp_path, careful):
    result, said = run(root / "manila_river_3395.tif", tmp_path, careful, nodata=(0, 0, 0))
    with rasterio.open(root / "manila_river_3395.tif") as source:
        black = (source.read() == 0).all(axis=0)
    assert not said and result.valid_pixels == (~black).sum() and black.mean() > 0.15


def test_natural_colours_of_ten_bands(root, tmp_path, careful):
    result, said = run(root / "hls_10band_float.tif", tmp_path, careful, bands=[4, 3, 2])
    assert not said and result.valid_pixels == 50_176


@pytest.mark.parametrize(("name", "gsd"), [("manila_river_3395", 0.5), ("naip_road_rotated", 0.3)])
def test_another_pixel_size(root, tmp_path, careful, name, gsd):
    result, _ = run(root / f"{name}.tif", tmp_path, careful, gsd=gsd)
    with rasterio.open(result.mask) as mask:
        assert mask.shape == TABLE[name].shape
    assert result.valid_pixels == TABLE[name].valid and result.gsd == gsd

"""`--aoi` and `--bounds`: what lies outside is not read, not shown, and 255."""

from __future__ import annotations

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from places import LONLAT, PLACE, UTM, in_degrees, on_map
from pyproj import Transformer
from rasterio.features import rasterize

from s4eca.errors import ConfigError, RasterError
from s4eca.geo.read.area import PixelArea, check_bounds, read_area
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.scaling import find_scaling
from s4eca.geo.read.source import Scene
from s4eca.geo.segment import segment_geotiff
from s4eca.records import Box, RasterName

BLOB = shapely.Point(45, 35).buffer(21.3).difference(shapely.box(40, 30, 48, 36))


def drawn(shape, size=(70, 90)):
    return rasterize([(shape, 1)], size).astype(bool)


@pytest.mark.parametrize(("crs", "name"), [
    (UTM, "aoi.gpkg"), (LONLAT, "aoi.geojson"), (LONLAT, "aoi.gpkg"), ("EPSG:3857", "aoi.shp"), (UTM, "aoi.fgb"),
])  # fmt: skip
def test_outside_is_255_and_inside_is_looked_at(raster, rgb, vector, predict, crs, name):
    move = Transformer.from_crs(UTM, crs, always_xy=True)
    shape = shapely.transform(on_map(BLOB), lambda p: np.stack(move.transform(*p.T), axis=1))
    path = vector(shape, crs=crs, name=name)
    run = predict(raster(rgb()), aoi=path, polygons=None)
    wanted = drawn(BLOB)
    differing = (run.mask[0] != 255) != wanted
    assert differing.sum() == 0 if crs == UTM else differing.sum() <= 2, "rounding of the projection"
    assert run.result.valid_pixels == (run.mask[0] != 255).sum()
    assert np.array_equal(np.isnan(run.scores[0]), run.mask[0] == 255) and run.tags["aoi"] == name
    assert np.allclose(run.scores[0][wanted & ~differing], rgb()[0][wanted & ~differing] / 255)


def test_nothing_outside_is_shown_and_other_windows_are_not_computed(raster, rgb, vector, predict, brightness):
    seen = []

    class Keeps(brightness):
        def probabilities(self, windows, expressions):
            seen.append(windows)
            return super().probabilities(windows, expressions)

    picture = rgb(200, 300)
    corner = shapely.box(10.0, 20.0, 30.0, 40.0)
    predict(raster(picture), aoi=vector(on_map(corner)), segmenter=Keeps(), batch_size=1)
    other = picture.copy()
    other[:, ~drawn(corner, (200, 300))] = 255
    shown = len(seen)
    predict(raster(other, "other.tif"), aoi=vector(on_map(corner)), segmenter=Keeps(), batch_size=1, overwrite=True)
    assert shown == 4 and all(np.array_equal(a, b) for a, b in zip(seen[:4], seen[4:], strict=True))


def test_cells_outside_take_no_room_and_no_time(vector, tmp_path, monkeypatch):
    path = tmp_path / "wide.tif"
    profile = {"driver": "GTiff", "width": 20_000, "height": 20_000, "count": 3, "dtype": "uint8", "SPARSE_OK": True}
    with rasterio.open(path, "w", crs=UTM, transform=PLACE, tiled=True, **profile):
        pass
    reads, looked, read = [], [], Scene.read
    monkeypatch.setattr(Scene, "read", lambda self, box: looked.append(box) or read(self, box))

    class Counts:
        image_size, threshold, bands, band_ranges, fill = 448, 0.5, (), (), (0.0, 0.0, 0.0)

        def probabilities(self, windows, expressions):
            staged = [f.stat().st_blocks * 512 for f in (tmp_path / "out.tif.s4eca").glob("*.cell")]
            reads.append(sum(staged))
            return np.ones((len(windows), 1, 448, 448), np.float32)

    aoi = vector(on_map(shapely.box(15000, 15000, 15100, 15100)))
    result = segment_geotiff(
        path, "a", Counts(), tmp_path / "out.tif", aoi=aoi, progress=False, say=lambda note: None, max_memory=2**33,
    )  # fmt: skip
    assert result.valid_pixels == 10_000 and result.encoded <= 4 and max(reads) < 2**20
    assert looked and all(11_000 < row < 17_000 for box in looked for row in (box.row, box.row + box.height))
    assert {(box.col, box.width) for box in looked} == {(11_760, 4_480)}, "one cell of the 25"
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (file.read(1, window=((14990, 15110), (14990, 15110))) != 255).sum() == 10_000
        assert (file.read(1, window=((0, 500), (0, 500))) == 255).all()


@pytest.mark.parametrize("gsd", [None, 0.7])
def test_cells_and_areas_do_not_mix(raster, rgb, vector, predict, place_coded, gsd):
    path = raster(rgb(200, 300))
    aoi = vector(on_map(shapely.box(50.2, 60.7, 170.1, 120.3)), on_map(shapely.Point(250, 150).buffer(33)))
    one = predict(path, aoi=aoi, segmenter=place_coded(), gsd=gsd)
    many = predict(path, aoi=aoi, segmenter=place_coded(), gsd=gsd, cell=48, overwrite=True)
    assert np.array_equal(one.scores, many.scores, equal_nan=True) and np.array_equal(one.mask, many.mask)


@pytest.mark.parametrize("shape", [
    BLOB, shapely.box(0, 0, 90, 70), shapely.box(-50, -50, 500, 500), shapely.box(3.5, 4.5, 10.5, 12.5),
    shapely.MultiPolygon([shapely.box(0, 0, 10, 10), shapely.box(20.3, 30.2, 60.9, 60.1)]),
])  # fmt: skip
def test_windows_of_an_area_are_parts_of_the_whole(shape):
    class Map:
        crs, transform, height, width = None, Affine.identity(), 70, 90

    from s4eca.geo.read.area import Area

    area = PixelArea(Area("--aoi a", shape, None), RasterName("a.tif"), Map)
    whole = area.of(Box(0, 0, 70, 90))
    dice = np.random.default_rng(0)
    for _ in range(60):
        row, col = int(dice.integers(0, 69)), int(dice.integers(0, 89))
        box = Box(row, col, int(dice.integers(1, 71 - row)), int(dice.integers(1, 91 - col)))
        some, expected = area.of(box), whole[row : row + box.height, col : col + box.width]
        assert (some is None and not expected.any()) or np.array_equal(some, expected)
        assert area.touches(box) or not expected.any()


def test_a_first_look_is_at_the_whole_scene_whatever_is_asked_for(raster, vector):
    """Bright and dark are the same for every part of a scene, so that parts of it fit together."""
    picture = np.random.default_rng(0).integers(1, 1000, (3, 70, 90)).astype(np.uint16)
    picture[:, :, 45:] *= 10
    path, aoi = raster(picture), vector(on_map(shapely.box(0, 0, 40, 70)))
    with gdal_env(), Scene(path) as whole, Scene(path, area=read_area(aoi, None)) as part:
        shown = find_scaling(part)
        assert shown == find_scaling(whole) and shown.kind == "percentile" and min(shown.high) > 5000


def test_bounds_are_degrees(raster, rgb, predict):
    west, south, east, north = in_degrees(on_map(shapely.box(20, 10, 50, 40))).bounds
    run = predict(raster(rgb()), bounds=(west, south, east, north))
    wanted = drawn(shapely.box(20, 10, 50, 40))
    assert ((run.mask[0] != 255) != wanted).sum() <= 60 and "bounds" in run.tags  # the frame is of degrees
    assert not (wanted & (run.mask[0] == 255)).any()


def test_a_scene_that_is_rotated_or_south_up(raster, rgb, vector, predict):
    south_up = PLACE @ Affine.translation(0, 70) @ Affine.scale(1, -1)
    for number, place in enumerate((PLACE @ Affine.rotation(30), south_up)):
        path = raster(rgb(), f"{number}.tif", transform=place)
        run = predict(path, aoi=vector(on_map(BLOB, place), name=f"{number}.gpkg"), overwrite=True)
        assert np.array_equal(run.mask[0] != 255, drawn(BLOB))


def test_the_whole_globe_is_an_area(raster, rgb, vector, predict):
    run = predict(raster(rgb()), aoi=vector(shapely.box(-180, -90, 180, 90), crs=LONLAT))
    assert (run.mask != 255).all()


def test_a_scene_over_the_antimeridian(raster, rgb, vector, predict):
    x, y = Transformer.from_crs(LONLAT, "EPSG:32601", always_xy=True).transform(-180.0, 45.0)
    place = Affine(100.0, 0, x - 90 * 50, 0, -100.0, y + 70 * 50)
    shape = shapely.box(-180.0, 40.0, -179.0, 50.0)
    path = raster(rgb(), crs="EPSG:32601", transform=place)
    with rasterio.open(path) as file:
        move = Transformer.from_crs(file.crs, LONLAT, always_xy=True)
        cols, rows = np.meshgrid(np.arange(90) + 0.5, np.arange(70) + 0.5)
        lon, _ = move.transform(place.c + 100.0 * cols, place.f - 100.0 * rows)
    assert (lon > 179).any() and (lon < -179).any()
    run = predict(path, aoi=vector(shape, crs=LONLAT))
    assert ((run.mask[0] != 255) != (lon < 0)).sum() <= 10


def test_another_area_is_another_run(raster, rgb, vector, predict):
    from s4eca.geo.staging.fingerprint import of_scene

    path, found = raster(rgb()), []
    for size in (20, 30):
        aoi = vector(on_map(shapely.box(0, 0, size, size)))
        with gdal_env(), Scene(path, area=read_area(aoi, None)) as scene:
            found.append(of_scene(scene)["the area"])
    assert found[0] != found[1]


# ---- what is refused ----


def test_what_is_no_area(raster, rgb, vector, predict, never, tmp_path):
    path = raster(rgb())
    (tmp_path / "text.gpkg").write_text("no")
    two = vector(on_map(BLOB), name="two.gpkg", layer="a")
    pyogrio.raw.write(
        two, np.array([shapely.to_wkb(on_map(BLOB))], object), [np.arange(1)], ["id"], crs=UTM,
        geometry_type="Polygon", layer="b", append=True,
    )  # fmt: skip
    nan = shapely.Polygon([(0, 0), (1, np.inf), (1, 1)])
    for aoi, message in (
        (tmp_path / "none.gpkg", "none.gpkg does not exist; name a vector file"),
        (tmp_path / "text.gpkg", "text.gpkg cannot be read as a vector file"),
        (path, "cannot be read as a vector file|has 0 layers"),
        (two, r"has 2 layers \(a, b\)"),
        (vector(shapely.Point(0, 0), name="point.gpkg"), r"has no polygon, only features of another kind \(Point\)"),
        (vector(name="empty.gpkg"), "has no polygon, no feature with a geometry"),
        (vector(None, name="null.gpkg"), "has no polygon, no feature with a geometry"),
        (vector(nan, name="nan.gpkg"), "coordinates that are not finite"),
        (vector(shapely.box(0, 0, 1, 1), name="far.gpkg"), "far.gpkg does not overlap"),
        (vector(shapely.box(0, 0, 1, 1), crs=LONLAT, name="deg.gpkg"), "deg.gpkg does not overlap"),
        (vector(on_map(shapely.box(3.1, 3.1, 3.2, 3.2)), name="tiny.gpkg"), "holds the middle of no pixel"),
        (vector(on_map(BLOB), crs=None, name="nocrs.gpkg"), "nocrs.gpkg has no CRS, so it cannot be laid over .*scene"),
    ):
        with pytest.raises(RasterError, match=message) as caught:
            predict(path, aoi=aoi, segmenter=never)
        assert "\n" not in str(caught.value)
    nowhere = raster(rgb(), "nowhere.tif", crs=None)
    with pytest.raises(RasterError, match="nowhere.tif has no CRS, so it cannot be laid over --aoi"):
        predict(nowhere, aoi=vector(on_map(BLOB)), allow_ungeoreferenced=True, segmenter=never)
    run = predict(nowhere, aoi=vector(on_map(BLOB), crs=None, name="n.gpkg"), allow_ungeoreferenced=True)
    assert np.array_equal(run.mask[0] != 255, drawn(BLOB))


@pytest.mark.parametrize(("given", "message"), [
    ((500000, 4999000, 500100, 4999100), "no degrees"), ((1, 2, 3), "four numbers"), ("1,2,3,4", "four numbers"),
    ((10, 2, 3, 4), "west must be smaller"), ((1, 5, 3, 4), "south smaller"), ((1, 2, float("nan"), 4), "four numbers"),
    ((1, 2, "x", 4), "four numbers"),
])  # fmt: skip
def test_what_are_no_bounds(given, message):
    with pytest.raises(ConfigError, match=message):
        check_bounds(given)


def test_an_area_in_two_ways():
    with pytest.raises(ConfigError, match="--aoi and --bounds are both given"):
        read_area("a.gpkg", (1, 2, 3, 4))

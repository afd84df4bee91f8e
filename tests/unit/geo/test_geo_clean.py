"""Holes filled and small objects taken out, strip by strip, as on the whole mask at once."""

from __future__ import annotations

import cv2
import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from s4eca.errors import ConfigError
from s4eca.geo.finish import Finish
from s4eca.geo.ground import Ground
from s4eca.geo.write.areas import PixelAreas
from s4eca.geo.write.clean import Cleaner
from s4eca.geo.write.components import SmallComponents
from s4eca.records import RasterName, SceneFacts


class Ones:
    """Every pixel covers 1."""

    def __init__(self, width):
        self.width = width

    def rows(self, first, count):
        return np.ones((count, self.width))


def parts(mask, connectivity):
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    return [labels == number for number in range(1, count)]


def beside(part):
    padded = np.pad(part, 1)
    near = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return near & ~part


def at_once(values, things, min_area, fill_holes):
    """The same by the whole mask: the definition."""
    filled = values.copy()
    for band, given_band in enumerate(values if fill_holes is not None else []):
        for part in parts((given_band == 0) | (given_band == 255), 8):
            rim = np.ones(part.shape, bool)
            rim[1:-1, 1:-1] = False
            around = set(given_band[beside(part)].tolist())
            if part.sum() <= fill_holes and not (part & rim).any() and 255 not in given_band[part] and len(around) == 1:
                filled[band][part] = around.pop()
    cleaned = filled.copy()
    for band, value in things if min_area is not None else []:
        for part in parts(filled[band] == value, 4):
            if part.sum() < min_area:
                cleaned[band][part] = 0
    return cleaned


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([None, 1, 2, 4, 9]), st.sampled_from([None, 1, 3, 8]),
    st.sampled_from([1, 2, 5, 40]), st.sampled_from(["bands", "classes"]),
)  # fmt: skip
def test_strips_equal_the_whole(tmp_path_factory, seed, min_area, fill_holes, strip, kind):
    rng = np.random.default_rng(seed)
    shape = (2 if kind == "bands" else 1, *rng.integers(1, 24, 2))
    top = 1 if kind == "bands" else 3
    values = np.where(rng.random(shape) < rng.random(), rng.integers(0, top + 1, shape), 1).astype(np.uint8)
    values[:, rng.random(shape[1:]) < rng.choice([0.0, 0.0, 0.05])] = 255
    things = [(0, 1), (1, 1)] if kind == "bands" else [(0, 1), (0, 2), (0, 3)]
    sure = rng.random(shape).astype(np.float32)
    folder = tmp_path_factory.getbasetemp()
    cleaner = Cleaner(folder, Ones(shape[2]), things, shape[1], min_area, fill_holes, sure=True)
    for row in range(0, shape[1], strip):
        cleaner.add(values[:, row : row + strip], sure[:, row : row + strip])
    got = list(cleaner.finish())
    cleaner.close()
    assert np.array_equal(np.concatenate([g[0] for g in got], axis=1), at_once(values, things, min_area, fill_holes))
    assert np.array_equal(np.concatenate([g[1] for g in got], axis=1), sure)


def test_only_small_open_objects_are_remembered():
    small = SmallComponents(4.0, 4, holes=False)
    mask = np.ones((3, 500), bool)
    assert list(small.add(0, mask, np.ones(mask.shape))) == []
    assert [part.runs for part in small._open.values()] == [None] and small._next == 2


def picture(*boxes):
    """Bright rectangles (top, left, bottom, right, value) on black, as bytes."""
    drawn = np.zeros((3, 64, 80), np.uint8)
    for top, left, bottom, right, value in boxes:
        drawn[:, top:bottom, left:right] = value
    return drawn


def test_mask_polygons_and_counts_follow(raster, predict, tmp_path):
    """A block with a hole of 4 x 4, one of 8 x 8, a speck, and a block with a hole that has no data in it."""
    scene = picture(
        (4, 4, 30, 40, 250), (8, 8, 12, 12, 10), (16, 16, 24, 24, 10), (40, 4, 42, 6, 250),
        (36, 40, 60, 70, 250), (44, 50, 47, 53, 10),
    )  # fmt: skip
    scene[scene == 0] = 10
    scene[:, 45, 51] = 7
    path = raster(scene, nodata=7)
    plain = predict(path, polygons=tmp_path / "a.gpkg")
    finish = Finish(min_area=1.1, fill_holes=5.0)  # a pixel covers 0.25 m2
    run = predict(path, polygons=tmp_path / "b.gpkg", overwrite=True, finish=finish)
    expected = plain.mask[0].copy()
    expected[8:12, 8:12] = 1  # 16 px, 4 m2: filled
    expected[40:42, 4:6] = 0  # 4 px, 1 m2: gone; 8 x 8 is too large, and what holds no data stays
    assert np.array_equal(run.mask[0], expected)
    assert run.mask[0, 45, 51] == 255 and run.mask[0, 44, 50] == 0
    one = run.result.prompts[0]
    assert (one.pixels, one.polygons) == (int((expected == 1).sum()), 2)
    assert one.area_m2 == pytest.approx(one.pixels * 0.25, rel=2e-3)
    _, _, geometry, columns = pyogrio.raw.read(tmp_path / "b.gpkg")
    assert shapely.area(shapely.from_wkb(geometry)).sum() == pytest.approx(one.pixels * 0.25)
    assert columns[2].sum() == pytest.approx(one.area_m2, rel=1e-4)
    assert run.tags["min_area"] == "1.1" and run.tags["fill_holes"] == "5.0"
    assert not [note for note in run.said if "--min-area" in note or "--fill-holes" in note]
    first = run.scores[0][4:30, 4:40]
    inside = np.ones(first.shape, bool)
    inside[12:20, 12:20] = False
    scores = {round(area): score for area, score in zip(columns[2], columns[1], strict=True)}
    assert scores[round(inside.sum() * 0.25)] == pytest.approx(first[inside].mean(), abs=1e-5)


def test_without_metres_the_numbers_are_pixels_and_it_is_said(raster, predict):
    path = raster(picture((4, 4, 30, 40, 250), (40, 4, 42, 6, 250)), crs=None, transform=None)
    finish = Finish(min_area=5.0)
    run = predict(path, allow_ungeoreferenced=True, finish=finish)
    assert not run.mask[0, 40:42].any() and run.mask[0, 4:30, 4:40].all()
    assert any("--min-area is a number of pixels" in note for note in run.said)
    assert run.result.prompts[0].area_m2 is None


def test_what_is_as_large_as_asked_for_stays(raster, predict):
    path = raster(picture((40, 4, 42, 6, 250)), crs=None, transform=None)
    for least, stays in ((4.0, True), (4.01, False)):
        run = predict(path, allow_ungeoreferenced=True, overwrite=True, finish=Finish(min_area=least))
        assert run.mask.any() == stays


@pytest.mark.parametrize("option", ["min_area", "fill_holes", "simplify"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_that_mean_nothing(option, value):
    with pytest.raises(ConfigError, match="--" + option.replace("_", "-") + " is .* above 0"):
        Finish(**{option: value})


@pytest.mark.parametrize(("crs", "transform"), [
    ("EPSG:32633", Affine(0.5, 0, 500000, 0, -0.5, 5000000)), ("EPSG:4326", Affine(0.01, 0, 10, 0, -0.01, 60)),
    ("EPSG:3395", Affine(30, 0, 0, 0, -30, 7000000)), ("EPSG:32633", Affine(0.433, 0.25, 5e5, 0.25, -0.433, 5e6)),
])  # fmt: skip
def test_areas_of_pixels_against_the_ellipsoid(crs, transform):
    crs = CRS.from_string(crs)
    facts = SceneFacts(
        RasterName("a.tif"), (), 700, 1100, 3, "uint8", (1, 2, 3), (), crs, transform, None, None, ()
    )  # fmt: skip
    areas, ground = PixelAreas(facts), Ground(crs, transform)
    for row, col, height, width in ((0, 0, 700, 1100), (3, 5, 40, 30), (630, 1000, 70, 100), (200, 0, 1, 1100)):
        marked = np.zeros((height, 1100), bool)
        marked[:, col : col + width] = True
        truth = ground.area(shapely.box(col, row, col + width, row + height))
        assert areas.total(row, marked) == pytest.approx(truth, rel=1e-4)
        assert (areas.rows(row, height) * marked).sum() == pytest.approx(areas.total(row, marked))


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["EPSG:4326", "EPSG:4267", "+proj=longlat +R=6371000"]), st.floats(1e-5, 2.0), st.booleans(),
    st.integers(0, 100),
)  # fmt: skip
def test_areas_along_parallels_are_exact(crs, pixel, south_up, share):
    """The globe at any size of pixel, also at the poles, against the area that geographiclib finds."""
    crs = CRS.from_string(crs)
    height = min(int(180 / pixel), 20000)
    top = 90 - (180 - height * pixel) * share / 100
    transform = Affine(pixel, 0, -20, 0, -pixel, top)
    if south_up:
        transform = Affine(pixel, 0, -20, 0, pixel, top - height * pixel)
    facts = SceneFacts(RasterName("a.tif"), (), height, 50, 3, "uint8", (1, 2, 3), (), crs, transform, None, None, ())
    areas = PixelAreas(facts)
    globe = pyproj.CRS.from_wkt(crs.to_wkt()).get_geod()
    for row in {0, height // 3, height // 2, height - 1}:
        low, high = sorted(transform.f + transform.e * edge for edge in (row, row + 1))
        fine = shapely.segmentize(shapely.box(0, low, pixel, high), pixel / 200)
        truth = abs(globe.geometry_area_perimeter(fine)[0])
        assert areas.rows(row, 1)[0] == pytest.approx(truth, rel=1e-4, abs=0.1)


def test_areas_of_coarse_pixels_that_are_projected():
    """A continent at 10 km, down the rows of a map that stretches them."""
    crs, transform = CRS.from_epsg(3395), Affine(10000, 0, 0, 0, -10000, 9_000_000)
    facts = SceneFacts(
        RasterName("a.tif"), (), 800, 60, 3, "uint8", (1, 2, 3), (), crs, transform, None, (7000.0, 7000.0), ()
    )  # fmt: skip
    areas, ground = PixelAreas(facts), Ground(crs, transform)
    for row in range(0, 800, 57):
        truth = ground.area(shapely.box(30, row, 31, row + 1))
        assert areas.rows(row, 1)[0, 30] == pytest.approx(truth, rel=3e-4)


def test_a_run_that_fails_leaves_nothing(raster, predict, brightness, tmp_path):
    class Stops(brightness):
        def probabilities(self, windows, expressions):
            if len(self.shapes) == 2:
                raise KeyboardInterrupt
            return super().probabilities(windows, expressions)

    finish = Finish(min_area=2.0, fill_holes=2.0, simplify=1.0, cog=True, preview=tmp_path / "p.png")
    with pytest.raises(KeyboardInterrupt):
        predict(raster(picture()), segmenter=Stops(), polygons=tmp_path / "p.geojson", finish=finish)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_a_plain_run_writes_what_it_wrote(raster, rgb, predict):
    """Cleaning that changes nothing leaves the same pixels as no cleaning."""
    path = raster(rgb())
    plain = predict(path, ["a", "b"])
    cleaned = predict(path, ["a", "b"], overwrite=True, finish=Finish(min_area=1e-6))
    assert np.array_equal(plain.mask, cleaned.mask) and np.array_equal(plain.scores, cleaned.scores, equal_nan=True)
    with rasterio.open(plain.result.mask) as file:
        assert file.count == 2

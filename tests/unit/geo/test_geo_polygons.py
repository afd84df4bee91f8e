"""Polygons from strips: the same as from the whole mask, measured on the ellipsoid, in the CRS of the scene."""

from __future__ import annotations

import math

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import shapes
from shapely.geometry import Polygon, box, shape

from s4eca.geo.ground import Ground
from s4eca.geo.write.polygons import Tracer, merge

HALF, ROOT = 0.25, 0.4330127018922193
TURNED = Affine(ROOT, HALF, 500000, HALF, -ROOT, 5000000)  # pixels of half a metre, turned by 30 degrees


def trace(mask, scores=None, heights=(5,), **options):
    """All objects of a mask fed in strips of the given heights, over and over."""
    scores = np.ones(mask.shape, np.float32) if scores is None else scores
    tracer, found, row, turn = Tracer(**options), [], 0, 0
    while row < len(mask):
        stop = min(row + heights[turn % len(heights)], len(mask))
        found += tracer.add(row, mask[row:stop], scores[row:stop])
        row, turn = stop, turn + 1
    found += tracer.finish()
    return found, tracer


def whole(mask):
    return [shape(g) for g, _ in shapes(mask.astype(np.uint8), mask=mask, connectivity=4)]


def normal(polygons):
    return sorted(shapely.to_wkt(shapely.normalize(p)) for p in polygons)


def blobs(seed, height=60, width=50, share=0.5):
    noise = np.random.default_rng(seed).random((height, width))
    for _ in range(seed % 4):
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 4
    return noise > np.quantile(noise, 1 - share)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("heights", [(1,), (7,), (3, 11), (60,)])
def test_strips_equal_the_whole(seed, heights):
    mask = blobs(seed, share=0.3 + 0.05 * seed)
    found, _ = trace(mask, heights=heights)
    assert normal(f.outline for f in found) == normal(whole(mask))
    assert sum(f.pixels for f in found) == mask.sum()
    assert all(f.outline.is_valid and f.outline.area == f.pixels for f in found)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_strips_equal_the_whole_for_any_noise(seed, share, heights):
    mask = np.random.default_rng(seed).random((14, 13)) < share
    found, _ = trace(mask, heights=heights)
    assert normal(f.outline for f in found) == normal(whole(mask))


def test_a_seam_leaves_no_vertex():
    mask = np.zeros((20, 10), bool)
    mask[3:17, 2:8] = True
    (one,), _ = trace(mask, heights=(4,))
    assert shapely.get_num_coordinates(one.outline) == 5


@pytest.mark.parametrize("picture", [
    ["x.x", "x.x", "xxx"], ["xxx", "x.x", "xxx"], ["xxx", "x.x", "x.x"], ["x.x.x", "x.x.x", "xxxxx", "x.x.x", "xxxxx"],
    ["xx.", ".xx", "..x"], ["x..", ".x.", "..x"],
], ids=["u", "ring", "n", "comb", "stair", "diagonal"])  # fmt: skip
def test_shapes_across_every_row(picture):
    mask = np.array([[c == "x" for c in line] for line in picture])
    found, _ = trace(mask, heights=(1,))
    assert normal(f.outline for f in found) == normal(whole(mask))


def test_objects_leave_as_soon_as_they_are_closed():
    tracer = Tracer()
    mask = np.zeros((6, 5), bool)
    mask[1:3, 1:3] = True
    assert [f.pixels for f in tracer.add(0, mask, np.ones(mask.shape, np.float32))] == [4]
    assert not tracer._parts and not tracer._leaders


def test_score_is_the_mean_over_the_object():
    mask = np.zeros((12, 6), bool)
    mask[1:11, 1:3] = mask[2:4, 4:6] = True
    scores = np.random.default_rng(0).random(mask.shape).astype(np.float32)
    found, _ = trace(mask, scores, heights=(5,))
    got = {f.pixels: f.score for f in found}
    assert got[20] == pytest.approx(scores[1:11, 1:3].mean()) and got[4] == pytest.approx(scores[2:4, 4:6].mean())


def test_very_long_outlines_are_cut_and_counted():
    mask = np.zeros((40, 41), bool)
    mask[:, ::2] = True
    mask[0] = True
    found, tracer = trace(mask, heights=(1,), most_vertices=50)
    assert tracer.cut > 0
    assert sum(f.pixels for f in found) == mask.sum()
    assert shapely.union_all([f.outline for f in found]).area == mask.sum()


def test_merge_keeps_holes():
    ring = box(0, 0, 4, 4).difference(box(1, 1, 3, 3))
    halves = [ring.intersection(box(0, 0, 4, 2)), ring.intersection(box(0, 2, 4, 4))]
    assert merge(halves).equals(ring) and shapely.get_num_coordinates(merge(halves)) == 10


# ---- on the ground


def test_area_of_a_projected_square():
    ground = Ground(rasterio.crs.CRS.from_epsg(32633), Affine(0.5, 0, 500000, 0, -0.5, 5000000))
    assert ground.area(box(10, 10, 30, 50)) == pytest.approx(20 * 40 * 0.25 / 0.9996**2, rel=1e-5)


def test_area_of_a_geographic_rectangle():
    ground = Ground(rasterio.crs.CRS.from_epsg(4326), Affine(1e-4, 0, 10.0, 0, -1e-4, 50.0))
    e2, a = 0.00669437999014, 6378137.0

    def below(lat):  # area between equator and latitude, per radian of longitude
        s, e = math.sin(math.radians(lat)), math.sqrt(e2)
        return a * a * (1 - e2) / 2 * (s / (1 - e2 * s * s) + math.atanh(e * s) / e)

    expected = (below(49.99) - below(49.97)) * math.radians(0.03)
    assert ground.area(box(0, 100, 300, 300)) == pytest.approx(expected, rel=1e-5)


def test_a_hole_is_taken_off_whatever_the_orientation():
    ground = Ground(rasterio.crs.CRS.from_epsg(32633), Affine(0.5, 0, 500000, 0, 0.5, 5000000))
    holed = Polygon(box(0, 0, 10, 10).exterior, [box(4, 4, 7, 7).exterior])
    assert ground.area(holed) == pytest.approx(91 * 0.25 / 0.9996**2, rel=1e-4)


def test_a_rotated_pixel_has_the_area_of_its_determinant():
    assert Ground(rasterio.crs.CRS.from_epsg(32633), TURNED).area(box(0, 0, 2, 3)) == pytest.approx(1.5, rel=2e-3)


def test_area_across_the_date_line():
    ground = Ground(rasterio.crs.CRS.from_epsg(32660), Affine(1, 0, 832500, 0, -1, 100))
    corners = ground._on_globe(np.array([[0.0, 0.0], [3000.0, 0.0]]))
    assert corners[0, 0] > 0 > corners[1, 0]
    assert ground.area(box(0, 0, 3000, 100)) == pytest.approx(3e5, rel=5e-3)


def test_local_units_and_no_crs():
    local = rasterio.crs.CRS.from_wkt('LOCAL_CS["mine",UNIT["foot",0.3048]]')
    assert Ground(local, Affine(2, 0, 0, 0, -2, 0)).area(box(0, 0, 1, 1)) == pytest.approx(4 * 0.3048**2)
    assert Ground(None, Affine.identity()).area(box(0, 0, 1, 1)) is None
    assert Ground(None, Affine.identity()).pixel_size(10, 10) is None


# ---- in the file


def layer(path):
    info = pyogrio.read_info(path)
    _, _, geometry, columns = pyogrio.raw.read(path)
    return info, shapely.from_wkb(geometry), dict(zip(info["fields"], columns, strict=True))


@pytest.mark.parametrize("transform", [
    Affine(0.5, 0, 500000, 0, -0.5, 5000000),
    Affine(0.5, 0, 500000, 0, 0.5, 5000000),
    TURNED,
], ids=["north-up", "south-up", "rotated"])  # fmt: skip
def test_layer_equals_the_mask(raster, predict, tmp_path, transform):
    picture = np.stack([blobs(3) * 200, blobs(6) * 200, blobs(7) * 0]).astype(np.uint8)
    run = predict(raster(picture, transform=transform), ["one", "two", "none"], polygons=tmp_path / "p.gpkg")
    info, outlines, columns = layer(tmp_path / "p.gpkg")
    assert list(columns) == ["prompt", "score", "area_m2", "source"]
    assert info["crs"] == "EPSG:32633" and info["geometry_type"] == "MultiPolygon"
    assert set(columns["source"]) == {"scene.tif"} and set(columns["prompt"]) == {"one", "two"}
    for band, prompt in enumerate(["one", "two", "none"]):
        mine = outlines[columns["prompt"] == prompt]
        assert len(mine) == run.result.prompts[band].polygons
        expected = shapes(run.mask[band], mask=run.mask[band] == 1, connectivity=4, transform=transform)
        union = shapely.union_all([shape(g) for g, _ in expected])
        assert shapely.union_all(mine).symmetric_difference(union).area < 1e-6
        if len(mine):
            areas = columns["area_m2"][columns["prompt"] == prompt]
            assert areas.sum() == pytest.approx((run.mask[band] == 1).sum() * 0.25, rel=2e-3)
    assert ((columns["score"] > 0.5) & (columns["score"] <= 1)).all()
    assert shapely.is_valid(outlines).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(shapely.get_geometry(outlines, 0))).all()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3395", "EPSG:2154"])
def test_crs_of_the_layer(raster, predict, tmp_path, crs):
    place = Affine(1e-5, 0, 2, 0, -1e-5, 47) if crs == "EPSG:4326" else Affine(1, 0, 600000, 0, -1, 6700000)
    predict(raster(np.full((3, 20, 20), 200, np.uint8), crs=crs, transform=place), polygons=tmp_path / "p.gpkg")
    info, outlines, columns = layer(tmp_path / "p.gpkg")
    assert info["crs"] == crs and len(outlines) == 1
    assert columns["area_m2"][0] > 0


def test_nothing_found_is_an_empty_layer(raster, predict, tmp_path):
    run = predict(raster(np.zeros((3, 40, 40), np.uint8)), polygons=tmp_path / "p.gpkg")
    info, outlines, _ = layer(tmp_path / "p.gpkg")
    assert len(outlines) == 0 and info["crs"] == "EPSG:32633" and info["geometry_type"] == "MultiPolygon"
    assert not run.mask.any() and run.result.prompts[0].polygons == 0


def test_without_crs_areas_are_empty(raster, predict, tmp_path):
    path = raster(np.full((3, 40, 40), 200, np.uint8), crs=None, transform=None)
    predict(path, polygons=tmp_path / "p.gpkg", allow_ungeoreferenced=True)
    _, outlines, columns = layer(tmp_path / "p.gpkg")
    assert len(outlines) == 1 and np.isnan(columns["area_m2"][0])
    assert outlines[0].bounds == (0, 0, 40, 40)


@pytest.mark.parametrize("bound", [("BATCH", 30), ("VERTICES", 200)])
def test_many_features_are_written_in_batches(raster, predict, tmp_path, monkeypatch, bound):
    monkeypatch.setattr(f"s4eca.geo.write.layer.{bound[0]}", bound[1])
    picture = np.zeros((3, 30, 30), np.uint8)
    picture[:, ::3, ::3] = 255
    run = predict(raster(picture), polygons=tmp_path / "p.gpkg", segmenter=None)
    info, outlines, _ = layer(tmp_path / "p.gpkg")
    assert len(outlines) == 100 == run.result.prompts[0].polygons and info["features"] == 100

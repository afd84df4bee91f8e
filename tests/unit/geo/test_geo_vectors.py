"""Polygons in every format: GeoJSON as RFC 7946 has it, GeoParquet where pyarrow is, and the same objects in all."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from affine import Affine
from shapely.geometry import shape

from s4eca.errors import MissingDependencyError, RasterError
from s4eca.geo.finish import Finish
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.write.geojson import GeoJSONFile

ARROW = importlib.util.find_spec("pyarrow") is not None
PLACES = {
    "utm": ("EPSG:32633", Affine(0.5, 0, 500000, 0, -0.5, 5000000)),
    "south-up": ("EPSG:32633", Affine(0.5, 0, 500000, 0, 0.5, 5000000)),
    "degrees": ("EPSG:4326", Affine(1e-5, 0, 2, 0, -1e-5, 47)),
    "swiss, another datum": ("EPSG:21781", Affine(2, 0, 600000, 0, -2, 200000)),
    "date line": ("EPSG:32660", Affine(10, 0, 833500, 0, -10, 100)),
}


def blobs(seed=3, height=60, width=90):
    noise = np.random.default_rng(seed).random((height, width))
    for _ in range(4):
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 4
    return (noise > np.quantile(noise, 0.6)).astype(np.uint8) * 200


def in_gpkg(path):
    info, _, geometry, columns = pyogrio.raw.read(path)
    return info, shapely.from_wkb(geometry), dict(zip(info["fields"], columns, strict=True))


BEYOND = {
    "past the ellipse": ("ESRI:54009", Affine(1e4, 0, -18040096 - 1e6, 0, -1e4, 1e5)),
    "past the disc": ("+proj=geos +h=35785831 +lon_0=0 +sweep=y", Affine(8e4, 0, -5.57e6, 0, -8e4, 5.57e6)),
}


@pytest.mark.parametrize("place", BEYOND)
def test_geojson_off_the_globe_is_refused_at_once(raster, rgb, predict, never, tmp_path, place):
    crs, transform = BEYOND[place]
    path = raster(rgb(140, 140), crs=crs, transform=transform)
    with pytest.raises(RasterError, match="p.geojson holds .* where its projection has none; name a .gpkg file"):
        predict(path, segmenter=never, polygons=tmp_path / "p.geojson")
    assert predict(path, polygons=tmp_path / "p.gpkg").result.prompts[0].polygons


@pytest.mark.parametrize("place", PLACES)
def test_geojson_keeps_to_rfc_7946(raster, predict, tmp_path, place):
    crs, transform = PLACES[place]
    path = raster(np.stack([blobs()] * 3), crs=crs, transform=transform)
    predict(path, ["some & <thing>"], polygons=tmp_path / "p.gpkg")
    run = predict(path, ["some & <thing>"], polygons=tmp_path / "p.geojson", overwrite=True)
    text = (tmp_path / "p.geojson").read_text()
    content = json.loads(text)
    _, placed, columns = in_gpkg(tmp_path / "p.gpkg")
    features = content["features"]
    assert content["type"] == "FeatureCollection" and "crs" not in content
    assert len(features) == len(placed) == run.result.prompts[0].polygons > 3
    assert max(len(digits) for digits in re.findall(r"\d\.(\d+)", "".join(re.findall(r"\[[-\d.,]+\]", text)))) <= 7
    geod = pyproj.Geod(ellps="WGS84")
    own = pyproj.CRS(crs).geodetic_crs
    to_own = pyproj.Transformer.from_crs("EPSG:4326", own, always_xy=True)
    for feature, prompt, score, area in zip(
        features, columns["prompt"], columns["score"], columns["area_m2"], strict=True
    ):
        assert feature["type"] == "Feature" and list(feature["properties"]) == list(columns)
        assert feature["properties"]["prompt"] == prompt == "some & <thing>"
        assert feature["properties"]["score"] == pytest.approx(score)
        assert feature["properties"]["area_m2"] == pytest.approx(area)
        geometry = shape(feature["geometry"])
        assert geometry.geom_type in ("Polygon", "MultiPolygon")
        for part in getattr(geometry, "geoms", [geometry]):
            assert part.exterior.is_ccw and not any(ring.is_ccw for ring in part.interiors)  # the right-hand rule
            left, low, right, high = part.bounds
            assert -180 <= left <= right <= 180 and -90 <= low <= high <= 90 and right - left < 1  # cut at 180
        moved = shapely.transform(geometry, lambda p: np.stack(to_own.transform(p[:, 0], p[:, 1]), axis=1))
        measured = abs(own.get_geod().geometry_area_perimeter(shapely.orient_polygons(moved))[0])
        assert measured == pytest.approx(area, rel=2e-2 if area < 30 else 3e-3)
    assert geod.a == 6378137
    sides = {np.sign(shape(f["geometry"]).bounds[0]) for f in features}
    assert sides == ({-1.0, 1.0} if place == "date line" else {1.0})


def test_many_pieces_are_one_collection(raster, predict, tmp_path, monkeypatch):
    monkeypatch.setattr("s4eca.geo.write.layer.BATCH", 30)
    picture = np.zeros((3, 30, 30), np.uint8)
    picture[:, ::3, ::3] = 255
    run = predict(raster(picture), polygons=tmp_path / "p.geojson")
    content = json.loads((tmp_path / "p.geojson").read_text())
    assert len(content["features"]) == 100 == run.result.prompts[0].polygons
    assert pyogrio.read_info(tmp_path / "p.geojson")["features"] == 100


def test_nothing_found_is_an_empty_collection(raster, predict, tmp_path):
    predict(raster(np.zeros((3, 40, 40), np.uint8)), polygons=tmp_path / "p.geojson")
    assert json.loads((tmp_path / "p.geojson").read_text()) == {"type": "FeatureCollection", "features": []}


def test_geojson_without_a_place_on_earth_is_refused(raster, rgb, never, tmp_path):
    path = raster(rgb(), crs=None, transform=None)
    with pytest.raises(RasterError, match="--polygons .*p.geojson holds longitudes and latitudes.*scene.tif.*gpkg"):
        segment_geotiff(
            path, "a", never, tmp_path / "m.tif", polygons=tmp_path / "p.geojson", allow_ungeoreferenced=True
        )


def test_a_polygon_that_gets_lost_is_said(raster, predict, tmp_path, monkeypatch):
    monkeypatch.setattr("s4eca.geo.write.geojson.GeoJSONFile.finish", lambda self: self.abandon() or 0)
    with pytest.raises(RasterError, match="p.geojson cannot be written: 0 of . polygons arrived.* cells are finished"):
        predict(raster(np.full((3, 40, 40), 200, np.uint8)), polygons=tmp_path / "p.geojson")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tif.s4eca", "scene.tif"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("many", [False, True])
def test_a_full_disk_is_said(raster, predict, tmp_path, monkeypatch, many):
    begin = GeoJSONFile.__init__
    monkeypatch.setattr(GeoJSONFile, "__init__", lambda self, place, *more: begin(self, Path("/dev/full"), *more))
    picture = np.zeros((3, 120, 120), np.uint8)
    picture[:, :: 3 if many else 80, :: 3 if many else 80] = 255
    with pytest.raises(RasterError, match="p.geojson cannot be written .No space left on device"):
        predict(raster(picture), polygons=tmp_path / "p.geojson", window=128)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tif.s4eca", "scene.tif"]


@pytest.mark.skipif(ARROW, reason="pyarrow is installed")
def test_geoparquet_says_what_to_install(raster, rgb, never, tmp_path):
    with pytest.raises(MissingDependencyError, match=r'pyarrow is needed to write .*GeoParquet.*"s4eca\[parquet\]"'):
        segment_geotiff(raster(rgb()), "a", never, tmp_path / "m.tif", polygons=tmp_path / "p.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


@pytest.mark.skipif(not ARROW, reason="pyarrow is not installed")
def test_geoparquet(raster, predict, tmp_path, monkeypatch):
    import pyarrow.parquet

    monkeypatch.setattr("s4eca.geo.write.layer.BATCH", 2)
    path = raster(np.stack([blobs()] * 3))
    predict(path, polygons=tmp_path / "p.gpkg")
    predict(path, polygons=tmp_path / "p.parquet", overwrite=True)
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    note = json.loads(table.schema.metadata[b"geo"])
    assert note["version"] == "1.1.0" and note["columns"]["geometry"]["encoding"] == "WKB"
    assert pyproj.CRS.from_json_dict(note["columns"]["geometry"]["crs"]).to_epsg() == 32633
    _, placed, columns = in_gpkg(tmp_path / "p.gpkg")
    assert shapely.equals(shapely.from_wkb(table["geometry"].to_pylist()), placed).all()
    for name, values in columns.items():
        assert table[name].to_pylist() == values.tolist()


def test_every_format_with_a_legend_and_simplified(raster, predict, tmp_path):
    path = raster(np.stack([blobs(1), blobs(2), blobs(3)]))

    class Three:
        image_size, threshold, bands, band_ranges, fill = 32, 0.5, (), (), (0, 0, 0)

        def probabilities(self, windows, expressions):
            return np.moveaxis(windows, -1, 1)[:, : len(expressions)] / np.float32(255) * [[[[0.9]], [[0.8]], [[1.0]]]]

    counts = {}
    for ending in ("gpkg", "geojson"):
        segment_geotiff(
            path, {"a": "x", "b": "y", "c": "z"}, Three(), tmp_path / "m.tif", polygons=tmp_path / f"p.{ending}",
            overwrite=True, progress=False, say=lambda note: None, finish=Finish(simplify=1.0, min_area=1.0),
        )  # fmt: skip
        info = pyogrio.read_info(tmp_path / f"p.{ending}")
        counts[ending] = info["features"]
        assert list(info["fields"]) == ["class", "prompt", "score", "area_m2", "source"]
    assert counts["gpkg"] == counts["geojson"] > 3

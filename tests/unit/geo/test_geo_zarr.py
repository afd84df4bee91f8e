"""A cube of probabilities as Zarr, read back by GDAL, which knows nothing of how we write it."""

from __future__ import annotations

import json
import os
import warnings

import numpy as np
import pytest
import rasterio
from affine import Affine

from s4eca.errors import RasterError
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.write.zarr import ZarrSink
from s4eca.records import RasterLayout

TURNED = Affine(0.433, 0.25, 5e5, 0.25, -0.433, 5e6)


def layout(height, width, names=("a",), transform=None):
    place = transform or Affine(0.5, 0, 5e5, 0, -0.5, 5e6)
    crs = rasterio.crs.CRS.from_epsg(32633)
    return RasterLayout(height, width, crs, place, "float32", float("nan"), names, tags={"version": "1"})


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(f'ZARR:"{path}":/probability') as file:
            return file.read(), file.profile


@pytest.mark.parametrize("rows", [[700], [1, 511, 188], [96]])
def test_gdal_reads_what_was_written(tmp_path, rows):
    values = np.random.default_rng(0).random((2, 700, 600)).astype(np.float32)
    values[:, :10] = np.nan
    sink = ZarrSink(tmp_path / "s.zarr", layout(700, 600, ("a", "дом")))
    start = 0
    while start < 700:
        for count in rows:
            sink.write(values[:, start : start + count])
            start += count
    sink.close()
    assert not (tmp_path / "s.zarr").exists()
    sink.commit()
    sink.abandon()
    assert os.listdir(tmp_path) == ["s.zarr"]
    got, profile = read(tmp_path / "s.zarr")
    assert np.array_equal(got, values, equal_nan=True) and profile["dtype"] == "float32" and np.isnan(profile["nodata"])
    assert profile["crs"].to_epsg() == 32633 and profile["transform"] == Affine(0.5, 0, 5e5, 0, -0.5, 5e6)
    notes = json.loads((tmp_path / "s.zarr" / "probability" / ".zattrs").read_text())
    assert notes["expressions"] == ["a", "дом"] and notes["_ARRAY_DIMENSIONS"] == ["expression", "y", "x"]


def test_a_run_gives_the_scores_of_the_tiff(raster, rgb, predict, brightness, tmp_path):
    path = raster(rgb(70, 90))
    run = predict(path, ["a", "b"])
    result = segment_geotiff(
        path, ["a", "b"], brightness(), tmp_path / "m.tif", scores=tmp_path / "s.zarr", progress=False,
        say=lambda note: None,
    )  # fmt: skip
    assert np.array_equal(read(tmp_path / "s.zarr")[0], run.scores) and result.scores == tmp_path / "s.zarr"


def test_a_rotated_grid_has_no_coordinates(tmp_path):
    sink = ZarrSink(tmp_path / "s.zarr", layout(5, 6, transform=TURNED))
    sink.write(np.ones((1, 5, 6), np.float32))
    sink.close()
    sink.commit()
    assert not (tmp_path / "s.zarr" / "x").exists()
    notes = json.loads((tmp_path / "s.zarr" / "probability" / ".zattrs").read_text())
    assert notes["transform"] == list(TURNED)[:6]


def test_missing_rows_and_a_spoilt_chunk_are_said(tmp_path):
    sink = ZarrSink(tmp_path / "s.zarr", layout(5, 6))
    with pytest.raises(RasterError, match="was given 0 of 5 rows"):
        sink.close()
    sink.write(np.ones((1, 5, 6), np.float32))
    for first, rows in sink._rows.finish():
        sink._flush(first, rows)
    (chunk,) = tmp_path.glob(".s4eca-*/probability/0.0.0")
    chunk.write_bytes(chunk.read_bytes()[:-3])
    with pytest.raises(RasterError, match="the chunk probability/0.0.0 is not as it was written"):
        sink.close()
    sink.abandon()
    assert not list(tmp_path.iterdir())

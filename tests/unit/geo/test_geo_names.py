"""What rasters may be called, in and out, and what is said of one that cannot be had."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from virtual import plain, vrt

from s4eca.errors import RasterError
from s4eca.geo.finish import Finish
from s4eca.records import RasterName

# ---- names that GDAL knows ----


def test_a_container_names_what_it_holds_and_these_names_work(odd, predict, monkeypatch):
    monkeypatch.chdir(odd)
    with pytest.raises(RasterError, match="one of the 2 rasters that it holds: GPKG:two_tables.gpkg:a, .*:b.$"):
        predict("two_tables.gpkg")
    run = predict("GPKG:two_tables.gpkg:a")
    assert run.result.valid_pixels > 0 and run.tags["source"] == "GPKG:two_tables.gpkg:a"
    assert np.allclose(run.scores[0], plain("GPKG:two_tables.gpkg:a")[0] / 255)
    assert predict("GPKG:two_tables.gpkg:b", overwrite=True).result.valid_pixels > 0
    with pytest.raises(RasterError, match="--polygons two_tables.gpkg is the input itself"):
        predict("GPKG:two_tables.gpkg:a", overwrite=True, polygons=Path("two_tables.gpkg"))


def test_a_file_in_an_archive(odd, predict, monkeypatch):
    monkeypatch.chdir(odd)
    expected = predict("u8.tif").scores
    with zipfile.ZipFile("scenes.zip", "w") as archive:
        archive.write("u8.tif", "north/a b.tif")
    inside = "north/a b.tif"
    for name in (f"/vsizip/scenes.zip/{inside}", f"zip://scenes.zip!{inside}", f"zip://{odd}/scenes.zip!/{inside}"):
        run = predict(name, overwrite=True)
        assert np.array_equal(run.scores, expected) and run.tags["source"] == "a b.tif"


def test_a_page_of_a_file(odd, predict):
    assert predict(f"GTIFF_DIR:1:{odd / 'u8.tif'}").result.valid_pixels == 1024


@pytest.mark.parametrize(("name", "message"), [
    ("nowhere.tif", "nowhere.tif does not exist; name a raster"),
    ("no where/a;b!c.tif", "does not exist; name a raster"),
    ("GPKG:nowhere.gpkg:a", "GPKG:nowhere.gpkg:a cannot be opened as a raster: .*nowhere.gpkg.*unable to open"),
    ("GPKG:two_tables.gpkg:c", "cannot be opened as a raster: Cannot find table 'c'"),
    ("/vsizip/nowhere.zip/a.tif", "/vsizip/nowhere.zip/a.tif.* does not exist"),
    ("zip://nowhere.zip!a.tif", "zip://nowhere.zip!a.tif cannot be opened .* does not exist"),
    ("GTIFF_DIR:9:u8.tif", "Requested directory 9 not found"),
    ("https://127.0.0.1:9/a.tif", "https://127.0.0.1:9/a.tif cannot be opened as a raster: .*connect"),
    ("s3://bucket/a.tif", "s3://bucket/a.tif cannot be opened as a raster: .*AWS"),
    ("world.pgw", "world.pgw cannot be opened as a raster: it is no raster of a format that is known here"),
    (".", "is a folder"),
    ("", "name is empty"),
    ("a\0b", "does not exist"),
    ("x" * 5000, "does not exist"),
])  # fmt: skip
def test_what_cannot_be_opened_is_said_truly(odd, predict, monkeypatch, name, message):
    monkeypatch.chdir(odd)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    before = sorted(p.name for p in odd.iterdir())
    with pytest.raises(RasterError, match=message) as caught:
        predict(name)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".") and "damaged" not in str(caught.value)
    assert sorted(p.name for p in odd.iterdir()) == before


@pytest.mark.parametrize("name", [
    "a!b;c d#e?f%20.tif", "-x.tif", "zip:a.tif", "GPKG:x:y.tif", "дом 屋.tif", "a&b='c'.tif",
])  # fmt: skip
def test_a_file_may_have_any_name(odd, predict, monkeypatch, name):
    monkeypatch.chdir(odd)
    Path("u8.tif").rename(name)
    run = predict(name)
    assert run.result.valid_pixels == 1024 and run.tags["source"] == name


def test_short_names_hold_no_secrets():
    assert RasterName("https://host/folder/a.tif?signature=secret").short == "a.tif"
    assert RasterName("/home/me/a.tif").short == "a.tif" and RasterName("GPKG:a.gpkg:b").short == "GPKG:a.gpkg:b"


# ---- what a raster is made of is missing ----


def test_a_missing_source_is_named(odd, never, predict):
    with pytest.raises(RasterError, match="gone.vrt is made of .*nowhere.tif, which does not exist"):
        predict(odd / "gone.vrt", segmenter=never)


def test_a_missing_source_further_down_is_named(odd, predict):
    path = vrt(odd / "outer.vrt", [("gone.vrt", "uint8")] * 3, (32, 32))
    path.write_text(path.read_text().replace("<SourceBand>1<", "<SourceBand>2<"))
    with pytest.raises(RasterError, match="outer.vrt cannot be read at rows 0 .*nowhere.tif: No such file.*put back"):
        predict(path)


# ---- names of outputs ----

NAMES = ["a!b", "a;b", "a b", "a?b", "a#b", "a%20b", "дом 屋", "-x", "zip:a", "a&b='c'", ".hidden", "a.b.c", "!"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("relative", [True, False])
def test_outputs_may_have_any_name(odd, predict, tmp_path, monkeypatch, name, relative):
    monkeypatch.chdir(tmp_path)
    folder = Path() if relative else tmp_path
    scores, polygons, preview = (folder / f"{name}{ending}" for ending in (".s.tif", ".gpkg", ".png"))
    finish = Finish(cog=True, preview=preview)
    run = predict(odd / "u8.tif", out=f"{name}.tif", scores=scores, polygons=polygons, finish=finish)
    written = {f"{name}.tif", f"{name}.qml", scores.name, polygons.name, preview.name}
    assert set(os.listdir(tmp_path)) == {"odd", *written}
    assert len(plain(Path(scores).absolute())[0]) == 32 and (run.mask != 255).all()
    os.rename(polygons, tmp_path / "p.gpkg")
    assert pyogrio.read_info(tmp_path / "p.gpkg")["features"] == run.result.prompts[0].polygons > 0


@pytest.mark.parametrize("folder", ["a;b", "a b?", "zip:d", "d#%20", "-d"])
def test_folders_may_have_any_name(odd, predict, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    Path(folder).mkdir()
    options = {"scores": Path(folder, "s.tif"), "polygons": Path(folder, "p.gpkg")}
    predict(odd / "u8.tif", out=f"{folder}/m.tif", **options)
    assert set(os.listdir(folder)) == {"m.tif", "m.qml", "s.tif", "p.gpkg"} and set(os.listdir()) == {"odd", folder}


def test_a_folder_in_which_no_geopackage_can_be_written_is_named(odd, predict, never, tmp_path):
    folder = tmp_path / "a!b"
    folder.mkdir()
    with pytest.raises(RasterError, match="--polygons .*a!b/p.gpkg lies in a folder with '!' in its name"):
        predict(odd / "u8.tif", out="a!b/m.tif", scores=None, polygons=folder / "p.gpkg", segmenter=never)
    assert not list(folder.iterdir())
    finish = Finish(cog=True, preview=folder / "p.png", min_area=1.0)
    predict(odd / "u8.tif", out="a!b/m.tif", scores=folder / "s.tif", polygons=folder / "p.geojson", finish=finish)
    with rasterio.open((folder / "m.tif").absolute()) as file:
        assert np.array_equal(file.shape, (32, 32))

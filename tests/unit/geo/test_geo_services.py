"""Tiles of a server, by an address with places for the tile and by GDAL's services."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image
from web import calm, serve

from s4eca.errors import RasterError
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.request import make_request, open_scene
from s4eca.geo.staging.fingerprint import of_scene
from s4eca.records import Box

HALF = 20037508.342789244
ZOOM, COL, ROW, SIDE = 15, 17640, 10760, 6  # the tiles that the server has, and half as many a zoom above
BOUNDS = (13.8135, 52.5, 13.83, 52.51)


def colour(col, row, zoom):
    return (col % 200, row % 200, 10 * zoom, 255)


def pixel(lon, lat, zoom):
    """The pixel of the web's map at a place."""
    side = 256 * 2**zoom
    y = math.log(math.tan(math.pi / 4 + math.radians(lat) / 2)) / math.pi
    return int((lon + 180) / 360 * side), int((1 - y) / 2 * side)


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    (west, north), (east, south) = pixel(BOUNDS[0], BOUNDS[3], ZOOM), pixel(BOUNDS[2], BOUNDS[1], ZOOM)
    for zoom in (ZOOM - 1, ZOOM):
        down = ZOOM - zoom
        for col in range((west >> down) // 256 - 1, (east >> down) // 256 + 2):
            (folder / f"{zoom}/{col}").mkdir(parents=True, exist_ok=True)
            for row in range((north >> down) // 256 - 1, (south >> down) // 256 + 2):
                flat = np.full((256, 256, 4), colour(col, row, zoom), np.uint8)
                Image.fromarray(flat).save(folder / f"{zoom}/{col}/{row}.png")
                Image.fromarray(flat[..., :3]).save(folder / f"{zoom}/{col}/{row}.jpg", quality=95)
    with serve(folder) as found:
        yield found


@pytest.fixture(autouse=True)
def calmed(monkeypatch, web):
    calm(monkeypatch, web)


def scene(web, tmp_path, name="{z}/{x}/{y}.png", **options):
    """An open scene of tiles; the output is not written."""
    settings = {"bounds": BOUNDS, "gsd": 3.0, **options}
    return open_scene(make_request(web.url(name), "a", tmp_path / "out.tif", **settings))


@pytest.mark.parametrize("name", ["{z}/{x}/{y}.png", "{z}/{x}/{y}.jpg", "{z}/{x}/{y}.png?key=secret"])
@pytest.mark.parametrize(("gsd", "zoom"), [(3.0, ZOOM), (5.8, ZOOM - 1)])
def test_the_zoom_is_chosen_by_the_pixel_size(web, tmp_path, name, gsd, zoom):
    with gdal_env(), scene(web, tmp_path, name, gsd=gsd) as found:
        facts = found.facts
        assert facts.bands == (1, 2, 3) and facts.alpha == (4,) and facts.crs.to_epsg() == 3857
        assert facts.gsd <= gsd * 1.01 and facts.transform.a == pytest.approx(2 * HALF / (256 * 2**zoom))
        values, valid = found.read(Box(0, 0, facts.height, facts.width))
        (west, north), (east, south) = pixel(BOUNDS[0], BOUNDS[3], zoom), pixel(BOUNDS[2], BOUNDS[1], zoom)
        assert abs(facts.width - (east - west)) <= 2 and abs(facts.height - (south - north)) <= 2
        middle = values[:, facts.height // 2, facts.width // 2].astype(int)
        wanted = colour((west + facts.width // 2) // 256, (north + facts.height // 2) // 256, zoom)[:3]
        assert np.abs(middle - wanted).max() <= (0 if "png" in name else 3)
        assert valid[1:-1, 1:-1].all()
    _, asked = web.take()
    tiles = {path.partition("?")[0] for _, path, _ in asked}
    assert all(path.startswith(f"/{zoom}/") for path in tiles), "no other zoom is asked for"
    assert len(asked) == len(tiles), "each tile once"


def test_rows_from_the_south(web, tmp_path):
    with gdal_env(), scene(web, tmp_path) as up:
        wanted = up.read(Box(0, 0, 100, 100))[0]
    for path in list(web.folder.glob(f"{ZOOM}/*/*.png")):
        twin = web.folder / "tms" / str(ZOOM) / path.parent.name / f"{2**ZOOM - 1 - int(path.stem)}.png"
        twin.parent.mkdir(parents=True, exist_ok=True)
        twin.write_bytes(path.read_bytes())
    with gdal_env(), scene(web, tmp_path, "tms/{z}/{x}/{-y}.png") as down:
        assert np.array_equal(down.read(Box(0, 0, 100, 100))[0], wanted)


def test_a_prediction_over_tiles(web, predict):
    run = predict(web.url("{z}/{x}/{y}.png"), ["a"], bounds=BOUNDS, gsd=4.0)
    assert run.profile["crs"].to_epsg() == 3857 and 0 < run.result.valid_pixels == (run.mask != 255).sum()
    assert run.tags["source"] == "{y}.png" and "bounds" in run.tags


def test_transparent_and_empty_tiles_are_no_data(web, predict):
    (west, north) = pixel(BOUNDS[0], BOUNDS[3], ZOOM)
    tile = web.folder / f"{ZOOM}/{west // 256 + 1}/{north // 256 + 1}.png"
    before = tile.read_bytes()
    full = predict(web.url("{z}/{x}/{y}.png"), bounds=BOUNDS, gsd=3.0).result.valid_pixels
    try:
        Image.fromarray(np.zeros((256, 256, 4), np.uint8)).save(tile)
        clear = predict(web.url("{z}/{x}/{y}.png"), bounds=BOUNDS, gsd=3.0, overwrite=True)
    finally:
        tile.write_bytes(before)
    web.behave(status={str(tile.relative_to(web.folder)): 204})
    empty = predict(web.url("{z}/{x}/{y}.png"), bounds=BOUNDS, gsd=3.0, overwrite=True)
    assert full - clear.result.valid_pixels == full - empty.result.valid_pixels > 40_000


def test_an_area_that_is_no_rectangle(web, predict, vector):
    import shapely

    shape = shapely.Point((BOUNDS[0] + BOUNDS[2]) / 2, (BOUNDS[1] + BOUNDS[3]) / 2).buffer(0.004)
    run = predict(web.url("{z}/{x}/{y}.png"), aoi=vector(shape, crs="EPSG:4326"), gsd=3.0)
    assert 0.7 < (run.mask[0] != 255).mean() < 0.85 and run.mask[0, 0, 0] == 255


@pytest.mark.parametrize("status", [404, 500, 403])
def test_a_tile_that_is_refused_is_one_sentence(web, predict, status):
    (west, north) = pixel(BOUNDS[0], BOUNDS[3], ZOOM)
    web.behave(status={f"{ZOOM}/{west // 256 + 1}/{north // 256 + 1}.png": status})
    with pytest.raises(RasterError, match=f"{web.address}.* cannot be read at rows .*{status}") as caught:
        predict(web.url("{z}/{x}/{y}.png?key=secret"), bounds=BOUNDS, gsd=3.0)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(("name", "options", "message"), [
    ("{z}/{x}/{y}.png", {"bounds": None}, "covers the globe; say where to look by --bounds"),
    ("{z}/{x}/{y}.png", {"gsd": None}, "say which by --gsd"),
    ("{z}/{x}.png", {}, "has not all places"),
    ("{z}/{x}/{y}/{-y}.png", {}, "has not all places"),
    ("{s}/{z}/{x}/{y}.png", {}, "has the place {s}"),
    ("{q}.png", {}, "has the place {q}"),
])  # fmt: skip
def test_what_an_address_lacks(web, never, predict, name, options, message):
    with pytest.raises(RasterError, match=message) as caught:
        predict(web.url(f"{name}?key=secret"), segmenter=never, **{"bounds": BOUNDS, "gsd": 3.0, **options})
    assert web.take()[1] == [] and "secret" not in str(caught.value)


def wms(web, level=ZOOM):
    return (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{web.address}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service>'
        f"<DataWindow><UpperLeftX>-{HALF}</UpperLeftX><UpperLeftY>{HALF}</UpperLeftY><LowerRightX>{HALF}</LowerRightX>"
        f"<LowerRightY>-{HALF}</LowerRightY><TileLevel>{level}</TileLevel><TileCountX>1</TileCountX>"
        "<TileCountY>1</TileCountY><YOrigin>top</YOrigin></DataWindow><Projection>EPSG:3857</Projection>"
        "<BlockSizeX>256</BlockSizeX><BlockSizeY>256</BlockSizeY><BandsCount>3</BandsCount></GDAL_WMS>"
    )


@pytest.mark.parametrize("as_file", [True, False])
def test_a_service_described_in_xml(web, tmp_path, as_file):
    source = wms(web)
    if as_file:
        (tmp_path / "tiles.xml").write_text(source)
        source = str(tmp_path / "tiles.xml")
    for gsd, zoom in ((None, ZOOM), (5.8, ZOOM - 1)):
        request = make_request(source, "a", tmp_path / "out.tif", bounds=BOUNDS, gsd=gsd)
        with gdal_env(), open_scene(request) as found:
            assert found.facts.transform.a == pytest.approx(2 * HALF / (256 * 2**zoom))
            assert found.read(Box(5, 5, 1, 1))[0][2, 0, 0] == 10 * zoom
            assert "secret" not in str(found.facts.name) and found.facts.count == 3


CAPABILITIES = """<?xml version="1.0"?>
<Capabilities xmlns="http://www.opengis.net/wmts/1.0" xmlns:ows="http://www.opengis.net/ows/1.1" version="1.0.0">
<Contents><Layer><ows:Identifier>aerial</ows:Identifier><Style isDefault="true"><ows:Identifier>default</ows:Identifier>
</Style><Format>image/png</Format><TileMatrixSetLink><TileMatrixSet>web</TileMatrixSet></TileMatrixSetLink>
<ResourceURL format="image/png" resourceType="tile" template="{address}/{{TileMatrix}}/{{TileCol}}/{{TileRow}}.png"/>
</Layer><TileMatrixSet><ows:Identifier>web</ows:Identifier><ows:SupportedCRS>urn:ogc:def:crs:EPSG::3857
</ows:SupportedCRS>{matrices}</TileMatrixSet></Contents></Capabilities>"""
MATRIX = """<TileMatrix><ows:Identifier>{zoom}</ows:Identifier><ScaleDenominator>{scale}</ScaleDenominator>
<TopLeftCorner>-20037508.342789244 20037508.342789244</TopLeftCorner><TileWidth>256</TileWidth><TileHeight>256
</TileHeight><MatrixWidth>{count}</MatrixWidth><MatrixHeight>{count}</MatrixHeight></TileMatrix>"""


def test_a_wmts(web, tmp_path):
    matrices = "".join(
        MATRIX.format(zoom=z, scale=repr(2 * HALF / (256 * 2**z) / 0.00028), count=2**z) for z in range(ZOOM + 1)
    )
    text = CAPABILITIES.format(address=web.address, matrices=matrices)
    (web.folder / "wmts.xml").write_text(text)
    name = f"WMTS:{web.url('wmts.xml')},layer=aerial"
    for gsd, zoom in ((3.0, ZOOM), (5.8, ZOOM - 1)):
        with gdal_env(), open_scene(make_request(name, "a", tmp_path / "out.tif", bounds=BOUNDS, gsd=gsd)) as found:
            assert found.facts.transform.a == pytest.approx(2 * HALF / (256 * 2**zoom))
            assert found.read(Box(5, 5, 1, 1))[0][2, 0, 0] == 10 * zoom
            assert found.facts.alpha == (4,)
    web.behave(status={"wmts.xml": 404})
    with pytest.raises(RasterError, match=r"WMTS:http://.*wmts.xml,.* cannot be opened as a raster: "), gdal_env():
        open_scene(make_request(name, "a", tmp_path / "out.tif", bounds=BOUNDS, gsd=3.0))


def test_tiles_that_change_are_another_scene(web, tmp_path):
    with gdal_env(), scene(web, tmp_path) as found:
        before = of_scene(found)
    with gdal_env(), scene(web, tmp_path, "{z}/{x}/{y}.jpg") as found:
        assert of_scene(found)["the content of the scene"] != before["the content of the scene"]

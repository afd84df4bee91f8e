"""Many scenes by one model: folders, lists and STAC item collections, here and on a cluster; what was done stays so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from coded import make_segmenter
from killing import contents

from s4eca.errors import ConfigError, RasterError
from s4eca.geo import many
from s4eca.geo.many import segment_geotiffs
from s4eca.geo.read.arrays import RasterArray
from s4eca.geo.scenes import find_scenes, place_of

SIDES = {"a": 40, "b": 70, "c": 33, "d": 90}


@pytest.fixture
def folder(tmp_path, raster, rgb):
    """A folder of scenes of several sizes, and what is no scene."""
    (tmp_path / "scenes").mkdir()
    for seed, (name, side) in enumerate(SIDES.items()):
        raster(rgb(side, side + 5, seed), f"scenes/{name}.tif")
    (tmp_path / "scenes" / "notes.csv").write_text("x")
    (tmp_path / "scenes" / "older").mkdir()
    return tmp_path / "scenes"


@pytest.fixture
def run(folder, tmp_path):
    """Searches the scenes, or others, into a folder."""

    def go(into, client=None, segmenter=None, sources=folder, **options):
        (tmp_path / into).mkdir(exist_ok=True)
        said = options.pop("said", [])
        return segment_geotiffs(
            sources, ["roof", "pond"], segmenter or make_segmenter(), tmp_path / into / "{name}.tif", client=client,
            polygons=tmp_path / into / "{name}.gpkg", progress=False, say=said.append, cell=40, **options,
        )  # fmt: skip

    return go


def test_a_cluster_gives_the_bytes_of_one_process(run, threads, tmp_path):
    alone, together = run("alone"), run("together", threads)
    assert list(alone) == list(together) == list(SIDES)
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")
    assert sorted(p.name for p in (tmp_path / "alone").iterdir() if p.suffix == ".tif") == [f"{n}.tif" for n in SIDES]
    assert not list(tmp_path.rglob("*.s4eca"))


@pytest.mark.parametrize("clustered", [True, False])
def test_a_scene_that_cannot_be_read_keeps_no_other_from_being_done(run, threads, tmp_path, folder, clustered):
    """The same command goes on with what is not done, and does nothing twice."""
    client, said, damage = (threads if clustered else None), [], folder / "e.tif"
    content = (folder / "b.tif").read_bytes()
    damage.write_bytes(content)
    opened = many.check

    def removing(request):
        facts = opened(request)
        if request.source.endswith("e.tif"):
            damage.unlink()
        return facts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "check", removing)
        with pytest.raises(RasterError, match=r"^1 of 5 scenes are not done \(e: .*e.tif does not exist.*\); the same"):
            run("out", client, said=said)
    assert any(note.startswith("e is not done: ") for note in said)
    assert len(list((tmp_path / "out").glob("*.s4eca"))) == 4
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tif")}
    damage.write_bytes(content)
    found = run("out", client)
    assert {path: path.stat().st_mtime_ns for path in before} == before and list(found) == [*SIDES, "e"]
    assert not list(tmp_path.rglob("*.s4eca"))


def test_each_is_done_once_however_often_the_run_is_cut_off(run, tmp_path):
    run("whole")
    for stop_at in (1, 2, 4):
        segmenter, seen = make_segmenter(), []
        plain = segmenter.probabilities

        def stopping(windows, expressions, plain=plain, seen=seen, stop_at=stop_at):
            seen.append(1)
            if len(seen) == stop_at:
                raise KeyboardInterrupt
            return plain(windows, expressions)

        segmenter.probabilities = stopping
        with pytest.raises(KeyboardInterrupt, match="of 4 scenes are done; the same command goes on"):
            run("cut", segmenter=segmenter)
    run("cut")
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")


def test_small_scenes_are_under_way_at_once(run, threads, monkeypatch):
    """A scene of one cell leaves the other workers free for the next ones."""
    import threading

    meeting = threading.Barrier(2, timeout=20)
    plain, met = many.run_request, []

    def together(request, *given, **options):
        if not met:
            meeting.wait()
            met.append(1)
        return plain(request, *given, **options)

    monkeypatch.setattr(many, "run_request", together)
    assert len(run("together", threads)) == 4 and met


def test_an_output_of_somebody_else_is_refused_before_anything(run, tmp_path, never):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "c.tif").write_text("precious")
    with pytest.raises(RasterError, match="c.tif exists"):
        run("out", segmenter=never)


class TestNames:
    """Which scenes are meant, and what they are called."""

    def test_a_folder(self, folder):
        assert find_scenes(folder) == {name: str(folder / f"{name}.tif") for name in SIDES}

    def test_a_list(self, folder):
        path = folder / "list.txt"
        path.write_text("\ufeff# of May\nb.tif\n\n/vsizip/x.zip/far.tif\r\nGPKG:no.gpkg:north\n", encoding="utf-8")
        assert find_scenes(path) == {
            "b": str(folder / "b.tif"), "far": "/vsizip/x.zip/far.tif", "GPKG_no.gpkg_north": "GPKG:no.gpkg:north",
        }  # fmt: skip

    def test_one_scene(self, folder):
        assert find_scenes(folder / "b.tif") == {"b": str(folder / "b.tif")}
        assert find_scenes("https://host/q.tif?key=secret") == {"q": "https://host/q.tif?key=secret"}

    @pytest.mark.parametrize("form", ["collection", "item"])
    def test_stac_items(self, folder, form):
        def item(number, **assets):
            return {"type": "Feature", "id": f"S2/{number}", "assets": assets}

        tiff = "image/tiff; application=geotiff; profile=cloud-optimized"
        scene = {"href": "./b.tif", "type": tiff, "roles": ["data"]}
        items = [
            item(1, image=scene, thumb={"href": "t.png", "type": "image/png", "roles": ["thumbnail"]}),
            item(2, visual={"href": "https://h/v.tif", "type": tiff}, nir={"href": "https://h/n.tif", "type": tiff}),
            item(3, plain={"href": "file:///data/c.tif"}, meta={"href": "m.xml", "type": "application/xml"}),
        ]
        found = {"S2_1": str(folder / "b.tif"), "S2_2": "https://h/v.tif", "S2_3": "/data/c.tif"}
        path = folder / "items.json"
        if form == "item":
            items, found = items[0], {"S2_1": found["S2_1"]}
        path.write_text(json.dumps(items if form == "item" else {"type": "FeatureCollection", "features": items}))
        assert find_scenes(path) == found

    def test_an_asset_is_named(self, folder):
        bands = {key: {"href": f"{key}.tif", "roles": ["data"]} for key in ("B02", "B03")}
        path = folder / "items.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [{"id": "x", "assets": bands}]}))
        assert find_scenes(path, "B03") == {"x": str(folder / "B03.tif")}
        with pytest.raises(RasterError, match=r"Item x .* has 2 assets that may be the scene \(B02, B03\); say which"):
            find_scenes(path)
        with pytest.raises(RasterError, match="Item x .* has no asset B8; it has B02, B03"):
            find_scenes(path, "B8")

    @pytest.mark.parametrize(("name", "content", "message"), [
        ("l.txt", "# none\n", "names no scene"),
        ("l.txt", "x/b.tif\ny/B.tif\n", "x/b.tif and y/B.tif are both called B"),
        ("l.txt", b"\xff\xfe\x00", "cannot be read as a list of scenes"),
        ("i.json", "{", "cannot be read as JSON"),
        ("i.json", '{"type": "FeatureCollection", "features": []}', "without items"),
        ("i.json", '{"id": 3, "assets": {}}', "an item whose id is 3"),
        ("i.json", '{"id": "x", "assets": {"m": {"href": "m.xml"}}}', "Item x .* has no raster; name its raster"),
    ])  # fmt: skip
    def test_what_names_no_scenes(self, tmp_path, name, content, message):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(RasterError, match=message):
            find_scenes(tmp_path / name)

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(RasterError, match="is a folder without rasters"):
            find_scenes(tmp_path)

    def test_an_asset_of_no_collection(self, folder):
        with pytest.raises(ConfigError, match="--asset is B02, but .*scenes is no STAC item collection"):
            find_scenes(folder, "B02")

    def test_outputs_are_apart(self, folder, tmp_path, never):
        assert place_of("x/{name}-m.tif", "b") == Path("x/b-m.tif")
        with pytest.raises(ConfigError, match=r"polygons is .*p.gpkg, which has no {name} in the name of its file"):
            segment_geotiffs(folder, "roof", never, tmp_path / "{name}.tif", polygons=tmp_path / "p.gpkg")


def test_scenes_may_be_given_by_name(run, tmp_path, folder):
    found = run("named", sources={"one": folder / "a.tif", "two": folder / "a.tif"})
    masks = [np.asarray(path.read_bytes()) for path in (found["one"].mask, found["two"].mask)]
    assert masks[0] == masks[1] and found["one"].mask.name == "one.tif"


def test_scenes_given_by_name_are_whatever_one_scene_may_be(tmp_path, folder, brightness):
    """A list that makes one scene, and an array."""
    one = str(min(folder.iterdir()))
    with rasterio.open(one) as file:
        array = RasterArray(file.read(), file.transform, file.crs)
    given = {"file": one, "list": [one], "array": array}
    options = {"progress": False, "say": lambda note: None}
    found = segment_geotiffs(given, ["roof"], brightness(), tmp_path / "{name}.tif", **options)
    assert list(found) == list(given) and len({one.prompts[0].pixels for one in found.values()}) == 1


@pytest.mark.parametrize("sources", [["a.tif", "b.tif"], {}, [], 7], ids=str)
def test_what_names_no_scenes(tmp_path, never, sources):
    with pytest.raises(ConfigError, match=f"sources is {type(sources).__name__} .*; it must be a mapping"):
        segment_geotiffs(sources, ["roof"], never, tmp_path / "{name}.tif")


def test_an_asset_of_scenes_by_name_is_refused(tmp_path, never):
    with pytest.raises(ConfigError, match="asset is B02, but sources is no STAC item collection"):
        segment_geotiffs({"a": "a.tif"}, ["roof"], never, tmp_path / "{name}.tif", asset="B02")


def test_items_may_begin_with_a_byte_order_mark(tmp_path, folder):
    item = {"type": "Feature", "id": "one", "assets": {"visual": {"href": "scenes/a.tif"}}}
    (tmp_path / "items.json").write_text(json.dumps(item), encoding="utf-8-sig")
    assert find_scenes(tmp_path / "items.json") == {"one": str(folder / "a.tif")}

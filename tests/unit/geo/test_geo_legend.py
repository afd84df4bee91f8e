"""A legend: one raster of classes by the larger probability, with names and colours, and polygons that stay glued."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.features import shapes
from shapely.geometry import shape

from s4eca.data.palette import colours
from s4eca.errors import ConfigError, ExpressionError
from s4eca.geo.finish import Finish
from s4eca.geo.legend import Marks, make_legend, parse_legend
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.write.polygons import Found, Tracer
from s4eca.geo.write.simplify import Simplifier, _valid

THREE = {"red thing": "red", "green thing": ["green", "grass"], "blue & <thing>": "blue"}


class Colours:
    """Probability of each expression: the channel of its place, red, green, (again) green, blue."""

    image_size, threshold, bands, band_ranges, fill = 32, 0.5, (), (), (0, 0, 0)

    def probabilities(self, windows, expressions):
        channels = {"red": 0, "green": 1, "grass": 1, "blue": 2}
        return np.stack([windows[..., channels[said]] / np.float32(255) for said in expressions], axis=1)


def test_the_largest_wins_and_ties_and_low_values_are_nought():
    legend = make_legend({"a": "x", "b": ["y", "z"]})
    marks = Marks(0.5, 3, legend)
    given = np.array(
        # a wins, b by its second phrase, tie of classes, both phrases of b alike, all low, at the threshold, not valid
        [[0.9, 0.6, 0.7, 0.1, 0.4, 0.5, 0.9], [0.8, 0.1, 0.7, 0.8, 0.3, 0.2, 0.1], [0.2, 0.9, 0.1, 0.8, 0.2, 0.1, 0.1]],
        np.float32,
    )[:, None]  # fmt: skip
    valid = np.array([[True] * 6 + [False]])
    values, sure = marks.of(given, valid)
    assert values.tolist() == [[[1, 2, 0, 2, 0, 0, 255]]]
    assert np.array_equal(sure[0], given.max(axis=0)) and marks.bands == 1


def test_a_tie_below_a_third_is_no_tie():
    legend = make_legend({name: name for name in "abc"})
    given = np.array([0.7, 0.7, 0.9], np.float32)[:, None, None]
    assert Marks(0.5, 3, legend).of(given, np.ones((1, 1), bool))[0].item() == 3
    assert Marks(0.5, 3, legend).of(given[[2, 0, 1]], np.ones((1, 1), bool))[0].item() == 1
    assert Marks(0.5, 3, legend).of(np.full((3, 1, 1), 0.7, np.float32), np.ones((1, 1), bool))[0].item() == 0


def test_classes_by_the_merged_rule(raster, rgb, tmp_path):
    """Against the same run with a mask for each phrase, merged by hand from its probabilities."""
    picture = rgb(70, 90)
    picture[picture == 9] = 10
    picture[:, :5, :5] = 9
    path = raster(picture, nodata=9)
    result = segment_geotiff(
        path, THREE, Colours(), tmp_path / "c.tif", scores=tmp_path / "s.tif", polygons=tmp_path / "p.gpkg",
        progress=False, say=lambda note: None,
    )  # fmt: skip
    with rasterio.open(tmp_path / "c.tif") as file, rasterio.open(tmp_path / "s.tif") as scores:
        classes, table, tags = file.read(), file.colormap(1), file.tags(1, ns="S4ECA")
        assert (file.count, file.dtypes, file.nodata) == (1, ("uint8",), 255)
        each = scores.read()
        assert scores.descriptions == ("red", "green", "grass", "blue")
    three = np.stack([each[0], each[1], each[3]])
    first = np.sort(three, axis=0)
    with np.errstate(invalid="ignore"):
        expected = np.where((first[2] > 0.5) & (first[2] > first[1]), three.argmax(axis=0) + 1, 0)
    expected[np.isnan(each[0])] = 255
    assert np.array_equal(classes[0], expected) and set(np.unique(classes)) == {0, 1, 2, 3, 255}
    assert [table[value] for value in (1, 2, 3)] == [(*colour, 255) for colour in colours(3)]
    assert json.loads(tags["classes"])["2"] == {"name": "green thing", "prompts": ["green", "grass"]}
    entries = ElementTree.parse(tmp_path / "c.qml").findall(".//paletteEntry")
    assert [(e.get("value"), e.get("label")) for e in entries] == [("0", "background"), *zip("123", THREE, strict=True)]
    assert [e.get("color") for e in entries[1:]] == ["#{:02x}{:02x}{:02x}".format(*colour) for colour in colours(3)]
    _follow(result, expected, tmp_path / "p.gpkg")


def _follow(result, classes, polygons):
    """Counts and polygons are those of the raster."""
    info, _, geometry, fields = pyogrio.raw.read(polygons)
    columns = dict(zip(info["fields"], fields, strict=True))
    assert list(columns) == ["class", "prompt", "score", "area_m2", "source"]
    outlines = shapely.from_wkb(geometry)
    for value, (name, one) in enumerate(zip(THREE, result.prompts, strict=True), 1):
        assert (one.name, one.value, one.pixels) == (name, value, int((classes == value).sum()))
        assert one.prompt == ("green; grass" if value == 2 else one.prompt)
        own = columns["class"] == name
        assert own.sum() == one.polygons
        assert shapely.area(outlines[own]).sum() == pytest.approx(one.pixels * 0.25)
        assert one.area_m2 == pytest.approx(columns["area_m2"][own].sum(), rel=1e-4)
    assert json.dumps(result.to_dict())


@pytest.mark.parametrize(("text", "expected"), [
    ("building=buildings;water=a river or lake", {"building": ["buildings"], "water": ["a river or lake"]}),
    (" a = x ; a = y; ", {"a": ["x", "y"]}),
    ("a=x=y", {"a": ["x=y"]}),
])  # fmt: skip
def test_what_the_option_says(text, expected):
    assert parse_legend(text) == expected


@pytest.mark.parametrize("text", ["", ";", "water", "=x", "a=", "a=x;;b=y", "a=x;b"])
def test_what_is_no_legend(text):
    with pytest.raises(ConfigError, match="Part . of --legend is .*; it must be name=phrase"):
        parse_legend(text)


@pytest.mark.parametrize(("given", "words"), [
    ({}, "empty"), ({"a": []}, "'a'.*no phrase"), ({" ": "x"}, "Class 1.*text"), ({1: "x"}, "Class 1"),
    ({"a": 7}, "'a'"),
    ({str(n): f"thing {n}" for n in range(255)}, "255 classes.*254"), ({"a": {"b": "c"}}, "'a'"),
])  # fmt: skip
def test_legends_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        make_legend(given)


def test_one_phrase_in_two_classes_is_refused(raster, rgb, never, tmp_path):
    with pytest.raises(ExpressionError, match="Prompts 1 and 2 are the same"):
        segment_geotiff(raster(rgb()), {"a": "red", "b": "Red "}, never, tmp_path / "m.tif")


def test_colours_differ():
    assert len(set(colours(254))) == 254 and colours(254)[:3] == colours(3)


# ---- simplified outlines


def sheet(seed, count=3, size=60):
    """Classes of smooth noise, which touch everywhere, and their outlines."""
    noise = np.random.default_rng(seed).random((count, size, size))
    for _ in range(6):
        noise = (noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2) + np.roll(noise, (1, 1), (1, 2))) / 4
    classes = noise.argmax(axis=0).astype(np.uint8) + 1
    return [(int(v), Found(shape(g), 0.5, 1)) for g, v in shapes(classes, connectivity=4)]


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_stay_glued_and_none_is_lost(seed):
    given = sheet(seed)
    simplifier = Simplifier(2.0, (1.0, 1.0))
    assert not [done for value, found in given for done in simplifier.add(0, value, found)]
    done = list(simplifier.finish())
    outlines = np.array([found.outline for _, found in done])
    assert [value for value, _ in done] == [value for value, _ in given] and simplifier.parts == 0
    assert shapely.is_valid(outlines).all() and shapely.coverage_is_valid(outlines)
    assert not shapely.is_empty(outlines).any()
    before = sum(shapely.get_num_coordinates(found.outline) for _, found in given)
    assert shapely.get_num_coordinates(outlines).sum() < 0.5 * before
    covered = shapely.union_all(outlines).area
    assert shapely.area(outlines).sum() == pytest.approx(covered) and covered == pytest.approx(3600, rel=0.01)


def test_outlines_of_noise_stay_valid():
    """Rings of a sprawling object that touch at corners everywhere may come to cross one another."""
    classes = (np.random.default_rng(0).random((200, 200)) > 0.3).astype(np.uint8) + 1
    simplifier, tracer = Simplifier(3.0, (1.0004, 0.9997)), Tracer()
    given = [*tracer.add(0, classes == 2, np.ones(classes.shape, np.float32)), *tracer.finish()]
    for found in given:
        assert not list(simplifier.add(0, 1, found))
    outlines = np.array([found.outline for _, found in simplifier.finish()])
    assert len(outlines) == len(given) and shapely.is_valid(outlines).all() and (shapely.area(outlines) > 0).all()
    assert set(shapely.get_type_id(outlines)) <= {3, 6}
    tree = shapely.STRtree(outlines)
    first, second = tree.query(outlines, predicate="overlaps")
    shared = shapely.area(shapely.intersection(outlines[first], outlines[second]))
    assert shared.sum() < 1e-6 * shapely.area(outlines).sum()


def test_what_is_not_valid_keeps_its_area():
    before = shapely.box(0, 0, 2, 2)
    tie = shapely.from_wkt("POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))")
    tailed = shapely.from_wkt("POLYGON ((0 0, 2 0, 2 2, 4 4, 2 2, 0 2, 0 0))")
    gone = shapely.from_wkt("POLYGON ((0 0, 1 1, 2 2, 0 0))")
    for given, area in ((tie, 2.0), (tailed, 4.0), (before, 4.0)):
        mended = _valid(given, before)
        assert shapely.is_valid(mended) and mended.area == area and shapely.get_type_id(mended) in (3, 6)
    assert _valid(gone, before) is before


def test_the_tolerance_is_in_metres_whatever_the_pixel():
    step = Found(shapely.from_wkt("POLYGON ((0 0, 20 0, 20 10, 10 10, 10 11, 0 11, 0 0))"), 0.5, 1)
    for down, kept in ((0.1, 5), (10.0, 7)):
        simplifier = Simplifier(2.0, (down, down))
        assert not list(simplifier.add(0, 1, step))
        ((_, found),) = simplifier.finish()
        assert shapely.get_num_coordinates(found.outline) == kept or (down == 0.1 and found.outline.area > 100)


def test_more_than_memory_allows_is_done_in_parts():
    given = sheet(0)
    simplifier = Simplifier(2.0, (1.0, 1.0), most=300)
    done = [one for value, found in given for one in simplifier.add(0, value, found)] + list(simplifier.finish())
    assert simplifier.parts > 0 and sorted(v for v, _ in done) == sorted(v for v, _ in given)


def test_in_the_file_with_metres(raster, predict, tmp_path):
    rows, cols = np.indices((64, 80))
    disc = ((rows - 30) ** 2 + (cols - 40) ** 2 < 25**2).astype(np.uint8) * 250
    path = raster(np.stack([disc] * 3), transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6))
    exact = predict(path, polygons=tmp_path / "a.gpkg")
    run = predict(path, polygons=tmp_path / "b.gpkg", overwrite=True, finish=Finish(simplify=1.0))
    (one,), (other,) = (shapely.from_wkb(pyogrio.raw.read(tmp_path / f"{name}.gpkg")[2]) for name in "ab")
    assert shapely.get_num_coordinates(other) < 0.3 * shapely.get_num_coordinates(one)
    assert shapely.hausdorff_distance(one, other) < 1.5
    assert np.array_equal(exact.mask, run.mask)  # which keeps its pixels
    area = pyogrio.raw.read(tmp_path / "b.gpkg")[3][2][0]
    assert area == pytest.approx(other.area, rel=2e-3)  # of the outline that lies in the file


def test_simplify_without_polygons_is_refused(raster, rgb, never, predict):
    with pytest.raises(ConfigError, match="--simplify is 1, but no outlines are written; add --polygons"):
        predict(raster(rgb()), segmenter=never, finish=Finish(simplify=1.0))


def test_tracers_of_classes_share_edges():
    """What the simplifier is given: outlines whose edges meet pixel by pixel."""
    classes = np.array([[1, 1, 2, 2], [1, 1, 3, 3], [1, 1, 3, 3]], np.uint8)
    outlines = []
    for value in (1, 2, 3):
        tracer = Tracer()
        outlines += list(tracer.add(0, classes == value, np.ones(classes.shape, np.float32))) + list(tracer.finish())
    fine = shapely.segmentize(np.array([found.outline for found in outlines]), 1.0)
    assert shapely.coverage_is_valid(fine) and not shapely.coverage_is_valid([found.outline for found in outlines])

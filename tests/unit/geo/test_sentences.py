"""Sentences about a scene: resolved on polygons, in every frame, written as masks with the pixels of the objects."""

from __future__ import annotations

import json
from collections import Counter

import cv2
import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from told_scenes import facts_of, rendered, resolved, told, true_mask

from s4eca.errors import ConfigError, ExpressionError
from s4eca.geo.finish import Finish
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.write.chosen import Chosen
from s4eca.geo.write.scene_frame import Frame
from s4eca.geo.write.spool import Spool
from s4eca.language.sentence import read_sentence
from s4eca.records import RasterName, SceneFacts

KINDS = {
    "rendered unique", "rendered plural", "rendered colour", "rendered position", "rendered plural_position",
    "rendered size", "rendered relation", "unique", "plural", "count", "position", "plural_position", "size", "absent",
    "relation near", "relation nearest", "relation direction", "relation between", "relation surrounded",
    "absent direction",
}  # fmt: skip


@pytest.mark.parametrize(
    ("seeds", "kinds"),
    [
        (range(10), KINDS - {"relation surrounded", "relation between"}),
        pytest.param(range(10, 410), KINDS, marks=pytest.mark.slow),
    ],
    ids=["10", "400"],
)
def test_on_true_polygons_every_sentence_means_what_it_was_said_of(seeds, kinds, tmp_path):
    wrong, seen = [], Counter()
    for seed in seeds:
        scene = rendered(seed)
        cases = list(told(scene, seed, most=40, wordings=1, contrasts=0.5))
        found, choices = resolved(scene, [text for text, _, _ in cases], tmp_path)
        for (text, mask, kind), marked, choice in zip(cases, found, choices, strict=True):
            seen[kind] += 1
            if not np.array_equal(marked, mask):
                wrong.append((seed, kind, text, choice.notes))
    assert not wrong, wrong[:5]
    assert kinds <= set(seen)


# ---- frames


def placed(angle=0.0, south_up=False, gsd=0.5, size=(200, 300), crs="EPSG:32631", origin=(500_000.0, 4_600_000.0)):
    """Facts of a scene whose grid is rotated, or stored upside down."""
    turn = Affine.translation(*origin) @ Affine.rotation(angle) @ Affine.scale(gsd, gsd if south_up else -gsd)
    return SceneFacts(
        RasterName("s.tif"), (), *size, 3, "uint8", (1, 2, 3), (), crs and CRS.from_string(crs), turn, None,
        (gsd, gsd) if crs else None, (),
    )  # fmt: skip


@pytest.mark.parametrize("facts", [
    placed(), placed(south_up=True), placed(30), placed(-140), placed(90, south_up=True),
    placed(gsd=1e-5, crs="EPSG:4326", origin=(12.0, 55.0)), placed(15, crs="EPSG:3857", origin=(2e6, 8e6)),
], ids=["north up", "south up", "30", "-140", "90 south up", "degrees", "web mercator"])  # fmt: skip
def test_right_is_east_and_down_is_south_in_metres(facts):
    import pyproj

    frame, geod = Frame(facts), pyproj.Geod(ellps="WGS84")
    globe = pyproj.Transformer.from_crs(facts.crs, 4326, always_xy=True)
    pixels = np.random.default_rng(0).uniform(0, 200, (40, 2))
    lon, lat = globe.transform(*(facts.transform @ pixels.T))
    azimuth, _, length = geod.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])
    moved = np.diff(frame.places(pixels), axis=0)
    assert np.allclose(np.hypot(*moved.T), length, rtol=1e-5)
    ways = np.degrees(np.arctan2(moved[:, 0], -moved[:, 1])) - azimuth
    assert np.abs((ways + 180) % 360 - 180).max() < 0.3  # north of the grid, not of the globe
    corners = frame.shares(np.array([(0, 0), (300, 0), (0, 200), (300, 200)], float))
    assert np.allclose(corners.min(axis=0), 0) and np.allclose(corners.max(axis=0), 1)
    assert frame.in_metres and frame.size[0] * frame.size[1] >= 200 * 300 * 0.999


def test_without_a_crs_the_picture_is_the_map():
    frame = Frame(placed(crs=None))
    assert not frame.in_metres and frame.pixel == 1.0 and frame.size == (300.0, 200.0)
    assert np.allclose(frame.places(np.array([[3.0, 4.0]])), [[3.0, 4.0]])


SAID = ("the ship in the north-west", "the topmost ship", "the leftmost ship", "the ship nearest to the pond",
        "the second ship from the left", "the ship to the right of the pond", "the largest ship",
        "the ship by the pond")  # fmt: skip


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_a_scene_stored_another_way_means_the_same(tmp_path_factory, data):
    """The eight ways in which a square grid can be stored give the same objects on the ground."""
    side = 64
    sentences = [read_sentence(text) for text in SAID]
    prompts = ("the ships", "the pond")
    bands = np.zeros((2, side, side), np.uint8)
    spot = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(3, 7))
    spots = data.draw(st.lists(spot, min_size=2, max_size=6, unique_by=lambda spot: spot[:2]))
    pond = data.draw(st.tuples(st.integers(0, 6), st.integers(0, 6)))
    for row, col, reach in spots:
        if (row, col) != pond:
            bands[0, 9 * row : 9 * row + reach, 9 * col : 9 * col + reach] = 1
    bands[1, 9 * pond[0] : 9 * pond[0] + 8, 9 * pond[1] : 9 * pond[1] + 8] = 1
    north = Affine(1.0, 0, 500_000, 0, -1.0, 4_600_000)

    def meant(stored, transform):
        facts = SceneFacts(RasterName("s"), (), side, side, 3, "uint8", (1, 2, 3), (), CRS.from_epsg(32631), transform,
                           None, (1.0, 1.0), ())  # fmt: skip
        chosen = Chosen(facts, sentences, prompts, tmp_path_factory.getbasetemp(), sure=False)
        chosen.add(stored[:, :30], None)
        chosen.add(stored[:, 30:], None)
        found = np.concatenate([values for values, _ in chosen.finish()], axis=1)
        chosen.close()
        return found, [choice.notes for choice in chosen.choices]

    expected = meant(bands, north)
    for over in (False, True):
        for quarter in range(4):
            stored = np.rot90(bands[:, ::-1] if over else bands, quarter, (1, 2))
            transform = north @ (Affine(1, 0, 0, 0, -1, side) if over else Affine.identity())
            for _ in range(quarter):  # column c, row r of the new grid is column side - r', row c' of the former
                transform = transform @ Affine(0, -1, side, 1, 0, 0)
            found, notes = meant(np.ascontiguousarray(stored), transform)
            back = np.rot90(found, -quarter, (1, 2))
            assert notes == expected[1]
            assert np.array_equal(back[:, ::-1] if over else back, expected[0])


# ---- whole runs


class Told:
    """Answers windows by the first band of the scene for the pier, and by the second for ships."""

    image_size, threshold, bands, band_ranges, fill = 32, 0.5, (), (), (0.0, 0.0, 0.0)

    def __init__(self):
        self.asked = set()

    def probabilities(self, windows, expressions):
        self.asked |= set(expressions)
        return np.stack([windows[..., int("ship" in said.lower())] / np.float32(256) for said in expressions], axis=1)


@pytest.fixture
def harbour(raster):
    """Six ships of growing size from the top left, over several windows, and a pier at the bottom right."""
    picture = np.zeros((3, 90, 130), np.uint8)
    for number, (row, col) in enumerate([(5, 8), (8, 60), (40, 30), (45, 100), (70, 10), (72, 70)]):
        picture[1, row : row + 4 + number, col : col + 6 + 3 * number] = 255
        picture[1, row + 1, col + 1] = 0  # holes stay
    picture[0, 80:86, 100:125] = 255
    picture[2] = np.random.default_rng(0).integers(0, 256, picture.shape[1:])  # no collar of one colour
    return raster(picture), picture


def pieces(mask):
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return [labels == number for number in range(1, count)]


@pytest.mark.parametrize("finish", [None, Finish(fill_holes=1.0), Finish(cog=True)], ids=["plain", "filled", "cog"])
@pytest.mark.parametrize("cell", [None, 40])
def test_masks_polygons_and_counts_hold_the_chosen_objects_alone(harbour, tmp_path, finish, cell):
    path, picture = harbour
    said = [
        "the largest ship", "the two smallest ships", "the ship nearest to the pier", "ships", "the ship in the west"
    ]  # fmt: skip
    segmenter, notes = Told(), []
    result = segment_geotiff(
        path, said, segmenter, tmp_path / "m.tif", polygons=tmp_path / "p.gpkg", scores=tmp_path / "s.tif",
        scope="scene", finish=finish, cell=cell, progress=False, say=notes.append,
    )  # fmt: skip
    assert segmenter.asked == {"the ships", "the pier", "ships"}
    ships = sorted(pieces(picture[1] == 255), key=lambda piece: piece.sum())
    west = [piece for piece in ships if np.nonzero(piece)[1].mean() < 65]
    expected = [ships[-1], ships[0] | ships[1], ships[-1], np.logical_or.reduce(ships), np.logical_or.reduce(west)]
    with rasterio.open(tmp_path / "m.tif") as file:
        mask, tags = file.read(), [file.tags(band, ns="S4ECA") for band in file.indexes]
        assert file.descriptions == tuple(said) and file.tags(ns="S4ECA")["scope"] == "scene"
        assert json.loads(file.tags(ns="S4ECA")["prompts"]) == said
    if finish is not None and finish.fill_holes:
        expected = [cv2.morphologyEx(one.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3))) > 0 for one in expected]
    assert np.array_equal(mask, np.stack(expected).astype(np.uint8))
    assert [tag["prompt"] for tag in tags] == said
    assert [tag["asked"] for tag in tags] == [*["the ships"] * 3, "ships", "the ships"]
    with rasterio.open(tmp_path / "s.tif") as file:
        assert file.descriptions == ("the ships", "the pier", "ships")  # what the model says
    _, _, _, fields = pyogrio.raw.read(tmp_path / "p.gpkg", columns=["prompt", "area_m2"])
    assert Counter(fields[0]) == dict(zip(said, (1, 2, 1, 6, len(west)), strict=True))
    for number, one in enumerate(result.prompts):
        assert (one.prompt, one.pixels) == (said[number], int(expected[number].sum()))
        assert one.candidates == 6 and one.chosen == one.polygons
        assert one.area_m2 == pytest.approx(fields[1][fields[0] == one.prompt].sum(), rel=1e-4)
    assert notes == [f"'the ship in the west': 1 is said and {len(west)} fit, all are marked."] == list(result.notes)
    assert result.prompts[4].notes == (notes[0].split(": ")[1][:-1],)
    assert type(result).from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_windows_are_answered_as_before(harbour, tmp_path):
    """With the scope window the model gets what was said, and only what the scene alone can know is noted."""
    path, _ = harbour

    class Whatever(Told):
        def probabilities(self, windows, expressions):
            self.asked |= set(expressions)
            return np.repeat(windows[:, None, ..., 1] / np.float32(256), len(expressions), axis=1)

    segmenter, notes = Whatever(), []
    result = segment_geotiff(
        path, ["the largest ship", "a ship at the pier"], segmenter, tmp_path / "m.tif", progress=False,
        say=notes.append,
    )  # fmt: skip
    assert segmenter.asked == {"the largest ship", "a ship at the pier"}
    assert len(notes) == 1 and notes[0].startswith("'the largest ship' is asked of each of")
    assert "--scope scene" in notes[0]
    assert "asked" not in result.to_dict()["prompts"][0]


def test_nothing_found_and_nothing_to_compare_with_are_said(harbour, tmp_path):
    path, _ = harbour

    class Blind(Told):
        def probabilities(self, windows, expressions):
            seen = np.float32([said != "the pier" for said in expressions])
            return super().probabilities(windows, expressions) * seen[None, :, None, None]

    notes = []
    result = segment_geotiff(
        path, ["the ship nearest to the pier"], Blind(), tmp_path / "m.tif", scope="scene", progress=False,
        say=notes.append,
    )  # fmt: skip
    assert result.prompts[0].pixels == 0 and result.prompts[0].candidates == 6
    assert notes[:2] == [
        "'the ship nearest to the pier': nothing was found for 'the pier'.",
        "'the ship nearest to the pier': 'the pier' is not there to compare with.",
    ]


def test_a_run_that_was_cut_off_goes_on_and_another_sentence_is_refused(harbour, tmp_path):
    path, _ = harbour

    class Tired(Told):
        def __init__(self, most):
            super().__init__()
            self.left = most

        def probabilities(self, windows, expressions):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().probabilities(windows, expressions)

    def run(segmenter, said="the largest ship", out="m.tif"):
        return segment_geotiff(
            path, [said, "the leftmost ship"], segmenter, tmp_path / out, polygons=tmp_path / f"{out}.gpkg",
            scope="scene", cell=40, progress=False, say=lambda note: None,
        )  # fmt: skip

    run(Told(), out="whole.tif")
    with pytest.raises(KeyboardInterrupt):
        run(Tired(7))
    with pytest.raises(Exception, match="the sentences: .*smallest"):
        run(Told(), "the smallest ship")
    assert run(Told()).cells_before > 0
    assert (tmp_path / "m.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


@pytest.mark.parametrize(("said", "scope", "error", "words"), [
    (["the ship at the pier"], "scene", ExpressionError, "'at the pier'"),
    ({"ship": "the largest ship"}, "scene", ConfigError, "legend"),
    (["ships"], "planet", ConfigError, "scope is 'planet'; it must be one of window, scene"),
])  # fmt: skip
def test_refused_before_the_model_is_asked(harbour, never, tmp_path, said, scope, error, words):
    with pytest.raises(error, match=words):
        segment_geotiff(harbour[0], said, never, tmp_path / "m.tif", scope=scope)
    assert not list(tmp_path.glob("m*"))


def test_prompts_are_asked_once_in_whatever_case(harbour, tmp_path):
    segmenter = Told()
    result = segment_geotiff(
        harbour[0], ["the largest ship", "The smallest ship", "THE SHIPS"], segmenter, tmp_path / "m.tif",
        scope="scene", progress=False, say=lambda note: None,
    )  # fmt: skip
    assert segmenter.asked == {"the ships"} and [one.chosen for one in result.prompts] == [1, 1, 6]


def found_in(text, masks, room):
    sentence = read_sentence(text)
    chosen = Chosen(placed(), [sentence], sentence.prompts, room, sure=False)
    chosen.add(np.stack([masks[prompt] for prompt in sentence.prompts]).astype(np.uint8), None)
    list(chosen.finish())
    chosen.close()
    return chosen.choices[0].ids


@pytest.mark.parametrize(("text", "ids"), [
    ("the ship nearest to the red ship", (1,)), ("the ships near the red ship", ()), ("the ships in the red ship", ()),
    ("the ships larger than the red ship", (1, 2)), ("the ship with the red ship", ()),
    ("the ships right of the red ship", (1, 2)), ("the ship nearest to the buoy", (2,)),
])  # fmt: skip
def test_a_thing_is_not_its_own_landmark_under_another_name(text, ids, tmp_path):
    ships, red, buoy = (np.zeros((200, 300), bool) for _ in range(3))
    for x, wide in ((20, 10), (100, 14), (220, 14)):
        ships[50:60, x : x + wide] = True
    red[51:60, 20:30] = True  # as the model sees it, it has not quite the same pixels
    buoy[70:74, 225:229] = True
    assert found_in(text, {"the ships": ships, "the red ship": red, "the buoy": buoy}, tmp_path) == ids


def test_what_holds_others_is_found_without_asking_each_of_each(tmp_path, monkeypatch):
    many = np.kron(np.ones((18, 28), bool), np.pad(np.ones((8, 8), bool), 1))
    many, pools = np.pad(many, ((10, 10), (10, 10))), np.zeros((200, 300), bool)
    pools[14:196:10, 14:296:20] = True
    many &= ~pools
    read = Counter()
    outline = Spool.read
    monkeypatch.setattr(Spool, "read", lambda self, number: read.update([number]) or outline(self, number))
    ids = found_in("the houses with pools", {"the houses": many, "the pools": pools}, tmp_path)
    assert len(ids) == 18 * 14 and read.total() < 18 * 28 * 5


def test_true_masks_follow_class_and_colour():
    """The answers of the property test above are those of the scene."""
    scene = rendered(3)
    assert all(np.array_equal(true_mask(scene, f"the {name}"), mask) for name, mask in scene.masks.items())
    assert facts_of(scene).height == scene.image.shape[0]

"""The preview: what it shows is what the mask says, in small, north up, with a legend."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from s4eca.data.contact_sheet import MARGIN
from s4eca.data.palette import COLOURS
from s4eca.errors import RasterError
from s4eca.geo.finish import Finish
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.write import preview
from s4eca.records import RasterName, SceneFacts


@pytest.fixture
def shown(predict, tmp_path):
    """Runs with a preview and reads it: `shown(path, ...)` -> (run, (H, W, 3) of the picture without legend)."""

    def run(path, expressions=("roof",), size=None, **options):
        made = predict(path, expressions, finish=Finish(preview=tmp_path / "p.png"), **options)
        with Image.open(tmp_path / "p.png") as image:
            assert image.format == "PNG" and image.mode == "RGB"
            whole = np.asarray(image)
        height, width = size or made.mask.shape[1:]
        assert whole.shape[0] > height + 2 * MARGIN and whole.shape[1] >= width + 2 * MARGIN
        return made, whole[MARGIN : MARGIN + height, MARGIN : MARGIN + width]

    return run


def facts(height, width, turned=(False, False)):
    return SceneFacts(
        RasterName("a.tif"), (), height, width, 3, "uint8", (1, 2, 3), (), None, None, None, None, (),
        turned_over=turned,
    )  # fmt: skip


def test_it_shows_the_scene_where_nothing_is_found(raster, rgb, shown):
    picture = rgb(500, 520)
    _, seen = shown(raster(picture), threshold=1.0)
    assert np.array_equal(seen, np.moveaxis(picture, 0, 2))


def test_what_is_found_has_its_colour_and_an_outline(raster, shown):
    picture = np.full((3, 500, 520), 100, np.uint8)
    picture[0, 100:200, 50:150] = 250
    run, seen = shown(raster(picture))
    assert run.mask[0, 100:200, 50:150].all()
    assert (seen[100, 50:150] == COLOURS[0]).all() and (seen[100:200, 149] == COLOURS[0]).all()
    inside = np.round(0.6 * np.array([250, 100, 100]) + 0.4 * np.array(COLOURS[0]))
    assert (np.abs(seen[101:199, 51:149] - inside) <= 1).all()
    assert (seen[:95] == 100).all()


def test_what_was_not_looked_at_is_striped(raster, shown):
    picture = np.full((3, 500, 520), 100, np.uint8)
    picture[:, :, :100] = 7
    _, seen = shown(raster(picture, nodata=7), threshold=0.9)
    assert set(np.unique(seen[:, :100])) == {165, 205} and (seen[:, 100:] == 100).all()


def test_south_up_is_shown_north_up(raster, shown):
    from affine import Affine

    picture = np.full((3, 500, 520), 60, np.uint8)
    picture[:, :50] = 90
    picture[0, 450:, :100] = 250
    _, seen = shown(raster(picture, transform=Affine(0.5, 0, 5e5, 0, 0.5, 5e6)))
    assert (seen[460:] == 90).all() and (seen[49, :100] == COLOURS[0]).all()


@pytest.mark.parametrize("kind", ["uint16", "float32", "one band"])
def test_other_types_are_shown_as_the_model_sees_them(raster, shown, kind):
    rng = np.random.default_rng(0)
    values = rng.integers(100, 4000, (1 if kind == "one band" else 3, 500, 520))
    _, seen = shown(raster(values.astype("uint16" if kind != "float32" else kind)), threshold=1.0)
    assert seen.min() == 0 and seen.max() == 255 and 110 < seen.mean() < 145


def test_large_scenes_are_averaged_and_small_finds_stay_visible(raster, shown, monkeypatch):
    monkeypatch.setattr(preview, "LONGEST", 500)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 100, (3, 900, 1000)).astype(np.uint8)
    picture[0, 301, 401] = 250  # one pixel
    run, seen = shown(raster(picture), size=(450, 500))
    assert run.mask.sum() == 1 and (seen[150, 200] == COLOURS[0]).all()
    mean = picture.reshape(3, 450, 2, 500, 2).mean(axis=(2, 4))
    elsewhere = np.ones((450, 500), bool)
    elsewhere[150, 200] = False
    assert np.abs(seen - np.moveaxis(mean, 0, 2))[elsewhere].max() <= 1.0


@pytest.mark.parametrize("rows", [[7], [1], [64, 3], [900]])
def test_rows_come_in_any_portions(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(preview, "LONGEST", 100)
    values = np.random.default_rng(0).choice([0, 1, 2, 255], (1, 233, 170), p=[0.7, 0.1, 0.1, 0.1]).astype(np.uint8)
    sink = preview.PreviewSink(tmp_path / "p.png", facts(233, 170), [(0, 1), (0, 2)], lambda h, w: None)
    row, turn = 0, 0
    while row < 233:
        sink.write(values[:, row : row + rows[turn % len(rows)]])
        row, turn = row + rows[turn % len(rows)], turn + 1
    tops, lefts = np.arange(101) * 233 // 100, np.arange(74) * 170 // 73
    for i in range(100):
        for j in range(73):
            cell = values[0, tops[i] : tops[i + 1], lefts[j] : lefts[j + 1]]
            counts = [(cell == 1).sum(), (cell == 2).sum()]
            assert sink._which[i, j] == (-1 if max(counts) == 0 else int(np.argmax(counts)))
            assert sink._unseen[i, j] == (2 * (cell == 255).sum() > cell.size)
    sink.abandon()


def test_small_scenes_are_enlarged_and_long_names_wrapped(raster, rgb, predict, tmp_path):
    words = ["the very long description of a thing that will not fit on one line of a small picture " * 3, "дом"]
    predict(raster(rgb(20, 30)), words, finish=Finish(preview=tmp_path / "p.png"))
    with Image.open(tmp_path / "p.png") as image:
        assert image.width == 480 + 2 * MARGIN and image.height > 320 + 2 * MARGIN + 80


def test_in_the_result_and_nothing_left(raster, rgb, predict, tmp_path):
    run = predict(raster(rgb()), finish=Finish(preview=tmp_path / "p.png"))
    assert run.result.preview == tmp_path / "p.png" and run.result.to_dict()["preview"] == str(tmp_path / "p.png")
    assert sorted(os.listdir(tmp_path)) == ["out.qml", "out.tif", "p.png", "scene.tif", "scores.tif"]


def test_another_ending_is_refused(raster, rgb, never, tmp_path):
    with pytest.raises(RasterError, match="--preview .*p.jpg must end in .png"):
        segment_geotiff(raster(rgb()), "a", never, tmp_path / "m.tif", finish=Finish(preview=tmp_path / "p.jpg"))

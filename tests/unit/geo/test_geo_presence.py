"""Presence over a scene: the largest of its windows, each of which marks nothing below the threshold."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pyogrio
import pytest
import rasterio

from s4eca.errors import ConfigError


@pytest.fixture
def headed(brightness):
    """Brightness whose head says that what is bright at the left end of a window is there."""

    class Headed(brightness):
        tells_presence, presence_threshold = True, None

        def __init__(self, gate=None, **settings):
            super().__init__(**settings)
            self.presence_threshold = gate

        def probabilities_and_presence(self, windows, expressions):
            found = self.probabilities(windows, expressions)
            return found, found.max(axis=(2, 3)).astype(np.float32)

    return Headed


@pytest.fixture
def scene(raster):
    """Red is bright in the first window's columns and dimmer in the last's; green is dim everywhere."""
    pixels = np.full((3, 32, 96), 10, np.uint8)
    pixels[0, 4:9, 4:9] = 230
    pixels[0, 4:9, 84:89] = 160
    pixels[1, 20:24, 20:24] = 140
    return raster(pixels)


PROMPTS = ("the red roof", "the green field")


def test_it_is_the_largest_of_the_windows_and_written_everywhere(predict, scene, headed, tmp_path):
    run = predict(scene, PROMPTS, headed(), overlap=0.0, polygons=tmp_path / "found.gpkg")
    presence = [one.presence for one in run.result.prompts]
    assert presence == pytest.approx([230 / 255, 140 / 255])
    with rasterio.open(run.result.mask) as file:
        tags = [file.tags(band, ns="S4ECA") for band in (1, 2)]
    assert [tag["prompt"] for tag in tags] == list(PROMPTS)
    assert [float(tag["presence"]) for tag in tags] == pytest.approx(presence, abs=1e-6)
    with rasterio.open(run.result.scores) as file:
        assert float(file.tags(1, ns="S4ECA")["presence"]) == pytest.approx(presence[0], abs=1e-6)
    told = json.loads(json.dumps(run.result.to_dict()))
    assert [one["presence"] for one in told["prompts"]] == pytest.approx(presence)
    assert "presence_threshold" not in told and "presence_threshold" not in run.tags
    meta, _, _, columns = pyogrio.raw.read(run.result.polygons)
    fields = dict(zip(meta["fields"], columns, strict=True))
    assert len(fields["prompt"]) == 3
    for prompt, value in zip(fields["prompt"], fields["presence"], strict=True):
        assert value == pytest.approx(presence[PROMPTS.index(prompt)])
    # The file is still one that SQLite and GDAL find whole, its index too.
    with sqlite3.connect(run.result.polygons) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    west = (500000.0, 4999984.0, 500016.0, 5000000.0)
    assert len(pyogrio.raw.read(run.result.polygons, bbox=west)[2]) == 2


@pytest.mark.parametrize("given", ["segmenter", "request"])
def test_a_window_below_the_threshold_marks_nothing_and_so_a_band_stays_empty(predict, scene, headed, given):
    gate = {"segmenter": {}, "request": {"presence_threshold": 0.7}}[given]
    run = predict(scene, PROMPTS, headed(0.7 if given == "segmenter" else 0.1), overlap=0.0, **gate)
    assert run.mask[0, :, :32].any() and not run.mask[0, :, 64:].any(), "160 / 255 is below 0.7"
    assert not run.mask[1].any() and run.result.prompts[1].pixels == 0
    assert run.result.prompts[1].presence == pytest.approx(140 / 255)
    assert run.scores[1].max() == 0.0
    assert run.result.presence_threshold == 0.7 and run.tags["presence_threshold"] == "0.7"
    assert run.result.to_dict()["presence_threshold"] == 0.7


def test_zero_empties_nothing(predict, scene, headed, brightness):
    plain = predict(scene, PROMPTS, brightness(), out="plain.tif")
    run = predict(scene, PROMPTS, headed(0.7), presence_threshold=0.0, overwrite=True)
    assert np.array_equal(plain.mask, run.mask) and np.array_equal(plain.scores, run.scores)


def test_without_a_head_nothing_is_said_of_it(predict, scene, brightness, tmp_path):
    run = predict(scene, PROMPTS, brightness(), polygons=tmp_path / "found.gpkg")
    assert "presence" not in json.dumps(run.result.to_dict())
    with rasterio.open(run.result.mask) as file:
        assert file.tags(1, ns="S4ECA") == {"prompt": PROMPTS[0]}
    assert "presence" not in list(pyogrio.read_info(run.result.polygons)["fields"])
    with pytest.raises(ConfigError, match="no no-target head"):
        predict(scene, PROMPTS, brightness(), out="other.tif", presence_threshold=0.5)


def test_an_empty_scene_has_no_presence(predict, raster, headed):
    run = predict(raster(np.zeros((3, 32, 32), np.uint8), nodata=0), PROMPTS, headed())
    assert [one.presence for one in run.result.prompts] == [None, None]


def test_a_predictor_empties_by_its_own_threshold(toy_model):
    from s4eca.model.predictor import Predictor

    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    said = ["the red roof", "a ship", "field"]
    found = Predictor(toy_model(presence=4)).set_image(image).segment(said)
    assert found.presence.shape == (3,) and found.presence_threshold is None
    middle = float(np.sort(found.presence)[1])
    gated = Predictor(toy_model(presence=4, presence_threshold=middle, threshold=0.01)).set_image(image).segment(said)
    assert np.array_equal(gated.presence, found.presence)
    assert np.array_equal(gated.probabilities, found.probabilities)
    assert [bool(mask.any()) for mask in gated.masks] == [bool(p >= middle) for p in found.presence]
    predictor = Predictor(toy_model(presence=4))
    windows = np.stack([image[:40, :40], image[:40, 10:50]])
    probabilities, presence = predictor.probabilities_and_presence(windows, said)
    assert probabilities.shape == (2, 3, 40, 40) and presence.shape == (2, 3)
    assert np.array_equal(predictor.probabilities(windows, said), probabilities)
    one = predictor.set_image(windows[1]).segment(said)
    assert presence[1] == pytest.approx(one.presence, abs=1e-5)
    assert Predictor(toy_model()).set_image(image).segment(said).presence is None

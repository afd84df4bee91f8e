"""`s4eca predict` with an adapter that declares its bands: found by name, told by the user, or refused."""

from __future__ import annotations

import functools
import json
import os

import numpy as np
import pytest
import rasterio
from band_images import FOUR, settings, write_bands

from s4eca.cli.main import main
from s4eca.encoders.toy import toy_pair
from s4eca.errors import ConfigError, RasterError
from s4eca.geo.segment import segment_geotiff
from s4eca.model.model import S4ECAModel
from s4eca.model.predictor import Predictor

NEWEST = "m.tif"


class Recorder:
    """A segmenter of four bands that keeps its windows; the probability is the last band's share of its range."""

    image_size = 32
    threshold = 0.5
    bands = FOUR
    band_ranges = ((0.0, 3000.0),) * 4
    fill = (1500.0,) * 4

    def __init__(self):
        self.seen = []

    def probabilities(self, windows, expressions):
        self.seen.append(windows)
        return np.stack([np.clip(windows[..., 3] / 3000, 0, 1)] * len(expressions), axis=1)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(1, 4000, (50, 60, 4)).astype(np.uint16)


@pytest.fixture
def run(tmp_path):
    """Segment a scene quietly; the scores (H, W), the segmenter and the result."""

    def segment(path, segmenter=None, **options):
        segmenter = segmenter or Recorder()
        given = {"scores": tmp_path / "s.tif", "progress": False, "overwrite": True, **options}
        result = segment_geotiff(path, "roof", segmenter, tmp_path / NEWEST, **given)
        with rasterio.open(tmp_path / "s.tif") as file:
            return file.read(1), segmenter, result

    return segment


def test_bands_are_found_by_their_descriptions_in_any_order(image, run, tmp_path):
    wanted, first, result = run(write_bands(tmp_path / "a.tif", image, FOUR))
    assert np.allclose(wanted, np.clip(image[..., 3] / 3000, 0, 1), atol=1e-6)
    assert first.seen[0].shape[1:] == (32, 32, 4) and first.seen[0].max() > 3000, "values in their own units"
    assert result.bands == {"red": 1, "green": 2, "blue": 3, "nir": 4}
    other = np.concatenate([image[..., [3, 1, 0]], image[..., :1] * 0, image[..., 2:3]], axis=2)
    path = write_bands(tmp_path / "b.tif", other, ("Nir ", "GREEN", "red", "swir", "blue"))
    found, second, result = run(path)
    assert np.array_equal(found, wanted) and np.array_equal(second.seen[0], first.seen[0])
    assert result.bands == {"red": 3, "green": 2, "blue": 5, "nir": 1}


@pytest.mark.parametrize("given", [{"nir": 1, "RED": 4, "green": 3, "blue": 2}, [4, 3, 2, 1]], ids=["names", "numbers"])
def test_a_scene_without_descriptions_is_told(given, image, run, tmp_path):
    wanted, _, _ = run(write_bands(tmp_path / "a.tif", image, FOUR))
    found, _, result = run(write_bands(tmp_path / "b.tif", image[..., ::-1]), bands=given)
    assert np.array_equal(found, wanted) and result.bands == {"red": 4, "green": 3, "blue": 2, "nir": 1}


def test_what_the_user_says_goes_before_the_file(image, run, tmp_path):
    path = write_bands(tmp_path / "a.tif", image[..., [0, 1, 2, 0, 3]], (*FOUR, None))
    assert run(path)[2].bands["nir"] == 4
    assert run(path, bands={"nir": 5})[2].bands == {"red": 1, "green": 2, "blue": 3, "nir": 5}


@pytest.mark.parametrize(("names", "given", "message"), [
    (None, None, "does not say which of its 4 bands is 'red'; .* --bands red=1,green=2,blue=3,nir=4"),
    (None, {"red": 1, "green": 2, "blue": 3}, "which of its 4 bands is 'nir'; name its band, .* --bands nir=N"),
    (("red", "green", "blue", "swir"), None, "no band described as 'nir'"),
    (("red", "green", "nir", "nir"), {"blue": 1}, "describes bands 3 and 4 both as 'nir'; .*--bands nir=3"),
    (FOUR, {"nir": 1}, "Band 1 of .* is taken for both 'red' and 'nir'"),
    (FOUR, {"nir": 5}, "--bands says that 'nir' is band 5, but .* has bands 1 to 4"),
    (FOUR, {"swir": 1}, "--bands names 'swir', but the adapter's bands are red, green, blue, nir"),
    (FOUR, [3, 2, 1], "--bands names 3 bands, but the adapter takes 4: red, green, blue, nir"),
])  # fmt: skip
def test_bands_that_are_not_stated_are_refused_by_name(names, given, message, image, run, tmp_path):
    path = write_bands(tmp_path / "a.tif", image, names)
    with pytest.raises(RasterError, match=message) as caught:
        run(path, bands=given)
    assert "\n" not in str(caught.value) and sorted(os.listdir(tmp_path)) == ["a.tif"]


def test_colour_flags_alone_are_no_names(run, tmp_path):
    """A driver calls four bands of bytes red, green, blue and alpha whatever they are."""
    bytes_ = np.random.default_rng(0).integers(0, 255, (40, 40, 4), dtype=np.uint8)
    path = write_bands(tmp_path / "a.tif", bytes_, photometric="rgb")
    with pytest.raises(RasterError, match="does not say"):
        run(path)
    scores, _, result = run(write_bands(tmp_path / "b.tif", bytes_, FOUR, photometric="rgb"))
    assert result.valid_pixels == 1600, "a band described as near infrared is data, whatever its colour flag"
    assert np.allclose(scores, bytes_[..., 3] / 3000, atol=1e-6)


def test_a_band_flagged_alpha_and_described_as_another_hides_nothing(run, tmp_path):
    bytes_ = np.zeros((40, 40, 5), np.uint8)
    path = write_bands(tmp_path / "a.tif", bytes_, (*FOUR, "swir"))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [*file.colorinterp[:4], rasterio.enums.ColorInterp.alpha]
    assert run(path)[2].valid_pixels == 1600
    with rasterio.open(path, "r+") as file:
        file.descriptions = (*FOUR, "Alpha")
    assert run(path)[2].valid_pixels == 0


def test_a_scaling_of_the_users_own_is_refused(image, run, tmp_path):
    with pytest.raises(ConfigError, match="--scale is 0,3000, but the adapter declares the range of each of its bands"):
        run(write_bands(tmp_path / "a.tif", image, FOUR), scale=(0, 3000))


def test_the_result_and_the_tags_say_what_was_used(image, run, tmp_path):
    _, _, result = run(write_bands(tmp_path / "a.tif", image[..., ::-1], FOUR[::-1]))
    with rasterio.open(result.mask) as file:
        tags = file.tags(ns="S4ECA")
    assert tags["bands"] == "red=4,green=3,blue=2,nir=1"
    wanted = {"kind": "declared", "low": [0.0] * 4, "high": [3000.0] * 4, "bands": list(FOUR)}
    assert json.loads(tags["scaling"]) == json.loads(result.to_dict()["scaling"]) == wanted
    assert result.to_dict()["bands"] == {"red": 4, "green": 3, "blue": 2, "nir": 1}


def test_an_rgb_segmenter_takes_colours_by_name(image, run, tmp_path):
    class Red(Recorder):
        bands = ()
        band_ranges = ()
        fill = (124.0, 116.0, 104.0)

        def probabilities(self, windows, expressions):
            self.seen.append(windows)
            return np.stack([windows[..., 0] / 255] * len(expressions), axis=1).astype(np.float32)

    path = write_bands(tmp_path / "a.tif", image)
    wanted = run(path, Red(), bands=[3, 2, 1])[0]
    assert np.array_equal(run(path, Red(), bands={"blue": 1, "Red": 3, "green": 2})[0], wanted)
    with pytest.raises(RasterError, match="--bands names red, nir, but the adapter takes RGB"):
        run(path, Red(), bands={"red": 3, "nir": 4})


@pytest.mark.parametrize("gsd", [None, 15.0])
@pytest.mark.parametrize("more", [{}, {"chosen": ["nir", "red", "green"]}], ids=["map", "chosen"])
def test_a_window_does_not_depend_on_the_rest_of_the_scene(more, gsd, run, toy_model, tmp_path):
    """The same pixels give the same scores beside much brighter ones: nothing is stretched by the scene."""
    model = toy_model(**settings(**more))
    dice = np.random.default_rng(1)
    dark = dice.integers(1, 2000, (48, 96, 4)).astype(np.uint16)
    bright = dark.copy()
    bright[:, 48:] = 60000
    options = {"window": 32, "overlap": 0.0, "gsd": gsd}
    scores = []
    for name, values in (("dark", dark), ("bright", bright)):
        path = write_bands(tmp_path / f"{name}.tif", values, FOUR)
        scores.append(run(path, Predictor(model), **options)[0])
    assert np.allclose(scores[0][:, :32], scores[1][:, :32], atol=1e-6)
    assert not np.allclose(scores[0][:, 64:], scores[1][:, 64:], atol=1e-3)


def test_pixels_without_data_are_shown_as_the_encoders_mean(run, toy_model, tmp_path):
    predictor = Predictor(toy_model(**settings()))
    seen = []
    inner = predictor.probabilities
    predictor.probabilities = lambda windows, said: (seen.append(windows), inner(windows, said))[1]
    image = np.full((32, 32, 4), 900, np.uint16)
    image[:8, :, 2] = 0
    _, _, result = run(write_bands(tmp_path / "a.tif", image, FOUR, nodata=0), predictor)
    assert result.valid_pixels == 24 * 32
    assert np.allclose(seen[0][0, 0, 0], predictor.fill) and (seen[0][0, 8:] == 900).all()


# ---- the command line, with a folder ----


@pytest.fixture
def verb(toy_model, monkeypatch, tmp_path, capsys):
    """`s4eca predict` in an empty folder, with a saved adapter of four bands on the toy pair."""
    vision, text = toy_pair(6, 3)
    monkeypatch.chdir(tmp_path)
    toy_model(**settings()).save_pretrained("adapter")
    load = functools.partial(S4ECAModel.from_pretrained, vision=vision, text=text)
    monkeypatch.setattr(S4ECAModel, "from_pretrained", staticmethod(lambda folder, **_: load(folder)))

    def call(scene, *words):
        line = ["predict", scene, "--adapter", "adapter", "--prompt", "roof", "-o", NEWEST, "--json", "--quiet"]
        code = main([*line, "--device", "cpu", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_command_line_finds_and_is_told(image, verb, tmp_path):
    write_bands(tmp_path / "a.tif", image, FOUR)
    write_bands(tmp_path / "b.tif", image[..., ::-1])
    code, out, err = verb("a.tif")
    assert (code, err) == (0, "")
    code, again, err = verb("b.tif", "--bands", "red=4, green=3,blue=2,nir=1", "--overwrite")
    assert (code, err) == (0, "")
    first, second = json.loads(out), json.loads(again)
    assert first["prompts"] == second["prompts"] and first["scaling"] == second["scaling"]
    assert second["bands"] == {"red": 4, "green": 3, "blue": 2, "nir": 1}
    assert verb("b.tif", "--bands", "4,3,2,1", "--overwrite")[0] == 0
    values = ",".join(str(v) for v in image[3, 4])
    code, out, err = verb("a.tif", "--nodata", values, "--overwrite")
    assert (code, err) == (0, "") and json.loads(out)["valid_pixels"] == 2999


@pytest.mark.parametrize(("scene", "words", "message"), [
    ("plain.tif", [], "does not say which of its 4 bands is 'red'"),
    ("named.tif", ["--nodata", "0,0,0"], "--nodata has 3 values, but 4 bands of named.tif are used"),
    ("named.tif", ["--scale", "0,1"], "--scale is 0,1, but the adapter declares"),
    ("named.tif", ["--bands", "nir=9"], "has bands 1 to 4"),
    ("named.tif", ["--bands", "nir="], "--bands is 'nir='; it must be different names with bands"),
    ("named.tif", ["--bands", "nir=1,nir=2"], "must be different names with bands"),
    ("named.tif", ["--bands", "3,2,1"], "names 3 bands, but the adapter takes 4"),
])  # fmt: skip
def test_refusals_are_one_sentence_before_loading(scene, words, message, image, verb, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(S4ECAModel, "from_pretrained", staticmethod(never))
    write_bands(tmp_path / "plain.tif", image)
    write_bands(tmp_path / "named.tif", image, FOUR)
    code, out, err = verb(scene, *words)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1
    assert not (tmp_path / NEWEST).exists()

"""What a run that goes on is known by: the model and all that it says, the scene without what others put beside it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio

from s4eca.errors import ConfigError, RasterError
from s4eca.geo.legend import LONGEST_NAME, make_legend
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.staging.differing import apart
from s4eca.geo.staging.fingerprint import of_model


@pytest.fixture
def cut_off(raster, rgb, tmp_path):
    """Runs over one scene of nine cells, the first of which ends early; `run(segmenter)` goes on."""
    scene = raster(rgb(100, 100))

    def begun(segmenter, prompts=("roof",), **options):
        def run(segmenter):
            return segment_geotiff(
                scene, list(prompts), segmenter, tmp_path / "mask.tif", cell=40, progress=False,
                say=lambda note: None, window=32, **options,
            )  # fmt: skip

        name = "probabilities_and_presence" if "Headed" in type(segmenter).__name__ else "probabilities"
        plain, seen = getattr(segmenter, name), []

        def stopping(windows, expressions):
            seen.append(1)
            if len(seen) == 6:
                raise ValueError
            return plain(windows, expressions)

        setattr(segmenter, name, stopping)
        with pytest.raises(ValueError):
            run(segmenter)
        return run

    begun.scene, begun.raster = scene, raster
    return begun


def test_a_segmenter_with_a_hash_is_asked_too(cut_off, brightness, place_coded):
    run = cut_off(brightness(), adapter_hash="the same")
    with pytest.raises(RasterError, match="the segmenter gives other probabilities"):
        run(place_coded())
    assert 0 < run(brightness()).cells_before < 9


def test_it_is_asked_too_where_only_the_outputs_are_missing(raster, rgb, brightness, place_coded, tmp_path):
    scene, out = raster(rgb(60, 60)), tmp_path / "mask.tif"

    class Late(brightness):
        def probabilities(self, windows, expressions):
            out.write_text("in the way")
            return super().probabilities(windows, expressions)

    with pytest.raises(RasterError, match="mask.tif exists.* 1 of 1 cells are finished"):
        segment_geotiff(scene, "roof", Late(), out, progress=False, say=lambda note: None)
    out.unlink()
    with pytest.raises(RasterError, match="the segmenter gives other probabilities"):
        segment_geotiff(scene, "roof", place_coded(), out, progress=False, say=lambda note: None)
    result = segment_geotiff(scene, "roof", brightness(), out, progress=False, say=lambda note: None)
    assert result.cells_before == 1


def test_a_head_that_says_otherwise_is_refused(cut_off, brightness):
    """What it says of presence empties windows, so it is part of the answer."""

    class Headed(brightness):
        tells_presence, presence_threshold = True, 0.5

        def __init__(self, there=0.9):
            super().__init__()
            self.there = np.float32(there)

        def probabilities_and_presence(self, windows, expressions):
            return self.probabilities(windows, expressions), np.full((len(windows), len(expressions)), self.there)

    run = cut_off(Headed())
    with pytest.raises(RasterError, match="the segmenter gives other probabilities"):
        run(Headed(0.1))
    assert run(Headed()).cells_before > 0


@pytest.mark.parametrize("changed", [{"image_size": 64}, {"text_length": 12}, {"decoder_heads": 1}])
def test_the_configuration_of_a_model_counts(toy_model, changed):
    """These change no tensor, and what is answered."""
    from s4eca.model.predictor import Predictor

    plain, other = (of_model(Predictor(model), None) for model in (toy_model(), toy_model(**changed)))
    assert plain["the adapter"] == other["the adapter"] and plain["the configuration"] != other["the configuration"]
    assert of_model(Predictor(toy_model()), None) == plain
    assert json.loads(json.dumps(plain)) == plain


def test_the_libraries_that_encoders_come_from_count():
    from torch import nn

    from s4eca.geo.staging.fingerprint import _of_libraries

    class Tower(nn.Linear):
        __module__ = "timm.models.some"

    class Own(Tower):
        pass

    assert _of_libraries(nn.Sequential(nn.ReLU())) == {}
    assert list(_of_libraries(nn.Sequential(Own(1, 1)))) == ["the version of timm"]


def test_looking_at_the_scene_with_other_programs_changes_nothing(cut_off, brightness):
    """Statistics and histograms of a viewer, and overviews; what says which pixels count is another matter."""
    run = cut_off(brightness())
    beside = cut_off.scene.with_name(cut_off.scene.name + ".aux.xml")
    histogram = "<Histograms><HistItem><HistMin>0</HistMin></HistItem></Histograms>"
    minimum = '<Metadata><MDI key="STATISTICS_MINIMUM">0</MDI></Metadata>'
    beside.write_text(f'<PAMDataset><PAMRasterBand band="1">{histogram}{minimum}</PAMRasterBand></PAMDataset>')
    cut_off.raster(np.zeros((3, 50, 50), np.uint8), cut_off.scene.name + ".ovr", crs=None, transform=None)
    with gdal_env(), rasterio.open(cut_off.scene) as file:
        assert file.overviews(1) == [2] and len(file.files) == 3
    whole = beside.read_text()
    offset = '<PAMRasterBand band="1"><Offset>3</Offset></PAMRasterBand>'
    beside.write_text(f"<PAMDataset>{offset}</PAMDataset>")
    with pytest.raises(RasterError, match="what stands beside the scene: "):
        run(brightness())
    beside.write_text(whole)
    assert run(brightness()).cells_before > 0


def test_a_refusal_shows_what_differs():
    one = {"first": "x" * 200, "last": 1}
    then, now = apart(one, {**one, "last": 2})
    assert then.startswith("...") and then.endswith('"last": 1}') and now.endswith('"last": 2}')
    assert max(len(then), len(now)) < 40
    assert apart(0.5, None) == ("0.5", "not there") and apart("a", "b") == ("a", "b")
    assert all(len(text) <= 80 for text in apart("y" * 500, "z" * 500))


@pytest.mark.parametrize("name", ["a\nb", "a\x1bb", "a\0b", "\udcff", "\uffff", "x" * (LONGEST_NAME + 1)])
def test_names_of_classes_are_texts_that_files_can_hold(name):
    with pytest.raises(ConfigError, match="class 1 of the legend"):
        make_legend({name: "roofs", "q": "cars"})


def test_a_name_of_a_class_is_given_once():
    assert make_legend({" дом ": "roofs", "x" * LONGEST_NAME: "cars"})[0].name == "дом"
    with pytest.raises(ConfigError, match="Two classes of the legend are called 'a'"):
        make_legend({"a": "roofs", "a ": "cars"})

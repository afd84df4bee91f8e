"""docs/bands.md keeps its word: its commands run one after the other, on tiny encoders and a tiny data set."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from band_images import FOUR, field, write_bands
from PIL import Image

from s4eca.cli.main import main
from s4eca.config import S4ECAConfig
from s4eca.layers.band_map import BandAdapter
from s4eca.model.model import S4ECAModel
from s4eca.model.predictor import Predictor

PAGE = (Path(__file__).parents[3] / "docs" / "bands.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
SHELL = "".join(body for language, body in FENCES if language == "sh").replace("\\\n", " ")
LINES = [shlex.split(line)[1:] for line in SHELL.splitlines() if line.strip()]
SETTINGS = next(body for language, body in FENCES if language == "yaml")
TINY = {
    "image_size": 28, "text_length": 16, "width": 8, "proxies": 4, "vision_sites": 3, "text_sites": 2,
    "decoder_width": 16, "decoder_ffn": 16, "decoder_heads": 2, "decoder_layers": 1,
}  # fmt: skip


def line(verb):
    """The command of a verb, as the page writes it."""
    return next(words for words in LINES if words[0] == verb)


@pytest.fixture
def place(hub, make_set, tmp_path, monkeypatch):
    """A folder with what the page speaks of: data set, configuration, a described scene and a plain one."""
    monkeypatch.chdir(tmp_path)
    make_set("river")

    def configure(**more):
        made = yaml.safe_load(SETTINGS)
        tiny = {**TINY, "vision": str(hub("dinov2")), "text": str(hub("bert"))}
        made["model"]["config"] |= tiny | more
        made["trainer"] |= {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False}
        made["model"]["optim"] = {"lr_adapter": 3e-3, "lr_decoder": 3e-3, "warmup": 1}
        made["data"]["batch_size"] = 2
        Path("bands.yaml").write_text(yaml.safe_dump(made))
        image, _ = field(9, side=50)
        write_bands(Path("scene.tif"), image[..., ::-1], FOUR[::-1])
        write_bands(Path("plain.tif"), image[..., [2, 1, 0, 3]])
        return image

    return configure


@pytest.mark.parametrize("chosen", [None, "[nir, red, green]"], ids=["map", "chosen"])
def test_the_whole_path(chosen, place, capsys):
    if chosen is not None:
        assert f"chosen: {chosen}" in PAGE
    image = place(**({} if chosen is None else {"chosen": yaml.safe_load(chosen)}))
    for verb in ("data", "fit", "evaluate"):
        assert main(line(verb)) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "mIoU" in said
    model = S4ECAModel.from_pretrained("runs/river/adapter")
    assert model.config.bands == FOUR and (model.bands is None) == (chosen is not None)
    if model.bands is not None:
        assert not np.allclose(model.bands.weight.detach(), BandAdapter(FOUR).weight.detach()), "the map has learnt"
    results = []
    for words in (words for words in LINES if words[0] == "predict"):
        assert main([*words, "--json", "--quiet"]) == 0, capsys.readouterr().err
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["prompts"] == results[1]["prompts"], "one image, its bands in two orders"
    assert results[0]["bands"] == {"red": 4, "green": 3, "blue": 2, "nir": 1}
    found = Predictor(model).set_image(image[:28, :28]).segment(["the river"]).probabilities
    assert found.shape == (1, 28, 28) and np.isfinite(found).all()
    picture = np.asarray(Image.open("runs/river/pictures/epoch-001.png"))
    assert picture.std() > 0


def test_chosen_bands_train_from_the_cache(place, capsys):
    place(chosen=["nir", "red", "green"])
    assert main([*line("fit"), "--data.cache", "memory"]) == 0, capsys.readouterr().err


def test_a_map_that_trains_cannot_be_cached(place, capsys):
    place()
    assert main([*line("fit"), "--data.cache", "memory"]) == 2
    assert "data.cache is 'memory', but the map from bands to colours trains" in capsys.readouterr().err


def test_the_budget_of_the_page(capsys):
    assert main([*line("budget"), "--json"]) == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)
    plain = [word for word in line("budget") if not word.startswith(("bands=", "band_ranges=")) and word != "--set"]
    assert main([*plain, "--json"]) == 0
    assert found["bands"] == 15 == found["adapters"] - json.loads(capsys.readouterr().out)["adapters"]


def test_the_configuration_of_the_page_is_one():
    config = S4ECAConfig.from_dict(yaml.safe_load(SETTINGS)["model"]["config"])
    assert config.bands == FOUR and not config.chosen


def test_the_python_of_the_page_names_what_there_is():
    code = next(body for language, body in FENCES if language == "python")
    compile(code, "bands.md", "exec")
    assert all(hasattr(Predictor, name) for name in ("set_image", "segment"))

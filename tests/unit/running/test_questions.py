"""Sentences are read once for all windows, and of a window once what no sentence can change; the answers stay."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import rasterio
import torch
from sizes import SMALL
from torch import nn

from s4eca.adapters.decoder_only import DecoderOnly
from s4eca.config import S4ECAConfig
from s4eca.decoder.loss import upsample
from s4eca.encoders.toy import toy_pair
from s4eca.geo.segment import segment_geotiff
from s4eca.model.model import attach
from s4eca.model.predictor import Predictor
from s4eca.model.running import Running
from s4eca.records import Fused
from s4eca.registry import METHODS as METHOD_TABLE

SAID = ["the red roof", "a car beside the road", "boats"]
OWN = ("width", "proxies", "text_sites")
METHODS = [
    ("s4eca", {}), ("s4eca", {"mode": "inject"}), ("s4eca", {"mode": "late-inject", "late_blocks": 2}),
    ("s4eca", {"carry": False}), ("s4eca", {"text_proxies": False, "decoder_detail": 4}), ("s4eca", {"presence": 4}),
    ("decoder-only", {}), ("lora", {}), ("lora", {"mode": "late-inject", "late_blocks": 2}), ("adaptformer", {}),
    ("detris", {}), ("etris", {}), ("full", {}), ("doubling", {}),
]  # fmt: skip


class Doubling(DecoderOnly):
    """A method of another package that knows nothing of what is kept."""

    def forward(self, vision, text, encoded, batch):
        plain = super().forward(vision, text, encoded, batch)
        last = plain.levels[-1] * (1 + plain.words.pooled.mean(-1)[:, None, None])
        plain.levels[-1] = last
        return Fused(plain.levels, plain.grids, plain.words)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(METHOD_TABLE, "doubling", f"{__name__}:Doubling")


def predictor(method="s4eca", **settings):
    small = {name: value for name, value in SMALL.items() if method == "s4eca" or name not in OWN}
    torch.manual_seed(0)
    model = attach(*toy_pair(4, 2), S4ECAConfig(image_size=32, method=method, **small, **settings))
    with torch.no_grad():
        for parameter in [*model.adapter.parameters(), *model.encoder_updates.parameters()]:
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return Predictor(model)


def windows(count=3):
    return np.random.default_rng(0).random((count, 40, 40, 3), dtype=np.float32) * 255


def plainly(asked, given):
    """What a predictor says of windows where nothing is kept."""
    model = asked.model
    with torch.inference_mode():
        encoded = asked.encode(asked.stretched(given))
        each = [model.decode(encoded, model.tokenize([one] * len(given))) for one in SAID]
        found = torch.stack([upsample(one.logits, (40, 40)).sigmoid()[:, 0] for one in each], dim=1).numpy()
        return found, None if each[0].presence is None else torch.stack([one.presence for one in each], 1).numpy()


@pytest.mark.parametrize(("method", "settings"), METHODS, ids=str)
def test_the_answers_are_those_of_before(method, settings):
    asked = predictor(method, **settings)
    found, presence = asked.ask(SAID).answer(windows())
    wanted, present = plainly(asked, windows())
    assert found.dtype == np.float32 and np.abs(found - wanted).max() < 2e-5
    assert np.array_equal(found > 0.5, wanted > 0.5) and wanted.std() > 1e-3
    assert (presence is None) == (present is None)
    if presence is not None:
        np.testing.assert_allclose(presence, present, atol=2e-6)
    assert np.abs(found[:, 0] - found[:, 1]).max() > 1e-6  # the words matter


def counted(module, counts, name):
    module.register_forward_hook(lambda *_: counts.update([name]))


@pytest.mark.parametrize("mode", ["side", "inject"])
def test_what_is_computed_how_often(mode):
    asked = predictor(mode=mode)
    counts = Counter()
    counted(asked.model.text.block_module(0), counts, "sentence")
    counted(asked.model.vision.block_module(0), counts, "window")
    for site in asked.model.adapter.vision.values():
        counted(site.down, counts, "look")
    question = asked.ask(SAID)
    for _ in range(4):
        question.answer(windows())
    sites = len(asked.model.adapter.vision)
    times = 1 if mode == "side" else len(SAID)
    assert counts == {"sentence": len(SAID), "window": 4 * times, "look": 4 * times * sites}


def test_the_maps_of_a_site_without_carry_are_made_once_a_window():
    asked, counts = predictor(), Counter()
    first, second, *_ = asked.model.adapter.vision.values()
    counted(first.extractor, counts, "first")
    counted(second.extractor, counts, "second")
    asked.ask(SAID).answer(windows())
    assert counts == {"first": 1, "second": len(SAID)}


def test_several_batches_and_sizes_of_batch_agree():
    question, given = predictor().ask(SAID), windows(5)
    whole = question.answer(given)[0]
    parts = np.concatenate([question.answer(given[:2])[0], question.answer(given[2:])[0]])
    np.testing.assert_allclose(parts, whole, atol=2e-6)
    assert np.array_equal(question.answer(given)[0], whole)


def test_it_stays_a_question_to_its_own_adapter():
    asked = predictor()
    question = asked.ask(SAID)
    wanted = question.answer(windows())[0]
    asked.model.add_adapter("other", **{"width": 4})
    asked.model.switch("other")
    assert np.array_equal(question.answer(windows())[0], wanted) and asked.model.active == "other"
    assert not np.array_equal(asked.ask(SAID).answer(windows())[0], wanted)
    with asked.model.using("default"), asked.model.disabled():
        bare = question.answer(windows())[0]
        np.testing.assert_allclose(bare, plainly(asked, windows())[0], atol=2e-6)
    assert np.array_equal(question.answer(windows())[0], wanted)


def shaken(asked):
    with torch.no_grad():
        for parameter in asked.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)


CHANGES = {
    "weights": shaken,
    "text encoder": lambda asked: [torch.no_grad()(p.mul_)(-1) for p in asked.model.text.parameters()],
    "loaded": lambda asked: asked.model.load_state_dict(
        {name: value * 1.1 for name, value in asked.model.state_dict().items() if value.is_floating_point()}, False
    ),
    "int8": lambda asked: asked.model.run_with(Running(encoder_dtype="int8")),
    "autocast": lambda asked: setattr(asked, "dtype", torch.bfloat16),
    "moved": lambda asked: asked.model.double().float(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("method", ["s4eca", "lora"])
def test_nothing_that_was_read_before_a_change_is_mixed_with_what_came_after(method, change):
    asked = predictor(method)
    question = asked.ask(SAID)
    question.answer(windows(1))
    change(asked)
    assert np.array_equal(question.answer(windows(1))[0], asked.ask(SAID).answer(windows(1))[0])


def test_windows_are_checked_by_the_adapter_that_is_asked():
    asked = predictor()
    question = asked.ask(SAID)
    wanted = question.answer(windows(1))[0]
    bands = {"bands": ("nir", "red"), "band_ranges": ((0.0, 1.0), (0.0, 1.0))}
    asked.model.add_adapter("two", **bands)
    asked.model.switch("two")
    assert np.array_equal(question.answer(windows(1))[0], wanted)


def test_a_predictor_of_ones_own_is_asked_in_its_own_way(raster_of_noise, tmp_path):
    class Inverse(Predictor):
        def probabilities(self, windows, expressions):
            return 1 - super().probabilities(windows, expressions)

    plain, counts = predictor(), Counter()
    counted(plain.model.text.block_module(0), counts, "sentence")
    found = []
    for kind in (Predictor, Inverse):
        options = {"scores": tmp_path / "s.tif", "overwrite": True, "progress": False, "say": lambda note: None}
        segment_geotiff(raster_of_noise, SAID[:2], kind(plain.model), tmp_path / "m.tif", **options)
        with rasterio.open(tmp_path / "s.tif") as file:
            found.append(file.read())
    np.testing.assert_allclose(found[0], 1 - found[1], atol=1e-5)
    assert counts == {"sentence": 4}  # once a scene


@pytest.fixture
def raster_of_noise(tmp_path):
    path = tmp_path / "scene.tif"
    picture = np.random.default_rng(0).integers(1, 255, (3, 70, 60), dtype=np.uint8)
    place = rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6)
    with rasterio.open(
        path, "w", driver="GTiff", height=70, width=60, count=3, dtype="uint8", crs="EPSG:32633", transform=place
    ) as file:
        file.write(picture)
    return path


def test_nothing_is_kept_where_gradients_are():
    model = predictor().model.train()
    encoded = model.encode(model.normalise(torch.from_numpy(windows(1)[:, :32, :32]).permute(0, 3, 1, 2)))
    batch = model.tokenize(SAID[:1])
    assert encoded.kept is None and batch.kept is None
    model.decode(encoded, batch).logits.square().sum().backward()
    assert all(isinstance(m, nn.Module) and m.down.weight.grad is not None for m in model.adapter.vision.values())


@pytest.mark.parametrize("running", [Running(compile=True, backend="eager"), Running(encoder_dtype="bf16")], ids=str)
def test_however_it_runs(running):
    asked = predictor()
    asked = Predictor(asked.model, running=running)
    found = asked.ask(SAID).answer(windows())[0]
    np.testing.assert_allclose(found, plainly(asked, windows())[0], atol=1e-5 if running.compile else 2e-2)

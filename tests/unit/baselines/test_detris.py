"""DETRIS-style dense adapters: sizes, padding, batch norms, stages."""

from __future__ import annotations

import pytest
import torch

from s4eca.adapters.detris import DenseAligner, DenseTextAdapter, DETRISStyle
from s4eca.budgets.count import count
from s4eca.budgets.report import budget
from s4eca.config import S4ECAConfig
from s4eca.encoders.toy import toy_pair
from s4eca.errors import ConfigError
from s4eca.records import TextBatch

SMALL = {"width": 16, "width_text": 8}
SAID = ["the red roof", "field", "a ship left of the long pier"]


@pytest.mark.parametrize(
    ("module", "parameters"),
    [
        (DenseTextAdapter(512, 64), 69_720),
        (DenseAligner(768, 128, 512), 382_896),
        (DenseAligner(1024, 128, 512), 448_688),
    ],
)
def test_sizes_are_those_of_the_released_code(module, parameters: int) -> None:
    assert count(module) == parameters


@pytest.mark.parametrize(
    ("vision", "options", "parameters"),
    [
        ("facebook/dinov2-with-registers-base", {}, 2_715_696),
        ("facebook/dinov2-with-registers-base", {"width": 160, "width_text": 128}, 3_585_000),
        ("facebook/dinov2-with-registers-large", {}, 3_110_448),
    ],
)
def test_totals(vision: str, options: dict, parameters: int) -> None:
    config = S4ECAConfig(vision=vision, method="detris", options=options)
    assert budget(config, check_effective=False).adapters == parameters


def test_sites_and_the_cached_prefix(toy_model) -> None:
    model = toy_model(blocks=12, method="detris", options=SMALL)
    assert list(model.adapter.vision) == ["1", "3", "5", "7", "9", "11"]
    encoded = model.encode(torch.randn(1, 3, 16, 16))
    tokens = model.vision.block(0, model.vision.embed(torch.zeros(1, 3, 16, 16)))
    assert encoded.sites == {}
    assert encoded.resume.values.shape == tokens.values.shape
    assert not encoded.resume.values.requires_grad


def test_few_blocks_all_carry_one(toy_model) -> None:
    model = toy_model(blocks=4, method="detris", options=SMALL)
    assert (list(model.adapter.vision), list(model.adapter.text)) == (["0", "1", "2", "3"], ["0", "1", "2"])


def logits(model, batch: TextBatch) -> torch.Tensor:
    pixels = torch.randn(len(batch.ids), 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return model.decode(model.encode(pixels), batch).logits


def lengthened(batch: TextBatch, by: int) -> TextBatch:
    more = torch.randint(3, 90, (len(batch.ids), by))
    return TextBatch(torch.cat([batch.ids, more], 1), torch.cat([batch.mask, more < 0], 1))


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_padding_changes_nothing(training: bool, toy_model) -> None:
    model = toy_model(method="detris", options=SMALL).train(training)
    batch = model.tokenize(SAID)
    with torch.no_grad():
        torch.testing.assert_close(logits(model, batch), logits(model, lengthened(batch, 3)), rtol=1e-4, atol=1e-5)


def test_as_released_padding_is_read(toy_model) -> None:
    model = toy_model(method="detris", options={**SMALL, "mask_padding": False}).eval()
    batch = model.tokenize(SAID)
    with torch.no_grad():
        assert not torch.allclose(logits(model, batch), logits(model, lengthened(batch, 3)), atol=1e-3)


def test_statistics_are_those_of_the_words_alone() -> None:
    adapter = DenseTextAdapter(8, 8)
    x = torch.randn(3, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=torch.bool)
    adapter(x, mask)
    norm = adapter.dense.branches[0][0].norm
    h = torch.relu(adapter.down(x))[:, 1:][mask[:, 1:]]
    seen = adapter.dense.branches[0][0].conv(h.T[None])[0].T
    torch.testing.assert_close(norm.running_mean, 0.1 * seen.mean(0))


def test_a_batch_of_one_trains(toy_model) -> None:
    model = toy_model(method="detris", options=SMALL).train()
    model(torch.randn(1, 3, 16, 16), ["field"]).sum().backward()
    assert model.adapter.vision["5"].up.weight.grad.isfinite().all()


def test_stages_have_their_own_width_and_grid(toy_model) -> None:
    model = toy_model(method="detris", options=SMALL, pair=toy_pair(stages=(2, 2, 2), widths=(8, 16, 24)))
    fused = model.fuse(model.encode(torch.randn(1, 3, 32, 48)), model.tokenize(["field"]))
    assert fused.grids == [(8, 12), (4, 6), (2, 3)]
    assert [level.shape for level in fused.levels] == [(1, 96, 8), (1, 24, 16), (1, 6, 24)]


def test_every_scalar_but_the_known_ones_is_alive() -> None:
    from s4eca.encoders.meta import text_spec, vision_spec

    found = budget(
        S4ECAConfig(method="detris", options=SMALL, decoder_layers=1, decoder_ffn=16),
        vision_spec("facebook/dinov2-with-registers-base"),
        text_spec("openai/clip-vit-base-patch16"),
    )
    # A key bias and five convolutions an aligner, five convolutions a text adapter.
    assert len(found.dead) == 6 * (6 + 5)
    assert found.dead == found.known_dead
    assert found.problems() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 3}, r"options\.width is 3; .* at least 4"),
        ({"mask_padding": 1}, r"options\.mask_padding is 1; .* true or false"),
        ({"widht": 8}, r"options names 'widht'"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict, words: str, toy_model) -> None:
    with pytest.raises(ConfigError, match=words):
        toy_model(method="detris", options=options)


def test_the_solver_is_told_its_knobs() -> None:
    assert set(DETRISStyle.KNOBS) <= set(vars(DETRISStyle.SETTINGS()))

"""ETRIS-style bridgers: sizes, the formula, padding, stages."""

from __future__ import annotations

import pytest
import torch

from s4eca.adapters.etris import Bridger
from s4eca.budgets.report import budget
from s4eca.config import S4ECAConfig
from s4eca.encoders.toy import toy_pair
from s4eca.errors import ConfigError
from s4eca.records import TextBatch

SAID = ["the red roof", "field", "a ship left of the long pier"]
SMALL = {"ladder": 8}


@pytest.mark.parametrize(("ladder", "parameters"), [(64, 598_592), (256, 3_555_584)])
def test_sizes_are_those_of_the_released_code(ladder: int, parameters: int) -> None:
    config = S4ECAConfig(method="etris", options={"ladder": ladder})
    assert budget(config, check_effective=False).adapters == parameters


def bridged(first: bool = False):
    torch.manual_seed(2)
    bridger = Bridger(12, 10, 8, first=first).eval()
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)
    return bridger, torch.randn(2, 6, 12), torch.randn(2, 4, 10), mask


def test_both_read_the_partner_as_it_was() -> None:
    bridger, patches, words, mask = bridged()
    last = torch.randn(2, 6, 8), torch.randn(2, 4, 8)
    v = bridger.carry[0](bridger.down_vision(patches) + last[0])
    t = bridger.carry[1](bridger.down_text(words) + last[1])
    found = bridger(patches, words, mask, last)
    torch.testing.assert_close(found[2][0], v * bridger.to_vision(v, t, mask))
    torch.testing.assert_close(found[2][1], t * bridger.to_text(t, v))


def test_patches_receive_nothing_negative_and_padding_nothing() -> None:
    bridger, patches, words, mask = bridged(first=True)
    bridger.train()
    new_patches, new_words, _ = bridger(patches, words, mask, None)
    assert (new_patches - patches).min() >= 0
    assert (new_patches - patches).max() > 0
    assert torch.equal(new_words[~mask], words[~mask])
    assert not torch.equal(new_words[mask], words[mask])


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_padding_changes_nothing(training: bool, toy_model) -> None:
    model = toy_model(method="etris", options=SMALL).train(training)
    batch = model.tokenize(SAID)
    more = torch.randint(3, 90, (3, 2))
    longer = TextBatch(torch.cat([batch.ids, more], 1), torch.cat([batch.mask, more < 0], 1))
    with torch.no_grad():
        encoded = model.encode(torch.randn(3, 3, 16, 16))
        short, long = model.decode(encoded, batch).logits, model.decode(encoded, longer).logits
    torch.testing.assert_close(short, long, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("blocks", [2, 3, 6, 12])
def test_bridgers_follow_the_thirds(blocks: int, toy_model) -> None:
    model = toy_model(blocks=blocks, method="etris", options=SMALL, vision_sites=min(3, blocks), taps=min(3, blocks))
    count = min(3, blocks)
    assert model.adapter.bridged == tuple((i + 1) * blocks // count - 1 for i in range(count))
    assert model.adapter.read[-1] == 2
    assert model.adapter.bridgers[0].carry is None
    assert model(torch.randn(3, 3, 16, 24), SAID).shape == (3, 1, 16, 24)


def test_words_learn_from_patches_and_patches_from_words(toy_model) -> None:
    model = toy_model(method="etris", options=SMALL).eval()
    with torch.no_grad():
        image, other = model.encode(torch.randn(1, 3, 16, 16)), model.encode(torch.randn(1, 3, 16, 16))
        batch, else_ = model.tokenize(["field"]), model.tokenize(["roof"])
        base = model.fuse(image, batch)
        assert not torch.allclose(model.fuse(other, batch).words.values, base.words.values)
        assert not torch.allclose(model.fuse(image, else_).levels[0], base.levels[0])


def test_stages_have_their_own_width_and_grid(toy_model) -> None:
    model = toy_model(method="etris", options=SMALL, pair=toy_pair(stages=(2, 2, 2), widths=(8, 16, 24)))
    fused = model.fuse(model.encode(torch.randn(1, 3, 32, 48)), model.tokenize(["field"]))
    assert fused.grids == [(8, 12), (4, 6), (2, 3)]
    assert [level.shape[-1] for level in fused.levels] == [8, 16, 24]


def test_any_whole_ladder_will_do(toy_model) -> None:
    model = toy_model(method="etris", options={"ladder": 7})
    assert model(torch.randn(3, 3, 16, 16), SAID).isfinite().all()
    with pytest.raises(ConfigError, match=r"options\.ladder is 0; it must be a whole number of at least 1"):
        toy_model(method="etris", options={"ladder": 0})

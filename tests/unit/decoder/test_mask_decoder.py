"""The mask decoder: shapes, what it reads, and that no sample of a batch reads another."""

from __future__ import annotations

import math

import pytest
import torch

from s4eca.config import S4ECAConfig
from s4eca.decoder.mask_decoder import MaskDecoder, _pooled
from s4eca.encoders.frozen import parameter_count
from s4eca.records import Fused, TextSpec, Words

TEXT = TextSpec("t", "toy", 12, 3, 24, 1)
L, K, R = 5, 3, 8


def config(**settings):
    small = {"width": R, "decoder_width": 16, "decoder_heads": 2, "decoder_ffn": 24, "decoder_layers": 2}
    return S4ECAConfig(**{**small, **settings})


def decoder(widths=(10, 10, 14), *, proxies=True, **settings):
    torch.manual_seed(0)
    return MaskDecoder(config(**settings), list(widths), TEXT, proxy_width=R if proxies else None).eval()


def fused(batch=2, grids=((5, 7),) * 3, widths=(10, 10, 14), seed=1):
    g = torch.Generator().manual_seed(seed)
    levels = [torch.randn(batch, h * w, c, generator=g) for (h, w), c in zip(grids, widths, strict=True)]
    mask = torch.arange(L) < torch.tensor([L, 3, 2, 4])[:batch, None]
    words = Words(torch.randn(batch, L, 12, generator=g), mask, torch.randn(batch, 12, generator=g))
    return Fused(levels, list(grids), words, torch.randn(batch, K, R, generator=g))


def row(f, i):
    one = slice(i, i + 1)
    words = Words(f.words.values[one], f.words.mask[one], f.words.pooled[one])
    return Fused([x[one] for x in f.levels], f.grids, words, f.proxies[one])


def test_logits_are_four_times_the_grid():
    assert decoder()(fused()).logits.shape == (2, 1, 20, 28)
    assert decoder(widths=(10,))(fused(grids=((4, 4),), widths=(10,))).logits.shape == (2, 1, 16, 16)


def test_levels_of_other_grids_are_drawn_on_the_finest_one():
    assert decoder()(fused(grids=((20, 28), (10, 14), (5, 7)))).logits.shape == (2, 1, 80, 112)


def test_the_memory_holds_words_sentence_and_proxies():
    seen = []
    d = decoder()
    d.layers[0].across.register_forward_hook(lambda module, args, out: seen.append(args))
    f = fused()
    d(f)
    _, memory, mask = seen[0]
    assert memory.shape == (2, L + 1 + K, 16)
    assert torch.equal(mask[:, :L], f.words.mask) and mask[:, L:].all()


def test_without_proxies_the_memory_is_shorter():
    seen = []
    d = decoder(proxies=False)
    d.layers[0].across.register_forward_hook(lambda module, args, out: seen.append(args[1].shape[1]))
    d(fused())
    assert seen == [L + 1] and d.proxy_map is None


def test_masked_words_are_not_read():
    d, f = decoder(), fused()
    before = d(f).logits
    f.words.values[~f.words.mask] = 1e3
    assert torch.equal(d(f).logits, before)
    f.words.values[f.words.mask] += 0.1
    assert not torch.equal(d(f).logits, before)


@pytest.mark.parametrize("settings", [{}, {"decoder_pool": 2, "decoder_detail": 4}])
def test_a_batch_of_one_equals_its_row(settings):
    """The dynamic kernel folds the batch into the groups of one convolution; rows must not mix."""
    d, f = decoder(**settings), fused(4)
    detail = torch.randn(4, 3, 40, 56) if settings else None
    together = d(f, detail).logits
    for i in range(4):
        alone = d(row(f, i), None if detail is None else detail[i : i + 1]).logits
        assert (together[i] - alone[0]).abs().max() < 1e-5


def test_each_row_follows_its_own_sentence():
    d, f = decoder(), fused()
    before = d(f).logits
    f.words.pooled[1] += 1.0
    after = d(f).logits
    assert torch.equal(after[0], before[0]) and not torch.equal(after[1], before[1])


def test_the_dynamic_kernel_by_hand():
    """Cross-correlation with the kernel made of the sentence, scaled by the root of its fan-in, plus its bias."""
    d = decoder()
    image, sentence = torch.randn(2, 4, 6, 5), torch.randn(2, 16)
    drawn = d._draw(image, sentence)
    made = d.kernel(sentence)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1))
    for b in range(2):
        kernel = made[b, :-1].reshape(4, 3, 3) / 6.0  # sqrt(4 * 3 * 3)
        for y, x in ((0, 0), (3, 4), (5, 2)):
            value = (padded[b, :, y : y + 3, x : x + 3] * kernel).sum() + made[b, -1]
            assert (value - drawn[b, 0, y, x]).abs() < 1e-5


def test_every_pixel_starts_near_the_usual_share_of_foreground():
    d = decoder()
    assert float(d.kernel.bias[-1].detach()) == pytest.approx(math.log(0.05 / 0.95))
    assert 0.005 < float(d(fused()).logits.sigmoid().mean().detach()) < 0.35


def test_the_detail_branch_sees_pixels_and_asks_for_them():
    d, f = decoder(decoder_detail=4), fused()
    pixels = torch.randn(2, 3, 40, 56)
    before = d(f, pixels).logits
    assert before.shape == (2, 1, 20, 28)
    pixels[:, :, 30:, 40:] += 1
    changed = (d(f, pixels).logits != before).any(0)[0]
    assert changed[-5:, -5:].any()
    with pytest.raises(AssertionError, match="pixels"):
        d(f)


def test_pooled_neighbours_by_hand():
    x = torch.arange(15.0).reshape(1, 15, 1)  # a grid of 3 x 5
    out = _pooled(x, (3, 5), 2).flatten().tolist()
    assert out == [3.0, 5.0, 6.5, 10.5, 12.5, 14.0]
    assert _pooled(x, (3, 5), 1) is x


def test_pooling_changes_no_parameter_and_no_shape():
    plain, pooled = decoder(), decoder(decoder_pool=3)
    assert parameter_count(plain) == parameter_count(pooled)
    pooled.load_state_dict(plain.state_dict())
    a, b = plain(fused()).logits, pooled(fused()).logits
    assert a.shape == b.shape and not torch.equal(a, b)


@pytest.mark.parametrize(
    ("widths", "text_width", "r", "expected"),
    [((768,) * 3, 512, 160, 3_519_361), ((1024,) * 3, 512, 272, 3_744_641), ((384,) * 3, 512, 128, 3_216_257)],
)
def test_published_sizes(widths, text_width, r, expected):
    """METHOD section 5's three rows."""
    with torch.device("meta"):
        made = MaskDecoder(S4ECAConfig(), list(widths), TextSpec("t", "clip", text_width, 12, 77, 1), proxy_width=r)
    assert parameter_count(made) == expected


def test_bf16_logits_are_drawn_in_float32():
    with torch.autocast("cpu", torch.bfloat16):
        logits = decoder()(fused()).logits
    assert logits.isfinite().all()

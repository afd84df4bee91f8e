"""Text encoders in the hub's format: stepping, masks, and each family's own pooling."""

from __future__ import annotations

import json

import pytest
import torch
from families import walk
from tiny_hub import PLACES, SIGLIP_TEXT, TEXT, WIDTH

from s4eca.encoders import meta
from s4eca.encoders.hf import load_text, wrap_text
from s4eca.encoders.hf_text import HFText
from s4eca.errors import EncoderError

SAID = ["the red roof", "a", "left of red", "the red roof left of the red roof left of the red roof"]
CLIPS = [name for name in TEXT if name.startswith("clip")]
MEANS = ["bert", "roberta"]


@pytest.fixture(params=TEXT)
def text(request, hub):
    return load_text(str(hub(request.param)))


def own(text, batch):
    """The library's own forward; SigLIP's is given no mask, as in its training."""
    shown = {} if text.form.whole else {"attention_mask": batch.mask.long()}
    with torch.no_grad():
        return text.backbone(input_ids=batch.ids, **shown)


def test_stepping_equals_the_encoders_own_forward(text):
    batch = text.tokenize(SAID, 12)
    words = walk(text, batch)
    theirs = own(text, batch).last_hidden_state
    assert words.values.shape == (4, batch.ids.shape[1], WIDTH)
    assert (words.values - theirs)[batch.mask].abs().max() <= 1e-6
    assert torch.equal(words.mask, batch.mask)


def test_the_spec_counts_and_names(text):
    assert text.spec.parameters == sum(p.numel() for p in text.backbone.parameters())
    assert text.spec == meta.text_spec(text.spec.source) == meta.text_encoder(text.spec.source).spec
    assert text.spec.longest == PLACES


def test_one_expression_alone_says_the_same(text):
    together = walk(text, text.tokenize(SAID, PLACES))
    for row, said in enumerate(SAID):
        alone = walk(text, text.tokenize([said], PLACES))
        length = alone.values.shape[1]
        assert (together.values[row, :length] - alone.values[0]).abs().max() < 1e-5
        assert (together.pooled[row] - alone.pooled[0]).abs().max() < 1e-5
        assert not together.mask[row, length:].any()


@pytest.mark.parametrize("length", [4, 7, PLACES, 500])
def test_a_cut_expression_keeps_begin_and_end(text, length):
    batch = text.tokenize(SAID, length)
    first = {"bert": text.tokenizer.cls_token_id}.get(text.spec.family, text.tokenizer.bos_token_id)
    end = {"bert": text.tokenizer.sep_token_id}.get(text.spec.family, text.tokenizer.eos_token_id)
    lengths = batch.mask.sum(1)
    assert lengths.max() <= min(length, PLACES) and batch.mask.any(1).all()
    if text.form.whole:
        assert batch.ids.shape[1] == PLACES
    else:
        assert batch.ids.shape[1] == lengths.max() and (batch.ids[:, 0] == first).all()
    assert (batch.ids.gather(1, lengths[:, None] - 1) == end).all()
    assert torch.equal(batch.mask, torch.arange(batch.ids.shape[1]) < lengths[:, None])


@pytest.mark.parametrize("name", CLIPS)
def test_clip_pools_the_first_end_token_although_it_also_pads(hub, name):
    text = load_text(str(hub(name)))
    assert text.tokenizer.pad_token_id == text.tokenizer.eos_token_id
    batch = text.tokenize(SAID, PLACES)
    end = text.tokenizer.eos_token_id
    assert (batch.ids == end).sum(1).max() > 1, "the shorter rows are padded with end tokens"
    words = walk(text, batch)
    for row, ids in enumerate(batch.ids):
        first = ids.tolist().index(end)
        assert int(batch.mask[row].sum()) == first + 1
        assert torch.equal(words.pooled[row], words.values[row, first])
    theirs = own(text, batch).pooler_output
    assert (words.pooled - theirs).abs().max() < 1e-5


def test_clip_pools_the_first_end_token_even_if_another_follows(hub):
    """An end token typed by a user closes the sentence for CLIP's own pooling, and so it does here."""
    text = load_text(str(hub("clip-text")))
    batch = text.tokenize(["the red <|endoftext|> roof", "a"], PLACES)
    words = walk(text, batch)
    assert (words.pooled - own(text, batch).pooler_output).abs().max() < 1e-5


def test_clip_words_have_passed_the_final_norm(hub):
    text = load_text(str(hub("clip-text")))
    with torch.no_grad():
        text.backbone.final_layer_norm.weight.fill_(0.0)
        text.backbone.final_layer_norm.bias.fill_(0.25)
    words = walk(text, text.tokenize(SAID, 8))
    assert (words.values == 0.25).all() and (words.pooled == 0.25).all()


@pytest.mark.parametrize("name", MEANS)
def test_bert_and_roberta_pool_the_mean_over_the_mask(hub, name):
    text = load_text(str(hub(name)))
    words = walk(text, text.tokenize(SAID, PLACES))
    for row in range(len(SAID)):
        assert (words.pooled[row] - words.values[row, words.mask[row]].mean(0)).abs().max() < 1e-6


@pytest.mark.parametrize("name", SIGLIP_TEXT)
def test_siglip_gets_its_full_length_and_pools_as_it_was_trained(hub, name):
    from transformers import AutoTokenizer

    folder = str(hub(name))
    text = load_text(folder)
    trained = AutoTokenizer.from_pretrained(folder)(
        [said.lower() for said in SAID], padding="max_length", truncation=True, max_length=PLACES, return_tensors="pt"
    )
    batch = text.tokenize(SAID, PLACES)
    assert torch.equal(batch.ids, trained["input_ids"])
    words = walk(text, batch)
    assert (words.pooled - own(text, batch).pooler_output).abs().max() < 1e-5
    ends = (batch.ids == text.end).int()
    for row in range(len(SAID)):
        assert int(batch.mask[row].sum()) == int(ends[row].argmax()) + 1, "kept up to the first end token"


@pytest.mark.parametrize("name", SIGLIP_TEXT)
def test_siglip_hears_no_difference_between_cases(hub, name):
    text = load_text(str(hub(name)))
    assert torch.equal(text.tokenize(["The RED roof"], 9).ids, text.tokenize(["the red roof"], 9).ids)


@pytest.mark.parametrize("name", SIGLIP_TEXT)
def test_siglip_cuts_words_and_pads_on(hub, name):
    """A shorter text length takes words away; what the model gets is still as long as it was trained on."""
    text = load_text(str(hub(name)))
    short, long = text.tokenize(["the red roof"], 5), text.tokenize(["the red roof"], PLACES)
    assert short.ids.shape == long.ids.shape == (1, PLACES)
    assert int(short.mask.sum()) == 5 and torch.equal(short.ids[0, :4], long.ids[0, :4])
    assert (short.ids[0, 5:] == text.tokenizer.pad_token_id).all()


def test_roberta_counts_positions_from_behind_the_padding(hub):
    text = load_text(str(hub("roberta")))
    assert text.spec.longest == text.backbone.config.max_position_embeddings - 2
    batch = text.tokenize(["the red roof left of the red roof left of the red roof"], 500)
    assert batch.ids.shape[1] == PLACES and walk(text, batch).values.isfinite().all()


def test_a_head_of_another_width_is_refused(hub):
    from transformers import SiglipTextModel

    model = SiglipTextModel.from_pretrained(hub("siglip-whole"))
    model.config.projection_size = 8
    with pytest.raises(EncoderError, match="pools to 8 channels where its words have 24"):
        HFText(model, None, "somewhere")


def test_text_encoders_are_counted_without_pooler_projection_and_vision(hub):
    whole, encoder = load_text(str(hub("clip-whole"))), load_text(str(hub("clip-text")))
    assert whole.spec.parameters == encoder.spec.parameters
    assert whole.spec.family == encoder.spec.family == "clip_text_model"
    for name in MEANS:
        assert not any("pooler" in key for key, _ in load_text(str(hub(name))).named_parameters())


@pytest.mark.parametrize("name", ["clip-whole", "siglip-whole"])
def test_the_text_encoder_of_a_whole_checkpoint_is_read(hub, name):
    from transformers import AutoModel

    folder = str(hub(name))
    text = load_text(folder)
    inner = AutoModel.from_pretrained(folder).text_model.state_dict()
    assert {k: v.shape for k, v in text.backbone.state_dict().items()} == {k: v.shape for k, v in inner.items()}
    assert all(torch.equal(v, inner[k]) for k, v in text.backbone.state_dict().items())


def test_padding_is_on_the_right_whatever_the_tokenizer_was_saved_with(hub):
    text = load_text(str(hub("bert")))
    text.tokenizer.padding_side = "left"
    batch = text.tokenize(SAID, PLACES)
    assert batch.mask[:, 0].all()


def test_the_encoder_is_frozen_and_stays_in_eval_mode(text):
    torch.nn.ModuleList([text]).train()
    assert not any(m.training for m in text.modules())
    assert not any(p.requires_grad for p in text.parameters())
    batch = text.tokenize(SAID, 8)
    first, second = walk(text, batch), walk(text, batch)
    assert torch.equal(first.values, second.values), "dropout is active"
    assert not first.values.requires_grad


@pytest.mark.parametrize("name", ["clip-whole", "bert", "roberta", "siglip-whole"])
def test_a_local_folder_never_touches_the_network(hub, name, no_network):
    assert load_text(str(hub(name))).tokenize(["the red roof"], 8).ids.shape[0] == 1


@pytest.mark.parametrize("name", [name for name in TEXT if name not in SIGLIP_TEXT])
def test_ids_behind_the_end_do_not_move_words(hub, name):
    """SigLIP is the exception: padding is part of what it was trained on."""
    text = load_text(str(hub(name)))
    batch = text.tokenize(SAID, PLACES)
    before = walk(text, batch)
    batch.ids[~batch.mask] = 7
    after = walk(text, batch)
    assert torch.equal(before.values[batch.mask], after.values[batch.mask])
    assert torch.equal(before.pooled, after.pooled)


def test_bfloat16_words_are_finite_and_near(text):
    batch = text.tokenize(SAID, PLACES)
    exact = walk(text, batch)
    rough = walk(text.to(torch.bfloat16), batch)
    assert rough.values.dtype == torch.bfloat16 and rough.values[batch.mask].isfinite().all()
    assert (rough.pooled.float() - exact.pooled).abs().mean() < 0.1 * exact.pooled.abs().mean()


@pytest.fixture
def gemma(hub, tmp_path):
    """SigLIP 2 with the tokenizer class of its published files, with or without the template that ends expressions."""

    def make(template, **settings):
        import shutil

        folder = shutil.copytree(hub("siglip-whole"), tmp_path / "gemma")
        path = folder / "tokenizer.json"
        written = json.loads(path.read_text())
        assert written["post_processor"]["type"] == "TemplateProcessing"
        path.write_text(json.dumps(written if template else {**written, "post_processor": None}))
        path = folder / "tokenizer_config.json"
        said = {key: value for key, value in json.loads(path.read_text()).items() if key != "add_eos_token"}
        path.write_text(json.dumps({**said, "tokenizer_class": "GemmaTokenizer", "add_bos_token": False, **settings}))
        return str(folder)

    return make


@pytest.mark.parametrize(
    ("template", "settings"), [(True, {"add_eos_token": True}), (True, {}), (False, {"add_eos_token": True})]
)
def test_the_gemma_tokenizer_of_siglip2_ends_expressions(hub, gemma, template, settings):
    """By a template in tokenizer.json, or by add_eos_token alone, which the library's class forgets."""
    text, plain = load_text(gemma(template, **settings)), load_text(str(hub("siglip-whole")))
    assert type(text.tokenizer).__name__.startswith("Gemma")
    for length in (5, PLACES):
        batch, wanted = text.tokenize(SAID, length), plain.tokenize(SAID, length)
        assert torch.equal(batch.ids, wanted.ids) and torch.equal(batch.mask, wanted.mask)
        assert ((batch.ids == text.end).sum(1) == 1).all()


@pytest.mark.parametrize("settings", [{}, {"add_eos_token": False}])
def test_a_tokenizer_that_does_not_end_expressions_is_refused(gemma, settings):
    from transformers import AutoModel, AutoTokenizer

    folder = gemma(False, **settings)
    with pytest.raises(EncoderError, match="gemma gives no end token \\('<eos>'\\) .* set add_eos_token to true"):
        load_text(folder)
    module, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with pytest.raises(EncoderError, match="gives no end token"):
        wrap_text(module, tokenizer)
    tokenizer.add_eos_token = True
    assert (wrap_text(module, tokenizer).tokenize(["a"], 5).ids == tokenizer.eos_token_id).sum() == 1

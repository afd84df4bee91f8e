"""Text encoders from the transformers library: CLIP, SigLIP, BERT and RoBERTa.

A family is a filled form: where the layers are, which words see which, how a sentence becomes one vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from s4eca.encoders.frozen import parameter_count
from s4eca.encoders.hf_common import HFEncoder, form_of, part, without_idle_parts
from s4eca.encoders.reading import transformers_readings
from s4eca.errors import EncoderError
from s4eca.records import Reading, TextBatch, TextSpec, TextTokens, Words

EARLIER, KEPT, ALL = "earlier", "kept", "all"


def _no_positions(config: Any) -> int:
    """Text starts at the first row; a function of the module, so that a model can be pickled."""
    return 0


@dataclass(frozen=True)
class TextForm:
    """How one family of transformers text models is stepped through.

    Attributes:
        layers: dotted path of the list of layers.
        norm: dotted path of the final norm; empty where the last layer ends with its own.
        sees: what a word attends to: ``"earlier"`` words, ``"kept"`` words (no padding), or ``"all"``.
        pool: wrapper, words (B, L, C) and batch to the sentence (B, C).
        reserved: rows of the position table that no text reaches.
        whole: whether the model wants its full length, padding included.
        lower: whether expressions are put in lower case before they are tokenised.
        ends: whether the end token is read, so that every expression must have one.
    """

    layers: str
    norm: str
    sees: str
    pool: Callable[[HFText, Tensor, TextBatch], Tensor]
    reserved: Callable[[Any], int] = _no_positions
    whole: bool = False
    lower: bool = False
    ends: bool = False


def _first_end(text: HFText, values: Tensor, batch: TextBatch) -> Tensor:
    # The token that ends a sentence often pads it too, and a user may have typed one: the first one counts.
    end = (batch.ids == text.end).int().argmax(1)
    return values[torch.arange(len(values), device=values.device), end]


def _mean(text: HFText, values: Tensor, batch: TextBatch) -> Tensor:
    weight = batch.mask.unsqueeze(-1).to(values.dtype)
    return (values * weight).sum(1) / weight.sum(1)


def _headed_last(text: HFText, values: Tensor, batch: TextBatch) -> Tensor:
    """The model's own pooling: its head on the last position, padding or not."""
    model: Any = text.backbone
    pooled: Tensor = model.head(values[:, -1])
    return pooled


def _positions_up_to_padding(config: Any) -> int:
    """Text starts behind the row of the padding token."""
    return int(config.pad_token_id) + 1


TEXT_FORMS: dict[str, TextForm] = {
    "clip_text_model": TextForm("encoder.layers", "final_layer_norm", EARLIER, _first_end, ends=True),
    "siglip_text_model": TextForm(
        "encoder.layers", "final_layer_norm", ALL, _headed_last, whole=True, lower=True, ends=True
    ),
    "bert": TextForm("encoder.layer", "", KEPT, _mean),
    "roberta": TextForm("encoder.layer", "", KEPT, _mean, reserved=_positions_up_to_padding),
}


class HFText(HFEncoder):
    """A transformers text model and its tokenizer behind `s4eca.protocols.TextEncoder`.

    Args:
        model: the bare encoder, as the library builds it.
        tokenizer: its tokenizer; None where nothing will be tokenised.
        source: identifier it was loaded by.

    Raises:
        EncoderError: a family without a form, or a tokenizer that leaves out the end token that the family reads.
    """

    def __init__(self, model: Any, tokenizer: Any, source: str) -> None:
        config = model.config
        form: TextForm = form_of(TEXT_FORMS, config.model_type, source, "text")
        model = without_idle_parts(model)
        super().__init__(model)
        self.form = form
        self.tokenizer = tokenizer
        self.end = _end_token(config) if tokenizer is None else tokenizer.eos_token_id
        if tokenizer is not None and form.ends:
            _check_end(tokenizer, source)
        width = int(config.hidden_size)
        if int(getattr(config, "projection_size", width)) != width and form.pool is _headed_last:
            raise EncoderError(
                f"{source} pools to {config.projection_size} channels where its words have {width}; "
                "both must be the same."
            )
        self.spec = TextSpec(
            source=source,
            family=config.model_type,
            width=width,
            blocks=int(config.num_hidden_layers),
            longest=int(config.max_position_embeddings) - form.reserved(config),
            parameters=parameter_count(model),
            padded=form.whole,
        )

    def layer(self, index: int) -> nn.Module:
        """The library's own module of one layer."""
        layer: nn.Module = part(self.backbone, self.form.layers)[index]
        return layer

    def tokenize(self, expressions: Sequence[str], length: int) -> TextBatch:
        """Ids and mask (B, L), L at most `length`; a longer expression is cut with its end token kept.

        A family that was trained on its full length (SigLIP) gets it whatever `length` is: words are cut, padding is
        added, and the mask keeps what stands up to the first end token.
        """
        length = min(length, self.spec.longest)
        said = [self._said(text) for text in expressions]
        if self.form.whole:
            return self._tokenize_whole(said, length)
        out = self.tokenizer(
            said, padding="longest", padding_side="right", truncation=True, max_length=length, return_tensors="pt"
        )
        return TextBatch(out["input_ids"], out["attention_mask"].bool())

    def measure(self, expressions: Sequence[str]) -> list[Reading]:
        """See `s4eca.protocols.TextEncoder.measure`."""
        # Where the mask ends with the first end token, what a user typed behind one is not read.
        end = self.end if self.form.whole else None
        return transformers_readings(self.tokenizer, expressions, self._said, end)

    def _said(self, text: str) -> str:
        return text.lower() if self.form.lower else text

    def _tokenize_whole(self, said: list[str], length: int) -> TextBatch:
        rows = self.tokenizer(said, truncation=True, max_length=length)["input_ids"]
        ids = torch.full((len(rows), self.spec.longest), int(self.tokenizer.pad_token_id))
        mask = torch.zeros(ids.shape, dtype=torch.bool)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            # Padding may be end tokens too: what counts is up to the first one.
            mask[number, : row.index(self.end) + 1] = True
        return TextBatch(ids, mask)

    def embed(self, batch: TextBatch) -> TextTokens:
        """Hidden states before layer 0, with the attention mask that the layers share."""
        model: Any = self.backbone
        values = model.embeddings(input_ids=batch.ids)
        return TextTokens(values, batch, {"mask": self._mask(values, batch)})

    def _mask(self, values: Tensor, batch: TextBatch) -> Tensor | None:
        from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

        config: Any = self.backbone.config
        if self.form.sees == EARLIER:
            # Padding stands behind the end token, where a causal encoder cannot see it; our readers mask it.
            mask: Tensor | None = create_causal_mask(
                config=config, inputs_embeds=values, attention_mask=None, past_key_values=None
            )
            return mask
        kept = batch.mask.long() if self.form.sees == KEPT else None
        bidirectional: Tensor | None = create_bidirectional_mask(
            config=config, inputs_embeds=values, attention_mask=kept
        )
        return bidirectional

    def block(self, index: int, tokens: TextTokens) -> TextTokens:
        """One frozen layer; padding is masked inside where the family masks it."""
        causal = {"is_causal": True} if self.form.sees == EARLIER else {}
        out = self.layer(index)(tokens.values, tokens.extras["mask"], **causal)
        return tokens.with_values(out[0] if isinstance(out, tuple) else out)

    def finish(self, tokens: TextTokens) -> Words:
        """Final norm; pooled = first end token (CLIP), the head on the last position (SigLIP), or masked mean."""
        values = tokens.values
        if self.form.norm:
            values = part(self.backbone, self.form.norm)(values)
        return Words(values, tokens.batch.mask, self.form.pool(self, values, tokens.batch))


def _end_token(config: Any) -> int:
    """The end token's id where there is no tokenizer to ask; old CLIP configurations name a wrong one."""
    end = config.eos_token_id
    return int(config.vocab_size) - 1 if end is None or end == 2 else int(end)


def _check_end(tokenizer: Any, source: str) -> None:
    """Refuse a tokenizer that does not end what it reads: SigLIP and CLIP were trained on expressions that end."""
    end = tokenizer.eos_token_id
    if end is None or end not in tokenizer(["a"])["input_ids"][0]:
        raise EncoderError(
            f"The tokenizer of {source} gives no end token ({tokenizer.eos_token!r}) to an expression, with which the "
            "model was trained; set add_eos_token to true in its tokenizer_config.json, or on a tokenizer at hand."
        )

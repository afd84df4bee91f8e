"""Encoders from the transformers library: DINOv2 with and without registers, CLIP text, BERT.

A family is a filled form: how to embed, where the blocks are, what a block is called with, how to finish. The blocks
are the library's own modules, called one at a time; nothing of them is edited or copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from s4eca.encoders.frozen import FrozenEncoder, parameter_count
from s4eca.encoders.roles import TRANSFORMERS, named_roles
from s4eca.errors import EncoderError
from s4eca.protocols import TextBatch, TextSpec, TextTokens, Tokens, VisionSpec, Words

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class VisionForm:
    """How one family of transformers vision models is stepped through."""

    model_class: str
    prefix: Callable[[Any], int]
    layers: Callable[[Any], Sequence[nn.Module]]
    norm: Callable[[Any], nn.Module]
    interpolation: str


@dataclass(frozen=True)
class TextForm:
    """How one family of transformers text models is stepped through."""

    model_class: str
    layers: Callable[[Any], Sequence[nn.Module]]
    norm: Callable[[Any], nn.Module]
    causal: bool
    build: dict[str, Any]


VISION_FORMS: dict[str, VisionForm] = {
    "dinov2": VisionForm("Dinov2Model", lambda c: 1, lambda m: m.encoder.layer, lambda m: m.layernorm, "bicubic"),
    "dinov2_with_registers": VisionForm(
        "Dinov2WithRegistersModel",
        lambda c: 1 + int(c.num_register_tokens),
        lambda m: m.encoder.layer,
        lambda m: m.layernorm,
        "bicubic-antialias",
    ),
}

TEXT_FORMS: dict[str, TextForm] = {
    "clip_text_model": TextForm(
        "CLIPTextModel", lambda m: m.encoder.layers, lambda m: m.final_layer_norm, causal=True, build={}
    ),
    "bert": TextForm(
        "BertModel",
        lambda m: m.encoder.layer,
        lambda m: nn.Identity(),
        causal=False,
        build={"add_pooling_layer": False},
    ),
}
# A whole CLIP checkpoint holds both towers; asked for as text, its text tower is meant.
TEXT_OF = {"clip": "clip_text_model"}


class _HFEncoder(FrozenEncoder):
    """What both kinds of wrapper share: where the blocks are and what their parts are called."""

    form: Any

    def roles(self) -> dict[str, list[str]]:
        """See `FrozenEncoder.roles`."""
        return named_roles(self.backbone, TRANSFORMERS)

    def mlp_ends(self, index: int) -> tuple[nn.Module, nn.Module]:
        """See `FrozenEncoder.mlp_ends`."""
        layer = self.form.layers(self.backbone)[index]
        if hasattr(layer, "mlp"):
            return layer.mlp, layer.mlp
        return layer.intermediate, layer.output.dense


class HFVision(_HFEncoder):
    """A transformers vision model behind the stepping interface of `s4eca.protocols.VisionEncoder`."""

    def __init__(self, model: Any, source: str) -> None:
        super().__init__(model)
        config = model.config
        self.form = _form(VISION_FORMS, config.model_type, source, "vision")
        self.patch = int(config.patch_size)
        blocks = int(config.num_hidden_layers)
        self.spec = VisionSpec(
            source=source,
            family=config.model_type,
            widths=(int(config.hidden_size),) * blocks,
            strides=(self.patch,) * blocks,
            prefix_tokens=self.form.prefix(config),
            mean=IMAGENET[0],
            std=IMAGENET[1],
            parameters=parameter_count(model),
            interpolation=self.form.interpolation,
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patch grid of an image; both sides must be multiples of the patch size.

        Raises:
            EncoderError: a side is not a positive multiple of the patch size.
        """
        for name, side in (("height", height), ("width", width)):
            if side < self.patch or side % self.patch:
                raise EncoderError(
                    f"The {name} of the image is {side} px; {self.spec.source} needs a multiple of {self.patch}."
                )
        return height // self.patch, width // self.patch

    def embed(self, pixels: Tensor) -> Tokens:
        """(B, 3, H, W) normalised pixels to the hidden states before block 0."""
        grid = self.grid(int(pixels.shape[-2]), int(pixels.shape[-1]))
        model: Any = self.backbone
        return Tokens(model.embeddings(pixels), grid, self.spec.prefix_tokens)

    def block(self, index: int, tokens: Tokens) -> Tokens:
        """One frozen block."""
        out = self.form.layers(self.backbone)[index](tokens.values)
        return tokens.with_values(out[0] if isinstance(out, tuple) else out)

    def finish(self, tokens: Tokens) -> Tokens:
        """The final norm, on all tokens."""
        return tokens.with_values(self.form.norm(self.backbone)(tokens.values))


class HFText(_HFEncoder):
    """A transformers text model and its tokenizer behind `s4eca.protocols.TextEncoder`."""

    def __init__(self, model: Any, tokenizer: Any, source: str) -> None:
        super().__init__(model)
        config = model.config
        self.tokenizer = tokenizer
        self.end = _end_token(config) if tokenizer is None else tokenizer.eos_token_id
        self.form = _form(TEXT_FORMS, config.model_type, source, "text")
        self.spec = TextSpec(
            source=source,
            family=config.model_type,
            width=int(config.hidden_size),
            blocks=int(config.num_hidden_layers),
            longest=int(config.max_position_embeddings),
            parameters=parameter_count(model),
        )

    def tokenize(self, expressions: Sequence[str], length: int) -> TextBatch:
        """Ids and mask (B, L), L at most `length`; a longer expression is cut with its end token kept."""
        length = min(length, self.spec.longest)
        out = self.tokenizer(
            list(expressions),
            padding="longest",
            padding_side="right",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        return TextBatch(out["input_ids"], out["attention_mask"].bool())

    def embed(self, batch: TextBatch) -> TextTokens:
        """Hidden states before layer 0, with the attention mask that the layers share."""
        model: Any = self.backbone
        values = model.embeddings(input_ids=batch.ids)
        return TextTokens(values, batch, {"mask": self._mask(values, batch)})

    def _mask(self, values: Tensor, batch: TextBatch) -> Tensor | None:
        from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

        config: Any = self.backbone.config
        if self.form.causal:
            # Padding stands behind the end token, where a causal tower cannot see it; our readers mask it.
            mask: Tensor | None = create_causal_mask(
                config=config, inputs_embeds=values, attention_mask=None, past_key_values=None
            )
            return mask
        bidirectional: Tensor | None = create_bidirectional_mask(
            config=config, inputs_embeds=values, attention_mask=batch.mask.long()
        )
        return bidirectional

    def block(self, index: int, tokens: TextTokens) -> TextTokens:
        """One frozen layer; padding is masked inside."""
        causal = {"is_causal": True} if self.form.causal else {}
        out = self.form.layers(self.backbone)[index](tokens.values, tokens.extras["mask"], **causal)
        return tokens.with_values(out[0] if isinstance(out, tuple) else out)

    def finish(self, tokens: TextTokens) -> Words:
        """Final norm; pooled = first end token (CLIP) or masked mean (BERT)."""
        values = self.form.norm(self.backbone)(tokens.values)
        mask = tokens.batch.mask
        if self.form.causal:
            # The token that ends a sentence often pads it too, and a user may have typed one: the first one counts.
            end = (tokens.batch.ids == self.end).int().argmax(1)
            pooled = values[torch.arange(len(values), device=values.device), end]
        else:
            weight = mask.unsqueeze(-1).to(values.dtype)
            pooled = (values * weight).sum(1) / weight.sum(1)
        return Words(values, mask, pooled)


def _end_token(config: Any) -> int:
    """The end token's id where there is no tokenizer to ask; old CLIP configurations name a wrong one."""
    end = config.eos_token_id
    return int(config.vocab_size) - 1 if end is None or end == 2 else int(end)


def load_vision(source: str) -> HFVision:
    """A vision encoder from a hub id or a local directory.

    Raises:
        EncoderError: not found, not reachable, damaged, or of a family without a form.
    """
    config = _config(source)
    form = _form(VISION_FORMS, config.model_type, source, "vision")
    return HFVision(_weights(form.model_class, source, {}), source)


def load_text(source: str) -> HFText:
    """A text encoder and its tokenizer from a hub id or a local directory.

    Raises:
        EncoderError: not found, not reachable, damaged, or of a family without a form.
    """
    config = _config(source)
    family = TEXT_OF.get(config.model_type, config.model_type)
    form = _form(TEXT_FORMS, family, source, "text")
    model = _weights(form.model_class, source, form.build)
    return HFText(model, _tokenizer(source, int(model.config.vocab_size)), source)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence the library's load report and progress bar: what matters of it, missing tensors, is an error here."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bar = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _form(forms: dict[str, Any], family: str, source: str, role: str) -> Any:
    if family not in forms:
        raise EncoderError(
            f"{source} is of the family {family!r}, which is not a known {role} encoder; known: {', '.join(forms)}."
        )
    return forms[family]


def _origin(source: str) -> dict[str, Any]:
    """Arguments that keep a local path off the network."""
    path = Path(source).expanduser()
    if path.is_dir():
        return {"pretrained_model_name_or_path": str(path), "local_files_only": True}
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise EncoderError(f"The encoder directory {source} does not exist; pass a directory or a hub id.")
    return {"pretrained_model_name_or_path": source}


def _config(source: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(**_origin(source))
    except (OSError, ValueError) as error:
        raise _unreachable(source, "config.json", error) from error


def _weights(model_class: str, source: str, build: dict[str, Any]) -> Any:
    import safetensors
    import transformers

    try:
        cls = getattr(transformers, model_class)
        with quiet_loading():
            model, report = cls.from_pretrained(
                **_origin(source), output_loading_info=True, dtype=torch.float32, **build
            )
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise _unreachable(source, "the weights", error) from error
    missing = sorted(set(report["missing_keys"]))
    if missing:
        raise EncoderError(
            f"The checkpoint {source} lacks {len(missing)} tensors of {model_class}, first {missing[0]}."
        )
    return model


def _tokenizer(source: str, vocabulary: int) -> Any:
    """The tokenizer; one without its files comes out of the library empty, so its size is compared with the model's."""
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(**_origin(source))
    except (OSError, ValueError) as error:
        raise _unreachable(source, "the tokenizer", error) from error
    if not vocabulary // 2 <= len(tokenizer) <= vocabulary:
        raise EncoderError(
            f"The tokenizer of {source} has {len(tokenizer)} entries where the model has {vocabulary}; "
            "its files are missing or belong to another model."
        )
    return tokenizer


def _unreachable(source: str, part: str, error: Exception) -> EncoderError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(source).is_dir():
        return EncoderError(f"Cannot read {part} in {source}: {first}")
    return EncoderError(
        f"Cannot get {part} of {source} from the hub: {first} Without a network pass a local directory, "
        "or packaged:dinov2-s with packaged:minilm-l6."
    )

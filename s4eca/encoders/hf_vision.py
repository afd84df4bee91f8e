"""Vision encoders from the transformers library: DINOv2, DINOv3, CLIP and SigLIP.

A family is a filled form: how to embed, where the blocks are, what a block is called with, where the final norm is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from s4eca.encoders import catalog
from s4eca.encoders.frozen import parameter_count
from s4eca.encoders.hf_common import HFEncoder, form_of, part, without_idle_parts
from s4eca.errors import EncoderError
from s4eca.records import Tokens, VisionSpec


@dataclass(frozen=True)
class VisionForm:
    """How one family of transformers vision models is stepped through.

    Attributes:
        layers: dotted path of the list of blocks, or of stages.
        norm: dotted path of the final norm.
        embed: model and pixels (B, 3, H, W) to the hidden states before block 0.
        step: model, block and tokens to the hidden states after the block.
    """

    layers: str
    norm: str
    embed: Callable[[Any, Tensor], Tensor]
    step: Callable[[Any, Any, Tokens], Any]


def _embed(model: Any, pixels: Tensor) -> Tensor:
    values: Tensor = model.embeddings(pixels)
    return values


def _embed_resized(model: Any, pixels: Tensor) -> Tensor:
    """The position table is resized to the grid of the image."""
    values: Tensor = model.embeddings(pixels, interpolate_pos_encoding=True)
    return values


def _embed_clip(model: Any, pixels: Tensor) -> Tensor:
    # The library's spelling; this norm stands in front of the first block.
    values: Tensor = model.pre_layrnorm(_embed_resized(model, pixels))
    return values


def _plain(model: Any, layer: Any, tokens: Tokens) -> Any:
    return layer(tokens.values)


def _unmasked(model: Any, layer: Any, tokens: Tokens) -> Any:
    return layer(tokens.values, None)


def _rotary(model: Any, layer: Any, tokens: Tokens) -> Any:
    """The rotary table follows from the grid; it is made once and kept with the tokens."""
    values = tokens.values
    table = tokens.extras.get("rotary")
    if table is None or (table[0].device, table[0].dtype) != (values.device, values.dtype):
        patch = catalog.square(model.config.patch_size)
        h, w = tokens.grid
        # The library reads shape, type and place of the image alone; this one takes no memory.
        image = values.new_empty(1).expand(1, 1, h * patch, w * patch)
        table = tokens.extras["rotary"] = model.rope_embeddings(image)
    return layer(values, position_embeddings=table)


VISION_FORMS: dict[str, VisionForm] = {
    "dinov2": VisionForm("encoder.layer", "layernorm", _embed, _plain),
    "dinov2_with_registers": VisionForm("encoder.layer", "layernorm", _embed, _plain),
    "dinov3_vit": VisionForm("model.layer", "norm", _embed, _rotary),
    "clip_vision_model": VisionForm("encoder.layers", "post_layernorm", _embed_clip, _unmasked),
    "siglip_vision_model": VisionForm("encoder.layers", "post_layernorm", _embed_resized, _unmasked),
}


class HFVision(HFEncoder):
    """A transformers vision model behind the stepping interface of `s4eca.protocols.VisionEncoder`.

    Args:
        model: the bare encoder, as the library builds it.
        source: identifier it was loaded by.
        normalisation: (mean, std) for RGB in 0..1; None takes the family's.

    Raises:
        EncoderError: a family without a form.
    """

    forms = VISION_FORMS

    def __init__(self, model: Any, source: str, normalisation: catalog.Normalisation | None = None) -> None:
        config = model.config
        form = form_of(self.forms, config.model_type, source, "vision")
        model = without_idle_parts(model)
        super().__init__(model)
        self.form = form
        family = catalog.FAMILIES[config.model_type]
        widths, strides = catalog.stages(config.to_dict())
        mean, std = normalisation or family.normalisation
        self.spec = VisionSpec(
            source=source,
            family=config.model_type,
            widths=widths,
            strides=strides,
            prefix_tokens=family.prefix_tokens + int(getattr(config, "num_register_tokens", 0)),
            mean=mean,
            std=std,
            parameters=parameter_count(model),
            interpolation=family.interpolation,
        )

    def layer(self, index: int) -> nn.Module:
        """The library's own module of one block."""
        layer: nn.Module = part(self.backbone, self.form.layers)[index]
        return layer

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patch grid of an image; both sides must be multiples of the largest stride.

        Raises:
            EncoderError: a side is not a positive multiple of it.
        """
        stride, patch = self.spec.strides[-1], self.spec.strides[0]
        for name, side in (("height", height), ("width", width)):
            if side < stride or side % stride:
                raise EncoderError(
                    f"The {name} of the image is {side} px; {self.spec.source} needs a multiple of {stride}."
                )
        return height // patch, width // patch

    def embed(self, pixels: Tensor) -> Tokens:
        """(B, 3, H, W) normalised pixels to the hidden states before block 0."""
        grid = self.grid(int(pixels.shape[-2]), int(pixels.shape[-1]))
        return Tokens(self.form.embed(self.backbone, pixels.to(self.dtype)), grid, self.spec.prefix_tokens)

    def block(self, index: int, tokens: Tokens) -> Tokens:
        """One frozen block."""
        out = self.form.step(self.backbone, self.layer(index), tokens)
        return tokens.with_values(out[0] if isinstance(out, tuple) else out)

    def finish(self, tokens: Tokens) -> Tokens:
        """The final norm, on all tokens."""
        return tokens.with_values(part(self.backbone, self.form.norm)(tokens.values))

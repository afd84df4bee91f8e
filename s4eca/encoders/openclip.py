"""CLIP models of the open_clip library, RemoteCLIP and GeoRSCLIP among them: one encoder at a time, without projection.

Identifiers: ``openclip:/local/dir`` and ``openclip:hf-hub:USER/NAME`` (open_clip's own hub format), or an architecture
and one file with its weights: ``openclip:ViT-B-32@/path/file.pt``, ``openclip:ViT-B-32@hf-hub:USER/REPO/FILE`` and
``openclip:ViT-B-32@TAG`` with a tag of open_clip's own list. A directory that holds nothing but one file of weights, or
a repository that the catalogue knows, needs no architecture where it is plain (`openclip_plain.py`).

The blocks are the library's own modules, called one at a time. Of a model only the encoder that is asked for is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

from s4eca.encoders.checkpoints import load_strictly
from s4eca.encoders.frozen import FrozenEncoder, parameter_count
from s4eca.encoders.openclip_files import Checkpoint, text_part
from s4eca.encoders.reading import readings, transformers_readings
from s4eca.encoders.roles import named_roles
from s4eca.encoders.split_attention import split_bare
from s4eca.errors import EncoderError
from s4eca.records import Reading, TextBatch, TextSpec, TextTokens, Tokens, VisionSpec, Words

VISION, TEXT = "openclip_vision", "openclip_text"
CLIP_MEAN, CLIP_STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
_NO_VISION = {"layers": 1, "width": 64, "patch_size": 8, "image_size": 8}
_NO_TEXT = {"layers": 1, "width": 64, "heads": 1, "vocab_size": 2, "context_length": 2}
# Ends of the names of linear layers that are called as modules; the first three are there once they are split.
_ROLES = {
    "query": ("attn.q_proj",),
    "key": ("attn.k_proj",),
    "value": ("attn.v_proj",),
    "out": ("attn.out_proj",),
    "fc1": ("mlp.c_fc",),
    "fc2": ("mlp.c_proj",),
}


class VisionBackbone(nn.Module):
    """The parts of an open_clip VisionTransformer that make patch tokens: all but pooling and projection.

    It shares its parts with the model it is taken from, which is not changed.
    """

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        self.grid_size: tuple[int, int] = tuple(visual.grid_size)
        self.conv1 = visual.conv1
        self.class_embedding = visual.class_embedding
        self.positional_embedding = visual.positional_embedding
        self.ln_pre = visual.ln_pre
        self.transformer = visual.transformer
        self.ln_post = visual.ln_post


class TextBackbone(nn.Module):
    """The text parts of an open_clip CLIP, or of its TextTransformer: all but the projection; the parts are shared."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.token_embedding = text.token_embedding
        self.positional_embedding = text.positional_embedding
        self.transformer = text.transformer
        self.ln_final = text.ln_final


class _OpenCLIPEncoder(FrozenEncoder):
    """What both wrappers share: where the blocks are and what their parts are called."""

    backbone: Any

    def roles(self) -> dict[str, list[str]]:
        """See `FrozenEncoder.roles`; until they are split no query, key or value, nor out in attention of torch's own.

        `torch.nn.MultiheadAttention` keeps query, key and value in one bare parameter, and multiplies with the weights
        of ``out_proj`` without calling it: a LoRA layer in its place would train nothing. It is a role only in the
        blocks whose attention open_clip wrote itself.
        """
        roles = named_roles(self.backbone, _ROLES)
        called = [name for name in roles.pop("out", []) if not self._inside_torch_attention(name)]
        return {**({"out": called} if called else {}), **roles}

    def split_projections(self) -> None:
        """See `FrozenEncoder.split_projections`."""
        split_bare(self.backbone)

    def _inside_torch_attention(self, name: str) -> bool:
        return isinstance(self.backbone.get_submodule(name.rpartition(".")[0]), nn.MultiheadAttention)

    def mlp_ends(self, index: int) -> tuple[nn.Module, nn.Module]:
        """See `FrozenEncoder.mlp_ends`."""
        mlp = self.backbone.transformer.resblocks[index].mlp
        return mlp, mlp


class OpenCLIPVision(_OpenCLIPEncoder):
    """An open_clip VisionTransformer behind the stepping interface of `s4eca.protocols.VisionEncoder`."""

    def __init__(self, visual: VisionTransformer, source: str, mean: Sequence[float], std: Sequence[float]) -> None:
        _check_vision(visual, source)
        backbone = VisionBackbone(visual)
        super().__init__(backbone)
        self.patch = int(visual.patch_size[0])
        blocks = len(backbone.transformer.resblocks)
        self.spec = VisionSpec(
            source=source,
            family=VISION,
            widths=(int(backbone.class_embedding.shape[0]),) * blocks,
            strides=(self.patch,) * blocks,
            prefix_tokens=1,
            mean=_three(mean),
            std=_three(std),
            parameters=parameter_count(backbone),
            interpolation="bicubic-antialias",
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
        """(B, 3, H, W) normalised pixels to class token and patches, after the norm in front of block 0."""
        grid = self.grid(int(pixels.shape[-2]), int(pixels.shape[-1]))
        backbone = self.backbone
        patches = backbone.conv1(pixels).flatten(2).transpose(1, 2)
        first = backbone.class_embedding.to(patches.dtype).expand(len(pixels), 1, -1)
        values = torch.cat([first, patches], dim=1) + self.positions(grid).to(patches.dtype)
        return Tokens(backbone.ln_pre(values), grid, 1)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Position table (1 + h*w, C) of a grid: bicubic with antialiasing, as open_clip resizes it on loading."""
        table: Tensor = self.backbone.positional_embedding
        trained = self.backbone.grid_size
        if grid == trained:
            return table
        image = table[1:].float().reshape(1, *trained, -1).permute(0, 3, 1, 2)
        image = F.interpolate(image, size=grid, mode="bicubic", antialias=True, align_corners=False)
        return torch.cat([table[:1], image.flatten(2)[0].T.to(table.dtype)])

    def block(self, index: int, tokens: Tokens) -> Tokens:
        """One frozen block."""
        return tokens.with_values(self.backbone.transformer.resblocks[index](tokens.values))

    def finish(self, tokens: Tokens) -> Tokens:
        """The final norm, on all tokens (open_clip may apply it to the pooled one alone)."""
        return tokens.with_values(self.backbone.ln_post(tokens.values))


class OpenCLIPText(_OpenCLIPEncoder):
    """The causal text encoder of an open_clip model behind the interface of `s4eca.protocols.TextEncoder`."""

    def __init__(self, text: Any, tokenizer: Any, source: str) -> None:
        _check_text(text, source)
        backbone = TextBackbone(text)
        super().__init__(backbone)
        self.tokenizer = tokenizer
        vocabulary, width = (int(n) for n in backbone.token_embedding.weight.shape)
        self.end = vocabulary - 1 if tokenizer is None else _end_token(tokenizer, vocabulary, source)
        self.spec = TextSpec(
            source=source,
            family=TEXT,
            width=width,
            blocks=len(backbone.transformer.resblocks),
            longest=int(backbone.positional_embedding.shape[0]),
            parameters=parameter_count(backbone),
        )

    def tokenize(self, expressions: Sequence[str], length: int) -> TextBatch:
        """Ids and mask (B, L), L at most `length`; a longer expression is cut with its end token kept.

        Raises:
            EncoderError: the tokenizer ends an expression without its end token.
        """
        length = min(length, self.spec.longest)
        ids: Tensor = self.tokenizer(list(expressions), context_length=length)
        ends = ids == self.end
        if not bool(ends.any(1).all()):
            raise EncoderError(f"The tokenizer of {self.spec.source} gives no end token {self.end} to an expression.")
        # Id 0, with which open_clip pads, is also a word; what counts ends with the first end token.
        mask = torch.arange(ids.shape[1]) <= ends.int().argmax(1, keepdim=True)
        longest = int(mask.sum(1).max())
        return TextBatch(ids[:, :longest], mask[:, :longest])

    def measure(self, expressions: Sequence[str]) -> list[Reading]:
        """See `s4eca.protocols.TextEncoder.measure`."""
        words = self.tokenizer
        inner = getattr(words, "tokenizer", None)  # that of transformers, where the library wraps one
        if inner is not None:
            return transformers_readings(inner, expressions, words.clean_fn, self.end)
        whole = [[words.sot_token_id, *words.encode(text), self.end] for text in expressions]
        return readings(expressions, whole, lambda said: [*map(words.encode, said)], words.all_special_ids, self.end)

    def embed(self, batch: TextBatch) -> TextTokens:
        """Hidden states before layer 0."""
        values = self.backbone.token_embedding(batch.ids)
        values = values + self.backbone.positional_embedding[: batch.ids.shape[1]].to(values.dtype)
        return TextTokens(values, batch)

    def block(self, index: int, tokens: TextTokens) -> TextTokens:
        """One frozen layer under the causal mask; padding stands behind the end token, where no word can see it."""
        length = tokens.values.shape[1]
        mask = torch.full((length, length), float("-inf"), device=tokens.values.device).triu(1)
        return tokens.with_values(self.backbone.transformer.resblocks[index](tokens.values, attn_mask=mask))

    def finish(self, tokens: TextTokens) -> Words:
        """Final norm; pooled = the first end token."""
        values = self.backbone.ln_final(tokens.values)
        end = (tokens.batch.ids == self.end).int().argmax(1)
        return Words(values, tokens.batch.mask, values[torch.arange(len(values), device=values.device), end])


def load_vision(source: str) -> OpenCLIPVision:
    """The vision encoder of an open_clip checkpoint.

    Raises:
        EncoderError: not found, not reachable, damaged, of another architecture, or no ViT.
    """
    checkpoint = Checkpoint.of(source)
    encoder = _vision_on_meta(checkpoint.config(), checkpoint)
    part = {name.removeprefix("visual."): t for name, t in checkpoint.state().items() if name.startswith("visual.")}
    part.pop("proj", None)
    load_strictly(encoder.backbone, part, source)
    return encoder


def load_text(source: str) -> OpenCLIPText:
    """The text encoder of an open_clip checkpoint, and its tokenizer.

    Raises:
        EncoderError: not found, not reachable, damaged, of another architecture, or no causal text encoder.
    """
    checkpoint = Checkpoint.of(source)
    encoder = _text_on_meta(checkpoint.config(), source, checkpoint.tokenizer)
    load_strictly(encoder.backbone, text_part(checkpoint.state(), encoder.backbone.state_dict()), source)
    return encoder


def wrap_vision(module: Any, source: str | None = None) -> OpenCLIPVision:
    """An open_clip model that is already loaded, or its ``visual``, as a frozen vision encoder.

    The module's parts are shared and frozen. Normalisation is what open_clip noted on the module, else OpenAI's.

    Args:
        module: a `CLIP`, `CustomTextCLIP` or `VisionTransformer` of open_clip.
        source: identifier to remember it by.

    Raises:
        EncoderError: no ViT, or one without a norm over its patches.
    """
    visual = getattr(module, "visual", module)
    mean, std = getattr(visual, "image_mean", None), getattr(visual, "image_std", None)
    return OpenCLIPVision(visual, source or f"module:{type(module).__name__}", mean or CLIP_MEAN, std or CLIP_STD)


def wrap_text(module: Any, tokenizer: Any, source: str | None = None) -> OpenCLIPText:
    """The text encoder of an open_clip model that is already loaded, as a frozen text encoder; parts are shared.

    Args:
        module: a `CLIP`, `CustomTextCLIP` or `TextTransformer` of open_clip.
        tokenizer: what ``open_clip.get_tokenizer`` gives for it.
        source: identifier to remember it by.

    Raises:
        EncoderError: no causal text encoder, or a tokenizer of another model.
    """
    name = source or f"module:{type(module).__name__}"
    if tokenizer is None:
        raise EncoderError(f"{name} needs its tokenizer; pass what open_clip.get_tokenizer gives for the model.")
    return OpenCLIPText(getattr(module, "text", module), tokenizer, name)


def meta_vision(source: str) -> OpenCLIPVision:
    """The vision wrapper on the meta device: shapes and names, no weights and no network.

    Raises:
        EncoderError: no architecture or configuration by that name on this machine, or no ViT.
    """
    checkpoint = Checkpoint.of(source)
    return _vision_on_meta(checkpoint.config(here=True), checkpoint)


def meta_text(source: str) -> OpenCLIPText:
    """The text wrapper on the meta device, without tokenizer.

    Raises:
        EncoderError: no architecture or configuration by that name on this machine, or no causal text encoder.
    """
    return _text_on_meta(Checkpoint.of(source).config(here=True), source, lambda: None)


def _vision_on_meta(config: dict[str, Any], checkpoint: Checkpoint) -> OpenCLIPVision:
    """The vision wrapper of a configuration, its model built beside a text encoder of no size."""
    source = checkpoint.source
    vision = config.get("vision_cfg")
    if not isinstance(vision, dict) or "timm_model_name" in vision or not isinstance(vision.get("layers", 12), int):
        kind = vision.get("timm_model_name", "a ResNet") if isinstance(vision, dict) else "missing"
        raise EncoderError(f"The image encoder of {source} is {kind}; only open_clip's own ViT can be stepped through.")
    model = _on_meta(config, source, vision_cfg=vision, text_cfg=_NO_TEXT)
    return OpenCLIPVision(model.visual, source, *checkpoint.normalisation())


def _text_on_meta(config: dict[str, Any], source: str, tokenizer: Callable[[], Any]) -> OpenCLIPText:
    """The text wrapper of a configuration, its model built beside a vision encoder of no size."""
    text = config.get("text_cfg")
    if not isinstance(text, dict) or text.get("hf_model_name"):
        kind = text.get("hf_model_name") if isinstance(text, dict) else "missing"
        raise EncoderError(f"The text encoder of {source} is {kind}; load that encoder of transformers by its own id.")
    model = _on_meta(config, source, vision_cfg=_NO_VISION, text_cfg=text, cls=CustomTextCLIP)
    _check_text(model.text, source)  # before a tokenizer is looked for
    return OpenCLIPText(model.text, tokenizer(), source)


def _on_meta(config: dict[str, Any], source: str, cls: Any = CLIP, **parts: Any) -> Any:
    try:
        with torch.device("meta"):
            return cls(embed_dim=config["embed_dim"], quick_gelu=bool(config.get("quick_gelu", False)), **parts)
    except Exception as error:  # what a library raises on odd settings is not ours to list
        raise EncoderError(f"The configuration of {source} does not describe an open_clip model: {error!r}") from error


def _check_vision(visual: Any, source: str) -> None:
    """Refuse what has no patch tokens under a final norm."""
    if not isinstance(visual, VisionTransformer):
        raise EncoderError(f"The image encoder of {source} is a {type(visual).__name__}, not open_clip's ViT.")
    if getattr(visual, "attn_pool", None) is not None:
        raise EncoderError(f"The image encoder of {source} pools by attention, so no final norm fits its patches.")
    if visual.patch_size[0] != visual.patch_size[1]:
        raise EncoderError(f"The patches of {source} are {visual.patch_size} px; only square ones can be used.")
    _check_layout(visual.transformer, source)


def _check_text(text: Any, source: str) -> None:
    """Refuse encoders that read text in another way than CLIP's: without causal mask, or pooled elsewhere."""
    if not isinstance(text, CLIP | TextTransformer):
        raise EncoderError(f"The text encoder of {source} is a {type(text).__name__}, not open_clip's own.")
    pool = getattr(text, "text_pool_type", None) or getattr(text, "pool_type", "argmax")
    if text.attn_mask is None or getattr(text, "cls_emb", None) is not None or pool not in ("argmax", "eos"):
        raise EncoderError(
            f"The text encoder of {source} does not read causally up to an end token (pooling {pool!r}), as SigLIP's "
            "and CoCa's do not; load a SigLIP checkpoint of transformers, for instance google/siglip-base-patch16-224."
        )
    _check_layout(text.transformer, source)


def _check_layout(transformer: Any, source: str) -> None:
    if not getattr(transformer, "batch_first", False):
        raise EncoderError(
            f"The blocks of {source} take the sequence first; build the model with open_clip 3 or newer."
        )


def _end_token(tokenizer: Any, vocabulary: int, source: str) -> int:
    """The id that ends an expression; also checks that tokenizer and model belong together."""
    inner = getattr(tokenizer, "tokenizer", None)
    size = int(tokenizer.vocab_size) if inner is None else len(inner)
    end = tokenizer.eot_token_id if inner is None else inner.eos_token_id
    if size > vocabulary or end is None or not vocabulary // 2 <= size:
        raise EncoderError(
            f"The tokenizer of {source} has {size} entries, end token {end}, where the model has {vocabulary}; "
            "its files are missing or belong to another model."
        )
    return int(end)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue

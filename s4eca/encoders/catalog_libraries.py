"""The catalogue's families and rows for open_clip and timm, as plain values; `catalog.py` makes entries of them.

Sizes name the library's architecture and what adapters must know of it; a test builds each on the meta device. A
licence that could not be read from the library or its documentation is not guessed.
"""

from __future__ import annotations

from typing import Any

_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_SATELLITE = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))
_UNSTATED = "not verified; see source"

FAMILIES: dict[str, dict[str, Any]] = {
    "openclip_vision": {
        "role": "vision",
        "library": "openclip",
        "prefix_tokens": 1,
        "normalisation": _CLIP,
        "interpolation": "bicubic-antialias",
    },
    "openclip_text": {"role": "text", "library": "openclip"},
    "timm_vit": {"role": "vision", "library": "timm", "prefix_tokens": 1, "interpolation": "bicubic-antialias"},
    "timm_eva": {"role": "vision", "library": "timm", "prefix_tokens": 1, "interpolation": "rotary"},
    "timm_swin": {"role": "vision", "library": "timm"},
    "timm_swinv2": {"role": "vision", "library": "timm"},
}

_TEXT_B = (63_165_952, {"hidden_size": 512, "num_hidden_layers": 12, "max_position_embeddings": 77})
_TEXT_L = (123_060_480, {"hidden_size": 768, "num_hidden_layers": 12, "max_position_embeddings": 77})
_REMOTE = "contrastive training on remote sensing captions (arXiv 2306.11029)"
_GEORS = "fine-tuned on RS5M (arXiv 2306.11300) from OpenAI's model, hence QuickGELU"


def _vit(width: int, blocks: int, patch: int, registers: int = 0) -> dict[str, Any]:
    found = {"hidden_size": width, "num_hidden_layers": blocks, "patch_size": patch}
    return {**found, "num_register_tokens": registers} if registers else found


_B32 = (87_456_000, _vit(768, 12, 32))
_B16 = (85_799_424, _vit(768, 12, 16))
_L14 = (303_179_776, _vit(1024, 24, 14))


def _openclip_rows() -> list[dict[str, Any]]:
    """Both encoders of each checkpoint: identifier behind ``openclip:``, encoders, licence, file on the hub, more."""
    laion = "laion/CLIP-ViT-{}/open_clip_model.safetensors"
    remote = "chendelong/RemoteCLIP/RemoteCLIP-{}.pt"
    georsclip = "Zilun/GeoRSCLIP/ckpt/RS5M_ViT-B-32.pt"
    table: list[tuple[str, Any, Any, str, str, dict[str, Any]]] = [
        ("ViT-B-32@laion2b_s34b_b79k", _B32, _TEXT_B, "MIT", laion.format("B-32-laion2B-s34B-b79K"), {}),
        ("ViT-B-16@laion2b_s34b_b88k", _B16, _TEXT_B, "MIT", laion.format("B-16-laion2B-s34B-b88K"), {}),
        (
            "ViT-L-14@laion2b_s32b_b82k",
            _L14,
            _TEXT_L,
            "MIT",
            laion.format("L-14-laion2B-s32B-b82K"),
            {"normalisation": _HALF},
        ),
        *(
            (f"{name}@hf-hub:{remote.format(name)}", vision, text, _UNSTATED, remote.format(name), {"remark": _REMOTE})
            for name, vision, text in (("ViT-B-32", _B32, _TEXT_B), ("ViT-L-14", _L14, _TEXT_L))
        ),
        (f"ViT-B-32-quickgelu@hf-hub:{georsclip}", _B32, _TEXT_B, _UNSTATED, georsclip, {"remark": _GEORS}),
    ]
    return [
        {
            "id": f"openclip:{name}",
            "family": f"openclip_{role}",
            "parameters": count,
            "licence": licence,
            "sizes": {"architecture": name.partition("@")[0], **sizes},
            "source": f"hub:{file}",
            **{key: value for key, value in more.items() if key != "normalisation" or role == "vision"},
        }
        for name, vision, text, licence, file, more in table
        for role, (count, sizes) in (("vision", vision), ("text", text))
    ]


def _timm_rows() -> list[dict[str, Any]]:
    """Identifier behind ``timm:``, family, parameters, licence and sizes; the hub's repository has the same name."""
    swin = {"embed_dim": 128, "depths": [2, 2, 18, 2], "patch_size": 4}
    apache, meta = "Apache-2.0", "DINOv3 License"
    table = [
        ("vit_small_patch14_dinov2.lvd142m", "timm_vit", 22_056_192, apache, _vit(384, 12, 14)),
        ("vit_base_patch14_dinov2.lvd142m", "timm_vit", 86_579_712, apache, _vit(768, 12, 14)),
        ("vit_large_patch14_dinov2.lvd142m", "timm_vit", 304_367_616, apache, _vit(1024, 24, 14)),
        ("vit_small_patch14_reg4_dinov2.lvd142m", "timm_vit", 22_057_344, apache, _vit(384, 12, 14, 4)),
        ("vit_base_patch14_reg4_dinov2.lvd142m", "timm_vit", 86_582_016, apache, _vit(768, 12, 14, 4)),
        ("vit_large_patch14_reg4_dinov2.lvd142m", "timm_vit", 304_370_688, apache, _vit(1024, 24, 14, 4)),
        ("vit_small_patch16_dinov3.lvd1689m", "timm_eva", 21_586_944, meta, _vit(384, 12, 16, 4)),
        ("vit_base_patch16_dinov3.lvd1689m", "timm_eva", 85_641_216, meta, _vit(768, 12, 16, 4)),
        ("vit_large_patch16_dinov3.lvd1689m", "timm_eva", 303_079_424, meta, _vit(1024, 24, 16, 4)),
        ("vit_large_patch16_dinov3.sat493m", "timm_eva", 303_079_424, meta, _vit(1024, 24, 16, 4)),
        ("swin_base_patch4_window7_224.ms_in22k_ft_in1k", "timm_swin", 86_743_224, "MIT", swin),
        ("swinv2_base_window8_256.ms_in1k", "timm_swinv2", 86_893_816, "MIT", swin),
    ]
    return [
        {
            "id": f"timm:{name}",
            "family": family,
            "parameters": count,
            "licence": licence,
            "sizes": {"architecture": name.partition(".")[0], **sizes},
            "source": f"hub:timm/{name}/config.json",
            **({"normalisation": _SATELLITE, "remark": "trained on satellite imagery"} if "sat493m" in name else {}),
        }
        for name, family, count, licence, sizes in table
    ]


ROWS: list[dict[str, Any]] = [*_openclip_rows(), *_timm_rows()]

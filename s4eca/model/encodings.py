"""What an encoding of an image depends on, and which part of it an adapter reads."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from s4eca.adapters.sites import inside
from s4eca.config import INTERPOLATION, S4ECAConfig
from s4eca.decoder.parts.build import part_classes
from s4eca.encoders.frozen import state_fingerprint
from s4eca.errors import ConfigError
from s4eca.model.holder import Holder
from s4eca.records import Encoded, Fused, Prediction


def uncacheable(model: Holder) -> str | None:
    """Why features of a model cannot be cached, as the end of a sentence; None where they can."""
    if model.vision.trains and model.vision.guest:
        return "the peft adapter inside the vision encoder trains"
    if model.vision.trains and not _trains_late(model):
        return f"the method {model.config.method!r} trains inside the vision encoder"
    if model.bands is not None:
        return "the map from bands to colours trains in front of the vision encoder (chosen bands can be cached)"
    return model.method.uncacheable


def _trains_late(model: Holder) -> bool:
    """Whether all that trains inside the vision encoder lies in the blocks behind the prefix that is kept."""
    late = model.method.late_blocks
    if not late:
        return False
    total = model.vision.spec.blocks
    within = inside(model.vision, range(total - late, total))
    return all(name.startswith(within) for name, p in model.vision.backbone.named_parameters() if p.requires_grad)


def origin(model: Holder) -> dict[str, Any]:
    """What an encoding by the active adapter depends on beside the image, the sites and the pair."""
    return {
        "image_size": model.config.image_size,
        "late_blocks": model.method.late_blocks,
        "bands": model.config.band_settings(),
        "adapter": model.active if uncacheable(model) else None,
    }


def detail(model: Holder, pixels: Tensor) -> Tensor | None:
    """The image (B, 3, 8h, 8w) for a decoder that draws fine edges; None where it does not."""
    return _shown(model, pixels, 8) if model.config.decoder_detail else None


def fine(model: Holder, pixels: Tensor) -> Tensor | None:
    """The image (B, 3, 16h, 16w) for a part of the decoder that looks at pixels; None where none does."""
    return _shown(model, pixels, 16) if reads_fine(model.config) else None


def reads_fine(config: S4ECAConfig) -> bool:
    """Whether a part of the decoder looks at the pixels."""
    return any(part.FINE for part in part_classes(config).values())


def _shown(model: Holder, pixels: Tensor, times: int) -> Tensor:
    size = (times * (pixels.shape[-2] // model.stride), times * (pixels.shape[-1] // model.stride))
    return F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)


def drawn(model: Holder, encoded: Encoded, fused: Fused) -> Prediction:
    """What the active decoder makes of fused levels and words, logits (B, 1, 4h, 4w)."""
    found: Prediction = model.decoder(fused, encoded.detail, encoded.kept, encoded.fine)
    return found


def feature_recipe(model: Holder, dtype: str) -> dict[str, Any]:
    """What cached features of a model depend on, beside the bytes of the image."""
    vision, rounded = model.vision, model.running.encoder_dtype
    return {
        "format": 1,
        "weights": vision.fingerprint,
        "behaviour": vision.behaviour,
        "sites": list(model.method.sites),
        "late_blocks": model.method.late_blocks,
        "image_size": model.config.image_size,
        "image_interpolation": INTERPOLATION,
        "position_interpolation": vision.spec.interpolation,
        "mean": list(vision.spec.mean),
        "std": list(vision.spec.std),
        "detail": bool(model.config.decoder_detail),
        **({"fine": True} if reads_fine(model.config) else {}),
        "dtype": dtype,
        **model.config.band_settings(),
        **({} if rounded == "fp32" else {"encoder_dtype": rounded}),
        **({"guest": state_fingerprint(vision.added())} if vision.guest else {}),
    }


def fitting(model: Holder, encoded: Encoded) -> Encoded:
    """The part of an encoding that the active adapter reads.

    Raises:
        ConfigError: it was made for an adapter that reads another one.
    """
    for what, wanted in origin(model).items():
        found = wanted if encoded.origin is None else encoded.origin[what]
        if found != wanted:
            raise ConfigError(
                f"The image was encoded with {what} = {found!r}, and the adapter {model.active!r} needs {wanted!r}; "
                "encode it again with that adapter active."
            )
    for what, read in (("detail", model.config.decoder_detail > 0), ("fine", reads_fine(model.config))):
        if read and getattr(encoded, what) is None:
            raise ConfigError(
                f"The image was encoded without the pixels ({what}) that the adapter {model.active!r} reads; encode it "
                "again with that adapter active."
            )
    return _of_sites(encoded, model)


def _of_sites(encoded: Encoded, model: Holder) -> Encoded:
    """The blocks of an encoding that the active adapter reads."""
    frozen = model.vision.spec.blocks - model.method.late_blocks
    reads = [site for site in model.method.sites if site < frozen]
    if list(encoded.sites) == reads:
        return encoded
    if not set(reads) <= set(encoded.sites):
        raise ConfigError(
            f"The encoding keeps the blocks {_list(encoded.sites)}, and the adapter {model.active!r} reads "
            f"{_list(reads)}; encode the image again with that adapter active."
        )
    sites = {site: encoded.sites[site] for site in reads}
    return dataclasses.replace(encoded, sites=sites)


def _list(items: Any) -> str:
    return ", ".join(str(item) for item in items) or "none"

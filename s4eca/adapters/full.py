"""Full fine-tuning: every parameter of both encoders trains, or every one of their last blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from s4eca.adapters.base import NO_SITES
from s4eca.adapters.decoder_only import DecoderOnly
from s4eca.adapters.sites import BASELINE_MODES, changed, inside
from s4eca.config import S4ECAConfig
from s4eca.records import TextSpec, VisionSpec

WHOLE = "it trains the weights of the encoders, and small updates are lost below fp32"


class FullFineTune(DecoderOnly):
    """Nothing is added; all weights of both encoders train, at a rate of their own.

    All of them count (149,749,504 of the default pair). Some never learn, as in any full fine-tuning of these
    checkpoints: biases of the keys, which the softmax cancels; the mask token, which only pre-training reads; rows of
    the word and position tables that no expression touches. In ``late-inject`` the weights of the last blocks train,
    and neither embeddings nor final norms.
    """

    MODES: ClassVar[tuple[str, ...]] = BASELINE_MODES
    REWRITES: ClassVar[bool] = True
    SEPARABLE: ClassVar[bool] = False
    DEAD: ClassVar[tuple[str, ...]] = (r"\.(key|k_proj)\.bias$", r"mask_token$")
    # METHOD's range is 1e-5 to 5e-5 (RMSIN 3e-5, LAVT 5e-5).
    ENCODERS_RATE: ClassVar[float | None] = 3e-5
    REFUSED: ClassVar[Mapping[str, str]] = {
        "checkpointing: adapters": NO_SITES,
        "encoder_dtype: bf16": WHOLE,
        "encoder_dtype: int8": WHOLE,
    }
    ORIGIN: ClassVar[str] = "a control: both encoders train completely"

    def __init__(self, config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> None:
        super().__init__(config, vision, text)
        self.changed = changed(config, vision), changed(config, text)

    def rewrite(self, vision: Any, text: Any) -> None:
        """Free the weights of both encoders; the checkpoint's fingerprint is taken before anything can move."""
        for encoder, blocks in zip((vision, text), self.changed, strict=True):
            if not any(parameter.is_meta for parameter in encoder.parameters()):
                _ = encoder.fingerprint
            freed = inside(encoder, blocks) if self.late_blocks else ("",)
            for name, parameter in encoder.backbone.named_parameters():
                parameter.requires_grad_(parameter.requires_grad or name.startswith(freed))

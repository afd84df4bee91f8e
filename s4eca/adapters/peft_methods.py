"""LoRA, DoRA, IA3, VeRA and LN-tuning of both encoders, by peft's own layers.

Language meets vision in the decoder alone. What is adapted is told by the encoders' roles (`FrozenEncoder.roles`),
never by a guess at names. Where a library fuses query, key and value, the encoder splits them first
(`FrozenEncoder.split_projections`). An encoder that cannot, but calls one linear layer for the three, has that adapted:
LoRA of rank rho then costs rho (d + 3d) a block where three separate ones cost 3 rho (d + d), and IA3 has a vector on
the queries too, which adds numbers and no freedom (only products of a query and a key channel are ever read).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from s4eca.adapters.base import NO_SITES
from s4eca.adapters.decoder_only import DecoderOnly
from s4eca.adapters.plain import check_plain
from s4eca.adapters.settings import check_whole
from s4eca.adapters.sites import BASELINE_MODES, changed, inside
from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.layers.peft_layers import ADAPTER, exactly, folder_files, inject, layers_of, quiet_peft
from s4eca.protocols import TextEncoder, VisionEncoder
from s4eca.records import TextSpec, VisionSpec
from s4eca.registry import method_settings

LINEAR = ("query", "key", "value", "out", "fc1", "fc2")
FUSED = ("query", "key", "value")
ROUNDED = "its magnitudes are the lengths of the rows before they are rounded"


@dataclass(frozen=True)
class LoRASettings:
    """Settings of LoRA.

    Attributes:
        rank: of both encoders' updates.
        rank_text: of the text encoder's, where it differs; None is the same.
        alpha: scale of the updates, times 1 / rank; None is twice the rank.
        roles: which linear layers are updated.
    """

    rank: int = 13
    rank_text: int | None = None
    alpha: float | None = None
    roles: Sequence[str] = LINEAR

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_whole("rank", self.rank)
        if self.rank_text is not None:
            check_whole("rank_text", self.rank_text)
        alpha, roles = self.alpha, self.roles
        is_number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
        if alpha is not None and not (is_number and math.isfinite(alpha) and alpha > 0):
            raise ConfigError(f"options.alpha is {alpha!r}; it must be a number above 0, or null for twice the rank.")
        if not isinstance(roles, list | tuple) or not roles or not all(role in LINEAR for role in roles):
            raise ConfigError(f"options.roles is {roles!r}; it must be a list of some of {', '.join(LINEAR)}.")


@dataclass(frozen=True)
class DoRASettings(LoRASettings):
    """Settings of DoRA, which LoRA has as well."""

    rank_text: int | None = 12


@dataclass(frozen=True)
class VeRASettings:
    """Settings of VeRA.

    Attributes:
        rank: inner size of the random pair.
        seed: what the random pair is drawn from.
    """

    rank: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_whole("rank", self.rank)
        check_whole("seed", self.seed, least=0)


class PeftMethod(DecoderOnly):
    """What the five share: the frame without language in the vision encoder, and the rewriting of both encoders."""

    MODES: ClassVar[tuple[str, ...]] = BASELINE_MODES
    REWRITES: ClassVar[bool] = True
    REFUSED: ClassVar[Mapping[str, str]] = {"checkpointing: adapters": NO_SITES}
    ORIGIN: ClassVar[str] = "peft's own implementation on the frozen encoders"
    SPLITS: ClassVar[bool] = True  # whether query, key, value and output must be layers of their own

    def __init__(self, config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> None:
        super().__init__(config, vision, text)
        self.method = config.method
        self.own: Any = method_settings(config)
        self.changed = {"vision": changed(config, vision), "text": changed(config, text)}

    def rewrite(self, vision: VisionEncoder, text: TextEncoder) -> None:
        """Put the layers into both encoders, in place; their old weights stay as they are, and frozen.

        What can be refused is refused before anything is changed; where that needs the projections split first, the
        layers that are in already come out again.

        Raises:
            ConfigError: an encoder has no separate module for what the method adapts, or is rewritten already.
        """
        pair: tuple[tuple[Any, str], ...] = ((vision, "vision"), (text, "text"))
        for encoder, part in pair:
            check_plain(encoder, part, self.method)
        for encoder, part in pair:
            # Fused projections have these roles only once they are split.
            if not self.SPLITS or "query" in encoder.roles():
                self.peft_config(encoder, part)
        try:
            for encoder, part in pair:
                self._rewrite(encoder, part)
        except BaseException:
            self.withdraw(vision, text)
            raise

    def activate(self, vision: VisionEncoder, text: TextEncoder) -> None:
        """Let the layers speak and learn again."""
        for _, _, layer in layers_of(vision, text):
            layer.enable_adapters(True)

    def deactivate(self, vision: VisionEncoder, text: TextEncoder) -> None:
        """Let the encoders speak as if the layers were not there; they do not learn meanwhile."""
        for _, _, layer in layers_of(vision, text):
            layer.enable_adapters(False)

    def withdraw(self, vision: Any, text: Any) -> None:
        """Take the layers out for good; the weights they stood around are in their places again."""
        for parent, name, layer in layers_of(vision, text):
            setattr(parent, name, layer.get_base_layer())
        for encoder in (vision, text):
            vars(encoder.backbone).pop("peft_config", None)

    def extra_files(self, vision: VisionEncoder, text: TextEncoder, dtype: torch.dtype) -> dict[str, bytes]:
        """What is saved beside the adapter: per encoder a plain peft folder, so that peft alone opens it.

        Returns:
            Path inside the adapter folder (``vision/adapter_model.safetensors`` ...) -> contents.
        """
        return {
            f"{part}/{name}": data
            for part, encoder in (("vision", vision), ("text", text))
            for name, data in folder_files(encoder, ADAPTER, dtype).items()
        }

    def peft_config(self, encoder: Any, part: str) -> Any:
        """Peft's configuration for one encoder."""
        raise NotImplementedError

    def _rewrite(self, encoder: Any, part: str) -> None:
        if not any(parameter.is_meta for parameter in encoder.backbone.parameters()):
            _ = encoder.fingerprint  # that of the checkpoint, kept from here on
        if self.SPLITS:
            encoder.split_projections()
        settings = self.peft_config(encoder, part)
        with quiet_peft():
            inject(encoder.backbone, settings)
        encoder.eval()

    def _targets(self, encoder: Any, part: str, roles: Sequence[str]) -> str:
        """A pattern that fits exactly the modules of the encoder that play these roles."""
        return exactly(self._names(encoder, part, roles), (name for name, _ in encoder.backbone.named_modules()))

    def _names(self, encoder: Any, part: str, roles: Sequence[str]) -> list[str]:
        found: list[str] = []
        known = encoder.roles()
        for role in roles:
            names = known.get(role) or (known.get("qkv", []) if role in FUSED else [])
            if not names or any(_inside_fused_attention(encoder.backbone, name) for name in names):
                raise ConfigError(
                    f"The method {self.method!r} adapts the role {role!r}, for which the {part} encoder "
                    f"{encoder.spec.source} has no linear layer of its own, as its attention reads query, key, value "
                    f"and output weights in one fused call; it has the roles {', '.join(known)}."
                )
            found += [name for name in names if name not in found]
        if not self.late_blocks:
            return found
        within = inside(encoder, self.changed[part])
        return [name for name in found if name.startswith(within)]


class LoRA(PeftMethod):
    """Low-rank updates W + (alpha / rank) B A of linear layers (Hu et al. 2022); B starts at zero: nothing changes."""

    SETTINGS: ClassVar[type] = LoRASettings
    KNOBS: ClassVar[tuple[str, ...]] = ("rank", "rank_text")
    DORA: ClassVar[bool] = False

    def peft_config(self, encoder: Any, part: str) -> Any:
        """See `PeftMethod.peft_config`."""
        from peft import LoraConfig

        own: LoRASettings = self.own
        rank = own.rank_text if part == "text" and own.rank_text is not None else own.rank
        return LoraConfig(
            r=rank,
            lora_alpha=2 * rank if own.alpha is None else own.alpha,
            target_modules=self._targets(encoder, part, own.roles),
            use_dora=self.DORA,
        )


class DoRA(LoRA):
    """LoRA with the length of every row of the weight as a parameter of its own (Liu et al. 2024), the norm detached.

    Peft adds (m / norm - 1) W x + (m / norm) (alpha / rank) B A x to the plain output. At the start m and norm come
    from the same computation, so the factor is exactly 1 and the output is the plain one to the last bit, as long as
    the model stays on the device and in the type it was made with; elsewhere it is so up to rounding.
    """

    SETTINGS: ClassVar[type] = DoRASettings
    REFUSED: ClassVar[Mapping[str, str]] = {
        **PeftMethod.REFUSED,
        "encoder_dtype: bf16": ROUNDED,
        "encoder_dtype: int8": ROUNDED,
    }
    # The rows whose lengths it learns are those of the module as it was given.
    HALF_GIVEN: ClassVar[bool] = True
    DORA: ClassVar[bool] = True


class IA3(PeftMethod):
    """Vectors, 1 at the start, on the outputs of key and value and on the input of fc2 (Liu et al. 2022)."""

    def peft_config(self, encoder: Any, part: str) -> Any:
        """See `PeftMethod.peft_config`."""
        from peft import IA3Config

        return IA3Config(
            target_modules=self._targets(encoder, part, ("key", "value", "fc2")),
            feedforward_modules=self._targets(encoder, part, ("fc2",)),
        )


class VeRA(PeftMethod):
    """Two vectors for each linear layer around one frozen random pair of matrices (Kopiczko et al. 2024).

    The pair is drawn here (`random_pair`), so that it follows from `seed` alone and not from the version of peft; each
    layer takes the part that fits it. lambda_d starts at 0.1, lambda_b at 0, so nothing changes at first.
    """

    SETTINGS: ClassVar[type] = VeRASettings

    def peft_config(self, encoder: Any, part: str) -> Any:
        """See `PeftMethod.peft_config`."""
        from peft import VeraConfig

        return VeraConfig(
            r=self.own.rank,
            target_modules=self._targets(encoder, part, LINEAR),
            projection_prng_key=self.own.seed,
            d_initial=0.1,
            save_projection=True,
        )


class LNTuning(PeftMethod):
    """Scale and shift of every LayerNorm, trained as copies of the checkpoint's (Zhao et al. 2024)."""

    SPLITS: ClassVar[bool] = False
    REFUSED: ClassVar[Mapping[str, str]] = {
        **PeftMethod.REFUSED,
        "encoder_dtype: bf16": "it trains norms inside the encoders, and torch's takes no bf16 beside fp32 weights",
    }

    def peft_config(self, encoder: Any, part: str) -> Any:
        """See `PeftMethod.peft_config`."""
        from peft import LNTuningConfig

        return LNTuningConfig(target_modules=self._targets(encoder, part, ("norm",)))


def _inside_fused_attention(backbone: nn.Module, name: str) -> bool:
    """Whether a module's weight is read by `nn.MultiheadAttention`, which never calls the module."""
    return isinstance(backbone.get_submodule(name.rpartition(".")[0]), nn.MultiheadAttention)

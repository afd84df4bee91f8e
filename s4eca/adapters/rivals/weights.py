"""LoRA, DoRA, IA3, VeRA and LN-tuning of both encoders, by peft's own layers.

Language meets vision in the decoder alone. What is adapted is told by the encoders' roles (`FrozenEncoder.roles`),
never by a guess at names. Where a library fuses query, key and value, the encoder splits them first
(`FrozenEncoder.split_projections`). An encoder that cannot, but calls one linear layer for the three, has that adapted:
LoRA of rank rho then costs rho (d + 3d) a block where three separate ones cost 3 rho (d + d), and IA3 has a vector on
the queries too, which adds numbers and no freedom (only products of a query and a key channel are ever read).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from s4eca.adapters.rivals.decoder_only import DecoderOnly
from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.protocols import TextEncoder, TextSpec, VisionEncoder, VisionSpec

LINEAR = ("query", "key", "value", "out", "fc1", "fc2")
FUSED = ("query", "key", "value")
ADAPTER = "default"


class PeftMethod(DecoderOnly):
    """What the five share: the frame without language in the vision encoder, and the rewriting of both encoders."""

    OPTIONS: ClassVar[dict[str, Any]] = {}
    IDENTITY: ClassVar[bool] = True
    SPLITS: ClassVar[bool] = True  # whether query, key, value and output must be layers of their own

    def __init__(self, config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> None:
        super().__init__(config, vision, text)
        self.method = config.method
        self.options = {**self.OPTIONS, **config.options}
        self._check()

    def rewrite(self, vision: VisionEncoder, text: TextEncoder) -> None:
        """Put the layers into both encoders, in place; their old weights stay as they are, and frozen.

        What can be refused is refused before anything is changed; where that needs the projections split first, the
        layers that are in already come out again.

        Raises:
            ConfigError: an encoder has no separate module for what the method adapts, or is rewritten already.
        """
        pair: tuple[tuple[Any, str], ...] = ((vision, "vision"), (text, "text"))
        for encoder, tower in pair:
            self._check_plain(encoder, tower)
        for encoder, tower in pair:
            # Fused projections have these roles only once they are split.
            if not self.SPLITS or "query" in encoder.roles():
                self.settings(encoder, tower)
        try:
            for encoder, tower in pair:
                self._rewrite(encoder, tower)
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
        from s4eca.adapters.rivals.peft_folders import folder_files

        return {
            f"{tower}/{name}": data
            for tower, encoder in (("vision", vision), ("text", text))
            for name, data in folder_files(encoder, ADAPTER, dtype).items()
        }

    def settings(self, encoder: Any, tower: str) -> Any:
        """Peft's configuration for one encoder."""
        raise NotImplementedError

    def _check_plain(self, encoder: Any, tower: str) -> None:
        if encoder.added():
            raise ConfigError(
                f"The {tower} encoder {encoder.spec.source} already has trainable or added weights inside; the method "
                f"{self.method!r} takes one as its checkpoint has it."
            )

    def _rewrite(self, encoder: Any, tower: str) -> None:
        if not any(parameter.is_meta for parameter in encoder.backbone.parameters()):
            _ = encoder.fingerprint  # that of the checkpoint, kept from here on
        if self.SPLITS:
            encoder.split_projections()
        settings = self.settings(encoder, tower)
        with quiet_peft():
            inject(encoder.backbone, settings)
        encoder.eval()

    def _check(self) -> None:
        """Refuse options of an impossible value."""
        for name in ("rank", "rank_text"):
            value = self.options.get(name)
            if name in self.options and not (value is None and name == "rank_text") and not _whole(value):
                raise ConfigError(f"options.{name} is {value!r}; it must be a whole number of at least 1.")
        roles = self.options.get("roles", LINEAR)
        if not isinstance(roles, list | tuple) or not roles or not all(role in LINEAR for role in roles):
            raise ConfigError(f"options.roles is {roles!r}; it must be a list of some of {', '.join(LINEAR)}.")

    def _rank(self, tower: str) -> int:
        own = self.options.get("rank_text") if tower == "text" else None
        return int(self.options["rank"] if own is None else own)

    def _targets(self, encoder: Any, tower: str, roles: Sequence[str]) -> str:
        """A pattern that fits exactly the modules of the encoder that play these roles."""
        return exactly(self._names(encoder, tower, roles), (name for name, _ in encoder.backbone.named_modules()))

    def _names(self, encoder: Any, tower: str, roles: Sequence[str]) -> list[str]:
        found: list[str] = []
        known = encoder.roles()
        for role in roles:
            names = known.get(role) or (known.get("qkv", []) if role in FUSED else [])
            if not names or any(_inside_fused_attention(encoder.backbone, name) for name in names):
                raise ConfigError(
                    f"The method {self.method!r} adapts the role {role!r}, for which the {tower} encoder "
                    f"{encoder.spec.source} has no linear layer of its own, as its attention reads query, key, value "
                    f"and output weights in one fused call; it has the roles {', '.join(known)}."
                )
            found += [name for name in names if name not in found]
        return found


class LoRA(PeftMethod):
    """Low-rank updates W + (alpha / rank) B A of linear layers (Hu et al. 2022); B starts at zero, so nothing changes.

    Options: `rank` of both encoders, `rank_text` where the text encoder's differs, `alpha` (None means twice the
    rank), `roles` (which linear layers).
    """

    OPTIONS: ClassVar[dict[str, Any]] = {"rank": 13, "rank_text": None, "alpha": None, "roles": list(LINEAR)}
    KNOBS: ClassVar[tuple[str, ...]] = ("rank", "rank_text")
    DORA: ClassVar[bool] = False

    def settings(self, encoder: Any, tower: str) -> Any:
        """See `PeftMethod.settings`."""
        from peft import LoraConfig

        rank, alpha = self._rank(tower), self.options["alpha"]
        return LoraConfig(
            r=rank,
            lora_alpha=2 * rank if alpha is None else alpha,
            target_modules=self._targets(encoder, tower, self.options["roles"]),
            use_dora=self.DORA,
        )

    def _check(self) -> None:
        super()._check()
        alpha = self.options["alpha"]
        if alpha is not None and (isinstance(alpha, bool) or not isinstance(alpha, int | float) or not alpha > 0):
            raise ConfigError(f"options.alpha is {alpha!r}; it must be a number above 0, or null for twice the rank.")


class DoRA(LoRA):
    """LoRA with the length of every row of the weight as a parameter of its own (Liu et al. 2024), the norm detached.

    Peft adds (m / norm - 1) W x + (m / norm) (alpha / rank) B A x to the plain output. At the start m and norm come
    from the same computation, so the factor is exactly 1 and the output is the plain one to the last bit, as long as
    the model stays on the device and in the type it was made with; elsewhere it is so up to rounding.
    """

    OPTIONS: ClassVar[dict[str, Any]] = {"rank": 13, "rank_text": 12, "alpha": None, "roles": list(LINEAR)}
    DORA: ClassVar[bool] = True


class IA3(PeftMethod):
    """Vectors, 1 at the start, on the outputs of key and value and on the input of fc2 (Liu et al. 2022)."""

    def settings(self, encoder: Any, tower: str) -> Any:
        """See `PeftMethod.settings`."""
        from peft import IA3Config

        return IA3Config(
            target_modules=self._targets(encoder, tower, ("key", "value", "fc2")),
            feedforward_modules=self._targets(encoder, tower, ("fc2",)),
        )


class VeRA(PeftMethod):
    """Two vectors for each linear layer around one frozen random pair of matrices (Kopiczko et al. 2024).

    The pair is drawn here (`random_pair`), so that it follows from `seed` alone and not from the version of peft; each
    layer takes the part that fits it. lambda_d starts at 0.1, lambda_b at 0, so nothing changes at first.

    Options: `rank`, and the `seed` of the random pair.
    """

    OPTIONS: ClassVar[dict[str, Any]] = {"rank": 256, "seed": 0}

    def settings(self, encoder: Any, tower: str) -> Any:
        """See `PeftMethod.settings`."""
        from peft import VeraConfig

        return VeraConfig(
            r=self._rank(tower),
            target_modules=self._targets(encoder, tower, LINEAR),
            projection_prng_key=self.options["seed"],
            d_initial=0.1,
            save_projection=True,
        )

    def _check(self) -> None:
        super()._check()
        seed = self.options["seed"]
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ConfigError(f"options.seed is {seed!r}; it must be a whole number of at least 0.")


class LNTuning(PeftMethod):
    """Scale and shift of every LayerNorm, trained as copies of the checkpoint's (Zhao et al. 2024)."""

    SPLITS: ClassVar[bool] = False

    def settings(self, encoder: Any, tower: str) -> Any:
        """See `PeftMethod.settings`."""
        from peft import LNTuningConfig

        return LNTuningConfig(target_modules=self._targets(encoder, tower, ("norm",)))


def inject(backbone: nn.Module, settings: Any, name: str = ADAPTER) -> None:
    """Put peft's layers into a module, in place.

    Args:
        backbone: the module.
        settings: peft's configuration; a pattern in it is matched against whole names.
        name: of the adapter.
    """
    from peft import VeraConfig, VeraModel, inject_adapter_in_model

    old = {id(parameter) for parameter in backbone.parameters()}
    if isinstance(settings, VeraConfig):
        # What its layers share lives in the tuner, which is why peft wants the class itself.
        VeraModel(backbone, settings, name)
        _draw_pair(backbone, settings, name)
    else:
        inject_adapter_in_model(settings, backbone, name)
    # Peft makes new weights in the type of the old ones; on an encoder in half precision they would not learn.
    for parameter in backbone.parameters():
        if id(parameter) not in old:
            parameter.data = parameter.data.float()


def layers_of(*encoders: Any) -> list[tuple[nn.Module, str, Any]]:
    """Peft's layers in some encoders: the module that holds one, its name there, and itself."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [
        (parent, name, child)
        for encoder in encoders
        for parent in list(encoder.backbone.modules())
        for name, child in list(parent.named_children())
        if isinstance(child, BaseTunerLayer)
    ]


def random_pair(rank: int, inputs: int, outputs: int, seed: int) -> tuple[Tensor, Tensor]:
    """VeRA's frozen matrices A (rank, inputs) and B (outputs, rank): uniform with variance 2 / fan-in (He et al. 2015).

    Args:
        rank: inner size.
        inputs: of the widest layer.
        outputs: of the layer with most outputs.
        seed: A is drawn first, then B, from one generator on the CPU.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    pair = []
    for rows, columns in ((rank, inputs), (outputs, rank)):
        bound = math.sqrt(3) * (math.sqrt(2) / math.sqrt(columns))  # in this order peft's own numbers come out
        pair.append(torch.empty(rows, columns, device="cpu").uniform_(-bound, bound, generator=generator))
    return pair[0], pair[1]


def _draw_pair(backbone: nn.Module, settings: Any, name: str) -> None:
    layer: Any = next(module for module in backbone.modules() if hasattr(module, "vera_A"))
    a, b = layer.vera_A[name], layer.vera_B[name]
    if not a.is_meta:
        pair = random_pair(a.shape[0], a.shape[1], b.shape[0], settings.projection_prng_key)
        layer.vera_A[name], layer.vera_B[name] = (new.to(a.device) for new in pair)


def exactly(names: Sequence[str], among: Iterable[str]) -> str:
    r"""A pattern that fits the given names and, of `among`, no other one; short where the numbers of blocks allow it.

    >>> exactly(["layer.0.q", "layer.1.q"], ["layer.0.q", "layer.0.v", "layer.1.q", "layer.1.v"])
    'layer\\.\\d+\\.q'
    """
    shapes = dict.fromkeys(
        r"\.".join(r"\d+" if part.isdigit() else re.escape(part) for part in name.split(".")) for name in names
    )
    short = "|".join(shapes)
    if {name for name in among if re.fullmatch(short, name)} == set(names):
        return short
    return "|".join(re.escape(name) for name in names)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence peft's advice, none of which a user of this package can follow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="peft")
        yield


def _inside_fused_attention(backbone: nn.Module, name: str) -> bool:
    """Whether a module's weight is read by `nn.MultiheadAttention`, which never calls the module."""
    return isinstance(backbone.get_submodule(name.rpartition(".")[0]), nn.MultiheadAttention)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1

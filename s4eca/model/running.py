"""Running a model cheaply: gradient checkpointing, frozen encoders in bf16 or int8, `torch.compile`.

A `Running` belongs to a run and not to an adapter: the saved folder is the same under each. What a method cannot do is
refused with its reason; `refusal` is the one place that knows, and docs/running.md prints what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from s4eca.config import S4ECAConfig
from s4eca.encoders.int8 import Int8Linear
from s4eca.errors import ConfigError
from s4eca.layers.checkpointed import Site
from s4eca.records import Guest, Tokens, Words
from s4eca.registry import METHODS, method_class

CHECKPOINTING = ("none", "adapters", "encoders", "all")
ENCODER_DTYPES = ("fp32", "bf16", "int8")
# What can be asked for, each refused or not on its own.
FEATURES = (
    "checkpointing: adapters",
    "checkpointing: encoders",
    "encoder_dtype: bf16",
    "encoder_dtype: int8",
    "compile",
)

# Of torch.compile, for one function; beyond it the function would run as it is.
RECOMPILE_LIMIT = 64
# Tables of positions that the libraries keep, and calculate with, in fp32; and VeRA's random pair.
_PRECISE = ("inv_freq", "periods", "bands", "vera_A", "vera_B")


@dataclass(frozen=True)
class Running:
    """How a model runs.

    Attributes:
        checkpointing: what is computed anew in the backward instead of kept: ``none``, ``adapters`` (the sites),
            ``encoders`` (the blocks that gradients cross) or ``all``. The gradients stay the same.
        encoder_dtype: of the frozen encoders' weights: ``fp32``, ``bf16``, or ``int8`` (linear layers as whole numbers
            with a scale a row; the rest and all arithmetic in fp32). What trains stays in fp32. It cannot be undone
            but by loading the encoders again.
        compile: whether blocks and sites go through ``torch.compile``, each by itself; raises torch's limit on
            recompilations of one function to 64.
        backend: of ``torch.compile``.

    Raises:
        ConfigError: a value that is none of these.
    """

    checkpointing: str = "none"
    encoder_dtype: str = "fp32"
    compile: bool = False
    backend: str = "inductor"

    def __post_init__(self) -> None:
        for name, known in (("checkpointing", CHECKPOINTING), ("encoder_dtype", ENCODER_DTYPES)):
            if getattr(self, name) not in known:
                raise ConfigError(f"running.{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}.")

    @property
    def features(self) -> list[str]:
        """What of `FEATURES` is asked for."""
        parts = ("adapters", "encoders") if self.checkpointing == "all" else (self.checkpointing,)
        asked = [f"checkpointing: {part}" for part in parts if part != "none"]
        asked += [f"encoder_dtype: {self.encoder_dtype}"] if self.encoder_dtype != "fp32" else []
        return asked + ["compile"] * self.compile


def refusal(feature: str, config: S4ECAConfig) -> str | None:
    """Why a configuration cannot have one of `FEATURES`, as the end of a sentence; None where it can.

    It does not depend on the family of the encoders: all of them are stepped through in the same way.
    """
    if feature == "checkpointing: encoders" and config.bands and not config.chosen:
        return None  # all blocks lie behind the map from bands to colours, which trains
    return method_class(config).refusal(feature, config)


def apply_running(model: Any, running: Running) -> None:
    """Make a model run in another way, in place, the encoders it was given included.

    Args:
        model: an `S4ECAModel`, with all of its adapters.
        running: how.

    Raises:
        ConfigError: something that a method of the model cannot have, or fp32 asked of encoders that were rounded.
    """
    check(model.named.configs(), running)
    _check_guests((model.vision, model.text), running)
    before: Running = model.running
    if before.encoder_dtype not in ("fp32", running.encoder_dtype):
        raise ConfigError(
            f"running.encoder_dtype is {running.encoder_dtype!r}, but these encoders are {before.encoder_dtype} "
            "already and have lost the rest; load them again."
        )
    encoders = (model.vision, model.text)
    if before.encoder_dtype != running.encoder_dtype:
        trained = {id(parameter) for parameter in model.named.own_parameters()}
        for encoder in encoders:
            _ = encoder.fingerprint  # that of the checkpoint, kept from here on
            (_to_bf16 if running.encoder_dtype == "bf16" else _to_int8)(encoder.backbone, trained)
    # Images of a run are all of one size; sentences are not, nor is the number of expressions for an image.
    for module in blocks(model.vision):
        _compile(module, running, dynamic=False)
    for module in blocks(model.text):
        _compile(module, running, dynamic=None)
    set_sites(model, running)
    model.running = running


def set_sites(module: nn.Module, running: Running) -> None:
    """Make the adapter sites inside a module run as they should."""
    for site in (site for site in module.modules() if isinstance(site, Site)):
        site.checkpointed = running.checkpointing in ("adapters", "all")
        _compile(site, running, dynamic=None)


def check(configs: Iterable[S4ECAConfig], running: Running) -> None:
    """Refuse what one of some configurations cannot have.

    Raises:
        ConfigError: the first such thing, with the reason.
    """
    for config in configs:
        for feature in running.features:
            reason = refusal(feature, config)
            if reason is not None:
                name = feature.partition(":")[0]
                asked = f"running.{name} is {getattr(running, name)!r}"
                raise ConfigError(f"{asked}, which the method {config.method!r} cannot have: {reason}.")


def _check_guests(encoders: tuple[Any, ...], running: Running) -> None:
    """Refuse what a peft adapter inside an encoder cannot have, as for the method of its kind."""
    for encoder in encoders:
        if encoder.guest is None:
            continue
        method = _method_of(encoder.guest)
        for feature in running.features:
            reason = METHODS.load(method).REFUSED.get(feature)
            if feature.startswith("encoder_dtype") and reason is not None:
                raise ConfigError(
                    f"running.encoder_dtype is {running.encoder_dtype!r}, which the peft adapter inside "
                    f"{encoder.spec.source} cannot have: {reason}."
                )


def _method_of(guest: Guest) -> str:
    """The method of ours that puts the same layers into an encoder as a guest has there."""
    settings = guest.note["config"]
    if settings.get("use_dora"):
        return "dora"
    return {"LORA": "lora", "IA3": "ia3", "VERA": "vera", "LN_TUNING": "ln"}[str(settings.get("peft_type"))]


def check_ready(config: S4ECAConfig, *encoders: Any) -> None:
    """Refuse encoders that were passed ready-made in half precision where the method cannot have them.

    Raises:
        ConfigError: the first such encoder, with the reason.
    """
    method = method_class(config)
    reason = None if method.HALF_GIVEN else method.refusal("encoder_dtype: bf16", config)
    for encoder in encoders if reason is not None else ():
        half = {p.dtype for p in encoder.parameters()} & {torch.bfloat16, torch.float16}
        if half:
            raise ConfigError(
                f"The encoder {encoder.spec.source} is in {str(half.pop()).removeprefix('torch.')}, which the method "
                f"{config.method!r} cannot have: {reason}; pass it in float32."
            )


def blocks(encoder: Any) -> list[nn.Module]:
    """The library's own modules of an encoder's blocks."""
    return [encoder.block_module(index) for index in range(encoder.spec.blocks)]


def _compile(module: nn.Module, running: Running, dynamic: bool | None) -> None:
    module._compiled_call_impl = None
    if running.compile:
        import torch._dynamo

        # Blocks of one class share what is compiled, and every stage, type and use of gradients needs its own.
        limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
        setattr(torch._dynamo.config, limit, max(RECOMPILE_LIMIT, getattr(torch._dynamo.config, limit)))
        module.compile(backend=running.backend, dynamic=dynamic)


def _to_bf16(backbone: nn.Module, trained: set[int]) -> None:
    for name, tensor in [*backbone.named_parameters(), *backbone.named_buffers()]:
        precise = any(part in _PRECISE for part in name.split("."))
        if tensor.is_floating_point() and id(tensor) not in trained and not precise:
            tensor.data = tensor.data.to(torch.bfloat16)


def _to_int8(backbone: nn.Module, trained: set[int]) -> None:
    for module in list(backbone.modules()):
        for name, child in list(module.named_children()):
            # Only the class itself: what is derived from it is read in other ways than by a call.
            if type(child) is nn.Linear and id(child.weight) not in trained:
                setattr(module, name, Int8Linear(child))


class Stepped:
    """A frozen encoder as a run steps through it; everything else is the encoder's own.

    Inside a block hidden states have the type of the encoder's weights, outside that of the adapters, so that norms and
    residuals are calculated in fp32; the way there and back changes no bit of what nothing was added to.

    Args:
        encoder: the encoder.
        outside: type of what trains.
        checkpointed: whether blocks keep their input alone for the backward.
    """

    def __init__(self, encoder: Any, outside: torch.dtype, checkpointed: bool) -> None:
        self._encoder = encoder
        self._outside = outside
        self._checkpointed = checkpointed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    @property
    def inside(self) -> torch.dtype:
        """Type of the encoder's weights."""
        found: torch.dtype = next(p.dtype for p in self._encoder.backbone.parameters() if p.is_floating_point())
        return found

    def embed(self, given: Any) -> Any:
        """Pixels or a text batch to the hidden states before block 0."""
        if isinstance(given, Tensor):
            given = self._cast(given, self.inside)
        return self._out(self._encoder.embed(given))

    def block(self, index: int, tokens: Any) -> Any:
        """One block."""
        return self._step(self._encoder.block, index, tokens)

    def block_beside_mlp(self, index: int, tokens: Any, side: Callable[[Tensor], Tensor]) -> Any:
        """One block with ``side`` parallel to its MLP."""

        def cast(x: Tensor) -> Tensor:
            return self._cast(side(self._cast(x, self._outside)), x.dtype)

        return self._step(self._encoder.block_beside_mlp, index, tokens, cast)

    def finish(self, tokens: Any) -> Any:
        """The final norm; of a text encoder also its pooling."""
        done: Tokens | Words = self._encoder.finish(tokens.with_values(self._cast(tokens.values, self.inside)))
        done.values = self._cast(done.values, self._outside)
        if isinstance(done, Words):
            done.pooled = self._cast(done.pooled, self._outside)
        return done

    def _step(self, block: Callable[..., Any], index: int, tokens: Any, *more: Any) -> Any:
        tokens = tokens.with_values(self._cast(tokens.values, self.inside))
        if self._checkpointed and torch.is_grad_enabled():
            return self._out(checkpoint(block, index, tokens, *more, use_reentrant=False))
        return self._out(block(index, tokens, *more))

    def _out(self, tokens: Any) -> Any:
        return tokens.with_values(self._cast(tokens.values, self._outside))

    def _cast(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Types are left to autocast where encoders and adapters have the same."""
        return x if self.inside == self._outside else x.to(dtype)


def stepped(encoder: Any, running: Running, outside: torch.dtype) -> Any:
    """The encoder as `running` steps through it; the encoder itself where that is the plain way.

    An encoder that was passed ready-made in half precision is stepped through as one that was rounded here.
    """
    checkpointed = running.checkpointing in ("encoders", "all")
    found = Stepped(encoder, outside, checkpointed)
    return encoder if not checkpointed and found.inside == outside else found

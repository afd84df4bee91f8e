"""What the parts of s4eca are to one another: the page to read first.

The records they exchange, and the letters of the shapes, are in `s4eca.records`; teachers are in `s4eca.teaching`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from s4eca.config import S4ECAConfig
    from s4eca.records import (
        Box,
        Encoded,
        Fused,
        Guest,
        Prediction,
        RasterLayout,
        ReaderOption,
        Reading,
        SceneFacts,
        TextBatch,
        TextSpec,
        TextTokens,
        Tokens,
        VisionSpec,
        Words,
    )


class FrozenModule(Protocol):
    """What both encoders have in common: a library's module, frozen, that can be told from others.

    An encoder is a ``torch.nn.Module`` whose parameters do not require gradients unless a method rewrote it, and which
    stays in eval mode. `s4eca.encoders.frozen.FrozenEncoder` is a base class that brings everything here but `roles`
    and `mlp_ends`.

    Attributes:
        backbone: the library's module.
        guest: an adapter of another library inside it, or None.
        behaviour: hash of what the encoder does with its weights that their names and shapes do not tell (activation,
            heads, epsilons, windows).
    """

    backbone: nn.Module
    guest: Guest | None
    behaviour: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the checkpoint's weights; asked for before a method changes anything, it stays."""

    @property
    def trains(self) -> bool:
        """Whether something inside trains."""

    def weigh(self) -> str:
        """The fingerprint of the checkpoint's tensors as they are now."""

    def added(self) -> dict[str, nn.Parameter]:
        """Dotted name inside `backbone` -> parameter, of all that was added to the encoder or made trainable."""

    def roles(self) -> dict[str, list[str]]:
        """Role (``query``, ``key``, ``value`` or ``qkv``, ``out``, ``fc1``, ``fc2``, ``norm``) -> names of modules."""

    def split_projections(self) -> None:
        """Give query, key, value and output a linear layer each, in place, where a library keeps them in one."""

    def mlp_ends(self, index: int) -> tuple[nn.Module, nn.Module]:
        """Entry and exit of the MLP branch of a block."""

    def block_module(self, index: int) -> nn.Module:
        """The library's own module of a block, which can be compiled by itself."""


class VisionEncoder(FrozenModule, Protocol):
    """A frozen vision encoder that can be stepped through block by block.

    ``finish(block(L-1, ... block(0, embed(x))))`` equals the library's own forward pass.
    """

    spec: VisionSpec

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patch grid for an image of that many pixels; refuses sizes the encoder cannot take."""

    def embed(self, pixels: Tensor) -> Tokens:
        """(B, 3, H, W) normalised pixels to the hidden states before block 0."""

    def block(self, index: int, tokens: Tokens) -> Tokens:
        """One frozen block; in a hierarchical encoder the first of a stage begins with the patch merging."""

    def block_beside_mlp(self, index: int, tokens: Tokens, side: Callable[[Tensor], Tensor]) -> Tokens:
        """One block with ``side(input of the MLP)`` (B, M, C) added to the output of its MLP."""

    def finish(self, tokens: Tokens) -> Tokens:
        """The final norm, on all tokens of the last stage."""


class TextEncoder(FrozenModule, Protocol):
    """A frozen text encoder that can be stepped through layer by layer."""

    spec: TextSpec

    def tokenize(self, expressions: Sequence[str], length: int) -> TextBatch:
        """Ids and mask, padded to the longest of the batch and cut at `length` tokens with the end token kept."""

    def measure(self, expressions: Sequence[str]) -> list[Reading]:
        """How each expression is read where nothing is cut: number of tokens, and the words that are not known."""

    def embed(self, batch: TextBatch) -> TextTokens:
        """Hidden states before layer 0."""

    def block(self, index: int, tokens: TextTokens) -> TextTokens:
        """One frozen layer; padding is masked inside."""

    def block_beside_mlp(self, index: int, tokens: TextTokens, side: Callable[[Tensor], Tensor]) -> TextTokens:
        """One layer with ``side(input of the MLP)`` (B, L, C) added to the output of its MLP."""

    def finish(self, tokens: TextTokens) -> Words:
        """Final norm and the encoder's own pooling."""


class AdapterMethod(Protocol):
    """What adapts a frozen pair: built from a configuration and two specs, a ``torch.nn.Module``.

    `s4eca.adapters.base.Method` is a base class with the defaults that are named here, so that a method writes down
    what is particular to it. A class attribute can be asked without building anything; nothing of a class needs
    weights.

    Attributes:
        SETTINGS: dataclass of the method's own settings; its defaults are the method's, and its ``__post_init__``
            refuses impossible values. By default one without fields.
        SETTINGS_IN_CONFIG: whether these settings are fields of `S4ECAConfig` (``width`` and its like, which `s4eca`
            has) and not keys of its ``options``. False.
        MODES: the modes it has. ``("side",)``.
        KNOBS: whole-number settings that scale it, that of the vision encoder first. None.
        IDENTITY: whether the pair says at the start what it says frozen. True.
        REWRITES: whether `rewrite` changes the encoders. False.
        SEPARABLE: whether the encoders can be had without what the method changed in them. True.
        DEAD: regular expressions on names of trainable tensors that cannot learn, being built as published. None.
        UNDECAYED: regular expressions on names of trainable tensors that weight decay must leave alone, for they start
            where they mean "no change". None.
        REFUSED: feature of `s4eca.model.running.FEATURES` -> why the method cannot have it. None.
        HALF_GIVEN: whether encoders that were passed ready-made in half precision are fine though rounding them here
            (``encoder_dtype: bf16``) is refused. False.
        ENCODERS_RATE: learning rate of what trains inside the encoders, or None for that of the adapters. None.
        ORIGIN: one clause for the card: where the method comes from.
        ATTRIBUTION: for the card, what of it is a paper's and what is ours; empty where the origin says it. Empty.
        sites: vision blocks with an adapter, or that the decoder reads.
        taps: the sites whose maps the decoder reads.
        late_blocks: how many of the last vision blocks see language or train; those before can be cached. 0.
        proxy_width: channels of the language proxies in `Fused.proxies`, or None where there are none. None.
        uncacheable: why an encoding cannot be cached or serve another adapter, as the end of a sentence; None where it
            can. None.
    """

    SETTINGS: ClassVar[type]
    SETTINGS_IN_CONFIG: ClassVar[bool]
    MODES: ClassVar[tuple[str, ...]]
    KNOBS: ClassVar[tuple[str, ...]]
    IDENTITY: ClassVar[bool]
    REWRITES: ClassVar[bool]
    SEPARABLE: ClassVar[bool]
    DEAD: ClassVar[tuple[str, ...]]
    UNDECAYED: ClassVar[tuple[str, ...]]
    REFUSED: ClassVar[Mapping[str, str]]
    HALF_GIVEN: ClassVar[bool]
    ENCODERS_RATE: ClassVar[float | None]
    ORIGIN: ClassVar[str]
    ATTRIBUTION: ClassVar[str]

    sites: tuple[int, ...]
    taps: tuple[int, ...]
    late_blocks: int
    proxy_width: int | None
    uncacheable: str | None

    def __init__(self, config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> None: ...

    @classmethod
    def refusal(cls, feature: str, config: S4ECAConfig) -> str | None:
        """Why this configuration cannot run with a feature, as the end of a sentence. By default from `REFUSED`."""

    def encode(self, vision: VisionEncoder, pixels: Tensor) -> Encoded:
        """Normalised pixels (B, 3, H, W) to the part of the vision encoding that no expression can change."""

    def __call__(self, vision: VisionEncoder, text: TextEncoder, encoded: Encoded, batch: TextBatch) -> Fused:
        """B encoded images and B tokenised expressions to what the decoder reads."""

    def rewrite(self, vision: VisionEncoder, text: TextEncoder) -> None:
        """Change the encoders themselves, in place, where `REWRITES`. By default nothing."""

    def activate(self, vision: VisionEncoder, text: TextEncoder) -> None:
        """Let what `rewrite` put into the encoders speak and learn again. By default nothing."""

    def deactivate(self, vision: VisionEncoder, text: TextEncoder) -> None:
        """Let the encoders speak as if it were not there. By default nothing."""

    def withdraw(self, vision: VisionEncoder, text: TextEncoder) -> None:
        """Take it out of the encoders for good. By default nothing."""

    def extra_files(self, vision: VisionEncoder, text: TextEncoder, dtype: torch.dtype) -> dict[str, bytes]:
        """Path inside the adapter folder -> contents, of what is saved beside the tensors. By default nothing."""

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether weight decay shrinks a tensor. By default matrices that `UNDECAYED` does not name.

        Args:
            name: of a trainable tensor, ``adapter.…`` or ``encoder_updates.…``.
            parameter: the tensor.
        """


@runtime_checkable
class DataLayout(Protocol):
    """How a data set lies on the disk: a class without arguments, a row of `s4eca.registry.LAYOUTS`.

    What it opens is checked for all layouts alike: options before, that some mask has foreground after.

    Attributes:
        title: its name in a sentence.
        options: what its reader can be told, by name; `open` and `splits` get as keywords what the user gives.
        published: whether it belongs to a published data set; then `open` also takes ``expect_published=True``, which
            insists on the published counts.
        writer: ``module:function`` that writes rendered scenes in it, or None.
    """

    title: str
    options: Mapping[str, ReaderOption]
    published: bool
    writer: str | None

    def recognises(self, root: Path) -> bool:
        """Whether a folder (or file) that exists looks like it, by the names of files alone."""

    def splits(self, root: Path, **options: Any) -> Iterable[str]:
        """Names of the splits that are there; raises `DataError` for a folder that is damaged or of another layout."""

    def open(self, root: Path, split: str, **options: Any) -> Any:
        """One split, as a `s4eca.data.sample.ReferringDataset`; raises `DataError` for whatever cannot be read."""


@runtime_checkable
class Segmenter(Protocol):
    """What rasters and scores ask of a model: images in, predictions out (`s4eca.Predictor` is one)."""

    @property
    def image_size(self) -> int:
        """S, side of the square input in pixels."""

    @property
    def threshold(self) -> float:
        """Probability above which a pixel is foreground."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the input bands in their order; empty for RGB in 0..255."""

    @property
    def band_ranges(self) -> tuple[tuple[float, float], ...]:
        """Declared range of each band, in its own units; empty for RGB."""

    @property
    def fill(self) -> tuple[float, ...]:
        """Per channel, in the units of the input, what to show where an image has no data."""

    def encode(self, images: NDArray[np.float32]) -> Encoded:
        """Square images (B, S, S, 3) RGB in 0..255, or (B, S, S, n) bands, to what no expression can change."""

    def decode(self, encoded: Encoded, expressions: Sequence[str]) -> Prediction:
        """One encoded image and K expressions to a prediction with float32 logits (K, h', w') on the square."""

    def probabilities(self, windows: NDArray[Any], expressions: Sequence[str]) -> NDArray[np.float32]:
        """Windows and K expressions to probabilities (B, K, h, w) in 0..1 on the windows' own grid.

        Windows are (B, h, w, 3) RGB in 0..255, or (B, h, w, n) in the units of the segmenter's bands.
        """


@runtime_checkable
class PresenceSegmenter(Protocol):
    """What a segmenter has besides if it knows of no-target heads (`s4eca.Predictor` does)."""

    @property
    def tells_presence(self) -> bool:
        """Whether there is such a head."""

    @property
    def presence_threshold(self) -> float | None:
        """Probability of presence below which a mask is emptied; None empties none."""

    def probabilities_and_presence(
        self, windows: NDArray[Any], expressions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """As `probabilities`, and (B, K) that what is said is in a window; None without a no-target head."""


@runtime_checkable
class AskedSegmenter(Protocol):
    """What a segmenter has besides if it reads expressions once for many windows (`s4eca.Predictor` does)."""

    def ask(self, expressions: Sequence[str]) -> Sequence[str]:
        """The same expressions, to be given to `probabilities` again and again."""


class RasterSource(Protocol):
    """An open scene (`s4eca.geo.read.source.Scene` is one) and its `facts`, known without reading pixels."""

    facts: SceneFacts
    block: tuple[int, int]  # rows and columns of the pieces that the pixels are stored in
    skipped: set[Box]  # pieces that could not be read and were left out; who reads may empty it

    @property
    def channels(self) -> int:
        """C, channels that `read` returns."""

    @property
    def order(self) -> list[int]:
        """For each band the model sees, in its order, the channel of `read` that is shown there."""

    @property
    def is_bytes(self) -> bool:
        """Whether the values are 0..255 as they are."""

    @property
    def has_colours(self) -> bool:
        """Whether a colour table stands between stored values and what `read` returns."""

    def read(self, box: Box) -> tuple[Any, Any]:
        """(C, h, w) values of whole pixels inside the scene, and (h, w) bool, which of them are valid."""

    def stored(self, box: Box) -> tuple[Any, Any]:
        """As `read`, without colour table, scale and offset."""

    def in_units(self, values: Any, channel: int) -> Any:
        """Stored values of one channel in the units that `read` returns."""

    def sample_cell(self, side: int) -> tuple[int, int]:
        """Rows and columns of the pieces that are cheap to read at random."""

    def touches(self, box: Box) -> bool:
        """Whether a box holds anything of the area that is looked at; outside of it nothing is valid."""

    def glance(self) -> RasterSource:
        """The whole scene for a first look, whatever area is looked at: itself or, from far away, an overview."""

    def cache_bytes(self) -> int:
        """Bytes of a block cache that suits reading by rows."""

    def close(self) -> None:
        """Close the file."""


class RasterSink(Protocol):
    """What writes masks or probabilities under an ending; a row of `s4eca.registry.SINKS` leads to its class.

    It writes under a hidden name (`s4eca.files.aside`), is closed, and committed when every output of the run is whole.
    `abandon` may come at any time, and more than once. What it cannot do it raises as an `s4eca.errors.RasterError`.
    """

    def __init__(self, path: Path, layout: RasterLayout) -> None:
        """Begin; nothing lies under `path` yet, or a file that is to be replaced."""

    def write(self, values: Any) -> None:
        """The next (K, n, width) rows from the top, in the layout's dtype; n differs from call to call."""

    def close(self) -> None:
        """Finish under the hidden name, and check that every row arrived."""

    def commit(self) -> None:
        """Give the finished file its name (`s4eca.files.settle`)."""

    def abandon(self) -> None:
        """Take away what has not got its name (`s4eca.files.discard`)."""

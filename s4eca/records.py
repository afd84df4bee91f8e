"""What passes between the rooms of s4eca, with shapes; `s4eca.protocols` says who gives and takes it.

Shapes use B for batch, H and W for pixels, h and w for the patch grid (N = h * w patches, row-major), P for prefix
tokens (class token, then registers), L for text tokens, K for language proxies, C and D for channel widths.
Blocks are counted from 0; "after block i" means the hidden states that block i returns.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor


@dataclass(frozen=True)
class VisionSpec:
    """What adapters must know of a vision encoder; no weights are needed to build one.

    Attributes:
        source: identifier the encoder was loaded by, for instance ``"packaged:dinov2-s"``.
        family: model family, for instance ``"dinov2"``.
        widths: channels of the hidden states after each block (equal for a plain ViT, growing for Swin, whose patch
            merging belongs to the first block of the next stage).
        strides: pixels per patch side after each block.
        prefix_tokens: P, leading tokens that are not patches.
        mean, std: normalisation constants for RGB in 0..1.
        parameters: number of parameters of the frozen encoder as METHOD counts them.
        interpolation: name of the position-embedding interpolation convention (part of the feature-cache key).
    """

    source: str
    family: str
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    prefix_tokens: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    parameters: int
    interpolation: str = "bicubic"

    @property
    def blocks(self) -> int:
        """Number of encoder blocks."""
        return len(self.widths)

    @property
    def hierarchical(self) -> bool:
        """Whether the patch grid shrinks on the way."""
        return len(set(self.strides)) > 1


@dataclass(frozen=True)
class TextSpec:
    """What adapters must know of a text encoder.

    Attributes:
        source: identifier the encoder was loaded by.
        family: model family, for instance ``"clip-text"`` or ``"bert"``.
        width: channels of the word embeddings.
        blocks: number of encoder layers.
        longest: longest token sequence that the encoder accepts, special tokens included.
        parameters: number of parameters of the frozen encoder as METHOD counts them.
        padded: whether every expression is padded to `longest`, as the encoder was trained.
    """

    source: str
    family: str
    width: int
    blocks: int
    longest: int
    parameters: int
    padded: bool = False


@dataclass
class Tokens:
    """Hidden states on their way through a vision encoder.

    Attributes:
        values: (B, P + h*w, C) hidden states.
        grid: (h, w) of the patch grid.
        prefix: P, number of leading tokens that are not patches.
        extras: what the encoder's own blocks need beside the hidden states (rotary tables); may be empty, for it
            follows from the grid.
    """

    values: Tensor
    grid: tuple[int, int]
    prefix: int
    extras: dict[str, Any] = field(default_factory=dict)

    def with_values(self, values: Tensor) -> Tokens:
        """The same place in the encoder with other hidden states."""
        return Tokens(values, self.grid, self.prefix, self.extras)

    @property
    def patches(self) -> Tensor:
        """(B, h*w, C) hidden states of the patches alone."""
        return self.values[:, self.prefix :]


@dataclass
class TextBatch:
    """Token ids (B, L) and a boolean mask (B, L), True where a token counts (begin and end tokens do).

    Where all rows are one sentence, `kept` may hold what was read from it (`s4eca.layers.kept`).
    """

    ids: Tensor
    mask: Tensor
    kept: dict[Any, Any] | None = None

    def to(self, device: Any) -> TextBatch:
        """The same batch on another device."""
        return TextBatch(self.ids.to(device), self.mask.to(device))


@dataclass(frozen=True)
class Reading:
    """How a text encoder reads an expression that is not cut.

    Attributes:
        tokens: how many it becomes, begin and end tokens included.
        known: how many of them say something: all but begin, end, white space and whatever stands for the unknown.
        unknown: the words between white space of which something is not read, in their order.
    """

    tokens: int
    known: int
    unknown: tuple[str, ...] = ()


@dataclass
class TextTokens:
    """Hidden states (B, L, C) on their way through a text encoder, with the batch they came from."""

    values: Tensor
    batch: TextBatch
    extras: dict[str, Any] = field(default_factory=dict)

    def with_values(self, values: Tensor) -> TextTokens:
        """The same place in the encoder with other hidden states."""
        return TextTokens(values, self.batch, self.extras)


@dataclass
class Words:
    """What a text encoder says: word embeddings (B, L, C), mask (B, L), pooled sentence (B, C)."""

    values: Tensor
    mask: Tensor
    pooled: Tensor


@dataclass
class Fused:
    """What an adapter method hands to the mask decoder.

    Attributes:
        levels: maps (B, h*w, C_level), coarse language already in them; the last one is after the final norm.
        grids: the (h, w) of each level.
        words: word embeddings, mask and pooled sentence as adapted by the method.
        proxies: (B, K, r) language proxies, or None where a method has none.
        scale_weights: per adapter site (B, S+1), the weights of the scale selection; empty where there is none.
        spatial_gates: per adapter site (B, h*w), the gate of the spatial selection; empty where there is none.
    """

    levels: list[Tensor]
    grids: list[tuple[int, int]]
    words: Words
    proxies: Tensor | None = None
    scale_weights: list[Tensor] = field(default_factory=list)
    spatial_gates: list[Tensor] = field(default_factory=list)


@dataclass
class Encoded:
    """The part of the vision encoding that no expression can change (what the feature cache keeps).

    Attributes:
        grid: (h, w) of the patch grid of the last block that ran.
        sites: per adapter site of the frozen prefix, the patches (B, h*w, C) after that block.
        resume: hidden states from which the remaining blocks go on; None when no block remains.
        detail: (B, 3, 8h, 8w) the image itself, normalised, for a decoder that draws fine edges; None when unused.
        grids: the (h, w) of each site; empty where all are `grid`.
        origin: what it depends on beside the image, the sites and the pair (`S4ECAModel.origin`); None where not known.
        kept: what was made of it alone, for further expressions (`s4eca.layers.kept`); None keeps nothing.
    """

    grid: tuple[int, int]
    sites: dict[int, Tensor]
    resume: Tokens | None
    detail: Tensor | None = None
    grids: dict[int, tuple[int, int]] = field(default_factory=dict)
    origin: dict[str, Any] | None = None
    kept: dict[Any, Any] | None = None

    def grid_at(self, site: int) -> tuple[int, int]:
        """The patch grid (h, w) at a site."""
        return self.grids.get(site, self.grid)

    def map(self, change: Callable[[Tensor], Tensor]) -> Encoded:
        """The same encoding with every tensor changed, for instance moved, cut to some rows or repeated."""
        return Encoded(
            self.grid,
            {site: change(patches) for site, patches in self.sites.items()},
            None if self.resume is None else self.resume.with_values(change(self.resume.values)),
            None if self.detail is None else change(self.detail),
            self.grids,
            self.origin,
        )


@dataclass(frozen=True)
class Guest:
    """An adapter of another library that lives inside an encoder, beside which ours are attached.

    Attributes:
        names: its parameters, as they are called inside the encoder's backbone.
        own: every tensor of the backbone that is not the guest's, as it is called now -> as the checkpoint calls it.
        note: what it takes to put the same layers there again; plain values, saved with an adapter.
    """

    names: frozenset[str]
    own: dict[str, str]
    note: dict[str, Any]


PRESENCE = "presence_logits"  # among the extras of a `Prediction`, where the adapter has a no-target head
BOXES, BOX_SCORES = "boxes", "box_scores"  # of a box head: (B, 4) x0 y0 x1 y1 in 0..1 of the square, and (B,) in 0..1


@dataclass
class Prediction:
    """What a model says of B images and as many expressions.

    Attributes:
        logits: (B, 1, h', w') from the decoder, or (K, h', w') of K expressions about one image, on the square input
            that the model saw.
        extras: what else is predicted, by name, each with a leading B or K; empty where nothing is.
    """

    logits: Tensor
    extras: dict[str, Tensor] = field(default_factory=dict)

    @property
    def presence(self) -> Tensor | None:
        """(B,) or (K,) probability in 0..1 that what is said is there at all; None without a no-target head."""
        return self.extras[PRESENCE].float().sigmoid() if PRESENCE in self.extras else None

    @classmethod
    def drawn(cls, found: Tensor | tuple[Tensor, Tensor]) -> Prediction:
        """What a decoder gives: logits, with a no-target head its logits (B,) beside them."""
        return cls(found[0], {PRESENCE: found[1]}) if isinstance(found, tuple) else cls(found)

    def map(self, change: Callable[[Tensor], Tensor]) -> Prediction:
        """The same prediction with every tensor changed."""
        return Prediction(change(self.logits), {name: change(value) for name, value in self.extras.items()})


@dataclass(frozen=True)
class ReaderOption:
    """One option of a layout's reader, as `data.reader` in YAML and `--reader NAME=VALUE` on the command line give it.

    Attributes:
        kind: what its value is; ``"names"`` and ``"numbers"`` are several, with commas between them on a command line.
        meaning: what it says, in a phrase.
    """

    kind: Literal["yes or no", "number", "numbers", "text", "names"]
    meaning: str


@dataclass(frozen=True)
class RasterLayout:
    """What a raster sink is to write: the grid of a scene, and what its bands mean.

    Attributes:
        height, width: pixels.
        crs: the CRS object of rasterio, or None where the scene has none.
        transform: affine transform, pixel to CRS (six numbers a, b, c, d, e, f come first).
        dtype: ``"uint8"`` for a mask (1 found, 0 not) or classes (from 1 on, 0 none), ``"float32"`` for probabilities.
        nodata: value of pixels that are not valid: 255, or NaN.
        descriptions: K texts, the expression of each band; of a raster of classes the one text ``"class"``.
        tags, band_tags: how the file was made, name -> text, and per band; more may have come when a sink is closed.
        colours: colour table for a mask of one band, value -> RGBA, each 0..255; None for none.
        area_or_point: the scene's AREA_OR_POINT tag, or None.
    """

    height: int
    width: int
    crs: Any
    transform: Any
    dtype: str
    nodata: float
    descriptions: tuple[str, ...]
    tags: Mapping[str, str]
    band_tags: tuple[Mapping[str, str], ...] = ()
    colours: Mapping[int, tuple[int, int, int, int]] | None = None
    area_or_point: str | None = None


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels: first row, first column, height, width."""

    row: int
    col: int
    height: int
    width: int


@dataclass(frozen=True)
class RasterName:
    """What a raster is called.

    Attributes:
        text: as the user gave it, or what it is called.
        opened: what GDAL opens in its place, where it is neither a file nor a name of GDAL's; else empty.
        digest: a hash of pixels that lie in memory; else empty.
    """

    text: str
    opened: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """For messages: without the query of an address, which may be a key."""
        return self.text.partition("?")[0] if "://" in self.text else self.text

    @property
    def short(self) -> str:
        """The last part, for remarks and for the records of outputs; never the query of an address."""
        return Path(str(self)).name or self.text

    @property
    def is_file(self) -> bool:
        """Whether something of that name lies in the file system."""
        return not self.opened and os.path.exists(self.text)

    @property
    def for_gdal(self) -> str | Path:
        """What to open: a path stays one whatever characters it holds, an archive is spelt as GDAL spells it."""
        if self.opened:
            return self.opened
        if self.is_file:  # before a colon GDAL sees a scheme, and behind < a description of a raster
            special = ":" in self.text or self.text.startswith("<")
            return Path(os.path.abspath(self.text) if special else self.text)
        if self.text.startswith("zip://") and "!" in self.text:
            archive, _, inside = self.text.removeprefix("zip://").partition("!")
            return f"/vsizip/{archive}/{inside.lstrip('/')}"
        return self.text


@dataclass(frozen=True)
class SceneFacts:
    """What is known of a scene without reading pixels.

    Attributes:
        name, files: what it is called, and the files it is read from.
        height, width, count: size in pixels, and bands in the file.
        dtype: numpy name of the one type that the used bands are read in.
        bands: the bands shown to the model, counted from 1: as red, green and blue, or as the adapter names them.
        alpha: bands believed as transparency, counted from 1.
        crs, transform: the CRS object, or None; affine transform, pixel to CRS.
        area_or_point: the file's AREA_OR_POINT tag, or None.
        pixel_size: metres (down, across) of the middle pixel, or None where metres are not known.
        notes: what a user should know about how the file was understood.
        names: what each of `bands` is to the model.
        turned_over: whether rows, and columns, are shown to the model in reverse, so that north is up.
        area: a hash of the outline of what is looked at, in pixels; None for all of it.
    """

    name: RasterName
    files: tuple[str, ...]
    height: int
    width: int
    count: int
    dtype: str
    bands: tuple[int, ...]
    alpha: tuple[int, ...]
    crs: Any
    transform: Any
    area_or_point: str | None
    pixel_size: tuple[float, float] | None
    notes: tuple[str, ...]
    names: tuple[str, ...] = ("red", "green", "blue")
    turned_over: tuple[bool, bool] = (False, False)
    area: str | None = None

    @property
    def gsd(self) -> float | None:
        """Metres a pixel covers on the ground, the mean of both directions."""
        return None if self.pixel_size is None else sum(self.pixel_size) / 2.0

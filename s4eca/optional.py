"""What the optional systems are to the rest of s4eca: parts of the decoder, detectors, refiners; records and contracts.

Shapes are as in `s4eca.records`: B for batch, h and w for the patch grid, H and W for pixels, K for expressions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class PyramidSizes:
    """Channels that a part of the decoder is built for.

    Attributes:
        widths: of the decoder's map at each level: the patch grid, twice and four times as many cells a side.
        sentence: of what is said.
    """

    widths: tuple[int, ...]
    sentence: int


@dataclass(frozen=True)
class Boxes:
    """What a detector proposes in one image.

    Attributes:
        xyxy: (N, 4) float32: left, top, right, bottom in pixels of the image, right and bottom behind the last one.
        score: (N,) float32 in 0..1.
        phrase: (N,) int64, which of the image's phrases each answers.
    """

    xyxy: Tensor
    score: Tensor
    phrase: Tensor


@dataclass(frozen=True)
class RefinedMasks:
    """What a refiner draws in one image.

    Attributes:
        logits: (N, H, W) float32 on the image's grid.
        iou: (N,) float32, the IoU that the refiner foretells; any real number, comparable within one refiner alone.
    """

    logits: Tensor
    iou: Tensor


class Pyramid(Protocol):
    """What a part sees of the decoder: its maps as they are without any part, language and pixels.

    Attributes:
        sentence: (B, D), what is said.
        fine: (B, 3, 16h, 16w), the image itself, normalised, where a part reads it (`Encoded.fine`); else None.
        kept: where things are kept that no expression changes (`Encoded.kept`), or None.
    """

    sentence: Tensor
    fine: Tensor | None
    kept: dict[Any, Any] | None

    def map(self, level: int) -> Tensor:
        """(B, C_level, 2^level h, 2^level w), computed when it is first asked for."""


class DecoderPart(Protocol):
    """An optional part of the mask decoder: a ``torch.nn.Module``, a row of `s4eca.registry.DECODER_PARTS`.

    When it joins a trained decoder it leaves the mask bit-equal: what it adds is ``gamma * f(x)`` or a factor
    ``1 + gamma * ...`` with gamma zero, its only zero. `s4eca.decoder.parts.base.Part` is a base class with the
    defaults that are named here. Parts are built last, each from a seed of its own, and run in the order of the table.

    Attributes:
        SETTINGS: dataclass of its settings; its ``__post_init__`` refuses impossible values.
        TITLE: what it is, in a phrase, for budgets.
        FINE: whether it reads the pixels at 16 times the patch grid (`Encoded.fine`). False.
    """

    SETTINGS: ClassVar[type]
    TITLE: ClassVar[str]
    FINE: ClassVar[bool]

    def __init__(self, settings: Any, sizes: PyramidSizes) -> None: ...

    def look(self, pyramid: Pyramid) -> Any:
        """What it needs of the maps without any part, language and pixels, once a decoding. By default nothing."""

    def refine(self, level: int, image: Tensor, looked: Any) -> Tensor:
        """The map (B, C_level, 2^level h, 2^level w) of a level, asked from 0 to 2. By default as it is."""

    def tell(self, maps: Sequence[Tensor], logits: Tensor, looked: Any) -> dict[str, Tensor]:
        """What it says beside the mask, by name for `Prediction.extras`, each with a leading B. By default nothing.

        Args:
            maps: refined, of all levels.
            logits: (B, 1, 4h, 4w), the mask.
            looked: what `look` gave.
        """

    def losses(self, told: Mapping[str, Tensor], truth: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Its own terms of the loss by name, weighted. By default none.

        Args:
            told: `Prediction.extras` of a decoding in training mode.
            truth: (B, 1, M, M) in 0..1.
            present: (B,) bool, whether there is a target.
        """


class BoxProposer(Protocol):
    """What finds boxes by phrases (a row of `s4eca.registry.BOX_PROPOSERS` makes one).

    Attributes:
        name: what results were made with: the model's identifier and a hash of its weights.
        least: score from which on a box is proposed.
        most: boxes of one phrase, the best first.
    """

    name: str
    least: float
    most: int

    def propose(self, images: Sequence[NDArray[np.uint8]], phrases: Sequence[Sequence[str]]) -> list[Boxes]:
        """Images (H, W, 3) RGB of any sizes, and the phrases of each, to the boxes of each."""


class MaskRefiner(Protocol):
    """What draws a mask from a box, a coarse mask or both (a row of `s4eca.registry.MASK_REFINERS` makes one).

    Attributes:
        name: what results were made with: the model's identifier and a hash of its weights.
    """

    name: str

    def refine(
        self,
        images: Sequence[NDArray[np.uint8]],
        boxes: Sequence[Tensor | None],
        coarse: Sequence[Tensor | None],
    ) -> list[RefinedMasks]:
        """Prompts to masks, image by image; rows of one image do not see one another.

        Args:
            images: (H, W, 3) RGB, of any sizes.
            boxes: (N, 4) xyxy in pixels of the image, N at least 1.
            coarse: (N, H, W) logits on the image's grid, or None.
        """


@runtime_checkable
class RefiningSegmenter(Protocol):
    """What a segmenter has besides if masks are refined on an image's own pixels (`s4eca.Predictor` can)."""

    @property
    def refines(self) -> bool:
        """Whether they are."""

    def refined(self, image: NDArray[Any], logits: Tensor, expressions: Sequence[str]) -> Tensor:
        """Coarse logits (K, h', w') over an image (H, W, 3) RGB in 0..255 to refined ones (K, H, W)."""

"""`Predictor`: an image is encoded once, then segmented by as many expressions as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from s4eca.decoder.loss import upsample
from s4eca.errors import ConfigError, DataError
from s4eca.model.expressions import check_list, check_reading, unread, warn_of
from s4eca.model.finite import require_finite
from s4eca.model.images import as_image, to_square
from s4eca.model.masks import Masks
from s4eca.model.model import S4ECAModel
from s4eca.model.precision import Fitting, fitting_precision
from s4eca.model.question import Question
from s4eca.model.running import Running
from s4eca.records import BOXES, Encoded, Prediction, TextBatch

if TYPE_CHECKING:
    from s4eca.cascade.cascade import Cascade

AUTO = "auto"
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
TOGETHER = 8


class Predictor:
    """Inference with an attached model. Threads that ask several adapters of one model must take turns.

    Args:
        model: a trained `S4ECAModel`.
        device: a torch device, or ``auto`` for an accelerator where there is one; None leaves the model where it is.
        precision: ``fp32``, ``bf16`` or ``fp16`` (autocast), or ``auto``: bf16 where the device multiplies it faster,
            else fp32. The attribute `precision` is what was taken, `fitting` why, where it was left to the device.
        running: encoders in bf16 or int8, compiled blocks (see `s4eca.model.running.Running`); None leaves it as it is.
        cascade: refines every mask on the image's own pixels (see `s4eca.cascade.cascade.Cascade`); None leaves them.

    Raises:
        ConfigError: unknown precision, a device that is not there, a way to run that the method cannot have, or a
            cascade beside an adapter for other bands than RGB.
    """

    def __init__(
        self,
        model: S4ECAModel,
        *,
        device: str | None = None,
        precision: str = "fp32",
        running: Running | None = None,
        cascade: Cascade | None = None,
    ) -> None:
        if precision not in (*PRECISIONS, AUTO):
            raise ConfigError(f"precision is {precision!r}; it must be one of {', '.join((*PRECISIONS, AUTO))}.")
        try:
            if device == "auto":
                device = "cuda" if torch.cuda.is_available() else "cpu"
            self.model = model.eval() if device is None else model.eval().to(device)
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0]
            raise ConfigError(f"device is {device!r}, which this machine cannot use: {first}") from error
        self.fitting: Fitting | None = fitting_precision(self.model.device) if precision == AUTO else None
        self.precision = precision if self.fitting is None else self.fitting.precision
        self.dtype: torch.dtype | None = PRECISIONS[self.precision]
        if running is not None:
            self.model.run_with(running)
        if precision == "fp16" and self.model.running.encoder_dtype == "bf16":
            raise ConfigError(
                "precision is 'fp16', but the encoders are in bf16, which it cannot be mixed with; take bf16."
            )
        if cascade is not None and model.config.bands:
            raise ConfigError(
                f"The adapter sees the bands {', '.join(model.config.bands)}, and detectors and refiners see RGB; "
                "leave the cascade out."
            )
        self.cascade = cascade
        self._image: tuple[Encoded, NDArray[Any]] | None = None

    @property
    def refines(self) -> bool:
        """Whether masks are refined on the image's own pixels."""
        return self.cascade is not None

    def refined(self, image: NDArray[Any], logits: torch.Tensor, expressions: Sequence[str]) -> torch.Tensor:
        """Coarse logits (K, h', w') over an image (H, W, 3) RGB in 0..255 to float32 logits (K, H, W) of the cascade.

        Without a cascade they are drawn bilinearly to the image's size.
        """
        if self.cascade is None:
            return upsample(logits[:, None], (int(image.shape[0]), int(image.shape[1])))[:, 0]
        seen = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        return self.cascade.apply(seen, logits, expressions, self.threshold)[0].to(logits.device)

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return self.model.config.image_size

    @property
    def threshold(self) -> float:
        """Probability above which a pixel is foreground."""
        return self.model.config.threshold

    @property
    def tells_presence(self) -> bool:
        """Whether the adapter has a no-target head."""
        return self.model.config.presence > 0

    @property
    def presence_threshold(self) -> float | None:
        """Probability of presence below which a mask is emptied; None empties none."""
        return self.model.config.presence_threshold

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the input bands in their order; empty for RGB in 0..255."""
        return self.model.config.bands

    @property
    def band_ranges(self) -> tuple[tuple[float, float], ...]:
        """Declared range of each band, in its own units."""
        return self.model.config.band_ranges

    @property
    def fill(self) -> tuple[float, ...]:
        """Per channel, in the units of the input, what the encoder sees as its mean colour: for pixels without data."""
        mean = self.model.vision.spec.mean
        return tuple(255.0 * v for v in mean) if self.model.scaling is None else self.model.scaling.fill()

    def set_image(self, image: Any) -> Predictor:
        """Encode an image.

        Args:
            image: an array (H, W, 3) of RGB in 0..255, any numeric type; (H, W, n) in the bands' own units where the
                adapter declares bands, NaN where nothing is known; or a picture of Pillow, or the path of an image
                file, in the orientation in which it is stored.

        Raises:
            DataError: another shape, type or range (0..1 among them), or a file that cannot be read.
        """
        array = as_image(image, self.bands)
        self._image = self.encode(self.stretched(array[None])), array.copy()  # the caller may change theirs
        return self

    def segment(self, expressions: Sequence[str] | str, adapter: str | None = None) -> Masks:
        """Masks of the image that was set, one for each expression, with boxes, scores and a picture of them.

        Args:
            expressions: what to look for; a bare text is one expression. Words that the text encoder does not know are
                named in a warning.
            adapter: name of one of the model's adapters to ask in place of the active one; it answers on the encoding
                there is, as adapters in side mode with the same sites can.

        Raises:
            DataError: no image was set.
            ConfigError: no such adapter, or one that needs another encoding.
            ExpressionError: no text at all, or an expression that is empty, has more tokens than the text encoder
                reads, or no word that it knows.
            NotFiniteError: the model gives NaN or infinity.
        """
        if self._image is None:
            raise DataError("No image is set; call set_image first.")
        encoded, image = self._image
        with self.model.using(adapter):
            said = check_list([expressions] if isinstance(expressions, str) else expressions)
            warn_of(self.check(said))
            told = self._predict(encoded, said)
            found = self.refined(image, told.logits, said).sigmoid()
            presence = None if told.presence is None else told.presence.cpu().numpy()
            boxes = None
            if BOXES in told.extras:
                height, width = image.shape[:2]
                boxes = told.extras[BOXES].float().cpu().numpy() * np.array([width, height, width, height], np.float32)
            return Masks(
                found.cpu().numpy(), self.threshold, tuple(said), presence, image, self.bands, self.presence_threshold,
                boxes,
            )  # fmt: skip

    def probabilities(self, windows: NDArray[Any], expressions: Sequence[str]) -> NDArray[np.float32]:
        """Windows and K expressions to probabilities (B, K, h, w) float32 on the windows' own grid, none emptied.

        Args:
            windows: (B, h, w, 3) RGB in 0..255, or (B, h, w, n) in the units of the adapter's bands.
            expressions: what to look for, a list.

        Raises:
            DataError: another shape, type or range.
            ExpressionError: as for `segment`, and for a bare text.
            NotFiniteError: the model gives NaN or infinity.
        """
        return self.probabilities_and_presence(windows, expressions)[0]

    def probabilities_and_presence(
        self, windows: NDArray[Any], expressions: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """As `probabilities`, and (B, K) float32 that what is said is in a window; None without a no-target head."""
        if not (isinstance(expressions, Question) and expressions.is_for(self)):
            expressions = self.ask(expressions)
        return expressions.answer(windows)

    def ask(self, expressions: Sequence[str]) -> Question:
        """Expressions to give to `probabilities` again and again, read once by the adapter that is active now.

        Raises:
            ExpressionError: as for `segment`, and for a bare text.
        """
        said = check_list(expressions)
        warn_of(self.check(said))
        return Question(self, said)

    def encode(self, images: NDArray[np.float32]) -> Encoded:
        """Square images (B, S, S, 3) RGB in 0..255, or (B, S, S, n) bands, to what no expression can change."""
        with torch.inference_mode(), self._autocast():
            pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
            return self.model.encode(self.model.normalise(pixels))

    def check(self, expressions: Sequence[str]) -> list[str]:
        """What would be said of expressions before they are segmented, without running the model.

        Returns:
            A sentence for each of which the text encoder does not know every word.

        Raises:
            ExpressionError: as for `segment`, and for a bare text.
        """
        return check_reading(self.model.text, check_list(expressions), self.model.config.text_length)

    def unread(self, expressions: Sequence[str]) -> list[str]:
        """What of a data set's expressions the text encoder does not read, as sentences with counts; mostly none."""
        return unread(self.model.text, expressions, self.model.config.text_length)

    def decode(self, encoded: Encoded, expressions: Sequence[str]) -> Prediction:
        """One encoded image and K expressions to a prediction with float32 logits (K, h', w') on the stretched square.

        For scoring data sets: an expression that is too long is cut, which a warning counts.

        Raises:
            ExpressionError: no list of texts, or an empty one.
            NotFiniteError: the model gives NaN or infinity.
        """
        said = check_list(expressions)
        warn_of(self.unread(said))
        return self._predict(encoded, said)

    def _predict(self, encoded: Encoded, expressions: list[str]) -> Prediction:
        """One encoded image and K expressions to logits (K, h', w') and whatever else the model says of each."""
        parts: list[Prediction] = []
        with torch.inference_mode():
            for start in range(0, len(expressions), TOGETHER):
                chosen = expressions[start : start + TOGETHER]
                parts.append(self._decode(_repeat(encoded, len(chosen)), chosen))
        extras = {name: torch.cat([part.extras[name] for part in parts]) for name in parts[0].extras}
        return Prediction(torch.cat([part.logits[:, 0] for part in parts]), extras)

    def _decode(self, encoded: Encoded, expressions: list[str]) -> Prediction:
        return self.decode_batch(encoded, self.model.tokenize(expressions, cut=True), expressions)

    def decode_batch(self, encoded: Encoded, batch: TextBatch, expressions: Sequence[str]) -> Prediction:
        """B encoded images and B tokenised expressions to a prediction with float32 logits (B, 1, h', w').

        Raises:
            NotFiniteError: the model gives NaN or infinity.
        """
        with self._autocast():
            found = self.model.decode(encoded, batch).map(torch.Tensor.float)
        for values in (found.logits, *found.extras.values()):
            require_finite(values, expressions, self.model, self.precision)
        return found

    def _autocast(self) -> Any:
        kind = self.model.device.type
        return torch.autocast(kind, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def stretched(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Stretch (B, H, W, C) to the input size, bilinear with antialiasing, as in training."""
        return to_square(images, self.image_size, bool(self.bands))


def _repeat(encoded: Encoded, count: int) -> Encoded:
    """One encoded image for several expressions, without copying."""
    return encoded.map(lambda t: t.expand(count, *t.shape[1:]))

"""`attach` and `S4ECAModel`: a frozen pair, an adapter method and a mask decoder, nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.config import INTERPOLATION, S4ECAConfig
from s4eca.encoders.frozen import state_fingerprint
from s4eca.errors import ConfigError, ExpressionError
from s4eca.model.expressions import check_list, check_reading, warn_of
from s4eca.model.named_adapters import Shelf
from s4eca.model.parts import Parts
from s4eca.model.parts import build_trainable as build_trainable
from s4eca.model.running import Running, apply_running, stepped
from s4eca.model.sharing import check_free
from s4eca.protocols import Encoded, Fused, TextBatch
from s4eca.registry import (
    carry,
    load_text_encoder,
    load_vision_encoder,
    wrap_text_encoder,
    wrap_vision_encoder,
)


class S4ECAModel(Shelf):
    """Frozen encoders with adapters and a mask decoder.

    Args:
        vision: frozen vision encoder (`s4eca.protocols.VisionEncoder`).
        text: frozen text encoder (`s4eca.protocols.TextEncoder`).
        config: all settings.

    The trainable parts are `adapter`, `decoder`, `encoder_updates` (what a method made trainable inside the encoders)
    and `bands` (where a map from n bands stands in front of them), by structure; the encoders never leave eval mode.
    They are those of the active adapter; others stand by on the `shelf` (see `s4eca.model.named_adapters.Shelf`).
    """

    def __init__(self, vision: Any, text: Any, config: S4ECAConfig) -> None:
        super().__init__()
        self.vision = vision
        self.text = text
        self._hold(Parts.build(vision, text, config))
        self.shelf = nn.ModuleDict()
        self.register_buffer("mean", torch.tensor(vision.spec.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(vision.spec.std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Self:
        """Training mode for the trainable parts; the encoders stay in eval mode."""
        super().train(mode)
        self.vision.eval()
        self.text.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.decoder.parameters()).device

    @property
    def stride(self) -> int:
        """Pixels per patch side on the decoder's working grid, the finest of those it reads."""
        strides: tuple[int, ...] = self.vision.spec.strides
        return min(int(strides[site]) for site in self.adapter.taps)

    @property
    def uncacheable(self) -> str | None:
        """Why features of this model cannot be cached, as the end of a sentence; None where they can."""
        if self.vision.trains and getattr(self.vision, "guest", None):
            return "the peft adapter inside the vision encoder trains"
        if self.vision.trains:
            return f"the method {self.config.method!r} trains inside the vision encoder"
        if self.bands is not None:
            return "the map from bands to colours trains in front of the vision encoder (chosen bands can be cached)"
        return getattr(self.method, "uncacheable", None)

    def normalise(self, images: Tensor) -> Tensor:
        """RGB (B, 3, H, W) in 0..255, or (B, n, H, W) in the units of the config's bands, to normalised pixels.

        Raises:
            DataError: another number of bands than the config names.
        """
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        if self.scaling is None:
            return (images.to(mean.device, torch.float32) / 255 - mean) / std
        colours: Tensor = self.scaling(images)
        return ((colours if self.bands is None else self.bands(colours)) - mean) / std

    def encode(self, pixels: Tensor) -> Encoded:
        """The part of the vision encoding that no expression can change.

        Args:
            pixels: (B, 3, H, W), normalised.
        """
        encoded: Encoded = self.method.encode(self._stepped(self.vision), pixels)
        encoded.origin = self.origin()
        if self.config.decoder_detail:
            size = (8 * (pixels.shape[-2] // self.stride), 8 * (pixels.shape[-1] // self.stride))
            encoded.detail = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)
        return encoded

    def fuse(self, encoded: Encoded, batch: TextBatch) -> Fused:
        """Adapters over both encoders: B encoded images with B tokenised expressions."""
        encoded = self.fitting(encoded)
        fused: Fused = self.method(self._stepped(self.vision), self._stepped(self.text), encoded, batch)
        return fused

    def _stepped(self, encoder: Any) -> Any:
        return stepped(encoder, self.running, next(self.decoder.parameters()).dtype)

    def run_with(self, running: Running) -> Self:
        """Run in another way from now on (see `s4eca.model.running.apply_running`); returns the model itself.

        Raises:
            ConfigError: something that the method cannot have, or encoders that would have to be loaded again.
        """
        apply_running(self, running)
        return self

    def decode(self, encoded: Encoded, batch: TextBatch) -> Tensor:
        """Logits (B, 1, 4h, 4w) for B encoded images and B tokenised expressions."""
        logits: Tensor = self.decoder(self.fuse(encoded, batch), encoded.detail)
        return logits

    def tokenize(self, expressions: Sequence[str], *, cut: bool = False) -> TextBatch:
        """Ids and mask of expressions, on the model's device.

        Args:
            expressions: a list of texts; words in them that the text encoder does not know are named in a warning.
            cut: cut what is longer than the config's `text_length`, and ask nothing of the words; for data sets, whose
                losses are counted once (`s4eca.model.expressions.unread`).

        Raises:
            ExpressionError: no list of texts, an empty one, or an expression that is empty, has more tokens than fit,
                or no word that the encoder knows.
        """
        expressions = check_list(expressions)
        if not cut:
            warn_of(check_reading(self.text, expressions, self.config.text_length))
        batch: TextBatch = self.text.tokenize(expressions, self.config.text_length)
        return batch.to(self.device)

    def forward(self, pixels: Tensor, expressions: Sequence[str]) -> Tensor:
        """Normalised pixels (B, 3, H, W) and B expressions to logits (B, 1, 4h, 4w).

        Raises:
            ExpressionError: as for `tokenize`, and another number of expressions than of images.
        """
        batch = self.tokenize(expressions)
        if len(batch.ids) != len(pixels):
            raise ExpressionError(
                f"There are {len(batch.ids)} expressions for {len(pixels)} images; each image needs one."
            )
        return self.decode(self.encode(pixels), batch)

    def feature_recipe(self, dtype: str) -> dict[str, Any]:
        """What cached features of this model depend on, beside the bytes of the image."""
        spec, rounded = self.vision.spec, self.running.encoder_dtype
        return {
            "format": 1,
            "weights": self.vision.fingerprint,
            "behaviour": self.vision.behaviour,
            "sites": list(self.method.sites),
            "late_blocks": self.method.late_blocks,
            "image_size": self.config.image_size,
            "image_interpolation": INTERPOLATION,
            "position_interpolation": spec.interpolation,
            "mean": list(spec.mean),
            "std": list(spec.std),
            "detail": bool(self.config.decoder_detail),
            "dtype": dtype,
            **self.config.band_settings(),
            **({} if rounded == "fp32" else {"encoder_dtype": rounded}),
            **({"guest": state_fingerprint(self.vision.added())} if getattr(self.vision, "guest", None) else {}),
        }

    def save_pretrained(
        self, folder: Path | str, card: Any = None, *, dtype: str = "float32", adapter: str | None = None
    ) -> Path:
        """Write the adapter folder of `adapter`, else of the active one (see `s4eca.saved.folder.save`)."""
        from s4eca.saved.folder import save

        with self.using(adapter):
            return save(self, folder, card, dtype=dtype)

    def push_to_hub(
        self, repo_id: str, card: Any = None, *, private: bool = False, dtype: str = "float32", **options: Any
    ) -> str:
        """Save to a temporary folder and upload that in one commit; returns the commit's address.

        Args:
            repo_id: ``user/name`` on the hub; the repository is made if need be.
            card: what to say of the adapter (`s4eca.saved.folder.Card`).
            private: make a private repository; an existing public one is refused.
            dtype: as for `save_pretrained`.
            options: ``token``, ``revision`` (a branch), ``commit_message``; see `s4eca.saved.hub.push`.

        Raises:
            AdapterFolderError: the hub's answer, in one sentence.
        """
        from s4eca.saved.hub import push_model

        return push_model(self, repo_id, card, private=private, dtype=dtype, **options)

    @classmethod
    def from_pretrained(
        cls,
        folder: Path | str,
        *,
        device: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        vision: Any = None,
        text: Any = None,
        tokenizer: Any = None,
    ) -> S4ECAModel:
        """The model of an adapter folder, in eval mode.

        Args:
            folder: the adapter folder, or ``user/name`` on the hub (see `s4eca.saved.locate.locate`).
            device: where the model goes; None leaves it on the CPU.
            revision: branch, tag or commit on the hub.
            token: of the hub; None takes the one of the environment or of its login.
            vision: an identifier or a loaded module to use in place of the encoder that the folder names, for instance
                a local copy; it must hold the same weights.
            text: likewise.
            tokenizer: that of a text module, unless `text` is the pair of both.

        Raises:
            AdapterFolderError: anything that does not fit, by name.
            ConfigError: a device that is not there.
            EncoderError: an encoder cannot be loaded.
        """
        from s4eca.saved.folder import restore
        from s4eca.saved.locate import locate

        folder = locate(folder, revision, token)
        model = restore(folder, lambda config, guests: attach(vision, text, config, tokenizer=tokenizer, guests=guests))
        model.eval()
        try:
            return model if device is None else model.to(device)
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0]
            raise ConfigError(f"device is {device!r}, which cannot be used here: {first}") from error


def attach(
    vision: Any = None,
    text: Any = None,
    config: S4ECAConfig | None = None,
    running: Running | None = None,
    *,
    tokenizer: Any = None,
    guests: Mapping[str, dict[str, Any]] | None = None,
    **settings: Any,
) -> S4ECAModel:
    """Attach adapters and a decoder to a pair of frozen encoders.

    Args:
        vision: an identifier (hub id, local directory, ``packaged:dinov2-s``) or a module that is loaded
            already, which is frozen in place and not copied; None takes the one that `config` names. A method that
            rewrites encoders, or encoders in bf16 or int8, change the ready one.
        text: likewise.
        config: all settings; None takes the defaults.
        running: how the model runs; None runs it plainly.
        tokenizer: that of a text module, unless `text` is the pair of both.
        guests: ``vision`` or ``text`` -> the peft adapter that its encoder is to carry, as an adapter folder notes it
            (`s4eca.protocols.Guest`); one that carries an adapter already keeps its own.
        settings: single settings that override `config`, for instance ``mode="inject"``.

    Raises:
        EncoderError: an encoder cannot be loaded.
        ConfigError: a setting is unknown or impossible, or a method of another model rewrote an encoder.
    """
    base = config or S4ECAConfig()
    named = {key: value for key, value in (("vision", vision), ("text", text)) if isinstance(value, str)}
    config = S4ECAConfig.from_dict({**base.to_dict(), **named, **settings}, origin="attach()")
    named_vision, named_text = (given is None or isinstance(given, str) for given in (vision, text))
    for role, given in (("vision", vision), ("text", text)):
        if given is not None and not isinstance(given, str):
            # Wrapping freezes, so this is asked before.
            check_free(given[0] if isinstance(given, tuple | list) else given, role)
    vision = load_vision_encoder(config.vision) if named_vision else wrap_vision_encoder(vision)
    text = load_text_encoder(config.text) if named_text else wrap_text_encoder(text, tokenizer)
    for part, note in (guests or {}).items():
        encoder = {"vision": vision, "text": text}[part]
        if encoder.guest is None:
            carry(encoder, note)
    place = _place(*([] if named_vision else [vision]), *([] if named_text else [text]))
    model = S4ECAModel(vision, text, config.replace(vision=vision.spec.source, text=text.spec.source))
    model = model if place is None else model.to(place)
    return model if running is None else model.run_with(running)


def _place(*ready: Any) -> torch.device | None:
    """Where encoders lie that were passed ready-made; None where there are none.

    Raises:
        ConfigError: they lie apart.
    """
    places = {encoder.spec.source: next(encoder.parameters()).device for encoder in ready}
    if len(set(places.values())) > 1:
        said = ", ".join(f"{source} on {device}" for source, device in places.items())
        raise ConfigError(f"The encoders lie apart ({said}); move one to the device of the other first.")
    return next(iter(places.values()), None)

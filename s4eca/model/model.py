"""`attach` and `S4ECAModel`: a frozen pair, an adapter method and a mask decoder, nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from s4eca.config import S4ECAConfig
from s4eca.decoder.mask_decoder import MaskDecoder
from s4eca.decoder.parts.build import part_classes
from s4eca.layers.band_map import BandAdapter, DeclaredRanges, rgb_alone
from s4eca.layers.encoder_updates import EncoderUpdates
from s4eca.model.encodings import detail, drawn, fine, fitting, origin, uncacheable
from s4eca.model.expressions import check_list, check_pairs, check_reading, warn_of
from s4eca.model.named_adapters import NamedAdapters
from s4eca.model.pair import load_pair, moved
from s4eca.model.parts import Parts, held
from s4eca.model.running import Running, apply_running, stepped
from s4eca.model.sharing import enter
from s4eca.protocols import AdapterMethod
from s4eca.records import Encoded, Fused, Prediction, TextBatch
from s4eca.registry import method_class
from s4eca.saved.folder import restore, save
from s4eca.saved.locate import locate


class S4ECAModel(nn.Module):
    """Frozen encoders with adapters and a mask decoder.

    Args:
        vision: frozen vision encoder (`s4eca.protocols.VisionEncoder`).
        text: frozen text encoder (`s4eca.protocols.TextEncoder`).
        config: all settings.

    The trainable parts are `adapter`, `decoder`, `encoder_updates` (what a method made trainable inside the encoders)
    and `bands` (where a map from n bands stands in front of them), by structure; the encoders never leave eval mode.
    They are those of the active adapter; others stand by (see `s4eca.model.named_adapters`).
    """

    config: S4ECAConfig
    adapter: Any
    decoder: MaskDecoder
    encoder_updates: EncoderUpdates
    scaling: DeclaredRanges | None
    bands: BandAdapter | None

    def __init__(self, vision: Any, text: Any, config: S4ECAConfig) -> None:
        super().__init__()
        self.vision, self.text = vision, text
        self.running = Running()
        self.named = NamedAdapters(self)
        self.hold(Parts.build(vision, text, config))
        self.standby = nn.ModuleDict()
        self.register_buffer("mean", torch.tensor(vision.spec.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(vision.spec.std).view(3, 1, 1), persistent=False)

    def hold(self, parts: Any) -> None:
        """Take the parts of an adapter as the model's own."""
        self.config = parts.config
        for name, part in held(parts).items():
            setattr(self, name, part)
        enter(self)

    def __setstate__(self, state: Any) -> None:
        """A copy stands on its encoders as its original does, with its adapters enabled."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.named.enable(self)
        enter(self)

    def train(self, mode: bool = True) -> Self:
        """Training mode for the trainable parts; the encoders stay in eval mode."""
        super().train(mode)
        self.vision.eval()
        self.text.eval()
        return self

    @property
    def adapters(self) -> list[str]:
        """Names of the adapters in the order they came; a single one is called ``default``."""
        return list(self.named.names)

    @property
    def active(self) -> str:
        """Name of the active adapter."""
        return self.named.active

    @property
    def method(self) -> AdapterMethod:
        """What stands between encoders and decoder now: the active adapter's method, or nothing inside `disabled`."""
        return self.named.method

    def add_adapter(self, name: str, source: S4ECAConfig | Path | str | None = None, **settings: Any) -> Self:
        """Put another adapter beside the ones there are; the active one stays active. Returns the model itself.

        Args:
            name: letters, digits, ``_`` and ``-``.
            source: settings of an untrained one (None takes those of the active one), or the folder or hub id of a
                saved one, which must have been made with encoders of the same weights.
            settings: single settings that override those, for an untrained one.

        Raises:
            ConfigError: the name is taken, or the method cannot stand beside the others.
            AdapterFolderError: the folder does not fit, by name.
        """
        self.named.add(name, source, settings)
        return self

    def switch(self, name: str) -> Self:
        """Make another adapter the active one; no tensor is copied. Returns the model itself.

        Raises:
            ConfigError: there is none of that name, or adapters are disabled.
        """
        self.named.switch(name)
        return self

    def using(self, name: str | None) -> AbstractContextManager[S4ECAModel]:
        """Inside, `name` is active; afterwards the one from before. None changes nothing."""
        return self.named.using(name)

    def disabled(self) -> AbstractContextManager[S4ECAModel]:
        """Inside, the frozen pair speaks alone: levels and words as the encoders give them, to the active decoder.

        Raises:
            ConfigError: the active method trains the encoders' own weights, so that there is no frozen pair.
        """
        return self.named.disabled()

    def delete_adapter(self, name: str) -> Self:
        """Take an adapter out, of the encoders too. Returns the model itself.

        Raises:
            ConfigError: there is none of that name, it is active, or will be again after `using`.
        """
        self.named.delete(name)
        return self

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.decoder.parameters()).device

    @property
    def stride(self) -> int:
        """Pixels per patch side on the decoder's working grid, the finest of those it reads."""
        return min(int(self.vision.spec.strides[site]) for site in self.adapter.taps)

    @property
    def uncacheable(self) -> str | None:
        """Why features of this model cannot be cached, as the end of a sentence; None where they can."""
        return uncacheable(self)

    def normalise(self, images: Tensor) -> Tensor:
        """RGB (B, 3, H, W) in 0..255, or (B, n, H, W) in the units of the config's bands, to normalised pixels.

        Raises:
            DataError: another number of bands than the config names, or than the three of RGB.
        """
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        if self.scaling is None:
            return (rgb_alone(images).to(mean.device, torch.float32) / 255 - mean) / std
        colours: Tensor = self.scaling(images)
        return ((colours if self.bands is None else self.bands(colours)) - mean) / std

    def encode(self, pixels: Tensor) -> Encoded:
        """The part of the vision encoding that no expression can change.

        Args:
            pixels: (B, 3, H, W), normalised.
        """
        encoded = self.method.encode(self._stepped(self.vision), pixels)
        encoded.origin, encoded.detail, encoded.fine = origin(self), detail(self, pixels), fine(self, pixels)
        return encoded

    def fuse(self, encoded: Encoded, batch: TextBatch) -> Fused:
        """Adapters over both encoders: B encoded images with B tokenised expressions."""
        return self.method(self._stepped(self.vision), self._stepped(self.text), fitting(self, encoded), batch)

    def _stepped(self, encoder: Any) -> Any:
        return stepped(encoder, self.running, next(self.decoder.parameters()).dtype)

    def run_with(self, running: Running) -> Self:
        """Run in another way from now on (see `s4eca.model.running.apply_running`); returns the model itself.

        Raises:
            ConfigError: something that the method cannot have, or encoders that would have to be loaded again.
        """
        apply_running(self, running)
        return self

    def decode(self, encoded: Encoded, batch: TextBatch) -> Prediction:
        """What the model says, logits (B, 1, 4h, 4w), of B encoded images and B tokenised expressions."""
        return drawn(self, encoded, self.fuse(encoded, batch))

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
        check_pairs(len(batch.ids), len(pixels))
        return self.decode(self.encode(pixels), batch).logits

    def save_pretrained(
        self, folder: Path | str, card: Any = None, *, dtype: str = "float32", adapter: str | None = None
    ) -> Path:
        """Write the adapter folder of `adapter`, else of the active one (see `s4eca.saved.folder.save`)."""
        with self.named.using(adapter):
            return save(self, folder, card, dtype=dtype)

    def push_to_hub(
        self, repo_id: str, card: Any = None, *, private: bool = False, dtype: str = "float32", **options: Any
    ) -> str:
        """Save to a temporary folder and upload that in one commit (see `s4eca.saved.hub.push_model`).

        Returns:
            The address of the commit.
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
        folder = locate(folder, revision, token)
        model = restore(folder, lambda config, guests: attach(vision, text, config, tokenizer=tokenizer, guests=guests))
        model.eval()
        return model if device is None else moved(model, device)


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
            (`s4eca.records.Guest`); one that carries an adapter already keeps its own.
        settings: single settings that override `config`, for instance ``mode="inject"``.

    Raises:
        EncoderError: an encoder cannot be loaded.
        ConfigError: a setting is unknown or impossible, or a method of another model rewrote an encoder.
    """
    base = config or S4ECAConfig()
    named = {key: value for key, value in (("vision", vision), ("text", text)) if isinstance(value, str)}
    config = S4ECAConfig.from_dict(base.changed({**named, **settings}), origin="attach()")
    method_class(config)  # what the method does not have is refused before anything is loaded, parts likewise
    part_classes(config)
    pair, place = load_pair(config, vision, text, tokenizer, guests or {})
    model = S4ECAModel(*pair, config.replace(vision=pair[0].spec.source, text=pair[1].spec.source))
    model = model if place is None else model.to(place)
    return model if running is None else model.run_with(running)

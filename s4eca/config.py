"""`S4ECAConfig`: every setting of encoders, adapters and decoder, in one frozen dataclass with one default each."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from s4eca.errors import ConfigError

MODES = ("inject", "side", "late-inject")
# Smallest value of each whole-number setting; an expression needs a begin token, a word and an end token.
LEAST = {
    "late_blocks": 0,
    "image_size": 1,
    "text_length": 3,
    "vision_sites": 1,
    "taps": 1,
    "decoder_width": 4,
    "decoder_layers": 0,
    "decoder_ffn": 1,
    "decoder_heads": 1,
    "decoder_pool": 1,
    "decoder_detail": 0,
    "presence": 0,
}
INTERPOLATION = "pil-bilinear-antialias-stretch"


@dataclass(frozen=True)
class S4ECASettings:
    """What the method `s4eca` alone has: sizes of its adapters, and an ablation switch for each part (ours).

    Attributes:
        width: r, the one width of both adapters and of the proxies.
        proxies: K, number of language proxies.
        text_sites: number of text layers with an adapter, spread evenly.
        kernels: (kernel size, dilation) of each dense scale.
        scale_selection, spatial_gate, language_read, dense, global_branch, carry, coordinates, write_back,
            text_proxies: switches; off leaves the rest of the method intact.
        candidate_order: whether the spatial selection sets the candidates of a proxy against one another (leftmost,
            largest, nearest). None is on if an affinity is left to be set in order, and becomes that.
        residual_norm: whether the residual is normalised in front of its up projection.
    """

    width: int = 160
    proxies: int = 8
    text_sites: int = 3
    kernels: tuple[tuple[int, int], ...] = ((3, 1), (5, 1), (5, 3))
    scale_selection: bool = True
    spatial_gate: bool = True
    language_read: bool = True
    dense: bool = True
    global_branch: bool = True
    carry: bool = True
    coordinates: bool = True
    write_back: bool = True
    text_proxies: bool = True
    candidate_order: bool | None = None
    residual_norm: bool = True

    def __post_init__(self) -> None:
        """Settle `candidate_order` and refuse values that cannot work, each by name.

        Raises:
            ConfigError: a value is out of range.
        """
        for name in ("width", "proxies", "text_sites"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not self.kernels or any(k < 1 or k % 2 == 0 or d < 1 for k, d in self.kernels):
            raise ConfigError(f"kernels is {self.kernels}; each needs an odd size and a dilation of at least 1.")
        if self.candidate_order is None:
            object.__setattr__(self, "candidate_order", self.has_affinity)
        if self.candidate_order and not self.has_affinity:
            raise ConfigError(
                "candidate_order is true, but no affinity is left to set in order: turn spatial_gate on, or "
                "language_read with more than one proxy."
            )

    @property
    def has_affinity(self) -> bool:
        """Whether places are compared with proxies at all: by the spatial gate, or where several are read."""
        return self.spatial_gate or (self.language_read and self.text_proxies and self.proxies > 1)


# Fields of the configuration that belong to `s4eca` and to methods made from it.
S4ECA_FIELDS = tuple(setting.name for setting in dataclasses.fields(S4ECASettings))
# What a folder of `s4eca` has that says nothing of them: it is older than they are.
BEFORE_S4ECA_FIELDS = {"candidate_order": False, "residual_norm": False}


@dataclass(frozen=True)
class S4ECAConfig:
    """Settings of a frozen pair with adapters and decoder.

    Attributes:
        vision: vision encoder, a hub id, a local directory or ``packaged:dinov2-s``.
        text: text encoder, likewise, or ``packaged:minilm-l6``.
        method: what adapts the encoders, a name of the method registry.
        mode: ``side`` (frozen features, cacheable), ``inject`` (residuals enter the next block) or ``late-inject``;
            the other methods take ``side``, all but ``decoder-only`` ``late-inject`` too.
        late_blocks: for ``late-inject``, how many of the last blocks receive residuals; a baseline changes these alone,
            and as many of the last layers of the text encoder.
        image_size: side of the square input in pixels.
        text_length: longest token sequence of an expression, special tokens included.
        vision_sites: number of vision blocks with an adapter, spread evenly.
        taps: number of adapted maps that the decoder reads; of a hierarchical encoder it reads one a stage.
        width, proxies, text_sites, kernels, scale_selection, spatial_gate, language_read, dense, global_branch, carry,
            coordinates, write_back, text_proxies, candidate_order, residual_norm: of the method `s4eca`, see
            `S4ECASettings`; None is its default there, and all that another method may have.
        decoder_width, decoder_layers, decoder_ffn, decoder_heads: sizes of the mask decoder.
        decoder_pool: side of the patch neighbourhoods that the decoder's self-attention reads averaged; 1 reads all.
        decoder_detail: channels of the decoder's own look at the pixels; 0 leaves it out.
        presence: hidden units of the decoder's no-target head (see `s4eca.decoder.presence`); 0 leaves it out.
        threshold: probability above which a pixel is foreground.
        presence_threshold: probability of presence below which a mask is emptied; None empties none.
        options: the method's own settings by name, as the dataclass in its class has them; `s4eca` has none.
        parts: optional parts of the decoder by name (`s4eca.registry.DECODER_PARTS`), each with its own settings; an
            empty object takes a part's defaults.
        bands: names of the input bands in their order; empty means RGB in 0..255.
        band_ranges: per band the values that become 0 and 1 at the encoder; what lies beyond is cut off.
        chosen: the three bands that the vision encoder sees as red, green and blue; empty puts a small trainable map
            from all bands to three colours in front of it.
    """

    vision: str = "facebook/dinov2-with-registers-base"
    text: str = "openai/clip-vit-base-patch16"
    method: str = "s4eca"
    mode: str = "side"
    late_blocks: int = 0
    image_size: int = 448
    text_length: int = 32
    width: int | None = None
    proxies: int | None = None
    vision_sites: int = 6
    text_sites: int | None = None
    taps: int = 3
    kernels: tuple[tuple[int, int], ...] | None = None
    scale_selection: bool | None = None
    spatial_gate: bool | None = None
    language_read: bool | None = None
    dense: bool | None = None
    global_branch: bool | None = None
    carry: bool | None = None
    coordinates: bool | None = None
    write_back: bool | None = None
    text_proxies: bool | None = None
    candidate_order: bool | None = None
    residual_norm: bool | None = None
    decoder_width: int = 256
    decoder_layers: int = 2
    decoder_ffn: int = 1024
    decoder_heads: int = 8
    decoder_pool: int = 1
    decoder_detail: int = 0
    presence: int = 0
    threshold: float = 0.5
    presence_threshold: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    bands: tuple[str, ...] = ()
    band_ranges: tuple[tuple[float, float], ...] = ()
    chosen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that cannot work, each by name.

        Raises:
            ConfigError: a value is out of range or a combination is impossible.
        """
        for setting in dataclasses.fields(self):
            check_kind(setting.name, str(setting.type), getattr(self, setting.name))
        if self.kernels is not None:
            object.__setattr__(self, "kernels", tuple((int(k), int(d)) for k, d in self.kernels))
        if self.method == "s4eca":
            # Written out, so that a saved folder stays what it is when a default changes.
            for name, value in vars(self.s4eca_settings()).items():
                object.__setattr__(self, name, value)
        object.__setattr__(self, "bands", tuple(self.bands))
        object.__setattr__(self, "band_ranges", tuple((float(low), float(high)) for low, high in self.band_ranges))
        object.__setattr__(self, "chosen", tuple(self.chosen))
        if self.mode not in MODES:
            raise ConfigError(f"mode is {self.mode!r}; it must be one of {', '.join(MODES)}.")
        if self.mode != "late-inject" and self.late_blocks:
            raise ConfigError(f"late_blocks is {self.late_blocks}, mode is {self.mode!r}; it belongs to late-inject.")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value < least:
                raise ConfigError(f"{name} is {value}; it must be at least {least}.")
        if self.taps > self.vision_sites:
            raise ConfigError(f"taps is {self.taps}; it cannot exceed vision_sites, which is {self.vision_sites}.")
        if not 0.0 < self.threshold < 1.0:
            raise ConfigError(f"threshold is {self.threshold}; it must lie between 0 and 1.")
        if self.presence_threshold is not None:
            check_presence_threshold("presence_threshold", self.presence_threshold)
            if not self.presence:
                raise ConfigError(
                    f"presence_threshold is {self.presence_threshold}, but presence is 0: no head says what is there."
                )
        if self.decoder_width % self.decoder_heads:
            raise ConfigError(
                f"decoder_width is {self.decoder_width}; it must be a multiple of decoder_heads, {self.decoder_heads}."
            )
        for name, settings in self.parts.items():
            check_kind(f"parts.{name}", "dict[str, Any]", settings)
        _check_bands(self.bands, self.band_ranges, self.chosen)

    def s4eca_settings(self, kind: type[S4ECASettings] = S4ECASettings) -> S4ECASettings:
        """The settings of the method `s4eca`, or of one made from it, defaults where nothing is said.

        Raises:
            ConfigError: a value is out of range.
        """
        said = {name: getattr(self, name) for name in S4ECA_FIELDS if getattr(self, name) is not None}
        return kind(**said)

    def replace(self, **changes: Any) -> S4ECAConfig:
        """A copy with some settings changed; with another method, that method's own settings start at its defaults."""
        return S4ECAConfig(**self.changed(changes))

    def changed(self, changes: dict[str, Any]) -> dict[str, Any]:
        """All settings by name, with some changed; see `replace`.

        Of `s4eca`, a change that leaves no affinity turns `candidate_order` off; turning a gate on again leaves it off.
        """
        kept = {setting.name: getattr(self, setting.name) for setting in dataclasses.fields(self)}
        gates = {"spatial_gate", "language_read", "text_proxies", "proxies"}
        if self.method == "s4eca" and self.candidate_order and gates & set(changes):
            kept["candidate_order"] = None
        if changes.get("method", self.method) != self.method:
            kept |= {**dict.fromkeys(S4ECA_FIELDS), "options": {}}
        return {**kept, **changes}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; settings that the method does not have are left out."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        for name in {"kernels", "band_ranges"} & set(values):
            values[name] = [list(pair) for pair in values[name]]
        for name in ("bands", "chosen"):
            values[name] = list(values[name])
        return values

    def band_settings(self) -> dict[str, Any]:
        """`bands`, `band_ranges` and `chosen` as plain values; nothing where the input is RGB in 0..255."""
        names = ("bands", "band_ranges", "chosen")
        return {name: self.to_dict()[name] for name in names} if self.bands else {}

    def to_json(self) -> str:
        """The settings as indented JSON."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, origin: str = "configuration") -> S4ECAConfig:
        """Settings from plain values; an unknown key is an error that names the nearest known one.

        Raises:
            ConfigError: unknown key or impossible value.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else "."
                raise ConfigError(f"{origin} has an unknown key {key!r}{hint}")
        for setting in dataclasses.fields(cls):
            if setting.name in values:
                check_kind(f"{origin}: {setting.name}", str(setting.type), values[setting.name])
        return cls(**values)

    @classmethod
    def from_saved(cls, values: dict[str, Any], *, origin: str) -> S4ECAConfig:
        """As `from_dict`, of a folder or checkpoint, which may be older than some settings of `s4eca`.

        Raises:
            ConfigError: unknown key or impossible value.
        """
        before = BEFORE_S4ECA_FIELDS if values.get("method", cls.method) == "s4eca" else {}
        return cls.from_dict({**before, **values}, origin=origin)


def check_calibration_split(split: str) -> None:
    """Refuse a test split: what is reported there must not have chosen the thresholds (PROTOCOL 4.4).

    Raises:
        ConfigError: its name begins with ``test``.
    """
    if split.lower().startswith("test"):
        raise ConfigError(f"The split is {split!r}, which is reported; choose thresholds on val or train.")


def check_presence_threshold(name: str, value: float) -> None:
    """Refuse what is no probability.

    Raises:
        ConfigError: by the name of the setting or option.
    """
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} is {value}; it must lie between 0 and 1.")


def check_kind(name: str, annotation: str, value: Any) -> None:
    """Refuse a value of another kind than the setting's, before arithmetic stumbles over it.

    Args:
        name: of the setting, as the sentence begins.
        annotation: its type as the source writes it; what is none of the kinds of this file is not asked about.
        value: what was given.

    Raises:
        ConfigError: the value is of another kind.
    """
    kind, may_lack = annotation.removesuffix(" | None"), annotation.endswith(" | None")
    if value is None and may_lack:
        return
    fits, wanted = {
        "str": (isinstance(value, str), "a text"),
        "bool": (isinstance(value, bool), "true or false"),
        "int": (isinstance(value, int) and not isinstance(value, bool), "a whole number"),
        "float": (isinstance(value, int | float) and not isinstance(value, bool), "a number"),
        "tuple[tuple[int, int], ...]": (_pairs(value, int), "a list of [size, dilation]"),
        "tuple[tuple[float, float], ...]": (_pairs(value, int | float), "a list of [low, high]"),
        "tuple[str, ...]": (_texts(value), "a list of texts"),
        "tuple[int, ...]": (_wholes(value), "a list of whole numbers"),
        "dict[str, Any]": (isinstance(value, dict), "an object"),
    }.get(kind, (True, ""))
    if not fits:
        raise ConfigError(f"{name} is {value!r}; it must be {wanted}.")


def _pairs(value: Any, kind: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(isinstance(number, kind) and not isinstance(number, bool) for number in pair)
        for pair in value
    )


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)


def _wholes(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)


def _check_bands(bands: tuple[str, ...], ranges: tuple[tuple[float, float], ...], chosen: tuple[str, ...]) -> None:
    """Refuse bands that cannot be told apart, ranges that are none, and a choice that is not three of the bands."""
    if not bands:
        for name, value in (("band_ranges", ranges), ("chosen", chosen)):
            if value:
                raise ConfigError(f"{name} is {list(value)}, but bands is empty; name the input bands as well.")
        return
    for name in bands:
        if not name or name != name.strip() or set(name) & set("=,"):
            raise ConfigError(f"bands has {name!r}; a name has no blanks at its ends, no '=' and no ','.")
        if sum(name.lower() == other.lower() for other in bands) > 1:
            raise ConfigError(f"bands has {name!r} more than once; each band needs a name of its own.")
    if len(ranges) != len(bands):
        raise ConfigError(f"band_ranges has {len(ranges)} pairs for {len(bands)} bands; each band needs [low, high].")
    for name, (low, high) in zip(bands, ranges, strict=True):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(f"band_ranges gives {name!r} the range [{low}, {high}]; it needs two rising numbers.")
    for name in chosen:
        if name not in bands:
            near = difflib.get_close_matches(name, bands, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the bands are {', '.join(bands)}."
            raise ConfigError(f"chosen has {name!r}, which is no band; {hint}")
    if chosen and (len(chosen) != 3 or len(set(chosen)) != 3):
        raise ConfigError(f"chosen is {list(chosen)}; it must be empty or three different bands.")


def spread(count: int, blocks: int) -> tuple[int, ...]:
    """Evenly spread sites, ending at the last block: floor((i+1) * blocks / count) - 1 (ours, METHOD 3.1).

    Raises:
        ConfigError: more sites than blocks.
    """
    if count > blocks:
        raise ConfigError(f"{count} adapter sites were asked of an encoder with {blocks} blocks.")
    return tuple((i + 1) * blocks // count - 1 for i in range(count))

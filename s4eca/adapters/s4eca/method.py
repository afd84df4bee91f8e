"""S4ECAAdapter: the text and vision sites of one frozen pair, built from two specs and a config."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from s4eca.adapters.base import NOTHING_KEPT, Method
from s4eca.adapters.s4eca.text_proxies import TextAdapter
from s4eca.adapters.s4eca.visual_adapter import Refined, VisualAdapter
from s4eca.adapters.sites import tapped, vision_sites
from s4eca.adapters.walk import encode_prefix, walk_text, walk_vision
from s4eca.config import MODES, S4ECAConfig, S4ECASettings, spread
from s4eca.layers.kept import once, read_once
from s4eca.protocols import TextEncoder, VisionEncoder
from s4eca.records import Encoded, Fused, TextBatch, TextSpec, VisionSpec, Words


class S4ECAAdapter(Method):
    """All adapters of a pair; the modes share every parameter and differ only in `late_blocks`.

    Attributes:
        sites: vision blocks with an adapter.
        taps: the sites whose adapted maps the decoder reads.
        late_blocks: number of last vision blocks that receive residuals (0 for side, all for inject).
    """

    SETTINGS: ClassVar[type] = S4ECASettings
    SETTINGS_IN_CONFIG: ClassVar[bool] = True
    MODES: ClassVar[tuple[str, ...]] = MODES
    KNOBS: ClassVar[tuple[str, ...]] = ("width",)
    UNDECAYED: ClassVar[tuple[str, ...]] = (
        r"^adapter\.queries$",
        r"^adapter\..*\.(place|up\.weight|order\.ask\.weight)$",
    )
    ORIGIN: ClassVar[str] = (
        "a reconstruction of S4ECA (arXiv 2606.30244), of which only the abstract is public; "
        "it is not the authors' model"
    )
    ATTRIBUTION: ClassVar[str] = (
        "From the paper's abstract (arXiv 2606.30244): adapters on both encoders; learnable queries that distil "
        "language proxies from the words; a multi-scale dense extractor on hierarchical features; selection of scale "
        "and place led by language; an update of 2.4 % of the backbone's parameters. Ours, because nothing more is "
        "public: every formula, size, site and kernel, the modes, the decoder, the loss and the recipe. No score here "
        "is the paper's."
    )

    @classmethod
    def refusal(cls, feature: str, config: S4ECAConfig) -> str | None:
        """Where no residual enters an encoder, its blocks keep nothing."""
        if feature == "checkpointing: encoders" and config.mode == "side" and not config.s4eca_settings().write_back:
            return f"in side mode without write_back {NOTHING_KEPT}"
        return super().refusal(feature, config)

    def __init__(self, config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> None:
        super().__init__()
        own = config.s4eca_settings()
        self.sites = vision_sites(config, vision)
        self.taps = tapped(config, vision, self.sites)
        self.late_blocks = {"side": 0, "inject": vision.blocks}.get(config.mode, config.late_blocks)
        self.proxy_width = own.width
        self.carry = own.carry
        k = own.proxies if own.text_proxies else 1
        self.queries = nn.Parameter(torch.randn(k, own.width)) if own.text_proxies else None
        text_sites = spread(own.text_sites, text.blocks)
        if not own.text_proxies and not own.write_back:
            # The mean of the words is read at the last site alone, and no earlier site writes anything.
            text_sites = text_sites[-1:]
        make_text = partial(TextAdapter, write_back=own.write_back, proxies=own.text_proxies)
        self.text = nn.ModuleDict({str(j): make_text(text.width, own.width) for j in text_sites})
        make_vision = partial(
            VisualAdapter,
            r=own.width,
            kernels=own.kernels,
            proxies=k,
            scale_selection=own.scale_selection,
            spatial_gate=own.spatial_gate,
            language_read=own.language_read,
            dense=own.dense,
            global_branch=own.global_branch,
            coordinates=own.coordinates,
            candidate_order=bool(own.candidate_order),
            residual_norm=own.residual_norm,
        )
        self.vision = nn.ModuleDict({str(i): make_vision(vision.widths[i]) for i in self.sites})

    def encode(self, vision: VisionEncoder, pixels: Tensor) -> Encoded:
        """The frozen prefix for pixels (B, 3, H, W); what a feature cache keeps."""
        return encode_prefix(vision, pixels, self.sites, self.late_blocks)

    def read_text(self, text: TextEncoder, batch: TextBatch) -> tuple[Words, Tensor]:
        """The text encoder with its sites: adapted words, and the proxies (B, K, r) of the last site."""
        carried = None if self.queries is None else self.queries.unsqueeze(0).expand(len(batch.ids), -1, -1)
        last = carried

        def visit(index: int, values: Tensor, mask: Tensor) -> Tensor:
            nonlocal carried, last
            if str(index) not in self.text:
                return values
            values, last = self.text[str(index)](values, mask, carried)
            carried = None if carried is None else last
            return values

        words = walk_text(text, batch, visit)
        assert last is not None, "the last text site always reads"
        return words, last

    def forward(self, vision: VisionEncoder, text: TextEncoder, encoded: Encoded, batch: TextBatch) -> Fused:
        """Text first and completely, so that every vision site reads the final proxies.

        Args:
            vision: the frozen vision encoder.
            text: the frozen text encoder.
            encoded: the frozen prefix for B images.
            batch: B tokenised expressions.
        """
        words, proxies = read_once(self, batch, partial(self.read_text, text))
        assert proxies is not None, "the last text site always reads"

        def refine(index: int, patches: Tensor, grid: tuple[int, int], carry: Tensor | None) -> Refined:
            site: Any = self.vision[str(index)]
            carry, looked = carry if self.carry else None, None
            if encoded.kept is not None and index in encoded.sites:
                look = partial(site.look, patches, grid, carried=carry is not None)
                looked = once(encoded.kept, site, look)
            refined: Refined = site(patches, grid, proxies, carry, looked)
            return refined

        stream = walk_vision(vision, encoded, refine, self.sites, self.taps, self.late_blocks)
        return Fused(
            stream.levels,
            stream.grids,
            words,
            proxies,
            [r.scale_weights for r in stream.reports],
            [r.gate for r in stream.reports if r.gate is not None],
        )

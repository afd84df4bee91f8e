"""Swin and SwinV2 from the transformers library: stages whose patch grid shrinks.

Blocks are numbered through all stages. The patch merging between two stages belongs to the first block of the second,
so that what comes after the last block of a stage still has that stage's grid and width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from s4eca.encoders.hf_common import part
from s4eca.encoders.hf_vision import HFVision, VisionForm
from s4eca.records import Tokens


def _embed(model: Any, pixels: Tensor) -> Tensor:
    values: Tensor = model.embeddings(pixels, interpolate_pos_encoding=True)[0]
    return values


def _swin(model: Any, layer: Any, tokens: Tokens) -> Any:
    return layer(tokens.values, tokens.grid, always_partition=True)


def _swinv2(model: Any, layer: Any, tokens: Tokens) -> Any:
    return layer(tokens.values, tokens.grid)


SWIN_FORMS: dict[str, VisionForm] = {
    "swin": VisionForm("encoder.layers", "layernorm", _embed, _swin),
    "swinv2": VisionForm("encoder.layers", "layernorm", _embed, _swinv2),
}


class HFSwin(HFVision):
    """A transformers Swin or SwinV2 behind the stepping interface; no prefix tokens, no pooling."""

    forms = SWIN_FORMS

    def __init__(self, model: Any, source: str, normalisation: Any = None) -> None:
        super().__init__(model, source, normalisation)
        depths = [int(depth) for depth in model.config.depths]
        self.places = [(stage, number) for stage, depth in enumerate(depths) for number in range(depth)]

    def layer(self, index: int) -> nn.Module:
        """The library's own module of one block."""
        stage, number = self.places[index]
        layer: nn.Module = part(self.backbone, self.form.layers)[stage].blocks[number]
        return layer

    def block(self, index: int, tokens: Tokens) -> Tokens:
        """One frozen block; the first one of a later stage merges 2 x 2 patches before."""
        stage, number = self.places[index]
        if stage and not number:
            merge = part(self.backbone, self.form.layers)[stage - 1].downsample
            h, w = tokens.grid
            tokens = Tokens(merge(tokens.values, tokens.grid), (h // 2, w // 2), tokens.prefix)
        if self.spec.family == "swin":
            self._open_windows(index, tokens.grid)
        return super().block(index, tokens)

    def _open_windows(self, index: int, grid: tuple[int, int]) -> None:
        """Set a block's window for this grid.

        The library shrinks the window of a block for good when it first meets a small grid, so that later results
        depend on earlier images. Here a block that can see the whole shorter side in one window does not shift, as
        there, and larger grids find the window as it was trained.
        """
        layer: Any = self.layer(index)
        config: Any = self.backbone.config
        window = int(config.window_size)
        shift = window // 2 if self.places[index][1] % 2 and min(grid) > window else 0
        if (layer.window_size, layer.shift_size) != (window, shift):
            layer.window_size, layer.shift_size = window, shift

"""The refiner that comes from this library: a small network on frozen features, class-blind, trained on boxes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from s4eca.cascade.box_prompt_network import PROMPTS, BoxPromptNetwork, BoxPromptSizes
from s4eca.cascade.one_by_one import ImageByImage
from s4eca.encoders.frozen import state_fingerprint
from s4eca.errors import CascadeError, EncoderError
from s4eca.files import write_together
from s4eca.optional import RefinedMasks
from s4eca.registry import load_vision_encoder

WEIGHTS, CONFIG, CARD = "refiner.safetensors", "refiner.json", "README.md"
KEYS = {"library", "kind", "format_version", "sizes", "encoder_sha256", "card"}
BOUND = 10.0
TOGETHER = 16


class BoxPrompt(ImageByImage, nn.Module):
    """Masks from boxes, with a coarse mask or without (see `s4eca.optional.MaskRefiner`).

    Args:
        sizes: of the network.
        vision: the frozen encoder; None loads the one that the sizes name.
    """

    def __init__(self, sizes: BoxPromptSizes, vision: Any = None) -> None:
        super().__init__()
        self.sizes = sizes
        self.vision = load_vision_encoder(sizes.vision) if vision is None else vision
        self.network = BoxPromptNetwork(sizes)
        self.register_buffer("mean", torch.tensor(self.vision.spec.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.vision.spec.std).view(3, 1, 1), persistent=False)

    @property
    def name(self) -> str:
        """What results were made with."""
        told = f"{state_fingerprint(self.network.state_dict())}{self.sizes.to_dict()}{self.vision.fingerprint}"
        return f"box-prompt ({hashlib.sha256(told.encode()).hexdigest()[:12]})"

    def seen(self, views: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        """Views (h, w, 3) RGB as the network's pixels (B, 3, S, S) and the encoder's (B, 3, s, s), normalised."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        shown = [torch.from_numpy(np.ascontiguousarray(v)).permute(2, 0, 1)[None].float() / 255 for v in views]
        small, large = (
            torch.cat([F.interpolate(v, (side, side), mode="bilinear", antialias=True) for v in shown])
            for side in (self.sizes.side, self.sizes.seen)
        )
        return (small.to(mean.device) - mean) / std, (large.to(mean.device) - mean) / std

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """The encoder's pixels to features (B, C, h, w) of its last block, after its final norm."""
        tokens = self.vision.embed(pixels)
        for index in range(self.vision.spec.blocks):
            tokens = self.vision.block(index, tokens)
        patches: Tensor = self.vision.finish(tokens).patches
        return torch.unflatten(patches.transpose(1, 2), 2, tokens.grid)

    def prompts(self, box: Tensor, coarse: Tensor | None, size: tuple[int, int]) -> Tensor:
        """A box (4,) in pixels of a view (h, w), and coarse logits on it or None, as maps (3, S, S)."""
        side = self.sizes.side
        made = torch.zeros(PROMPTS, side, side)
        scale = torch.tensor([side / size[1], side / size[0]] * 2)
        left, top, right, bottom = (box.cpu().float() * scale).tolist()
        cells = torch.arange(side, dtype=torch.float32)
        # The share of each cell that the box covers, so that a box of a part of a cell is still there.
        across = (torch.minimum(cells + 1, torch.tensor(right)) - torch.maximum(cells, torch.tensor(left))).clamp(0, 1)
        down = (torch.minimum(cells + 1, torch.tensor(bottom)) - torch.maximum(cells, torch.tensor(top))).clamp(0, 1)
        made[0] = down[:, None] * across
        if coarse is not None:
            drawn = F.interpolate(coarse[None, None].float().cpu(), (side, side), mode="bilinear", antialias=True)
            made[1], made[2] = drawn[0, 0].clamp(-BOUND, BOUND) / BOUND, 1.0
        return made

    def drawn(self, image: NDArray[np.uint8], boxes: Tensor, masks: Tensor | None) -> RefinedMasks:
        """See `ImageByImage.drawn`; the image is encoded once for all its boxes, the foretold IoU lies in 0..1."""
        size = (image.shape[0], image.shape[1])
        pixels, shown = self.seen([image])
        features, rows = self.features(shown), []
        for start in range(0, len(boxes), TOGETHER):
            part = range(start, min(start + TOGETHER, len(boxes)))
            maps = [self.prompts(boxes[n], None if masks is None else masks[n], size) for n in part]
            prompts = torch.stack(maps).to(pixels.device)
            count = len(prompts)
            rows.append(self.network(pixels.expand(count, -1, -1, -1), prompts, features.expand(count, -1, -1, -1)))
        logits = F.interpolate(torch.cat([r[0] for r in rows]).float(), size, mode="bilinear", align_corners=False)
        return RefinedMasks(logits[:, 0].cpu(), torch.cat([r[1] for r in rows]).sigmoid().float().cpu())


def load(kind: str, name: str, device: str) -> BoxPrompt:
    """The refiner of a folder; see `s4eca.cascade.hub.load_refiner`.

    Raises:
        CascadeError: a folder that is none, an unknown or a missing tensor, or another encoder.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    del kind
    folder = Path(name)
    try:
        note = json.loads((folder / CONFIG).read_text())
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise CascadeError(f"{folder} is no folder of a box-prompt refiner: {str(error).splitlines()[0]}.") from error
    if not isinstance(note, dict) or set(note) != KEYS or note["kind"] != "box-prompt" or note["format_version"] != 1:
        raise CascadeError(f"{folder / CONFIG} must have exactly the keys {', '.join(sorted(KEYS))} of format 1.")
    try:
        sizes = BoxPromptSizes(**note["sizes"])
    except TypeError as error:
        raise CascadeError(f"{folder / CONFIG} has sizes that no box-prompt refiner has: {error}.") from error
    model = BoxPrompt(sizes)
    try:
        model.vision.grid(sizes.seen, sizes.seen)
    except EncoderError as error:
        raise CascadeError(
            f"{folder / CONFIG} has seen = {sizes.seen}, which its encoder cannot take: {error}"
        ) from error
    if not isinstance(note["encoder_sha256"], str):
        raise CascadeError(f"{folder / CONFIG} has encoder_sha256 {note['encoder_sha256']!r}; it must be a text.")
    if model.vision.fingerprint != note["encoder_sha256"]:
        raise CascadeError(
            f"{folder / CONFIG} was made with an encoder of weights {note['encoder_sha256'][:12]}…, but {sizes.vision} "
            f"has {model.vision.fingerprint[:12]}…."
        )
    own = model.network.state_dict()
    wrong = sorted(set(own) ^ set(tensors)) or sorted(n for n in own if own[n].shape != tensors[n].shape)
    if wrong:
        raise CascadeError(f"{folder / WEIGHTS} does not fit its sizes at the tensor {wrong[0]}.")
    model.network.load_state_dict({key: value.float() for key, value in tensors.items()})
    return model.eval().requires_grad_(False).to(device)


def save(model: BoxPrompt, folder: Path, card: str, dtype: torch.dtype = torch.float16) -> Path:
    """Write the folder of a refiner: weights, settings and a card in Markdown."""
    from safetensors.torch import save as to_bytes

    note = {
        "library": "s4eca",
        "kind": "box-prompt",
        "format_version": 1,
        "sizes": model.sizes.to_dict(),
        "encoder_sha256": model.vision.fingerprint,
        "card": CARD,
    }
    tensors = {name: t.detach().cpu().to(dtype).contiguous() for name, t in model.network.state_dict().items()}
    files = {WEIGHTS: to_bytes(tensors), CONFIG: json.dumps(note, indent=2).encode(), CARD: card.encode()}
    write_together(folder, files, without=[])
    return folder

"""SAM, SAM-HQ, SAM 2 and the tracker of SAM 3 as mask refiners, by the library's models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from s4eca.cascade.hub import named, opened
from s4eca.cascade.one_by_one import ImageByImage
from s4eca.optional import RefinedMasks

# Kinds that pad the shorter side of an image, and must be told its size when masks come back.
PADDED = ("sam", "sam_hq")


def load(kind: str, name: str, device: str) -> Sam:
    """See `s4eca.cascade.hub.load_refiner`."""
    from transformers import AutoModelForMaskGeneration

    model, processor = opened(AutoModelForMaskGeneration, kind, name, "refiner", device)
    return Sam(named(kind, name, model, processor), kind, model, processor)


class Sam(ImageByImage):
    """Masks from a box and, where there is one, a coarse mask; one mask a box, for a box is not ambiguous.

    Args:
        name: see `s4eca.optional.MaskRefiner`.
        kind: of model.
        model: the library's.
        processor: its own.
    """

    def __init__(self, name: str, kind: str, model: Any, processor: Any) -> None:
        self.name, self.model, self.processor = name, model, processor
        self.padded = kind in PADDED
        # Left on, the best of three masks may take the place of the one that was asked for.
        if "dynamic_multimask_via_stability" in vars(model.mask_decoder):
            model.mask_decoder.dynamic_multimask_via_stability = False
        self._last: tuple[bytes, Any] | None = None

    def drawn(self, image: NDArray[np.uint8], boxes: Tensor, masks: Tensor | None) -> RefinedMasks:
        """One prompt at a time: the library shares a mask prompt among all boxes of an image."""
        rows = [self._one(image, box, None if masks is None else masks[n]) for n, box in enumerate(boxes)]
        return RefinedMasks(torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows]))

    def _one(self, image: NDArray[np.uint8], box: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        device = self.model.device
        given = self.processor(images=image, input_boxes=[[box.tolist()]], return_tensors="pt")
        prompt: dict[str, Any] = {"input_boxes": given["input_boxes"].to(device, torch.float32)}
        if mask is not None:
            prompt["input_masks"] = self._prompt(mask, given).to(device)
        out = self.model(**self._encoded(image, given["pixel_values"].to(device)), multimask_output=False, **prompt)
        reshaped = [given["reshaped_input_sizes"]] if self.padded else []
        drawn = self.processor.image_processor.post_process_masks(
            out.pred_masks.float().cpu(), given["original_sizes"], *reshaped, binarize=False
        )[0]
        return drawn.reshape(image.shape[0], image.shape[1]), out.iou_scores.float().cpu().reshape(())

    def _encoded(self, image: NDArray[np.uint8], pixels: Tensor) -> dict[str, Any]:
        """The image's embeddings as the model takes them, made once for prompts that follow one another."""
        mark = image.tobytes() + str(image.shape).encode()
        if self._last is None or self._last[0] != mark:
            made = self.model.get_image_embeddings(pixels)
            names = ("image_embeddings", "intermediate_embeddings")  # SAM-HQ gives both
            self._last = mark, dict(zip(names, made if isinstance(made, tuple) else (made,), strict=False))
        return self._last[1]

    def _prompt(self, mask: Tensor, given: Any) -> Tensor:
        """Logits (H, W) as the model reads a mask: (1, 1, h, w), padded as the image is."""
        prompts = self.model.config.prompt_encoder_config
        height = width = 4 * (prompts.image_size // prompts.patch_size)
        if not self.padded:
            return F.interpolate(mask[None, None].float(), size=(height, width), mode="bilinear", align_corners=False)
        scale = height / max(mask.shape)
        inner = (max(1, round(mask.shape[0] * scale)), max(1, round(mask.shape[1] * scale)))
        drawn = F.interpolate(mask[None, None].float(), size=inner, mode="bilinear", align_corners=False)
        return F.pad(drawn, (0, width - inner[1], 0, height - inner[0]), value=float(mask.min()))

"""What `adapter_cost.py` measures: pairs of random weights, methods at one budget, and a training step in two parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from s4eca.budgets.flops import cut, sample_inputs
from s4eca.budgets.solve import fit_to, knobs
from s4eca.config import S4ECAConfig
from s4eca.data.feature_cache import FeatureCache, stack
from s4eca.decoder.loss import segmentation_loss
from s4eca.encoders import catalog
from s4eca.model.model import S4ECAModel
from s4eca.model.running import Running
from s4eca.records import Encoded, Fused

PAIRS = {
    "base": ("facebook/dinov2-with-registers-base", "openai/clip-vit-base-patch16"),
    "small": ("packaged:dinov2-s", "packaged:minilm-l6"),
}
LATE = 4
CACHE_DTYPE = "float16"


@dataclass(frozen=True)
class Variant:
    """One way to train: a method, its mode, and whether frozen features come out of a cache."""

    name: str
    method: str = "s4eca"
    mode: str = "side"
    cached: bool = False
    checkpointing: str = "none"

    @property
    def rewrites(self) -> bool:
        """Whether it needs encoders of its own."""
        return self.method in ("full", "lora")


FULL, INJECT, SIDE, BARE = Variant("full fine-tune", "full"), Variant("inject", mode="inject"), Variant("side"), "bare"
CACHED, CHECKED = Variant("side, cached", cached=True), Variant("side, checkpointed", checkpointing="adapters")
CONTROL = Variant("decoder only", "decoder-only")
STEPS = (
    FULL, Variant("LoRA", "lora"), Variant("DETRIS-style", "detris"), INJECT,
    Variant(f"late-inject({LATE})", mode="late-inject"), SIDE, CHECKED, CACHED, CONTROL,
)  # fmt: skip


def configured(variant: Variant, base: S4ECAConfig, share: float) -> S4ECAConfig:
    """The settings of a variant, its method solved for the share where it can be scaled."""
    late = LATE if variant.mode == "late-inject" else 0
    config = base.replace(method=variant.method, mode=variant.mode, late_blocks=late)
    return fit_to(config, share=share) if knobs(config) else config


def random_pair(config: S4ECAConfig, device: str) -> tuple[Any, Any]:
    """Both encoders in their real sizes with random weights; neither a checkpoint nor a network is needed."""
    from s4eca.encoders import hf

    torch.manual_seed(0)
    vision, words = catalog.find(config.vision, "vision"), catalog.find(config.text, "text")
    assert vision is not None and words is not None
    pair = (
        hf.VISION[vision.family](_random(vision), config.vision),
        hf.TEXT[words.family](_random(words), None, config.text),
    )
    return pair[0].to(device), pair[1].to(device)


def _random(entry: catalog.Entry) -> Any:
    import transformers

    form = catalog.FAMILIES[entry.family]
    config = getattr(transformers, form.config_class)(**{**entry.sizes, **form.settings})
    return getattr(transformers, form.model_class)(config, **form.build)


class Trial:
    """A model with its inputs, ready for steps and forwards.

    Args:
        variant: what to run.
        config: its settings.
        pair: both encoders; a variant that rewrites them wants its own.
        batch: images, each with one expression of full length.
        bf16: whether products run under autocast in bfloat16.
    """

    def __init__(self, variant: Variant, config: S4ECAConfig, pair: tuple[Any, Any], batch: int, bf16: bool) -> None:
        device = next(pair[0].parameters()).device
        torch.manual_seed(1)
        self.variant, self.bf16 = variant, bf16
        self.model = S4ECAModel(*pair, config).to(device).train()
        # What the encoders share with other trials is switched by the model, never by a trial.
        self.model.run_with(Running(checkpointing=variant.checkpointing))
        images, self.batch = sample_inputs(self.model, batch)
        self.pixels = self.model.normalise(torch.randint(0, 256, images.shape, device=device).float())
        side = config.image_size // self.model.stride * 4
        self.truth = (torch.rand(batch, 1, side, side, device=device) < 0.05).float()
        self.entries = self._fill() if variant.cached else []
        decoder = list(self.model.decoder.parameters())
        own = {id(p) for p in decoder}
        rest = [p for p in self.model.parameters() if p.requires_grad and id(p) not in own]
        self.update_decoder = torch.optim.AdamW(decoder, lr=1e-5)
        self.update = torch.optim.AdamW(rest, lr=1e-5) if rest else None

    def _fill(self) -> list[dict[str, Tensor]]:
        cache = FeatureCache({"dtype": CACHE_DTYPE, "sites": list(self.model.adapter.sites)})
        with torch.no_grad():
            for number, one in enumerate(self.pixels):
                cache.put(str(number), self.model.encode(one[None]))
        return [cache.get(str(number)) for number in range(len(self.pixels))]

    def encode(self) -> Encoded:
        """The frozen prefix, or what a cache gives for it."""
        if not self.variant.cached:
            return self.model.encode(self.pixels)
        return stack(self.entries, self.model.vision.spec.prefix_tokens).map(lambda t: t.to(self.pixels.device))

    def forward(self) -> float:
        """Seconds of encoders and adapters without gradients and without the decoder."""
        began = clock(self.pixels)
        with torch.no_grad(), self._precision():
            self.model.fuse(self.encode(), self.batch)
        return clock(self.pixels) - began

    def loss(self, fused: Fused, detail: Tensor | None) -> Tensor:
        """The loss of what adapters made of the batch."""
        return segmentation_loss(self.model.decoder(fused, detail).logits.float(), self.truth)

    def step(self) -> tuple[float, float]:
        """One training step: seconds of encoders and adapters, and of the decoder, each with its update."""
        times = [clock(self.pixels)]
        with self._precision():
            encoded = self.encode()
            fused = self.model.fuse(encoded, self.batch)
            times.append(clock(self.pixels))
            leaves = cut(fused)
            loss = self.loss(leaves.fused, encoded.detail)
        loss.backward()
        times.append(clock(self.pixels))
        leaves.backward()
        if self.update is not None:
            self.update.step()
            self.update.zero_grad()
        times.append(clock(self.pixels))
        self.update_decoder.step()
        self.update_decoder.zero_grad()
        times.append(clock(self.pixels))
        parts = [after - before for before, after in zip(times, times[1:], strict=False)]
        return parts[0] + parts[2], parts[1] + parts[3]

    def _precision(self) -> Any:
        return torch.autocast(self.pixels.device.type, torch.bfloat16) if self.bf16 else nullcontext()


def clock(near: Tensor) -> float:
    """The time once everything asked of the tensor's device is done."""
    if near.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def trials(
    variants: Sequence[Variant], base: S4ECAConfig, share: float, batch: int, device: str, bf16: bool
) -> dict[str, Trial]:
    """All variants at once; those that leave the encoders alone share one pair."""
    shared = random_pair(base, device) if not all(v.rewrites for v in variants) else None
    made: dict[str, Trial] = {}
    for variant in variants:
        pair = random_pair(base, device) if variant.rewrites or shared is None else shared
        made[variant.name] = Trial(variant, configured(variant, base, share), pair, batch, bf16)
    return made

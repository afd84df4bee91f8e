"""What the tests of peft's side share: settings, values as if learnt, features by ours and by the library."""

from __future__ import annotations

import torch
from families import walk
from peft import IA3Config, LNTuningConfig, LoraConfig, VeraConfig
from sizes import SMALL

from s4eca.decoder.loss import segmentation_loss
from s4eca.layers.trainable import trainable_parameters

SAID = ["the red roof", "a ship left of it", "roof"]
SIZES = {**SMALL, "image_size": 28}
CONFIGS = {
    "lora": lambda **more: LoraConfig(r=3, target_modules=["q_proj", "v_proj"], lora_alpha=7, **more),
    "dora": lambda **more: LoraConfig(r=3, target_modules=["q_proj", "fc1"], use_dora=True, lora_alpha=7, **more),
    "patterns": lambda **more: LoraConfig(
        r=3,
        target_modules=r".*\.(q_proj|fc2)",
        layers_to_transform=None,
        rank_pattern={"q_proj": 2},
        alpha_pattern={"fc2": 5},
        use_rslora=True,
        **more,
    ),
    "ia3": lambda **more: IA3Config(target_modules=["k_proj", "fc2"], feedforward_modules=["fc2"], **more),
    "vera": lambda **more: VeraConfig(r=4, target_modules=["q_proj", "fc2"], projection_prng_key=3, **more),
    "ln": lambda **more: LNTuningConfig(target_modules=["norm1", "layernorm"], **more),
}


def pixels(height=28, width=28, seed=3):
    return torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def stir(module, seed=1, share=0.3):
    """Give an adapter's parameters values that it could have learnt."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        if any(part in name for part in ("lora_", "ia3_l", "vera_lambda", "ln_tuning_layers")):
            parameter.add_(share * torch.randn(parameter.shape, generator=generator))


def features(encoder, height=28, width=None):
    """What our wrapper of a vision encoder says of the same pixels."""
    with torch.no_grad():
        return walk(encoder, pixels(height, width or height)).values


def plain_features(model, height=28, width=28):
    with torch.no_grad():
        return model.eval()(pixel_values=pixels(height, width)).last_hidden_state


def words(encoder):
    from s4eca.adapters.walk import walk_text

    with torch.no_grad():
        return walk_text(encoder, encoder.tokenize(SAID, 12)).values


def plain_words(model, encoder):
    batch = encoder.tokenize(SAID, 12)
    mask = None if encoder.spec.family == "clip_text_model" else batch.mask.long()
    with torch.no_grad():
        return model.eval()(input_ids=batch.ids, attention_mask=mask).last_hidden_state, batch.mask


def update(model, rate=1e-2, seed=3):
    optimiser = torch.optim.AdamW(trainable_parameters(model).values(), lr=rate)
    logits = model(pixels(seed=seed), SAID)
    truth = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed)) > 0.7).float()
    segmentation_loss(logits, truth).backward()
    optimiser.step()


def gradients(model, seed=4):
    model.zero_grad(set_to_none=True)
    logits = model(pixels(seed=seed), SAID)
    truth = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed)) > 0.7).float()
    segmentation_loss(logits, truth).backward()
    return {name: p.grad for name, p in trainable_parameters(model).items()}


def same(one, other):
    assert torch.allclose(one, other, atol=1e-5, rtol=1e-4), float((one - other).abs().max())

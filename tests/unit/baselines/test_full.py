"""Full fine-tuning: everything counts, trains, is saved and comes back; the checkpoint it began with stays known."""

from __future__ import annotations

import pytest
import torch

from s4eca.budgets.report import budget
from s4eca.config import S4ECAConfig
from s4eca.encoders.toy import toy_pair
from s4eca.errors import AdapterFolderError
from s4eca.layers.trainable import parameter_groups, trainable_parameters
from s4eca.model.model import S4ECAModel

SAID = ["the red roof", "field"]


def moved(model):
    """The model after an update of everything."""
    optimiser = torch.optim.AdamW(trainable_parameters(model).values(), lr=1e-2)
    model(torch.randn(2, 3, 32, 32), SAID).square().mean().backward()
    optimiser.step()
    return model.eval()


def test_everything_counts() -> None:
    found = budget(S4ECAConfig(method="full"), check_effective=False)
    assert (found.adapters, found.ratio_backbone) == (149_749_504, 1.0)


def test_the_fingerprint_stays_that_of_the_checkpoint(toy_model) -> None:
    before = [encoder.fingerprint for encoder in toy_pair(6, 3)]
    model = moved(toy_model(method="full"))
    assert [model.vision.fingerprint, model.text.fingerprint] == before
    fresh = toy_pair(6, 3)[0]
    assert not torch.equal(model.vision.body.layers[0].fc1.weight, fresh.body.layers[0].fc1.weight)


def test_a_saved_folder_holds_and_restores_both_encoders(toy_model, tmp_path) -> None:
    model = moved(toy_model(method="full"))
    folder = model.save_pretrained(tmp_path / "full")
    again = S4ECAModel.from_pretrained(folder, vision=toy_pair(6, 3)[0], text=toy_pair(6, 3)[1])
    for name, parameter in trainable_parameters(model).items():
        assert torch.equal(parameter, trainable_parameters(again)[name]), name
    with pytest.raises(AdapterFolderError, match="vision encoder"):
        S4ECAModel.from_pretrained(folder, vision=toy_pair(6, 3, seed=1)[0], text=toy_pair(6, 3)[1])


def test_encoders_have_a_rate_of_their_own(toy_model) -> None:
    model = toy_model(method="full")
    groups = {g["name"]: g for g in parameter_groups(model, lr_adapter=5e-4, lr_decoder=2e-4, weight_decay=1e-2)}
    assert groups["encoder_updates"]["lr"] == groups["encoder_updates-no-decay"]["lr"] == 3e-5
    assert groups["decoder"]["lr"] == 2e-4
    assert sum(p.numel() for n in ("encoder_updates", "encoder_updates-no-decay") for p in groups[n]["params"]) == (
        model.vision.spec.parameters + model.text.spec.parameters
    )


def test_encoders_stay_in_eval_mode_and_without_a_cache(toy_model) -> None:
    model = toy_model(method="full").train()
    assert not any(module.training for encoder in (model.vision, model.text) for module in encoder.modules())
    assert "trains inside" in model.uncacheable


def test_what_cannot_learn_is_known() -> None:
    from s4eca.encoders.meta import text_spec, vision_spec

    config = S4ECAConfig(method="full", decoder_layers=1, decoder_ffn=16)
    pair = vision_spec("facebook/dinov2-with-registers-base"), text_spec("openai/clip-vit-base-patch16")
    found = budget(config, *pair)
    assert found.known_dead == found.dead
    masks = [name for name in found.dead if name.endswith("embeddings.mask_token")]
    keys = [name for name in found.dead if name.endswith("k_proj.bias")]
    assert len(masks) == 1 and len(keys) == 24 and len(found.dead) == 25

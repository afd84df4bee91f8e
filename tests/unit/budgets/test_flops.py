"""Operations: by hand, on the meta device, as really run; and in which order the methods stand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from s4eca.budgets.flops import Flops, bare_flops, blank_text, counting, cut, flops, flops_of, sample_inputs
from s4eca.config import S4ECAConfig
from s4eca.encoders.toy import toy_pair
from s4eca.errors import ConfigError
from s4eca.model.model import S4ECAModel
from s4eca.registry import load_text_encoder

TOY = S4ECAConfig(
    image_size=32, width=12, vision_sites=3, text_sites=2, text_length=8, decoder_width=16, decoder_heads=4
)
MODES: list[dict] = [{"mode": "side"}, {"mode": "inject"}, {"mode": "late-inject", "late_blocks": 3}]
WIDTH, PATCHES, WORDS, BLOCKS, LAYERS = 16, 64, 8, 6, 3


def toy(device: str = "cpu", **changes: object) -> tuple[S4ECAModel, int]:
    """A model, and the operations of its bare encoders."""
    config = TOY.replace(**changes)
    vision, text = toy_pair()
    bare = bare_flops(vision, text, *sample_inputs(S4ECAModel(*toy_pair(), TOY), 1))
    return S4ECAModel(vision, text, config).to(device), bare


def of(device: str = "cpu", cached: bool = False, batch: int = 1, **changes: object) -> Flops:
    model, bare = toy(device, **changes)
    return flops_of(model, cached=cached, batch=batch, bare=bare)


def _layer(tokens: int) -> int:
    """Four projections, two products of attention, an MLP of twice the width."""
    return 2 * tokens * WIDTH * (4 * WIDTH + 2 * tokens + 2 * 2 * WIDTH)


PATCHING = 2 * PATCHES * WIDTH * 3 * 4 * 4


def test_encoders_by_hand() -> None:
    assert of().encoders == PATCHING + BLOCKS * _layer(PATCHES + 1) + LAYERS * _layer(WORDS)


def test_full_fine_tuning_costs_three_forwards_but_for_the_pixels() -> None:
    found = of(method="full")
    assert found.adapters == 0
    assert found.step_encoders == 3 * found.encoders - PATCHING


def test_an_adapter_by_hand() -> None:
    """AdaptFormer beside every MLP: two products; no gradient goes to what lies before the first of them."""
    found, none = of(method="adaptformer", options={"rank": 5}), of(method="decoder-only")
    one = 2 * 2 * WIDTH * 5
    assert found.adapters == one * (BLOCKS * (PATCHES + 1) + LAYERS * WORDS)

    # Every linear layer of the encoders passes a gradient on once, attention twice; the first block only behind its
    # attention, through its MLP. The adapters have both gradients, the first down projection but its weight's.
    def back(tokens: int, blocks: int) -> int:
        passed = (blocks - 1) * (_layer(tokens) + 2 * 2 * tokens * tokens * WIDTH)
        return passed + tokens * one * 2 * blocks - tokens * one // 2

    expected = back(PATCHES + 1, BLOCKS) + back(WORDS, LAYERS)
    assert found.step_encoders - found.encoders - found.adapters == expected
    assert none.step_encoders == none.encoders and none.adapters == 0


@pytest.mark.parametrize("mode", MODES, ids=lambda m: m["mode"])
@pytest.mark.parametrize("cached", [False, True])
def test_the_meta_device_counts_what_a_real_run_does(mode: dict, cached: bool) -> None:
    assert of("meta", cached, **mode) == of("cpu", cached, **mode)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "vera", "ln", "adaptformer", "detris", "etris", "full"])
def test_baselines_on_the_meta_device_are_as_really_run(method: str) -> None:
    assert of("meta", method=method, batch=2) == of("cpu", method=method, batch=2)


def test_a_batch_costs_in_proportion() -> None:
    one, three = of(), of(batch=3)
    assert three.encoders == 3 * one.encoders
    # What is said of places is the same for all images.
    assert 2.9 * one.step < three.step <= 3 * one.step


def test_order_of_the_methods() -> None:
    cached, side = of(cached=True), of()
    late, inject = of(**MODES[2]), of(**MODES[1])
    full = of(method="full")
    steps = [cached.step_encoders, side.step_encoders, late.step_encoders, inject.step_encoders, full.step_encoders]
    assert steps == sorted(set(steps))
    assert side.forward == inject.forward == late.forward
    assert cached.encoders == LAYERS * _layer(WORDS)


def test_depthwise_convolutions_count_once_a_channel() -> None:
    x, w = torch.zeros(2, 6, 5, 4, requires_grad=True), torch.zeros(6, 1, 3, 3, requires_grad=True)
    with counting() as counter:
        y = F.conv2d(x, w, padding=1, groups=6)
    forward = 2 * y.numel() * 9
    assert counter.get_total_flops() == forward
    with counting() as counter:
        y.sum().backward()
    assert counter.get_total_flops() == 2 * forward


def test_a_cut_graph_gives_the_same_gradients() -> None:
    model, _ = toy(mode="inject")
    images, batch = sample_inputs(model, 2)
    with torch.no_grad():
        for parameter in model.adapter.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))

    def gradients(parted: bool) -> list[Tensor]:
        model.zero_grad()
        encoded = model.encode(model.normalise(images))
        fused = model.fuse(encoded, batch)
        leaves = cut(fused)
        model.decoder(leaves.fused if parted else fused, None).logits.square().sum().backward()
        leaves.backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    for parted, whole in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(parted, whole)


def lived_in(method: str) -> S4ECAModel:
    """A model in the middle of a training: gradients, statistics, and a part that was put into eval mode by hand."""
    model, _ = toy(method=method)
    torch.manual_seed(3)
    for parameter in model.decoder.parameters():
        parameter.grad = torch.randn_like(parameter)
    for name, buffer in model.adapter.named_buffers():
        buffer.copy_(torch.rand(buffer.shape) if buffer.is_floating_point() else torch.tensor(70_001))
        assert name
    model.train()
    next(module for module in model.decoder.modules() if not list(module.children())).eval()
    return model


def state(model: S4ECAModel) -> dict[str, Any]:
    """All that can be seen of a model, and the random numbers."""
    found: dict[str, Any] = {"rng": torch.get_rng_state()}
    for name, parameter in model.named_parameters():
        found |= {f"{name} itself": id(parameter), name: parameter.detach().clone(), f"{name}.grad": parameter.grad}
        found[f"{name} learns"] = parameter.requires_grad
        if parameter.grad is not None:
            found[f"{name}.grad values"] = parameter.grad.clone()
    for name, buffer in model.named_buffers():
        found |= {f"{name} itself": id(buffer), name: buffer.clone()}
    return found | {f"{name} trains": module.training for name, module in model.named_modules()}


def same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) else one == other


@pytest.mark.parametrize("method", ["s4eca", "detris", "etris", "adaptformer", "lora", "full"])
def test_counting_leaves_a_model_as_it_was(method: str) -> None:
    """Gradients are neither lost nor added to, batch norm's statistics stand still, no random number is drawn."""
    model = lived_in(method)
    dropout = torch.nn.Dropout(0.5)
    model.decoder.register_forward_hook(lambda module, args, output: output.map(dropout))
    before = state(model)
    flops_of(model, bare=1)
    after = state(model)
    assert before.keys() == after.keys()
    assert [name for name in before if not same(before[name], after[name])] == []


def test_a_count_that_fails_leaves_it_too() -> None:
    model = lived_in("detris")

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    before = state(model)
    handle = model.decoder.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        flops_of(model, bare=1)
    handle.remove()
    after = state(model)
    assert [name for name in before if not same(before[name], after[name])] == []


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_a_model_is_counted_where_gradients_are_off(guard: Any) -> None:
    model, bare = toy()
    model.eval()
    with guard():
        found = flops_of(model, bare=bare)
    assert found == of()
    assert not model.training and all(p.grad is None for p in model.parameters())


def test_an_encoder_that_pads_is_counted_at_its_full_length(hub: Any) -> None:
    """Of SigLIP every position is calculated, whatever the length that is asked for."""
    siglip, clip = (load_text_encoder(str(hub(name))) for name in ("siglip-text", "clip-text"))
    assert siglip.spec.padded and not clip.spec.padded
    for text in (siglip, clip):
        words = text.tokenize(["the ship " * 20], 8)
        assert blank_text(text, 8, 1, "cpu").ids.shape == words.ids.shape


def test_what_cannot_be_cached_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be cached: the method 'lora' trains inside the vision encoder"):
        of(method="lora", cached=True)


@pytest.mark.parametrize(
    ("pair", "giga"),
    [
        # DINOv2-B at 448 px: conv 0.92, linear layers 174.80, attention 39.03; CLIP-B's words 2.44.
        (("facebook/dinov2-with-registers-base", "openai/clip-vit-base-patch16"), 217.19),
        (("packaged:dinov2-s", "packaged:minilm-l6"), 64.05),
    ],
)
def test_known_pairs_without_weights(pair: tuple[str, str], giga: float) -> None:
    found = flops(S4ECAConfig(vision=pair[0], text=pair[1]))
    assert round(found.encoders / 1e9, 2) == giga


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "vera", "ln", "full"])
def test_a_method_inside_the_encoders_is_told_from_them(method: str) -> None:
    """Without `bare` the encoders are counted with the method's layers switched off, and nothing of it is left."""
    model, bare = toy(method=method)
    next(iter(model.encoder_updates.parameters())).requires_grad_(False)
    before = state(model)
    assert flops_of(model) == flops_of(model, bare=bare)
    assert all(same(value, before[name]) for name, value in state(model).items())
    if method != "full":
        with model.disabled():
            assert flops_of(model).encoders == bare


def test_a_guests_operations_are_not_told_from_the_encoders() -> None:
    from s4eca.records import Guest

    model, bare = toy()
    model.vision.guest = Guest(frozenset(), {}, {})
    with pytest.raises(ConfigError, match="toy:vision carries a peft adapter, whose operations cannot be told"):
        flops_of(model)
    assert flops_of(model, bare=bare).encoders == bare

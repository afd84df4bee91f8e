"""Roles of modules and the branch beside the MLP, for every family."""

from __future__ import annotations

import pytest
import torch
from tiny_hub import TEXT, VISION
from torch import nn

from s4eca.encoders import meta
from s4eca.encoders.frozen import FrozenEncoder
from s4eca.encoders.hf import load_text, load_vision
from s4eca.encoders.toy import ToyVision, toy_pair
from s4eca.errors import EncoderError
from s4eca.model.model import attach


@pytest.fixture(params=["toy:vision", "toy:stages", "toy:text", *VISION, *TEXT])
def encoder(request, hub):
    if request.param.startswith("toy"):
        return toy_pair(stages=(2, 1, 2) if request.param == "toy:stages" else ())[request.param == "toy:text"]
    return load_vision(str(hub(request.param))) if request.param in VISION else load_text(str(hub(request.param)))


def start(encoder):
    if hasattr(encoder, "tokenize"):
        return encoder.embed(encoder.tokenize(["the red roof", "a"], 8))
    height = 2 * max(encoder.spec.strides)
    return encoder.embed(torch.randn(2, 3, height, 2 * height, generator=torch.Generator().manual_seed(0)))


def test_every_block_has_its_linear_layers(encoder):
    roles = encoder.roles()
    modules = dict(encoder.backbone.named_modules())
    for role in ("query", "key", "value", "out", "fc2"):
        assert len(roles[role]) == encoder.spec.blocks, role
    assert len(roles["fc1"]) % encoder.spec.blocks == 0
    linear = [name for role, names in roles.items() if role != "norm" for name in names]
    assert len(linear) == len(set(linear))
    assert all(isinstance(modules[name], nn.Linear) for name in linear)
    assert all(modules[name].weight.numel() for name in linear)


def test_every_norm_is_named(encoder):
    norms = [name for name, module in encoder.backbone.named_modules() if isinstance(module, nn.LayerNorm)]
    assert encoder.roles()["norm"] == norms and len(norms) >= 2 * encoder.spec.blocks


def test_roles_without_weights_are_the_same(encoder):
    if encoder.spec.source == "toy:vision" and encoder.spec.hierarchical:
        pytest.skip("no identifier leads to it")
    build = meta.text_encoder if hasattr(encoder, "tokenize") else meta.vision_encoder
    bare = build(encoder.spec.source)
    assert all(p.is_meta for p in bare.parameters())
    assert bare.spec == encoder.spec and bare.roles() == encoder.roles()


def test_a_branch_that_says_nothing_changes_nothing(encoder):
    tokens = start(encoder)
    for index in range(encoder.spec.blocks):
        plain = encoder.block(index, tokens)
        beside = encoder.block_beside_mlp(index, tokens, torch.zeros_like)
        assert torch.equal(plain.values, beside.values)
        tokens = plain


def test_a_branch_sees_what_the_mlp_sees(encoder):
    """A branch that repeats the MLP doubles it; the same comes of doubling what leaves the MLP."""
    tokens = start(encoder)
    for index in range(encoder.spec.blocks):
        entry, exit_ = encoder.mlp_ends(index)
        seen, left = [], []
        handles = [
            entry.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0])),
            exit_.register_forward_hook(lambda module, args, output, left=left: left.append(output)),
        ]
        after = encoder.block(index, tokens)
        for handle in handles:
            handle.remove()
        assert seen[0].shape == left[0].shape == after.values.shape
        doubled = exit_.register_forward_hook(lambda module, args, output: 2 * output)
        expected = encoder.block(index, tokens).values
        doubled.remove()

        def again(x, seen=seen, left=left):
            assert torch.equal(x, seen[0])
            return left[0]

        assert torch.allclose(encoder.block_beside_mlp(index, tokens, again).values, expected, atol=1e-6)
        assert torch.equal(encoder.block(index, tokens).values, after.values), "a hook was left behind"
        tokens = after


def silent() -> ToyVision:
    """A vision encoder that keeps to the least of the contract: it steps, and says nothing of its insides."""

    class Silent(ToyVision):
        roles = FrozenEncoder.roles
        mlp_ends = FrozenEncoder.mlp_ends

    vision = toy_pair()[0]
    vision.__class__ = Silent
    return vision


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda e: attach(e, toy_pair()[1], method="lora", image_size=28), r"class Silent does not say .*\(roles\)"),
        (lambda e: e.block_beside_mlp(0, e.embed(torch.zeros(1, 3, 28, 28)), lambda x: x), r"Silent .*\(mlp_ends\)"),
        (lambda e: e.block_module(0), r"does not say where its blocks have MLPs \(mlp_ends\)"),
    ],
)
def test_an_encoder_that_says_nothing_of_its_insides_is_named(ask, said):
    with pytest.raises(EncoderError, match=said):
        ask(silent())


def test_an_encoder_without_roles_carries_s4eca():
    model = attach(silent(), toy_pair()[1], image_size=28, width=8, decoder_width=16, decoder_heads=4)
    assert model(torch.zeros(1, 3, 28, 28), ["a ship"]).shape[:2] == (1, 1)


@pytest.mark.parametrize("ends", [("fc1", "elsewhere"), ("elsewhere", "fc2"), ("elsewhere", "elsewhere")])
def test_a_branch_that_a_block_passes_by_is_no_silence(ends):
    """Without the check an adapter beside the MLP would change nothing, and nobody would know."""
    vision = toy_pair()[0]
    layer = vision.body.layers[0]
    layer.elsewhere = torch.nn.Identity()
    vision.mlp_ends = lambda index: tuple(getattr(layer, name) for name in ends)
    tokens = vision.embed(torch.randn(1, 3, 28, 28))
    with pytest.raises(EncoderError, match="does not call the modules that its mlp_ends names for block 0"):
        vision.block_beside_mlp(0, tokens, lambda x: x)
    assert not layer.fc1._forward_pre_hooks and not layer.fc2._forward_hooks

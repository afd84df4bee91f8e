"""Floating-point operations of a forward and of a training step, counted on the meta device.

A multiply-add counts as 2. Matrix products, attention and convolutions are counted, by the formulas of
`torch.utils.flop_counter`; norms, activation functions and additions are not. Attention counts in its plain form,
two products forward and four backward, whatever a fused kernel computes anew; expressions have full length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from s4eca.adapters.walk import encode_prefix, walk_text
from s4eca.budgets.count import meta_model, specs
from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.records import Encoded, Fused, TextBatch, Words

if TYPE_CHECKING:
    from s4eca.model.model import S4ECAModel


@dataclass(frozen=True)
class Flops:
    """Operations for a batch of images with one expression each.

    Attributes:
        encoders: of the bare frozen encoders, forward.
        adapters: of all that the method adds to them, forward.
        decoder: of the mask decoder, forward.
        step_encoders: of a training step (forward and backward as they run; the update costs no products) without the
            decoder: encoders and adapters.
        step_decoder: of a training step, the decoder alone.
    """

    encoders: int
    adapters: int
    decoder: int
    step_encoders: int
    step_decoder: int

    @property
    def forward(self) -> int:
        """Of a whole forward."""
        return self.encoders + self.adapters + self.decoder

    @property
    def step(self) -> int:
        """Of a whole training step."""
        return self.step_encoders + self.step_decoder


def flops(config: S4ECAConfig, *, batch: int = 1, cached: bool = False) -> Flops:
    """Count a configuration's operations without weights, memory or a network.

    Args:
        config: all settings; its encoders must be known ones or local directories.
        batch: number of images, each with one expression of `config.text_length` tokens.
        cached: whether what no expression can change comes out of a feature cache.

    Raises:
        EncoderError: an encoder is unknown.
        ConfigError: the settings do not fit the encoders, or the method's features cannot be cached.
    """
    model = meta_model(config, *specs(config))
    return flops_of(model, batch=batch, cached=cached, bare=_bare(config))


def flops_of(model: S4ECAModel, *, batch: int = 1, cached: bool = False, bare: int | None = None) -> Flops:
    """Count the operations of a model where it is, by running it; afterwards it is exactly as it was (`undisturbed`).

    Args:
        model: a model on any device.
        batch: number of images, each with one expression of full length.
        cached: whether what no expression can change comes out of a feature cache.
        bare: operations of the bare encoders for one image and expression; None counts them on this model, with what
            its method put into them switched off.

    Raises:
        ConfigError: the method's features cannot be cached, or an encoder came with a peft adapter inside and `bare`
            is None.
    """
    if cached and model.uncacheable is not None:
        raise ConfigError(f"These features cannot be cached: {model.uncacheable}.")
    carrying = next((encoder for encoder in (model.vision, model.text) if encoder.guest is not None), None)
    if bare is None and carrying is not None:
        raise ConfigError(
            f"The encoder {carrying.spec.source} carries a peft adapter, whose operations cannot be told from its own; "
            "pass bare, those of the pair without it."
        )
    with undisturbed(model):
        images, expressions = sample_inputs(model, batch)
        encoders = batch * (_bare_of(model) if bare is None else bare)
        parts = _count(model.train(), images, expressions, cached)
        saved = 0
        if cached:
            with torch.no_grad(), counting() as counter:
                model.encode(model.normalise(images))
            saved = counter.get_total_flops()
    return Flops(encoders - saved, parts[0] - (encoders - saved), parts[1], parts[0] + parts[2], parts[1] + parts[3])


@contextmanager
def undisturbed(model: S4ECAModel) -> Iterator[None]:
    """Inside, a model without gradients may run forward and backward in training mode; afterwards nothing shows it.

    What is put back: every parameter's gradient, every buffer (batch norm's statistics), every module's training flag,
    and the state of the random numbers where the model is.
    """
    flags = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    places = [(m, name, b) for m in model.modules() for name, b in m._buffers.items() if b is not None]
    buffers = [(module, name, buffer, buffer.clone()) for module, name, buffer in places]
    where = model.device
    drawn = {"devices": []} if where.type in ("cpu", "meta") else {"devices": [where], "device_type": where.type}
    with torch.random.fork_rng(**drawn), torch.inference_mode(False), torch.enable_grad():
        for parameter, _ in gradients:
            parameter.grad = None
        try:
            yield
        finally:
            for parameter, gradient in gradients:
                parameter.grad = gradient
            with torch.no_grad():
                for module, name, buffer, value in buffers:
                    module._buffers[name] = buffer.copy_(value)
            for module, flag in flags:
                module.training = flag


def _count(model: S4ECAModel, images: Tensor, batch: TextBatch, cached: bool) -> tuple[int, int, int, int]:
    """Forward of encoders and adapters, forward of the decoder, backward of the first, backward of the second."""
    encoded: Encoded | None = None
    if cached:
        with torch.no_grad():
            encoded = model.encode(model.normalise(images))
    with counting() as before:
        encoded = encoded or model.encode(model.normalise(images))
        fused = model.fuse(encoded, batch)
    leaves = cut(fused)
    with counting() as decoder:
        drawn = model.decoder(leaves.fused, encoded.detail, fine=encoded.fine)
    with counting() as decoder_back:
        sum((told.sum() for told in drawn.extras.values()), drawn.logits.sum()).backward()
    with counting() as back:
        leaves.backward()
    totals = [counter.get_total_flops() for counter in (before, decoder, back, decoder_back)]
    return totals[0], totals[1], totals[2], totals[3]


def sample_inputs(model: Any, batch: int) -> tuple[Tensor, TextBatch]:
    """Blank images (B, 3 or n bands, S, S) and expressions of full length, where the model is."""
    size, where = model.config.image_size, model.device
    channels = len(model.config.chosen or model.config.bands) or 3
    images = torch.zeros(batch, channels, size, size, device=where)
    return images, blank_text(model.text, model.config.text_length, batch, where)


def blank_text(text: Any, length: int, batch: int, device: Any) -> TextBatch:
    """Ids and mask of expressions as long as the encoder ever reads them."""
    length = text.spec.longest if text.spec.padded else min(length, text.spec.longest)
    ids = torch.ones(batch, length, dtype=torch.long, device=device)
    return TextBatch(ids, torch.ones(batch, length, dtype=torch.bool, device=device))


def _bare(config: S4ECAConfig) -> int:
    """Operations of the bare encoders for one image and expression."""
    from s4eca.encoders import meta

    vision, text = meta.vision_encoder(config.vision), meta.text_encoder(config.text)
    with torch.device("meta"):
        pixels = torch.empty(1, 3, config.image_size, config.image_size)
    return bare_flops(vision, text, pixels, blank_text(text, config.text_length, 1, "meta"))


def _bare_of(model: S4ECAModel) -> int:
    """Operations of a model's encoders for one image and expression, without what its method put into them."""
    silent = model.method is not model.adapter  # inside `disabled` the method is off already
    learns = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    if not silent:
        model.adapter.deactivate(model.vision, model.text)
    try:
        return bare_flops(model.vision, model.text, *sample_inputs(model, 1))
    finally:
        if not silent:
            model.adapter.activate(model.vision, model.text)
        for parameter, flag in learns:
            parameter.requires_grad_(flag)


def bare_flops(vision: Any, text: Any, pixels: Tensor, batch: TextBatch) -> int:
    """Operations of the forward of two encoders to which nothing was added."""
    with torch.no_grad(), counting() as counter:
        encode_prefix(vision, pixels[:, :1].expand(-1, 3, -1, -1), (), 0)
        walk_text(text, batch)
    return int(counter.get_total_flops())


@dataclass
class Cut:
    """A graph cut between adapters and decoder.

    Attributes:
        fused: what the decoder reads, as leaves that gather gradients where the originals would.
        pairs: original and leaf of every tensor that passes a gradient on.
    """

    fused: Fused
    pairs: list[tuple[Tensor, Tensor]]

    def backward(self) -> None:
        """The backward of all that lies before the cut, once the decoder's is done; nothing where nothing trains."""
        reached = [(original, leaf.grad) for original, leaf in self.pairs if leaf.grad is not None]
        if reached:
            torch.autograd.backward([original for original, _ in reached], [gradient for _, gradient in reached])


def cut(fused: Fused) -> Cut:
    """Cut the graph behind adapters, so that their share and the decoder's are seen apart; the gradients stay."""
    pairs: list[tuple[Tensor, Tensor]] = []

    def leaf(tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return tensor
        pairs.append((tensor, tensor.detach().requires_grad_()))
        return pairs[-1][1]

    words = Words(leaf(fused.words.values), fused.words.mask, leaf(fused.words.pooled))
    proxies = None if fused.proxies is None else leaf(fused.proxies)
    levels = [leaf(level) for level in fused.levels]
    return Cut(dataclasses.replace(fused, levels=levels, words=words, proxies=proxies), pairs)


@contextmanager
def counting() -> Iterator[Any]:
    """A counter of the operations within; `get_total_flops()` of what it gives is their number.

    Attention is taken apart into its products, and boolean masks on the meta device are taken to be true throughout.
    """
    from torch.fx.experimental import _config
    from torch.utils.flop_counter import FlopCounterMode

    aten = torch.ops.aten
    counter = FlopCounterMode(display=False, custom_mapping={aten.convolution_backward: _convolution_backward})
    assume_true = _config.patch(meta_nonzero_assume_all_nonzero=True)  # type: ignore[attr-defined]
    with sdpa_kernel(SDPBackend.MATH), assume_true, _NothingMasked(), counter:
        yield counter


class _NothingMasked(TorchFunctionMode):
    """Answers yes where a library asks a mask on the meta device, which knows no values, whether it is true."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for every function while the mode is on."""
        if func is Tensor.__bool__ and args[0].is_meta:
            return True
        return func(*args, **(kwargs or {}))


def _convolution_backward(
    gradient: Any, inputs: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int, wanted: Any, **rest: Any,
) -> int:  # fmt: skip
    """Each of the two gradients costs what the forward does; torch's own formula is right for one group alone."""
    forward = 2 * prod(inputs if transposed else gradient) * prod(weight[1:])
    return int(forward) * (bool(wanted[0]) + bool(wanted[1]))

"""What frozen encoders have in common: no gradients, always in eval mode, one fingerprint, roles of their modules."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from s4eca.encoders import behaviour
from s4eca.errors import EncoderError
from s4eca.records import Guest


class FrozenEncoder(nn.Module):
    """Base of the encoder wrappers: freezes what it is given and keeps it in eval mode.

    Dropout, stochastic depth and DINOv3's rotary jitter are active whenever ``training`` is true, so a parent's
    ``.train()`` must not reach the backbone.
    """

    guest: Guest | None = None
    spec: Any

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        # Taken before a method or a guest can change the modules.
        self.behaviour: str = behaviour.digest(self.settings())
        self.requires_grad_(False)
        super().train(False)

    def settings(self) -> Any:
        """What the encoder does with its weights that their names and shapes do not tell; `behaviour` is its hash."""
        return behaviour.built(self.backbone)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - the signature is torch's
        """Stay in eval mode whatever is asked."""
        return super().train(False)

    @property
    def trains(self) -> bool:
        """Whether something inside trains (a method rewrote the encoder, a guest learns); it runs with gradients."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def added(self) -> dict[str, nn.Parameter]:
        """Dotted name inside `backbone` -> parameter, of all that was added to the encoder or made trainable."""
        guests = frozenset() if self.guest is None else self.guest.names
        return {name: p for name, p in self.backbone.named_parameters() if p.requires_grad or name in guests}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, shapes, types and bytes of all weights (hex); independent of file format.

        What is done with them (activation, heads, epsilons, windows) is told by `behaviour`.
        A method that rewrites the encoder asks for it first, so that it stays that of the checkpoint.
        """
        return self.weigh()

    def weigh(self) -> str:
        """The fingerprint of the checkpoint's tensors as they are now; a guest's do not count."""
        if self.guest is None:
            return fingerprint(self.backbone)
        own = self.guest.own
        return state_fingerprint({own[n]: tensor for n, tensor in self.backbone.state_dict().items() if n in own})

    def roles(self) -> dict[str, list[str]]:
        """Role -> dotted names inside `backbone` of the modules that play it.

        Roles are ``query``, ``key``, ``value`` (``qkv`` where a library fuses the three), ``out``, ``fc1`` (all input
        projections of a gated MLP), ``fc2`` of every block, and ``norm``, every LayerNorm of the encoder. A method that
        puts something around a role refuses an encoder without it.

        Raises:
            EncoderError: this kind of encoder does not say it.
        """
        raise EncoderError(f"{self._name} does not say which module plays which role (roles), and this is needed.")

    def split_projections(self) -> None:
        """Give query, key, value and output a linear layer each, in place, where a library keeps them in one.

        Called by methods that put something around these layers, once `fingerprint` is known. The result is the same up
        to rounding; so are its weights, under other names. Here there is nothing to split.
        """

    def mlp_ends(self, index: int) -> tuple[nn.Module, nn.Module]:
        """Entry and exit of the MLP branch of a block.

        The entry's first argument is the MLP's input (after the norm where norms come first); the exit's output is what
        goes on to the residual sum.

        Raises:
            EncoderError: this kind of encoder does not say it, or a block has no MLP of its own.
        """
        del index
        raise EncoderError(f"{self._name} does not say where its blocks have MLPs (mlp_ends), and this is needed.")

    def block_module(self, index: int) -> nn.Module:
        """The library's own module of a block, which is compiled where a run asks for it.

        Here told by names: of the ancestors of the MLP's entry the last that stands in a list, else the outermost that
        no other block has.
        """
        names = {module: name for name, module in self.backbone.named_modules()}
        paths = [names[self.mlp_ends(block)[0]].split(".") for block in range(self.spec.blocks)]
        path = paths.pop(index)
        listed = [place for place, part in enumerate(path) if part.isdigit()]
        shared = max((len(os.path.commonprefix([path, other])) for other in paths), default=0)
        return self.backbone.get_submodule(".".join(path[: (listed[-1] if listed else shared) + 1]))

    @property
    def _name(self) -> str:
        return f"An encoder of the class {type(self).__name__}"

    def block_beside_mlp(self, index: int, tokens: Any, side: Callable[[Tensor], Tensor]) -> Any:
        """One block with a branch parallel to its MLP.

        Args:
            index: the block.
            tokens: hidden states before it.
            side: the MLP's input (B, M, C) to what is added to its output, of the same shape.

        Raises:
            EncoderError: the block does not pass through its `mlp_ends`.
        """
        entry, exit_ = self.mlp_ends(index)
        seen: list[Tensor] = []
        left: list[int] = []

        def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
            seen.append(args[0])

        def leave(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            left.append(len(seen))
            return output + side(seen.pop()) if seen else output

        handles = [entry.register_forward_pre_hook(enter), exit_.register_forward_hook(leave)]
        try:
            after = self.block(index, tokens)  # type: ignore[operator]
        finally:
            for handle in handles:
                handle.remove()
        if left != [1] or seen:
            raise EncoderError(f"{self._name} does not call the modules that its mlp_ends names for block {index}.")
        return after


def fingerprint(module: nn.Module) -> str:
    """SHA-256 (hex) over names, shapes, types and bytes of a module's state, in sorted order."""
    return state_fingerprint(module.state_dict())


def state_fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) over names, shapes, types and bytes of tensors, in sorted order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{tuple(value.shape)}|{value.dtype}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


def parameter_count(module: nn.Module) -> int:
    """Number of scalars in a module's parameters."""
    return sum(p.numel() for p in module.parameters())

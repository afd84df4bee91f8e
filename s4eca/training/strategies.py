"""How several devices work together: DDP, and under the word `fsdp` DDP with the frozen blocks sharded.

What trains is a few percent and lies whole on every device, with its gradients averaged; what is large is frozen, and
sharding that is what saves memory. Lightning's own FSDP shards both in one flat parameter: the optimiser no longer sees
which tensors are matrices, the norm of the gradients cannot be clipped, and frozen weights take gradients' room.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy, SingleDeviceStrategy, Strategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from s4eca.errors import ConfigError
from s4eca.layers.trainable import trainable_state
from s4eca.model.running import blocks

WORDS = "auto, ddp (with what Lightning appends to it, for instance ddp_find_unused_parameters_true), or fsdp"


class ShardedEncoders(DDPStrategy):
    """DDP of what trains, over encoders whose frozen blocks are sharded among the devices (`torch` fully_shard).

    A block is gathered when it runs, forward and backward, and let go of afterwards. Keywords are those of
    `DDPStrategy`.

    Raises:
        ConfigError: a method that trains the blocks themselves, or calls parts of them past the block.
    """

    strategy_name = "fsdp"

    def model_to_device(self) -> None:
        """Shard, block by block on its way to the device, then move the rest."""
        module = self.lightning_module
        assert module is not None
        shard(module.model, self.root_device.type, self.world_size)
        super().model_to_device()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """What trains, which is whole; the shards are the checkpoint's of their encoders."""
        module: Any = self.lightning_module
        return {f"model.{name}": tensor for name, tensor in trainable_state(module.model).items()}


def shard(model: Any, device: str, processes: int) -> None:
    """Shard the frozen parameters of the encoders' blocks among processes, in place.

    Args:
        model: an `S4ECAModel`.
        device: type of the devices.
        processes: how many there are; the process group exists.

    Raises:
        ConfigError: as for `ShardedEncoders`.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    _check_shardable(model)
    mesh = init_device_mesh(device, (processes,))
    for encoder in (model.vision, model.text):
        _ = encoder.fingerprint  # of whole tensors, kept from here on
        for block in blocks(encoder):
            if isinstance(block, FSDPModule):
                continue
            trained = {parameter for parameter in block.parameters() if parameter.requires_grad}
            fully_shard(block, mesh=mesh, reshard_after_forward=True, ignored_params=trained)


def _check_shardable(model: Any) -> None:
    method = model.config.method
    if method == "full":
        reason = "it trains the encoders, so that nothing frozen is left to shard"
    elif method == "adaptformer":
        reason = "it reads the parts of a block past the block"
    else:
        return
    raise ConfigError(f"trainer.strategy is 'fsdp', which the method {method!r} cannot have: {reason}; take ddp.")


def leave_frozen(module: LightningModule) -> None:
    """Keep DDP from sending the encoders' frozen tensors around: all processes read them from the same checkpoint.

    It would send all of them once and the buffers, which int8 weights are, before every forward. What is in an
    adapter's part of the tree too, as batch norms are, stays with it.
    """
    model: Any = module.model
    names = [
        f"model.{part}.{name}"
        for part in ("vision", "text")
        for name, tensor in _tensors(getattr(model, part))
        if not tensor.requires_grad
    ]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, names)  # type: ignore[no-untyped-call]


def _tensors(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]


def chosen_strategy(named: Any) -> Any:
    """The strategy that a word of the configuration means; what is no word of ours is left as it is."""
    return ShardedEncoders() if named == "fsdp" else named


def check_unused(named: Any, method: str, processes: int) -> None:
    """Refuse DDP's waiting for gradients of tensors that have none: what no loss reaches of a whole encoder.

    Raises:
        ConfigError: several processes that train whole encoders under plain ``ddp``.
    """
    if method == "full" and processes > 1 and "find_unused" not in str(named) and isinstance(named, str | None):
        raise ConfigError(
            f"trainer.strategy is {named!r}, under which processes wait for gradients of tensors that the method "
            "'full' trains and no loss reaches; take ddp_find_unused_parameters_true."
        )


def check_strategy(named: Any, made: Strategy | None = None) -> None:
    """Refuse strategies under which what trains is not whole on every device.

    Args:
        named: as the configuration has it.
        made: what Lightning made of it.

    Raises:
        ConfigError: neither one device nor DDP.
    """
    word = named if isinstance(named, str) else type(made or named).__name__
    whole = not isinstance(made, ParallelStrategy) or isinstance(made, DDPStrategy)
    known = not isinstance(named, str) or named in ("auto", "fsdp") or named.startswith("ddp")
    if made is None and not known or made is not None and not (whole or isinstance(made, SingleDeviceStrategy)):
        raise ConfigError(f"trainer.strategy is {word!r}; it must be {WORDS}.")

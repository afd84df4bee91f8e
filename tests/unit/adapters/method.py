"""What the adapter tests share: random data, one loss, one update."""

from __future__ import annotations

import torch

from s4eca.decoder.loss import segmentation_loss
from s4eca.layers.trainable import trainable_parameters

SAID = ["the red roof", "a ship on left", "field"]


def pixels(model, height=None, width=None, batch=3, seed=3):
    size = model.config.image_size
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, height or size, width or size, generator=generator)


def loss_of(model, seed=3):
    logits = model(pixels(model, seed=seed), SAID)
    truth = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed)) > 0.7).float()
    return segmentation_loss(logits, truth)


def backward(model, seed=3):
    """Gradients of one batch by name; None where autograd never came."""
    model.zero_grad(set_to_none=True)
    loss_of(model, seed).backward()
    return {name: p.grad for name, p in trainable_parameters(model).items()}


def update(model, lr=1e-2, seed=3):
    """One plain AdamW update with the batch of that seed."""
    optimiser = torch.optim.AdamW(trainable_parameters(model).values(), lr=lr)
    backward(model, seed)
    optimiser.step()


def dead_slices(grads, prefix="adapter."):
    """Names of tensors, rows and columns that have no gradient at all."""
    found = []
    for name, grad in grads.items():
        if not name.startswith(prefix):
            continue
        if grad is None:
            found.append(f"{name}: none")
            continue
        grad = grad if grad.ndim else grad[None]
        for axis in range(grad.ndim):
            alive = grad.abs().movedim(axis, 0).reshape(len(grad.movedim(axis, 0)), -1).sum(1) > 0
            found += [f"{name}[{axis}:{i}]" for i in torch.nonzero(~alive).flatten().tolist()]
    return found

"""Pairs of all processes for D3, which compares the pairs of a whole batch with one another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as processes


def world() -> int:
    """Number of processes that train together."""
    return processes.get_world_size() if processes.is_available() and processes.is_initialized() else 1


def of_all(values: Tensor) -> Tensor:
    """Rows of all processes, dealt in turn as samples are; gradients reach those of this one alone.

    Every process must have as many rows. One process with all of them would have them in this order.
    """
    if world() == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(world())]
    processes.all_gather(parts, values.detach().contiguous())
    parts[processes.get_rank()] = values
    return torch.stack(parts, 1).flatten(0, 1)


def as_of_all(loss: Tensor) -> Tensor:
    """The same number, its gradient times the processes: they all compute it, and DDP takes the mean of gradients.

    Each has the part of the gradient that passes through its own rows, so the sum over all is the whole gradient.
    """
    many = world()
    return loss if many == 1 else many * loss - (many - 1) * loss.detach()


def first_of_each(numbers: Tensor, counted: Tensor) -> Tensor:
    """Places (ascending) of the first row of every number among those that are counted."""
    seen: set[int] = set()
    places = []
    for place, (number, counts) in enumerate(zip(numbers.tolist(), counted.tolist(), strict=True)):
        if counts and number not in seen:
            seen.add(number)
            places.append(place)
    return torch.tensor(places, dtype=torch.long, device=numbers.device)

"""Weights of samples by the size of their target, so that no size rules training by its gradients alone (ours).

The idea is DCLoss's: losses weighed by a balance of gradients between scales (paper, CEM-FBGTinyDet, whose formula is
not public). Groups, gradient norms, bounds and warm-up are this library's. Whether there is anything to balance is a
property of loss and stage: with ``alpha: 0`` the norms are logged and nothing is changed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from s4eca.errors import AdapterFolderError, ConfigError, NotFiniteError

MEASURES = ("gradient", "share")


@dataclass(frozen=True)
class ScaleLossConfig:
    """How samples are weighed by the size of their target.

    Attributes:
        alpha: 0 to 1, how much of the imbalance is evened out; 0 logs the gradients of each size and changes nothing,
            null leaves everything out.
        edges: borders between the sizes in pixels of the image itself, sqrt(mask area); a border is of the larger size.
        beta: decay of the moving average of each size's gradients.
        kappa: furthest from their mean, as a factor, that a size's gradients are taken to be.
        warmup: batches in the beginning that are measured and not weighed.
        measure: gradient, or as a control share, by how many samples of each size have been seen.

    Raises:
        ConfigError: a value out of range.
    """

    alpha: float | None = None
    edges: tuple[int, ...] = (16, 32, 64, 128)
    beta: float = 0.99
    kappa: float = 4.0
    warmup: int = 200
    measure: str = "gradient"

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple(self.edges))
        said = "model.scale_loss"
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise ConfigError(f"{said}.alpha is {self.alpha}; it must be from 0 to 1, or null.")
        if not self.edges or self.edges[0] < 1 or any(low >= high for low, high in pairwise(self.edges)):
            raise ConfigError(f"{said}.edges is {list(self.edges)}; it must be rising whole numbers from 1 on.")
        if not 0 <= self.beta < 1:
            raise ConfigError(f"{said}.beta is {self.beta}; it must be at least 0 and below 1.")
        if not 1 <= self.kappa < float("inf"):
            raise ConfigError(f"{said}.kappa is {self.kappa}; it must be at least 1.")
        if self.warmup < 0:
            raise ConfigError(f"{said}.warmup is {self.warmup}; it must be at least 0.")
        if self.measure not in MEASURES:
            raise ConfigError(f"{said}.measure is {self.measure!r}; it must be one of {', '.join(MEASURES)}.")

    @property
    def names(self) -> tuple[str, ...]:
        """What the sizes are called, for instance ``<16``, ``16-32`` ... ``>=128``."""
        between = (f"{low}-{high}" for low, high in pairwise(self.edges))
        return (f"<{self.edges[0]}", *between, f">={self.edges[-1]}")


OFF = ScaleLossConfig()


class ScaleBalancedLoss(nn.Module):
    """Mean of the losses of samples, weighed by the gradients that targets of their size have had (ours).

    With e_g the moving average of |d loss / d logits| (L2) over the samples of size g, of all processes:
    r_g = clip(e_g / geometric mean of all e, 1 / kappa, kappa), u_g = r_g ** -alpha, w_i = u_g(i) / mean of u over the
    global batch. What is weighed is weighed by what was known before the batch. A sample without a target is of no
    size: its u is 1, as that of a size which was not seen yet, and it enters no average. The mean of all weights is 1,
    so that the learning rate is not changed in disguise, and the largest is at most kappa ** (2 alpha) of the least.

    Args:
        config: sizes and settings; `alpha` is a number.

    Attributes:
        average: (G,) e_g; 0 where no such size was seen.
        count: (G,) samples seen of each size.
        step: () batches seen.
    """

    average: Tensor
    count: Tensor
    step: Tensor

    def __init__(self, config: ScaleLossConfig) -> None:
        super().__init__()
        self.config = config
        groups = len(config.edges) + 1
        # The state goes into checkpoints by `state`, whole or not at all.
        self.register_buffer("average", torch.zeros(groups), persistent=False)
        self.register_buffer("count", torch.zeros(groups, dtype=torch.int64), persistent=False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("edges", torch.tensor(config.edges, dtype=torch.float32), persistent=False)

    def groups(self, sizes: Tensor) -> Tensor:
        """(B,) sqrt(mask area) in pixels of the image to (B,) groups, 0 the smallest; -1 where there is no target."""
        edges: Any = self.edges
        found = torch.bucketize(sizes.to(edges.dtype), edges.to(sizes.device), right=True)
        return torch.where(sizes > 0, found, -1)

    def factors(self) -> Tensor:
        """(G,) u of each size as they stand: 1 while it warms up, and for sizes that were not seen."""
        measured = self.average if self.config.measure == "gradient" else self.count.to(self.average.dtype)
        known = (self.count > 0) & (measured > 0) & (self.step >= self.config.warmup)
        logs = torch.where(known, measured, 1.0).log()
        middle = logs.sum() / known.sum().clamp(min=1)
        kappa = self.config.kappa
        ratio = (logs - middle).exp().clamp(1 / kappa, kappa)
        return torch.where(known, ratio ** -float(self.config.alpha or 0.0), torch.ones_like(ratio))

    def forward(self, losses: Tensor, logits: Tensor, sizes: Tensor, plain: Tensor | None = None) -> Tensor:
        """The weighed mean; what is learned of this batch counts from the next one on.

        Args:
            losses: (B,) of each sample, made from `logits` with the sample's row alone.
            logits: (B, ...) float32 or wider, with a graph: where gradients are measured.
            sizes: (B,) sqrt(mask area) in pixels of the image itself, 0 without a target.
            plain: the mean of the losses, where it was made in another order of sums; by default their mean.

        Returns:
            () `plain` + mean((w - 1) * losses), which is mean(w * losses); with all w = 1, value and gradient of
            `plain` to the bit.

        Raises:
            NotFiniteError: a loss or a gradient is NaN or infinite, in any process.
        """
        (slopes,) = torch.autograd.grad(losses.sum(), logits, retain_graph=True)
        norms = torch.linalg.vector_norm(slopes.flatten(1).to(self.average.dtype), dim=1)
        group, size = self.groups(sizes), len(self.config.edges) + 1
        factors = self.factors()
        weights = torch.where(group >= 0, factors[group.clamp(min=0)], 1.0)
        of_size = torch.nn.functional.one_hot(group + 1, size + 1)[:, 1:].to(norms.dtype)  # no row for no target
        told = torch.stack(
            [weights.sum(), torch.ones_like(norms).sum(), losses.detach().to(norms.dtype).sum() + norms.sum()]
        )
        # Not a product of matrices, which multiplies NaN of one group by 0 of another.
        shared = torch.cat([torch.where(of_size > 0, norms[:, None], 0.0).sum(0), of_size.sum(0), told])
        _sum_over_processes(shared)
        if not bool(shared.isfinite().all()):
            raise NotFiniteError(
                "The loss or the gradient of a sample is NaN or infinite, so its size cannot be weighed."
            )
        self._learn(shared[:size], shared[size : 2 * size])
        weights = (weights / (shared[-3] / shared[-2])).to(losses.dtype)
        return (losses.mean() if plain is None else plain) + ((weights - 1) * losses).mean()

    @torch.no_grad()
    def _learn(self, norms: Tensor, count: Tensor) -> None:
        """Take the sums (G,) of a global batch into the averages; a size's first mean is its average."""
        here = count > 0
        mean = norms / count.clamp(min=1)
        moved = self.config.beta * self.average + (1 - self.config.beta) * mean
        first = here & (self.count == 0)
        self.average.copy_(torch.where(first, mean, torch.where(here, moved, self.average)))
        self.count += count.to(self.count.dtype)
        self.step += 1

    def seen(self) -> dict[str, Tensor]:
        """Average gradient norm of each size that was seen, by its name."""
        known = (self.count > 0).tolist()
        return {name: self.average[place] for place, name in enumerate(self.config.names) if known[place]}

    def state(self) -> dict[str, Any]:
        """Settings and what was learned, for a training checkpoint."""
        learned = {name: getattr(self, name).detach().cpu().clone() for name in ("average", "count", "step")}
        return {"settings": asdict(self.config), **learned}

    def go_on_with(self, state: dict[str, Any] | None) -> None:
        """Take what `state` gave.

        Raises:
            AdapterFolderError: there is none, or it was learned with other settings.
        """
        saved = {} if state is None else dict(state["settings"])
        for name, value in asdict(self.config).items():
            found = saved.get(name)
            if (tuple(found) if isinstance(found, list) else found) != value:
                said = "null" if found is None else repr(found)
                raise AdapterFolderError(
                    f"The checkpoint was made with {name} = {said}, here model.scale_loss.{name} is {value!r}."
                )
        for name in ("average", "count", "step"):
            assert state is not None
            getattr(self, name).copy_(state[name])


def _sum_over_processes(values: Tensor) -> None:
    """Sum in place over the processes of the run, where there are several."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(values)

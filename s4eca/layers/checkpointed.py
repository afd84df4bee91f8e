"""Base of the adapter sites: what a site computes may be thrown away and computed again for its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Site(nn.Module):
    """A module between the blocks of an encoder, or beside one, without state that a second forward would change.

    Attributes:
        checkpointed: whether the forward keeps its inputs alone for the backward, which repeats it (Chen et al. 2016,
            arXiv 1604.06174). The gradients stay the same.
    """

    checkpointed: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The forward, kept or not."""
        if self.checkpointed and torch.is_grad_enabled():
            return checkpoint(super().__call__, *args, use_reentrant=False, **kwargs)
        return super().__call__(*args, **kwargs)

"""Sums in the types that they are given in, whatever the training around them computes in."""

from __future__ import annotations

from typing import Any

import torch


def plainly(device: Any) -> torch.autocast:
    """Inside, autocast is off: what a teacher says is the same in every run, and losses are float32."""
    return torch.autocast(torch.device(device).type, enabled=False)

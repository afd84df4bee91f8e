"""Attention with query, key and value apart: for methods that put something around each of the three.

Libraries keep them in one matrix (3 C, C), as a linear layer or as a bare parameter. Cut into its three slices it
computes the same, up to rounding: the kernels see other shapes. Both functions change a module in place and copy its
weights; what is cut already is left alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SplitProjection(nn.Module):
    """Three linear layers in the place of one: what they give, side by side.

    Args:
        parts: query, key and value layer.
    """

    def __init__(self, parts: tuple[nn.Linear, nn.Linear, nn.Linear]) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = parts

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., 3 C')."""
        return torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], dim=-1)


class SplitAttention(nn.Module):
    """`torch.nn.MultiheadAttention` over layers of their own, for calls that want no attention weights.

    Args:
        attention: what to take the place of; query, key and value of one width, and no learned extra key.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.num_heads: int = attention.num_heads
        self.batch_first = bool(getattr(attention, "batch_first", True))
        biases = (None,) * 3 if attention.in_proj_bias is None else attention.in_proj_bias.chunk(3)
        self.q_proj, self.k_proj, self.v_proj = _cut(attention.in_proj_weight, biases)
        # A plain layer: that of torch's attention is of a class that tools for quantising skip.
        self.out_proj = _linear(attention.out_proj.weight, attention.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """As torch's attention: (B, L, C), or (L, B, C) where the batch comes second, and no weights.

        Args:
            query: (B, L, C).
            key: (B, S, C).
            value: (B, S, C).
            need_weights: must be False.
            attn_mask: (L, S) or (B heads, L, S); added to the logits, or True where no attention goes.

        Raises:
            NotImplementedError: attention weights are wanted.
        """
        if need_weights:
            raise NotImplementedError("Attention over split projections keeps no weights; ask with need_weights=False.")
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        result = self.out_proj(self.mixed(query, key, value, attn_mask))
        return result if self.batch_first else result.transpose(0, 1), None

    def mixed(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, C) values after attention, heads side by side, in front of the output layer."""
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        q, k, v = (x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2) for x in (q, k, v))
        if mask is not None:
            mask = mask.reshape(-1, self.num_heads, *mask.shape[1:]) if mask.ndim == 3 else mask
            # torch's attention calls True what is hidden, its kernel what is seen.
            mask = ~mask if mask.dtype == torch.bool else mask.to(q.dtype)
        return F.scaled_dot_product_attention(*self.normed(q, k), v, attn_mask=mask).transpose(1, 2).flatten(2)

    def normed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys (B, heads, L, C / heads) as they are compared."""
        return q, k


class SplitNormedAttention(SplitAttention):
    """The same for the attention that open_clip wrote itself: norms on queries, keys and result, a scale a head.

    Args:
        attention: what to take the place of; its norms are shared.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__(attention)
        self.ln_q, self.ln_k, self.ln_inner = attention.ln_q, attention.ln_k, attention.ln_inner
        self.head_scale: nn.Parameter | None = attention.head_scale

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """(B, L, C) to (B, L, C)."""
        result = self.mixed(x, x, x, attn_mask)
        if self.head_scale is not None:
            heads = result.reshape(*result.shape[:2], self.num_heads, -1)
            result = (heads * self.head_scale[..., 0]).flatten(2)
        out: Tensor = self.out_proj(self.ln_inner(result))
        return out

    def normed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """See `SplitAttention.normed`."""
        return self.ln_q(q), self.ln_k(k)


def split_bare(module: nn.Module) -> None:
    """Cut the attention of all blocks inside a module that keep the three in ``in_proj_weight``, in place.

    Left as they are: other widths for keys than for queries, learned extra keys, and cosine attention.
    """
    for block in list(module.modules()):
        attention: Any = getattr(block, "attn", None)
        if not isinstance(getattr(attention, "in_proj_weight", None), Tensor):
            continue
        if isinstance(attention, nn.MultiheadAttention):
            if attention.bias_k is None and not attention.add_zero_attn:
                block.attn = _settled(SplitAttention(attention), attention)
        elif hasattr(attention, "ln_q") and attention.logit_scale is None:
            block.attn = _settled(SplitNormedAttention(attention), attention)


def split_fused(module: nn.Module) -> None:
    """Cut every linear layer ``qkv`` inside a module, in place.

    Where the library keeps the biases of query and value beside the layer (EVA, SwinV2: there is none for keys), they
    move into it; its forward takes their absence to mean that the layer is called and has its own.
    """
    for attention in list(module.modules()):
        fused: Any = getattr(attention, "qkv", None)
        if type(fused) is not nn.Linear:
            continue
        biases: tuple[Tensor | None, ...] = (None,) * 3 if fused.bias is None else fused.bias.chunk(3)
        beside: Any = attention
        if biased_beside(attention):
            biases = (beside.q_bias, None, beside.v_bias)
            beside.q_bias = beside.k_bias = beside.v_bias = None
        beside.qkv = _settled(SplitProjection(_cut(fused.weight, biases)), fused)


def biased_beside(attention: Any) -> bool:
    """Whether a library keeps the biases of query and value beside the fused layer (EVA, SwinV2)."""
    return getattr(attention, "q_bias", None) is not None


def _cut(weight: Tensor, biases: tuple[Tensor | None, ...]) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    query, key, value = (_linear(part, bias) for part, bias in zip(weight.chunk(3), biases, strict=True))
    return query, key, value


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer over copies; made on the meta device, so that nothing is drawn at random for it."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
    return layer


def _settled(new: nn.Module, old: nn.Module) -> nn.Module:
    return new.train(old.training)

"""What is computed once and taken again: of an image for all that is asked about it, of a sentence for all images."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from torch import Tensor

from s4eca.records import TextBatch, Words

Made = TypeVar("Made")
Told = tuple[Words, Tensor | None]


def once(kept: dict[Any, Any] | None, key: Hashable, make: Callable[[], Made]) -> Made:
    """What `make` gives, made once for a key.

    Args:
        kept: where it is kept (`Encoded.kept`, `TextBatch.kept`); None makes it anew.
        key: who made it, and which of its things it is.
        make: computes it from the encoding, or the sentence, alone.
    """
    if kept is None:
        return make()
    if key not in kept:
        kept[key] = make()
    found: Made = kept[key]
    return found


def read_once(method: Hashable, batch: TextBatch, read: Callable[[TextBatch], Told]) -> Told:
    """Words and language proxies of a batch; where it is one sentence for several images, that is read once.

    Args:
        method: who reads.
        batch: B tokenised sentences.
        read: gives words and, or None, proxies (B, K, r) of a batch, without regard to any image.
    """
    if batch.kept is None:
        return read(batch)
    words, proxies = once(batch.kept, method, lambda: read(TextBatch(batch.ids[:1], batch.mask[:1])))
    values, mask, pooled = (_repeated(t, len(batch.ids)) for t in (words.values, words.mask, words.pooled))
    return Words(values, mask, pooled), None if proxies is None else _repeated(proxies, len(batch.ids))


def _repeated(one: Tensor, count: int) -> Tensor:
    """(1, ...) as (count, ...), without copying."""
    return one.expand(count, *one.shape[1:])

"""Arrays kept up to a number of bytes."""

from __future__ import annotations

import pickle

import numpy as np

from s4eca.data.recent import RecentArrays


def test_no_more_bytes_than_allowed_and_the_latest_stay() -> None:
    kept, made = RecentArrays(1000), []

    def make(key: int) -> np.ndarray:
        made.append(key)
        return np.full(300, key, np.uint8)

    for key in (0, 1, 2, 0, 3):
        assert kept.get(key, lambda key=key: make(key))[0] == key
    assert len(kept) == 3 and kept.held_bytes == 900 and made == [0, 1, 2, 3]
    kept.get(0, lambda: make(0))
    assert made[-1] == 3, "what was used last is still there"
    kept.get(1, lambda: make(1))
    assert made[-1] == 1 and kept.held_bytes <= 1000
    kept.get(9, lambda: np.zeros(2000, np.uint8))
    assert len(kept) == 3, "what is larger than all is made and not kept"


def test_a_copy_begins_empty() -> None:
    kept = RecentArrays(1000)
    kept.get("a", lambda: np.zeros(500, np.uint8))
    copy = pickle.loads(pickle.dumps(kept))
    assert (copy.most_bytes, copy.held_bytes, len(copy)) == (1000, 0, 0)

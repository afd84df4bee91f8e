"""How two values that should be one are told to people."""

from __future__ import annotations

import json
import os
from typing import Any

LONGEST, LEAD = 80, 20  # characters of a value in a message, and of those before what differs


def apart(before: Any, now: Any) -> tuple[str, str]:
    """Two values for people; long ones from a little before the first character that differs."""
    texts = [_text(before), _text(now)]
    same = len(os.path.commonprefix(texts))
    start = max(0, same - LEAD) if max(map(len, texts)) > LONGEST else 0
    cut = [("..." if start else "") + text[start:] for text in texts]
    one, other = (text if len(text) <= LONGEST else text[: LONGEST - 3] + "..." for text in cut)
    return one, other


def _text(value: Any) -> str:
    """A value on one line."""
    if value is None:
        return "not there"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

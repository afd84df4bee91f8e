"""What prompts must be before a scene is searched for them."""

from __future__ import annotations

import numpy as np
import pytest

from s4eca.errors import ExpressionError
from s4eca.geo.prompts import check_prompts


@pytest.mark.parametrize(
    ("given", "kind"), [(None, "NoneType"), (7, "int"), (b"roof", "bytes"), ({"a": 1}, "dict"), ({"a"}, "set")]
)
def test_what_is_no_list_of_texts_is_named(given, kind):
    with pytest.raises(ExpressionError, match=f"of type {kind}; they must be a list of texts"):
        check_prompts(given)


def test_a_bare_text_is_one_prompt():
    assert check_prompts(" bridge ") == ("bridge",)
    assert check_prompts(np.array(["a", "b"])) == check_prompts(iter(["a", "b"])) == ("a", "b")


def test_how_long_a_prompt_may_be_is_left_to_the_text_encoder():
    """One limit and not three: a segmenter of another kind may read whole pages."""
    assert check_prompts("word " * 5000) == (("word " * 5000).strip(),)

"""What prompts must be before a scene is searched for them."""

from __future__ import annotations

import numpy as np
import pytest

from s4eca.errors import ConfigError, ExpressionError
from s4eca.geo.prompts import check_prompts
from s4eca.geo.request import make_request


@pytest.mark.parametrize(
    ("given", "kind"), [(None, "NoneType"), (7, "int"), (b"roof", "bytes"), ({"a": 1}, "dict"), ({"a"}, "set")]
)
def test_what_is_no_list_of_texts_is_named(given, kind):
    with pytest.raises(ExpressionError, match=f"of type {kind}; they must be a list of texts"):
        check_prompts(given)


@pytest.mark.parametrize("given", [7, None, b"roof", ["roof"]])
def test_what_is_no_text_among_them_is_named(given):
    with pytest.raises(ExpressionError, match="Prompt 2 is .*; it must be a text"):
        check_prompts(["roof", given])


def test_a_bare_text_is_one_prompt():
    assert check_prompts(" bridge ") == ("bridge",)
    assert check_prompts(np.array(["a", "b"])) == check_prompts(iter(["a", "b"])) == ("a", "b")


def test_how_long_a_prompt_may_be_is_left_to_the_text_encoder():
    """One limit and not three: a segmenter of another kind may read whole pages."""
    assert check_prompts("word " * 5000) == (("word " * 5000).strip(),)


@pytest.mark.parametrize(
    ("name", "text"), [("bands", "123"), ("bands", "red"), ("bands", "1,2,3"), ("scale", "12"), ("scale", "0,9")]
)
def test_a_text_is_no_list_of_numbers_either(name, text):
    """Digit by digit, "123" would be the bands 1, 2 and 3, and "12" the range from 1 to 2."""
    with pytest.raises(ConfigError, match=f"{name} is the text '{text}'; it must be"):
        make_request("a.tif", "roof", "b.tif", **{name: text})

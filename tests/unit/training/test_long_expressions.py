"""Expressions that the text encoder cuts or does not know do not stop a run, and are counted once."""

from __future__ import annotations

import warnings

import pytest

from s4eca.errors import ExpressionWarning


@pytest.mark.parametrize("length", [6, 16])
def test_a_run_counts_what_is_cut_once_for_each_split(line, tmp_path, length):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert line("fit", tmp_path / "run", model__config__text_length=length, trainer__max_epochs=1) == 0
    said = [str(one.message) for one in caught if issubclass(one.category, ExpressionWarning)]
    cut = [text for text in said if f"cut at {length} tokens (text_length {length})" in text]
    assert len(cut) == 2, said
    assert sorted(text.partition(", split ")[2].partition(":")[0] for text in cut) == ["train", "val"]
    assert (tmp_path / "run" / "adapter").is_dir()

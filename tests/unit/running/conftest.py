"""Fixtures of the tests of running."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import families
import pytest
from cheap import SMALL, Pairs, stirred

from s4eca.model.running import Running


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Fresh copies of tiny encoders."""
    return Pairs(tmp_path_factory.mktemp("families"))


@pytest.fixture
def make(pairs: Pairs, toy_model: Callable[..., Any]) -> Callable[..., Any]:
    """A model on a pair by name: stirred unless asked otherwise, run as asked."""

    def made(
        vision: str = "toy", text: str = "toy", *, run: Running | None = None, stir: bool = True, **more: Any
    ) -> Any:
        pair = pairs(vision, text)
        more = {"image_size": families.side_of(pair[0]), "options": SMALL.get(more.get("method", ""), {}), **more}
        model = toy_model(pair=pair, **more)
        model = stirred(model) if stir else model
        return model if run is None else model.run_with(run)

    return made

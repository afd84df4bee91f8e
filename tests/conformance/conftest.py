"""Models of every method on every pair."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from conforming import FURTHER_PAIRS, PAIRS, SMALL, Make


@pytest.fixture(params=tuple(SMALL))
def method(request: pytest.FixtureRequest) -> str:
    """Name of a method."""
    return request.param


@pytest.fixture(params=[*PAIRS, *(pytest.param(pair, marks=pytest.mark.slow) for pair in FURTHER_PAIRS)], ids="+".join)
def names(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Names of a vision and a text encoder in tests/families.py."""
    return request.param


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of tiny checkpoints."""
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture
def encoders(names: tuple[str, str], checkpoints: Path) -> Make:
    """Makes the pair afresh, for a method may change it."""
    import families

    return lambda: (families.load("vision", names[0], checkpoints), families.load("text", names[1], checkpoints))


@pytest.fixture
def make(encoders: Make, method: str, toy_model: Make) -> Make:
    """Makes a seeded model of the method on the pair; keywords are settings."""
    import families

    def build(**settings: Any) -> Any:
        pair = encoders()
        settings = {"method": method, "image_size": families.side_of(pair[0]), **settings}
        settings.setdefault("options", SMALL[settings["method"]])
        return toy_model(pair=pair, **settings)

    return build


@pytest.fixture(scope="session")
def kept() -> dict[tuple[str, ...], Any]:
    """Models that tests only look at, by pair and method."""
    return {}


@pytest.fixture
def model_of(make: Make, names: tuple[str, str], kept: dict[tuple[str, ...], Any]) -> Make:
    """A method's model on the pair, in eval mode, not to be changed."""

    def find(method: str) -> Any:
        key = (*names, method)
        if key not in kept:
            kept[key] = make(method=method).eval()
        return kept[key]

    return find


@pytest.fixture
def model(model_of: Make, method: str) -> Any:
    """The method's model on the pair, in eval mode, not to be changed."""
    return model_of(method)

"""Fixtures that several folders of tests share. Heavy imports stay inside, so that light tests stay light."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sizes import SMALL

sys.path.insert(0, str(Path(__file__).parent))  # tiny_hub.py lies beside this file, whatever the import mode

TOY = {
    "vision": "toy:vision",
    "text": "toy:text",
    "image_size": 32,
    **SMALL,
}
EXPRESSIONS = ["the red roof", "a ship left of the pier in the upper half", "field"]


@pytest.fixture
def toy_model() -> Callable[..., Any]:
    """Make a seeded model on the toy pair; keywords are settings of `S4ECAConfig`."""

    def make(*, blocks: int = 6, seed: int = 0, pair: Any = None, **settings: Any) -> Any:
        import torch

        from s4eca.config import S4ECAConfig
        from s4eca.encoders.toy import toy_pair
        from s4eca.model.model import S4ECAModel

        vision, text = pair or toy_pair(blocks, 3)
        torch.manual_seed(seed)
        base = S4ECAConfig.from_dict({**TOY, "vision": vision.spec.source, "text": text.spec.source})
        return S4ECAModel(vision, text, S4ECAConfig.from_dict(base.changed(settings)))

    return make


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny random checkpoint in the hub's format, by its name in tiny_hub.py."""
    root = tmp_path_factory.mktemp("hub")

    def folder(name: str) -> Path:
        from tiny_hub import write

        return write(root, name)

    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to look up or reach another machine fails the test."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was touched")

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of the real imagery; skips where it is not there."""
    place = os.environ.get("S4ECA_REALDATA")
    if not place:
        pytest.skip("S4ECA_REALDATA is not set; it names the folder with vhr10-ref, dubai-ref and geo-scenes")
    if not Path(place).is_dir():
        pytest.skip(f"S4ECA_REALDATA names {place}, which is no folder")
    return Path(place)

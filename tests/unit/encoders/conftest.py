"""Folders of tiny checkpoints of libraries beside transformers, each written once a session."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def openclip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Identifier of a tiny open_clip checkpoint by its name in tiny_openclip.py."""
    root = tmp_path_factory.mktemp("openclip")

    def identifier(name: str) -> str:
        from tiny_openclip import write

        return f"openclip:{write(root, name)}"

    return identifier


@pytest.fixture(scope="session")
def timm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Identifier of a tiny timm checkpoint by its name in tiny_timm.py."""
    root = tmp_path_factory.mktemp("timm")

    def identifier(name: str) -> str:
        from tiny_timm import write

        return f"timm:{write(root, name)}"

    return identifier

"""The hub's stand-in, with the library pointed at it and at an empty cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[object]:
    """A running `HubStandIn`; the user is ann, by HF_TOKEN."""
    from hub_stand_in import HubStandIn
    from huggingface_hub import constants

    with HubStandIn() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        # Its own transfer protocol needs its own servers; without it weights take the large file storage's plain way.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_ann")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server

"""A real adapter folder on tiny random encoders, and the command line called as a user calls it."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from job_inputs import Place


class Outcome:
    """What a command line left behind: exit code and both streams."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self) -> list[str]:
        """Lines of standard error."""
        return self.err.splitlines()


@contextmanager
def as_outside_pytest() -> Iterator[None]:
    """Let warnings and stray log lines reach standard error, where pytest would otherwise keep them to itself."""

    def show(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        print(warnings.formatwarning(message, category, filename, lineno, line), file=sys.stderr)

    root = logging.getLogger()
    last = logging.StreamHandler(sys.stderr)
    last.setLevel(logging.WARNING)
    handlers, root.handlers = root.handlers, [last]
    try:
        with warnings.catch_warnings():
            warnings.resetwarnings()
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            warnings.showwarning = show
            yield
    finally:
        root.handlers = handlers


@pytest.fixture
def s4eca(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run one command line in this process; what C libraries print is caught as well."""
    from s4eca.cli.main import main

    def run(*words: Any) -> Outcome:
        capfd.readouterr()
        with as_outside_pytest():
            code = main([str(word) for word in words])
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def tiny_adapter(tmp_path_factory: pytest.TempPathFactory, hub: Callable[[str], Path]) -> Path:
    """An adapter folder over DINOv2 and BERT checkpoints of a few thousand random weights, seeded."""
    import torch
    from tiny_hub import stir

    from s4eca.model.model import attach
    from s4eca.saved.folder import Card, save

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = attach(
            str(hub("dinov2")), str(hub("bert")), image_size=32, text_length=16, width=8, proxies=4, vision_sites=3,
            text_sites=2, decoder_width=16, decoder_ffn=16, decoder_heads=2, decoder_layers=1, decoder_detail=4,
        )  # fmt: skip
        # As attached, the adapter does nothing yet; stirred, the answer depends on the pixels and on the words.
        stir(model.adapter)
        stir(model.decoder)
    return save(model, tmp_path_factory.mktemp("adapters") / "tiny", Card(name="tiny", gsd=0.5))


@pytest.fixture
def place(tmp_path: Path, tiny_adapter: Path) -> Place:
    """Makes the inputs of a job in a folder of its own."""
    return Place(tmp_path, tiny_adapter)

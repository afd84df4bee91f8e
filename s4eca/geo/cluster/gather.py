"""Whoever answers for a run: a segmenter here, or a team of workers and a segmenter that is asked for its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s4eca.errors import ConfigError, needs
from s4eca.geo.cluster.connect import PURPOSE
from s4eca.geo.cluster.recipe import Recipe, SavedAdapter, Sent
from s4eca.geo.staging.fingerprint import of_model, of_versions

if TYPE_CHECKING:
    from s4eca.geo.cluster.team import Team
    from s4eca.protocols import Segmenter


@dataclass(frozen=True)
class Answering:
    """Who answers.

    Attributes:
        segmenter: here.
        adapter: hash of the adapter, where it is known.
        team: the workers that compute in its place; None where it computes itself.
    """

    segmenter: Segmenter
    adapter: str | None
    team: Team | None = None


@contextmanager
def gathered(
    client: Any, given: Segmenter | SavedAdapter, adapter: str | None = None, *, progress: bool = True,
    say: Callable[[str], None] = lambda note: None, here: Segmenter | None = None,
) -> Iterator[Answering]:  # fmt: skip
    """Gather whoever answers, for the time inside.

    Args:
        client: a `distributed.Client`; None computes here.
        given: a saved adapter, or a segmenter, which is sent to the workers as it is.
        adapter: hash of the segmenter's adapter.
        progress: whether a bar of cells is drawn on stderr.
        say: receives remarks.
        here: the saved adapter as it is here, if it was loaded already.

    Raises:
        ConfigError: the client is none, or the segmenter cannot be sent.
        S4ECAError: the adapter cannot be loaded, or the cluster does not come through.
    """
    if client is None:
        if isinstance(given, SavedAdapter):
            pinned = given.pinned()
            yield Answering(pinned.load(), adapter or pinned.sha256)
        else:
            yield Answering(given, adapter)
        return
    if not isinstance(client, needs("distributed", extra="dask", purpose=PURPOSE).Client) or client.asynchronous:
        kind = type(client).__name__
        raise ConfigError(f"client is a {kind}; it must be a distributed.Client that is not asynchronous.")
    from s4eca.geo.cluster.team import Team

    recipe: Recipe
    if isinstance(given, SavedAdapter):
        recipe = given.pinned()
        adapter, segmenter = adapter or recipe.sha256, here or recipe.load_to_ask()
    else:
        recipe, segmenter = Sent.of(given), given
    facts = {**of_versions(), **of_model(segmenter, adapter)}
    with Team(client, recipe, facts, adapter=adapter, progress=progress, say=say) as team:
        yield Answering(segmenter, adapter, team)

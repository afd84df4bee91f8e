"""Many scenes by one model: one after the other here, or as many at once as keep the workers of a cluster busy."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from rasterio.errors import NotGeoreferencedWarning

from s4eca.errors import ClusterError, ConfigError, RasterError, S4ECAError
from s4eca.geo.cluster.gather import gathered
from s4eca.geo.cluster.recipe import SavedAdapter
from s4eca.geo.read.naming import GivenSource
from s4eca.geo.request import Request, check, make_request
from s4eca.geo.result import SceneResult
from s4eca.geo.scenes import check_patterns, find_scenes, place_of
from s4eca.geo.segment import given_segmenter, run_request
from s4eca.geo.staging.folder import forget

if TYPE_CHECKING:
    from s4eca.geo.cluster.team import Team
    from s4eca.model.model import S4ECAModel
    from s4eca.protocols import Segmenter

MOST = 32  # scenes at once
NAMED = 5  # scenes that are named in the sentence about what is not done


@dataclass
class Outcome:
    """What came of many scenes.

    Attributes:
        results: name -> what the run gave back, of scenes that are done.
        failed: name -> why it is not.
    """

    results: dict[str, SceneResult] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def require_all(self) -> None:
        """Insist on all.

        Raises:
            RasterError: some are not done.
        """
        if self.failed:
            count = len(self.failed) + len(self.results)
            raise RasterError(
                f"{len(self.failed)} of {count} scenes are not done ({self._told}); the same command goes on with "
                "these."
            )

    def require_explained(self, count: int) -> None:
        """Insist that a run would begin with all of so many.

        Raises:
            RasterError: it would not with some.
        """
        if self.failed:
            raise RasterError(f"{len(self.failed)} of {count} scenes are refused ({self._told}).")

    @property
    def _told(self) -> str:
        """The first that are not done, and why."""
        told = "; ".join(f"{name}: {why.rstrip('.')}" for name, why in list(self.failed.items())[:NAMED])
        return told + (f"; and {len(self.failed) - NAMED} more" if len(self.failed) > NAMED else "")


def segment_geotiffs(
    sources: str | os.PathLike[str] | Mapping[str, GivenSource],
    expressions: Sequence[str] | str | Mapping[str, str | Sequence[str]],
    segmenter: Segmenter | S4ECAModel | SavedAdapter, out: str | os.PathLike[str], *, client: Any = None,
    polygons: str | os.PathLike[str] | None = None, scores: str | os.PathLike[str] | None = None,
    asset: str | None = None, adapter_hash: str | None = None, progress: bool = True,
    say: Callable[[str], None] | None = None, **options: Any,
) -> dict[str, SceneResult]:  # fmt: skip
    """As `s4eca.segment_geotiff`, for many scenes, which share one model or the workers of a cluster.

    Args:
        sources: name -> scene, by whatever `s4eca.segment_geotiff` takes for one, or what
            `s4eca.geo.scenes.find_scenes` takes: a folder, a ``.txt`` with a scene a line, a STAC item collection.
        expressions: as there.
        segmenter: as there.
        out: where masks go, with ``{name}`` for the name of each scene, as ``found/{name}.tif``.
        client: a `distributed.Client`.
        polygons: likewise with ``{name}``.
        scores: likewise with ``{name}``.
        asset: which asset of STAC items is a scene.
        adapter_hash: as there.
        progress: as there.
        say: as there.
        options: of `s4eca.geo.request.make_request`.

    Returns:
        Name -> what was found, in the order of the scenes.

    Raises:
        S4ECAError: before anything is computed where that is possible. A scene that cannot be searched keeps none of
            the others from being done; the same call goes on with those that are not.
    """
    scenes = _given_scenes(sources, asset)
    check_patterns({"out": out, "polygons": polygons, "scores": scores})
    requests = {
        name: make_request(
            source,
            expressions,
            place_of(out, name),
            polygons=None if polygons is None else place_of(polygons, name),
            scores=None if scores is None else place_of(scores, name),
            **options,
        )  # fmt: skip
        for name, source in scenes.items()
    }
    for request in requests.values():
        check(request)
    tell = say or (lambda note: warnings.warn(note, UserWarning, stacklevel=2))
    with gathered(client, given_segmenter(segmenter), adapter_hash, progress=progress, say=tell) as answering:

        def run(name: str, request: Request) -> SceneResult:
            return run_request(
                request, answering.segmenter, adapter_hash=answering.adapter, progress=progress, say=tell,
                team=answering.team, stay=True,
            )  # fmt: skip

        outcome = run_many(requests, run, answering.team, tell)
    outcome.require_all()
    return outcome.results


def _given_scenes(
    sources: str | os.PathLike[str] | Mapping[str, GivenSource], asset: str | None
) -> Mapping[str, GivenSource]:
    """Name -> scene, of whatever names several.

    Raises:
        ConfigError: it names none, or an asset is named where there are none.
    """
    if isinstance(sources, str | os.PathLike):
        return find_scenes(sources, asset)
    if not isinstance(sources, Mapping) or not sources:
        raise ConfigError(
            f"sources is {type(sources).__name__} {sources!r:.60}; it must be a mapping, name -> scene, or the name of "
            "a folder, of a list (.txt) or of a STAC item collection."
        )
    if asset is not None:
        raise ConfigError(f"asset is {asset}, but sources is no STAC item collection; leave it out.")
    return sources


def run_many(
    requests: Mapping[str, Request], run: Callable[[str, Request], SceneResult], team: Team | None,
    say: Callable[[str], None],
) -> Outcome:  # fmt: skip
    """Run requests, each of which lets stay what tells that it is done until all are.

    Args:
        requests: by the name of the scene.
        run: runs one of them.
        team: the workers that compute cells; None runs one after the other.
        say: told of a scene that cannot be searched, as soon as that is known.

    Raises:
        ClusterError: the cluster does not come through.
        KeyboardInterrupt: the run was stopped; what is finished is kept.
    """
    outcome = Outcome()

    def note(name: str, work: Callable[[], SceneResult]) -> None:
        try:
            outcome.results[name] = work()
        except ClusterError:
            raise
        except S4ECAError as error:
            outcome.failed[name] = str(error)
            say(f"{name} is not done: {error}")

    try:
        if team is None:
            for name, request in requests.items():
                note(name, partial(run, name, request))
        else:
            with warnings.catch_warnings():  # here, for filters are one thing for all threads
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                _at_once(requests, run, team, note)
    except KeyboardInterrupt as stop:
        done = f"{len(outcome.results)} of {len(requests)} scenes are done"
        raise KeyboardInterrupt(f"{done}; the same command goes on with the others from what is finished.") from stop
    if not outcome.failed:
        for request in requests.values():
            forget(request.out)
    outcome.results = {name: outcome.results[name] for name in requests if name in outcome.results}
    return outcome


def _at_once(
    requests: Mapping[str, Request], run: Callable[[str, Request], SceneResult], team: Team,
    note: Callable[[str, Callable[[], SceneResult]], None],
) -> None:  # fmt: skip
    """Begin a scene whenever the workers could do with more cells; a thread each, which opens, keeps and writes."""
    running: dict[Future[SceneResult], str] = {}

    def collect(timeout: float | None) -> None:
        for future in wait(running, timeout, FIRST_COMPLETED).done:
            note(running.pop(future), future.result)

    with ThreadPoolExecutor(MOST, thread_name_prefix="scene") as pool:
        try:
            for name, request in requests.items():
                while running and (len(running) >= MOST or not team.hungry(len(running))):
                    collect(0.2)
                running[pool.submit(run, name, request)] = name
            while running:
                collect(None)
        except BaseException:
            team.stop()  # the others end in order before this goes on
            raise

"""The driver's side of a cluster: its workers as one team with one model, and the cells of a scene as its tasks.

Scheduling, retries and what becomes of the work of a worker that died are Dask's. Here it is seen to that few cells are
under way at once, and that no worker computes a cell that another one would give other bytes.
"""

from __future__ import annotations

import os
import pickle
import queue
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from distributed import Client, KilledWorker
from tqdm import tqdm

import s4eca.errors
from s4eca.errors import ClusterError, S4ECAError
from s4eca.geo.cells import Cell
from s4eca.geo.cluster.recipe import Recipe
from s4eca.geo.cluster.tasks import PROBE, Demand, SceneTask, comparable
from s4eca.geo.cluster.worker import ModelPlugin, at_worker
from s4eca.geo.loop import Work
from s4eca.geo.read.arrays import RasterArray
from s4eca.geo.read.scaling import Scaling
from s4eca.geo.request import Request
from s4eca.geo.staging.cell_file import CellLayout, Piece
from s4eca.protocols import RasterSource
from s4eca.records import RasterName

AHEAD = 2  # cells a worker: the one that it computes, and the next
RETRIES = 2  # of a cell that failed for another reason than one that we know
LOOK = 2.0  # seconds from one look at the number of workers to the next
PATIENCE = 10.0  # seconds without any worker after which it is said

Say = Callable[[str], None]


@dataclass(frozen=True)
class Done:
    """A finished cell.

    Attributes:
        pieces: its rows, as they are kept.
        known: what is remembered of it.
        seconds: what the worker spent on it, by part.
    """

    pieces: list[Piece]
    known: dict[str, Any]
    seconds: dict[str, float]


class Team:
    """The workers of a cluster, which compute cells of any number of scenes by one model. Use as a context manager.

    Args:
        client: of the cluster.
        recipe: what leads workers to the model.
        facts: by name, what versions and model are where the run was begun (see `s4eca.geo.staging.fingerprint`).
        adapter: hash of the adapter.
        progress: whether a bar of cells is drawn on stderr.
        say: receives remarks.

    Raises:
        ClusterError: a worker does not know s4eca.
    """

    def __init__(
        self, client: Client, recipe: Recipe, facts: Mapping[str, Any], *, adapter: str | None = None,
        progress: bool = True, say: Say = lambda note: None,
    ) -> None:  # fmt: skip
        self.client, self.say, self.stopped = client, say, threading.Event()
        self._name, self._free = f"s4eca-{secrets.token_hex(4)}", recipe.free
        self._demand = Demand(self._name, recipe.key, (), 0, 0, adapter, facts)
        self._recipe, self._progress = recipe, progress
        self._demands: dict[Any, Demand] = {}
        self._greeting, self._count = threading.Lock(), threading.Lock()
        self._bar: Any = None
        self._most, self._looked, self._number = AHEAD, float("-inf"), 0
        self._loads: dict[int, int] = {}
        self._loading: list[Any] = []
        self._futures: set[Any] = set()

    def __enter__(self) -> Team:
        """Tell the workers of the model."""
        with _understood("Telling the workers of the model"):
            plugin = ModelPlugin(self._name, pickle.dumps(self._recipe))
            self.client.register_plugin(plugin, name=self._name)
        return self

    def __exit__(self, *error: object) -> None:
        """Forget it."""
        self.end_bar()
        try:
            self.cancel(self._loading)
            if self.client.status == "running":
                self.client.unregister_worker_plugin(self._name)
        except Exception as failed:  # whatever the cluster is at; the run is over, and so is what the plugin was for
            self.say(f"The workers still remember the model of this run: {_first(failed)}.")

    def demand(self, work: Work) -> Demand:
        """What every worker must be for some work; a worker is asked for what is not known here.

        Raises:
            S4ECAError: that worker is not what the driver is, or has no model.
        """
        number = (work.expressions, work.plan.window, work.batch_size)
        with self._greeting:
            if number not in self._demands:
                known = next(iter(self._demands.values()), None)
                base, left_out = (self._demand, (PROBE, *self._free)) if known is None else (known, (PROBE,))
                asked = replace(
                    base, expressions=work.expressions, window=work.plan.window, batch_size=work.batch_size,
                    facts={name: value for name, value in base.facts.items() if name not in left_out},
                )  # fmt: skip
                told = self._greet(pickle.dumps(asked))
                self._demands[number] = replace(asked, facts={**base.facts, **told["facts"]}, by=told["worker"])
            return self._demands[number]

    def _greet(self, demand: bytes) -> dict[str, Any]:
        """What the first worker to answer is; meanwhile all others load the model, too."""
        first = self._submit("greet", demand)
        if not self._loading:
            self._loading = [self._submit("greet", demand, workers=[one]) for one in self.client.nthreads()]
        return self._wait(first, "Asking a worker what it is")

    def facts(self, work: Work) -> dict[str, Any]:
        """What versions and model are at the workers, for the fingerprint of a run."""
        return {name: value for name, value in self.demand(work).facts.items() if name != PROBE}

    def crew(self, request: Request, work: Work, scaling: Scaling, scene: RasterSource, layout: CellLayout) -> Crew:
        """The team at work on one scene.

        Args:
            request: what is asked.
            work: what cells are computed from.
            scaling: how the scene is shown.
            scene: the open scene, which workers hold theirs against.
            layout: how rows of cells are kept.
        """
        asked, local = named_for_all(request)
        task = SceneTask(asked, work, scaling, layout, comparable(scene), local)
        return Crew(self, pickle.dumps(self.demand(work)), pickle.dumps(task))

    def hungry(self, running: int) -> bool:
        """Whether the workers could do with another scene beside those that run; each may bring at least a cell."""
        with self._count:
            waiting = [cells for cells in self._loads.values() if cells]
        return sum(waiting) + running - len(waiting) < self.most()

    def load(self, crew: int, cells: int) -> None:
        """Note how many cells a crew still has to do."""
        with self._count:
            self._loads[crew] = cells

    def begin(self, cells: int, finished: int) -> None:
        """Draw so many more cells, some of which a former run has finished."""
        with self._count:
            if self._bar is None:
                self._bar = tqdm(total=0, unit="cell", desc="predict", disable=not self._progress)
            self._bar.total += cells
            self._bar.update(finished)

    def advance(self) -> None:
        """Draw one finished cell, while there is a bar."""
        with self._count:
            if self._bar is not None:
                self._bar.update(1)

    def end_bar(self) -> None:
        """Leave the bar, so that what is printed next begins on a line of its own; more cells begin another."""
        with self._count:
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def most(self) -> int:
        """Cells that may be under way at once: two a worker, and one for workers that only come when there is work."""
        if time.monotonic() - self._looked > LOOK and self.client.status == "running":
            self._looked = time.monotonic()
            self._most = max(AHEAD, AHEAD * len(self.client.nthreads()))
        return self._most

    def submit(self, what: str, demand: bytes, task: bytes, cell: Cell) -> Any:
        """A future of something about a cell."""
        return self._submit(what, demand, task, pickle.dumps(cell))

    def _submit(self, what: str, *given: bytes, workers: list[str] | None = None) -> Any:
        with self._count:
            self._number += 1
            key = f"{self._name}-{what}-{self._number}"
        with _understood("Giving out a task"):
            future = self.client.submit(at_worker, what, *given, key=key, pure=False, retries=RETRIES, workers=workers)
        with self._count:
            self._futures.add(future)
        return future

    def stop(self) -> None:
        """Have every thread that waits for a cell raise KeyboardInterrupt."""
        self.stopped.set()
        with self._count:
            futures = [*self._futures]
        self.cancel(futures)  # also what has come and is not fetched yet, from workers that may be gone

    def wait(self, arrived: queue.SimpleQueue[Any]) -> Any:
        """The next future that is done.

        Raises:
            ClusterError: the scheduler is gone.
            KeyboardInterrupt: the run was stopped.
        """
        begun, said = time.monotonic(), False
        while True:
            if self.stopped.is_set():
                raise KeyboardInterrupt
            try:
                return arrived.get(timeout=0.5)
            except queue.Empty:
                if self.client.status not in ("running", "connecting"):
                    raise ClusterError("The Dask scheduler is gone.") from None
                if not said and time.monotonic() - begun > PATIENCE and self.client.status == "running":
                    said = True
                    if not self.client.nthreads():
                        self.say("The Dask scheduler has no workers; the run goes on when some have come.")

    def _wait(self, future: Any, what: str) -> dict[str, Any]:
        """What came of one future."""
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        future.add_done_callback(arrived.put)
        try:
            return self.result(self.wait(arrived), what)
        finally:
            self.cancel([future])

    def cancel(self, futures: Sequence[Any]) -> None:
        """Let go of futures, whatever they are at."""
        with self._count:
            self._futures.difference_update(futures)
        if futures and self.client.status == "running":
            self.client.cancel(list(futures))

    def result(self, future: Any, what: str) -> dict[str, Any]:
        """What came of a future that is done.

        Args:
            future: it.
            what: what it was for, as the beginning of a sentence.

        Raises:
            S4ECAError: as the worker says.
            ClusterError: the worker, or the cluster, does not come through.
        """
        with _understood(what):
            told: dict[str, Any] = future.result()
        with self._count:
            self._futures.discard(future)
        if "refused" in told:
            kind, sentence = told["refused"]
            known = {one.__name__: one for one in vars(s4eca.errors).values() if isinstance(one, type)}
            raised = known.get(kind, S4ECAError)
            raise (raised if issubclass(raised, S4ECAError) else S4ECAError)(sentence)
        return told


def named_for_all(request: Request) -> tuple[Request, bool]:
    """A request whose names hold in other working directories, and whether its scene is one of files.

    Raises:
        ClusterError: the scene is an array, which lies in the memory of this process alone.
    """
    if isinstance(request.source, RasterArray):
        raise ClusterError(
            "The scene is a RasterArray, which workers cannot open; write it to a GeoTIFF that they can, or leave the "
            "client out."
        )
    aoi = request.aoi  # of an address or a name of GDAL's nothing may be changed
    aoi = os.path.abspath(aoi) if aoi is not None and os.path.exists(aoi) else aoi
    names = request.source if isinstance(request.source, tuple) else (request.source,)
    local = all(RasterName(name).is_file for name in names)
    found = tuple(os.path.abspath(name) if RasterName(name).is_file else name for name in names)
    return replace(request, source=found if isinstance(request.source, tuple) else found[0], aoi=aoi), local


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """Inside, what Dask raises is a sentence.

    Raises:
        ClusterError: what happened.
    """
    try:
        yield
    except S4ECAError:
        raise
    except KilledWorker as error:
        raise ClusterError(
            f"{what} ended {error.allowed_failures + 1} workers, one after the other, the last one "
            f"{error.last_worker.address}, perhaps for want of memory; take a smaller --cell, fewer prompts, or "
            "workers with more memory."
        ) from error
    except CancelledError as error:
        raise ClusterError(f"{what} was given up by the Dask scheduler, or the scheduler is gone.") from error
    except Exception as error:  # of dask, or of a worker's own code
        raise ClusterError(f"{what} failed on the cluster: {type(error).__name__}: {_first(error)}.") from error


def _first(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or ["without a word"])[0].rstrip(".")


class Crew:
    """A team at work on one scene.

    Args:
        team: the team.
        demand: what its workers must be, pickled.
        task: what the cells are computed from, pickled.
    """

    def __init__(self, team: Team, demand: bytes, task: bytes) -> None:
        self._team, self._demand, self._task = team, demand, task

    def first_answer(self, cell: Cell) -> str | None:
        """As `s4eca.geo.loop.Loop.first_answer`, of a worker."""
        told = self._team._wait(self._team.submit("answer", self._demand, self._task, cell), "The first windows")
        answer: str | None = told["answer"]
        return answer

    def compute(self, cells: Sequence[Cell], finished: int) -> Iterator[tuple[Cell, Done]]:
        """Cells as they are finished, in whatever order, none of which is held once the next one is asked for.

        Args:
            cells: which.
            finished: how many of the scene are finished already, for the progress bar.

        Raises:
            S4ECAError: a worker refuses, or the cluster does not come through.
            KeyboardInterrupt: the run was stopped.
        """
        team, waiting = self._team, deque(cells)
        flying: dict[Any, Cell] = {}
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        team.begin(len(cells) + finished, finished)
        try:
            while waiting or flying:
                team.load(id(self), len(waiting) + len(flying))
                while waiting and len(flying) < team.most():
                    cell = waiting.popleft()
                    future = team.submit("cell", self._demand, self._task, cell)
                    flying[future] = cell
                    future.add_done_callback(arrived.put)
                future = team.wait(arrived)
                cell = flying.pop(future)
                told = team.result(future, f"Cell {cell.number}")
                del future  # its worker may forget it
                yield cell, Done([Piece(*piece) for piece in told["pieces"]], told["known"], told["seconds"])
                del told
                team.advance()
        finally:
            team.load(id(self), 0)
            team.cancel(list(flying))

"""The work of one worker: it loads its model once, proves that it is one of the team, and computes cells."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from s4eca.errors import ClusterError, ExpressionWarning, NotFiniteError, RasterError, S4ECAError
from s4eca.geo.cells import Cell
from s4eca.geo.cluster.recipe import AT_WORKERS, Recipe
from s4eca.geo.freed import give_back
from s4eca.geo.grids import make_grid
from s4eca.geo.loop import Clock, Loop, Work
from s4eca.geo.read.arrays import RasterArray
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.scaling import Scaling
from s4eca.geo.request import Request, open_source
from s4eca.geo.staging.cell_file import CellLayout
from s4eca.geo.staging.differing import apart
from s4eca.geo.staging.fingerprint import of_model, of_scene, of_versions

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource, Segmenter

SEED = 20240229
PROBE = "its answer to a test image"  # the last bits of sums tell processors and numbers of threads apart


@dataclass(frozen=True)
class Demand:
    """What a worker must be to take part.

    Attributes:
        plugin: name of the plugin with the recipe of the model.
        key: what the model is known by.
        expressions, window, batch_size: the test image is searched as the scene is.
        adapter: hash of the adapter, where the segmenter itself does not tell it.
        facts: by name, what versions, model and answer must be; empty for what is not known yet.
        by: address of the worker that some of them come from.
    """

    plugin: str
    key: str
    expressions: tuple[str, ...]
    window: int
    batch_size: int
    adapter: str | None
    facts: Mapping[str, Any]
    by: str | None = None


@dataclass(frozen=True)
class SceneTask:
    """What the cells of a scene are computed from, beside the model.

    Attributes:
        request: with the name by which workers find the scene.
        work: what is asked.
        scaling: how its values are shown.
        layout: how rows of cells are kept.
        scene: what it must be, see `comparable`.
        local: whether its name is that of a file.
    """

    request: Request
    work: Work
    scaling: Scaling
    layout: CellLayout
    scene: Mapping[str, Any]
    local: bool


@dataclass
class _Process:
    """What one process remembers; cells are computed one at a time in it, by one model."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    model: tuple[str, Any] | None = None
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)


_HERE = _Process()


def do(
    address: str, place: Any, plugins: Mapping[str, Any], what: str, demand: bytes, given: tuple[bytes, ...]
) -> dict[str, Any]:
    """Do one thing; what cannot be mended by trying again comes back as ``refused``: class and sentence.

    Args:
        address: of the worker.
        place: its name.
        plugins: by name, those that it was given.
        what: ``greet`` (facts of the worker), ``answer`` (of the model to the first windows of a cell) or ``cell``.
        demand: a `Demand`, pickled.
        given: a `SceneTask` and a `Cell`, pickled.
    """
    try:
        with _HERE.lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", ExpressionWarning)  # said where the run was begun
            asked: Demand = pickle.loads(demand)
            try:
                facts = _take_part(address, place, plugins, asked, demand)
            except NotFiniteError:
                raise
            except S4ECAError as error:
                raise ClusterError(str(error)) from error  # no scene of this run can be searched
            if what == "greet":
                return {"worker": address, "facts": facts}
            assert _HERE.model is not None
            task, cell = (pickle.loads(one) for one in given)
            with _loop(task, given[0], _HERE.model[1]) as (loop, clock):
                if what == "answer":
                    return {"worker": address, "answer": loop.first_answer(cell)}
                return {"worker": address, **_cell(task, cell, loop), "seconds": clock.seconds()}
    except S4ECAError as error:
        return {"worker": address, "refused": [type(error).__name__, f"Worker {address}: {error}"]}


def _take_part(address: str, place: Any, plugins: Mapping[str, Any], asked: Demand, content: bytes) -> dict[str, Any]:
    """What this worker is, after it was found to be what is asked for.

    Raises:
        ClusterError: it is not.
    """
    if _HERE.model is None or _HERE.model[0] != asked.key:
        _HERE.model = None  # one model a worker: the one before goes first
        _HERE.facts.clear()
        _HERE.met.clear()
        recipe: Recipe = pickle.loads(plugins[asked.plugin].recipe)
        _HERE.model = (asked.key, recipe.load(place))
    number = hashlib.sha256(content).hexdigest()
    probed = repr((asked.expressions, asked.window, asked.batch_size))
    if number not in _HERE.met:
        facts = {**of_versions(), **of_model(_HERE.model[1], asked.adapter)}
        require_same(facts, asked, address)  # before the model is asked
        if probed not in _HERE.facts:
            _HERE.facts[probed] = {**facts, PROBE: _probe(_HERE.model[1], asked)}
        require_same(_HERE.facts[probed], asked, address)
        _HERE.met.add(number)
    return _HERE.facts[probed]


def require_same(facts: Mapping[str, Any], asked: Demand, address: str) -> None:
    """Hold what a worker is against what it must be.

    Raises:
        ClusterError: by the first name that differs.
    """
    for name, wanted in asked.facts.items():
        if name not in facts or facts[name] == wanted:
            continue
        if name == PROBE:
            raise ClusterError(
                f"it gives other probabilities for a test image than worker {asked.by} (another processor, or number "
                "of threads), and results must not depend on who computes them; give the run workers of one kind."
            )
        there, here = apart(facts[name], wanted)
        whose = f"at worker {asked.by}" if asked.by is not None and name in AT_WORKERS else "where the run was begun"
        raise ClusterError(f"{name} is {there} there, and {here} {whose}; give all the same.")


def _probe(segmenter: Segmenter, asked: Demand) -> str:
    """A hash of all that the model says of seeded noise."""
    from s4eca.geo.loop import tells_presence

    low, high = zip(*(segmenter.band_ranges or ((0.0, 255.0),) * (len(segmenter.bands) or 3)), strict=True)
    shape = (asked.batch_size, asked.window, asked.window, len(low))
    images = np.random.default_rng(SEED).uniform(low, high, shape).astype(np.float32)
    if tells_presence(segmenter):
        said: tuple[Any, ...] = segmenter.probabilities_and_presence(images, asked.expressions)
    else:
        said = (segmenter.probabilities(images, asked.expressions),)
    parts = (np.ascontiguousarray(one, np.float32).tobytes() for one in said if one is not None)
    return hashlib.sha256(b"".join(parts)).hexdigest()


@contextmanager
def _loop(task: SceneTask, content: bytes, segmenter: Segmenter) -> Iterator[tuple[Loop, Clock]]:
    """The loop over the scene, which is the one that the run was begun with.

    Raises:
        RasterError: it is not there, or another one.
    """
    source = task.request.source
    assert not isinstance(source, RasterArray), "the driver refuses arrays"
    names = source if isinstance(source, tuple) else (source,)
    for name in names if task.local else ():
        if not os.path.exists(name):
            raise RasterError(f"{name} does not exist there; put it where every worker sees it by this name.")
    with gdal_env(), open_source(task.request) as scene, gdal_env(scene.cache_bytes()):
        number = hashlib.sha256(content).hexdigest()
        if number not in _HERE.met:
            found = comparable(scene)
            for part, wanted in task.scene.items():
                if found[part] != wanted:
                    there, here = apart(found[part], wanted)
                    raise RasterError(
                        f"{scene.facts.name} is another file there than where the run was begun ({part}: {there} "
                        f"there, {here} here); give every machine the same one."
                    )
            _HERE.met.add(number)
        clock = Clock()
        grid = make_grid(scene, task.scaling, task.request.gsd)
        yield Loop(task.work, segmenter, scene, grid, clock), clock


def comparable(scene: RasterSource) -> dict[str, Any]:
    """What tells whether two machines see one scene; a copy may have another time of its last change."""
    found = of_scene(scene)
    del found["the scene"]
    content = found["the content of the scene"]
    if isinstance(content, list):
        found["the content of the scene"] = [[size, digest] for size, _, digest in content]
    return found


def _cell(task: SceneTask, cell: Cell, loop: Loop) -> dict[str, Any]:
    """The rows of a cell as they are kept, and what is remembered of it."""
    pieces = [task.layout.piece(strip) for strip in loop.strips(cell, lambda count: None)]
    give_back()
    return {
        "pieces": [(np.frombuffer(piece.content, np.uint8), piece.largest, piece.rows) for piece in pieces],
        "known": loop.known(),
    }

"""The equal-budget grid's tasks in their order: one after the other, or several processes on one accelerator.

A small model leaves a large accelerator idle while it prepares the next batch; two or three fill it, and more take
turns at it (docs/ablation.md). Every process trains rows of its own, and the numbers of a row do not depend on how many
run beside it (its time does, and says so).
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from typing import Any

import torch
from grid_data import Sets
from grid_rows import Row
from grid_store import Store
from grid_tasks import Outcome, Task, mark_of, perform, short_run
from grid_training import OutOfTimeError, Place, Workshop, fresh

from s4eca.errors import ConfigError

_SHOP: list[Workshop] = []


def _begin(place: Place) -> None:
    torch.set_num_threads(1)
    _SHOP.append(Workshop(place))


def _encode(row: Row, part: int, parts: int) -> bool | None:
    """None where the minutes were over."""
    try:
        _SHOP[0].encode(row, part, parts)
    except OutOfTimeError:
        return None
    return True


def _perform(task: Task) -> Outcome | None:
    """None where the minutes were over."""
    try:
        return perform(_SHOP[0], task)
    except OutOfTimeError:
        return None


def one_by_one(shop: Workshop, store: Store, rows: Callable[[], Iterator[Row]]) -> None:
    """Each row after its searches, in this process; `rows` is asked anew after each, for more may be known then.

    Raises:
        OutOfTimeError: the minutes are over.
    """
    while (row := next(rows(), None)) is not None:
        shop.check()
        print(row.name, flush=True)
        while (task := next_tasks(shop.sets, store, row)[0]).tried is None:
            keep(store, task, perform(shop, task))
        keep(store, task, perform(shop, task))


def at_once(place: Place, store: Store, rows: Callable[[], Iterator[Row]]) -> bool:
    """Tasks on `place.at_once` processes, earlier rows first; each row is written as it ends.

    What fails is printed with its trace, and the others go on.

    Returns:
        Whether every row was done, or the minutes were over first.

    Raises:
        ConfigError: some tasks failed; said when all others are done.
    """
    sets, whole, failed, broken = Sets(place.places), True, set[str](), 0
    running: dict[Future[Any], tuple[str, Task | None]] = {}
    ready: set[str] = set()
    context = get_context(_start(place, rows))
    with ProcessPoolExecutor(place.at_once, context, initializer=_begin, initargs=(place,)) as pool:
        while True:
            busy = {name for name, _ in running.values()} | failed
            for row in rows():
                if len(running) >= place.at_once + 2:
                    break
                for name, task in _open(place, sets, store, row, ready, busy):
                    call = (
                        pool.submit(_perform, task)
                        if isinstance(task, Task)
                        else pool.submit(_encode, task[0], task[1], place.at_once)
                    )
                    running[call] = (name, task if isinstance(task, Task) else None)
                    busy.add(name)
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for call in done:
                name, task = running.pop(call)
                broken += call.exception() is not None
                whole &= _ended(call, name, task, store, failed)
                if task is None and not any(other == name for other, _ in running.values()):
                    ready.add(name)
    if broken:
        raise ConfigError(f"{broken} of the tasks failed, as their traces say; the same command tries them again.")
    return whole


def _start(place: Place, rows: Callable[[], Iterator[Row]]) -> str:
    """How processes start. A copy of this one has all libraries at once, as long as it never touched a device."""
    if torch.device(place.device).type == "cpu" or torch.cuda.is_initialized():
        return "spawn"
    import peft  # noqa: F401

    for row in islice(rows(), 1):
        fresh(row)
    return "fork"


def _ended(call: Future[Any], name: str, task: Task | None, store: Store, failed: set[str]) -> bool:
    """Write down what a task found; False where it was cut or failed."""
    try:
        outcome = call.result()
    except Exception:
        traceback.print_exc()
        failed.add(name)
        return False
    if outcome is None:
        failed.add(name)
        return False
    if task is None:
        return True
    keep(store, task, outcome)
    print(f"{time.strftime('%H:%M:%S')} {task.row.name}, rate {task.rate:g}: {_said(task, outcome)}", flush=True)
    return True


def _said(task: Task, outcome: Outcome) -> str:
    own = outcome.found if task.tried is None else outcome.found["scores"][task.row.train.partition("+")[0]]
    return f"mIoU {own['mIoU']:.4f} ({outcome.found['updates']} updates)"


def _open(
    place: Place, sets: Sets, store: Store, row: Row, ready: set[str], busy: set[str]
) -> Iterator[tuple[str, Task | tuple[Row, int]]]:
    """Tasks that a row has now and nobody does: shares of the images to encode first, then short runs, then itself."""
    form = row.form
    cached = place.cache != "none" and form.cacheable
    name = f"encode {row.train} {row.recipe.size} {form.late_blocks}"
    if cached and name not in ready:
        if name not in busy:
            yield from ((name, (row, part)) for part in range(place.at_once))
        return
    for task in next_tasks(sets, store, row):
        mark = mark_of(f"{row.key(sets.mark(row.train))} {task.rate:g} {task.tried is None}")
        if task.tried is None:
            mark = mark_of(short_run(row, len(sets.split(row.train, "train")), sets.mark(row.train), task.rate)[1])
        if mark not in busy:
            yield mark, task


def next_tasks(sets: Sets, store: Store, row: Row) -> list[Task]:
    """Short runs that a row still lacks; without any, the row itself with the best of its rates."""
    rates = row.rates()
    if len(rates) == 1:
        return [Task(row, rates[0], {})]
    known = store.content["searches"]
    references, mark = len(sets.split(row.train, "train")), sets.mark(row.train)
    found = {rate: known.get(short_run(row, references, mark, rate)[1]) for rate in rates}
    lacking = [Task(row, rate) for rate, score in found.items() if score is None]
    tried = {f"{rate:g}": score["mIoU"] for rate, score in found.items() if score}
    return lacking or [Task(row, max(rates, key=lambda rate: tried[f"{rate:g}"]), tried)]


def keep(store: Store, task: Task, outcome: Outcome) -> None:
    """Write what was found where it belongs."""
    if task.tried is None:
        store.add_search(outcome.key, outcome.found)
    else:
        store.add(outcome.key, outcome.found, outcome.ious, outcome.images)

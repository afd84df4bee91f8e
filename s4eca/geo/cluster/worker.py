"""What workers are given: the plugin that holds the recipe of the model, and the one function that tasks call.

Light at the top, and called with bytes: the scheduler imports this file and unpacks what tasks are called with.
"""

from __future__ import annotations

from typing import Any

from distributed import WorkerPlugin, get_worker


class ModelPlugin(WorkerPlugin):  # type: ignore[misc]
    """Tells a worker, also one that joins later, how to load its model; it is loaded with the first cell.

    Args:
        name: of the plugin.
        recipe: a `s4eca.geo.cluster.recipe.Recipe`, pickled.
    """

    def __init__(self, name: str, recipe: bytes) -> None:
        self.name, self.recipe = name, recipe


def at_worker(what: str, demand: bytes, *given: bytes) -> dict[str, Any]:
    """Do one thing on a worker; see `s4eca.geo.cluster.tasks`.

    Args:
        what: ``greet``, ``answer`` or ``cell``.
        demand: a `s4eca.geo.cluster.tasks.Demand`, pickled.
        given: further pickled arguments.
    """
    from s4eca.geo.cluster.tasks import do

    worker = get_worker()
    return do(worker.address, worker.name, worker.plugins, what, demand, given)

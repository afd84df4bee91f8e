"""The options of `s4eca predict` about many scenes, and about several processes or machines that share them."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from s4eca.errors import ConfigError

if TYPE_CHECKING:
    from s4eca.geo.cluster.recipe import SavedAdapter

NAME = "{name}"  # as `s4eca.geo.scenes` has it, which is not imported for one scene
OUTPUTS = ("out", "polygons", "scores", "preview")


def add_cluster(group: Any) -> None:
    """Add ``--workers`` and ``--dask`` to a group of options."""
    group.add_argument(
        "--workers", type=int, metavar="N",
        help="compute in N processes on this machine, each with a model of its own and one thread, unless "
        "OMP_NUM_THREADS says otherwise; of several GPUs each process takes one in turn; needs s4eca[dask]",
    )  # fmt: skip
    group.add_argument(
        "--dask", metavar="ADDRESS",
        help="compute on the workers of a Dask scheduler, as tcp://host:8786, which see scene and adapter by the same "
        "names; needs s4eca[dask]",
    )  # fmt: skip


def add_asset(group: Any) -> None:
    """Add ``--asset`` to a group of options."""
    group.add_argument("--asset", metavar="KEY", help="the asset that is the scene, of each item of a STAC collection")


def on_cluster(args: argparse.Namespace) -> bool:
    """Whether cells are computed elsewhere.

    Raises:
        ConfigError: both ways are given, or fewer workers than one.
        MissingDependencyError: dask is not installed.
    """
    if args.dask is None and args.workers is None:
        return False
    from s4eca.geo.cluster.connect import check_cluster

    check_cluster(args.dask, args.workers)
    return True


def connection(args: argparse.Namespace, say: Callable[[str], None]) -> contextlib.AbstractContextManager[Any]:
    """The client that the options ask for, for the time inside; None where the work is done here."""
    if not on_cluster(args):
        return contextlib.nullcontext()
    from s4eca.geo.cluster.connect import connected

    return connected(args.dask, args.workers, say)


def reached(args: argparse.Namespace) -> list[str]:
    """What is to be said of times that are taken here, where cells are computed elsewhere; nothing is started.

    Raises:
        ClusterError: no scheduler answers at the address.
    """
    if not on_cluster(args):
        return []
    from s4eca.geo.cluster.connect import require_scheduler

    if args.dask is not None:
        require_scheduler(args.dask)
    return [
        "Time and memory are those of this process alone; workers share the time, and each takes such memory and a "
        "model."
    ]


def saved_adapter(args: argparse.Namespace) -> SavedAdapter:
    """What every worker loads, as the options say it."""
    from s4eca.geo.cluster.recipe import SavedAdapter

    return SavedAdapter(
        args.adapter, args.revision, args.device, args.precision, args.encoder_dtype, args.compile,
        spread=args.workers is not None,
    )  # fmt: skip


def scenes_of(args: argparse.Namespace) -> dict[str, str] | None:
    """Name -> scene where ``--out`` asks for many; None for one.

    Raises:
        ConfigError: an output would be shared, or an asset is named for one scene.
        RasterError: the scenes cannot be listed.
    """
    if NAME not in args.out:
        if args.asset is not None:
            raise ConfigError(f"--asset is {args.asset}, but --out has no {NAME} for the name of each item.")
        return None
    from s4eca.geo.scenes import check_patterns, find_scenes

    check_patterns({f"--{name}": getattr(args, name) for name in OUTPUTS})
    return find_scenes(args.scene, args.asset)


def of_scene(args: argparse.Namespace, name: str, scene: str) -> argparse.Namespace:
    """The options of one scene of many."""
    from s4eca.geo.scenes import place_of

    given = vars(args)
    outputs = {one: str(place_of(given[one], name)) for one in OUTPUTS if given[one] is not None}
    return argparse.Namespace(**{**given, "scene": scene, **outputs})

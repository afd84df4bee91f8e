"""A client of the cluster that a user names, or of one on this machine for the time of a run."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from s4eca.errors import ClusterError, ConfigError, needs

PATIENCE = 5  # seconds for a scheduler to answer
PURPOSE = "compute cells on several processes or machines"


def check_cluster(address: str | None, workers: int | None) -> None:
    """Refuse what cannot be meant, before anything is loaded.

    Raises:
        ConfigError: both are given, or fewer workers than one.
        MissingDependencyError: dask is not installed.
    """
    if address is not None and workers is not None:
        raise ConfigError(
            f"--dask is {address} and --workers is {workers}; give the first for a cluster that is there, or the "
            "second for processes on this machine."
        )
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers is {workers}; it must be at least 1.")
    if address is not None or workers is not None:
        needs("distributed", extra="dask", purpose=PURPOSE)


@contextmanager
def connected(address: str | None, workers: int | None, say: Callable[[str], None]) -> Iterator[Any]:
    """A `distributed.Client`, for the time inside.

    Args:
        address: of a scheduler, as ``tcp://host:8786``.
        workers: in place of it, number of processes on this machine, with one thread each.
        say: told where the dashboard of these is.

    Raises:
        ConfigError, MissingDependencyError: see `check_cluster`.
        ClusterError: no scheduler answers.
    """
    check_cluster(address, workers)
    with _quiet():
        if address is not None:
            with _reached(address) as client:
                yield client
        else:
            with _here(workers or 1) as (client, dashboard):
                if dashboard:
                    say(f"{workers} workers; watch them at {dashboard}")
                yield client


@contextmanager
def _reached(address: str) -> Iterator[Any]:
    """A client of a cluster that is there."""
    from distributed import Client

    with _answering(address), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other versions are told, and refused, worker by worker
        asyncio.run(_knock(address))  # a client that finds nobody cannot always be closed
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    with client:
        yield client


def require_scheduler(address: str) -> None:
    """Knock at a scheduler, and leave it alone.

    Raises:
        ClusterError: none answers.
    """
    with _quiet(), _answering(address):
        asyncio.run(_knock(address))


@contextmanager
def _answering(address: str) -> Iterator[None]:
    """Inside, what is raised because nobody answers is a sentence."""
    try:
        yield
    except Exception as error:  # of dask, tornado or the system, by what is at that address
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ClusterError(
            f"No Dask scheduler answers at {address or 'an empty address'} ({reason}); name one as tcp://HOST:8786, or "
            "give --workers N."
        ) from error


async def _knock(address: str) -> None:
    """Connect to a scheduler as a client does, and hang up."""
    from distributed import Security
    from distributed.comm import connect

    await (await connect(address, timeout=PATIENCE, **Security().get_connection_args("client"))).close()


@contextmanager
def _here(workers: int) -> Iterator[tuple[Any, str | None]]:
    """A client of processes on this machine, and the address of their dashboard where bokeh is installed."""
    from distributed import Client, LocalCluster

    drawn = importlib.util.find_spec("bokeh") is not None
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", memory_limit=0,
            dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": drawn}, silence_logs=logging.CRITICAL,
            preload=["s4eca.geo.cluster.local_worker"],
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        yield client, cluster.dashboard_link if drawn else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, Dask keeps to itself what it does about workers that come and go; what matters is raised."""
    importlib.import_module("distributed")  # which sets the levels of its loggers
    found = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    before = [logger.level for logger in found]
    for logger in found:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(found, before, strict=True):
            logger.setLevel(level)

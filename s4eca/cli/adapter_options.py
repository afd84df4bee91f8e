"""The options by which verbs name a saved adapter and say how it runs; the same words on each verb."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from s4eca.cli.cascade_options import asks_cascade, cascade_of
from s4eca.errors import NotFiniteError

if TYPE_CHECKING:
    from s4eca.model.predictor import Predictor

PRECISIONS = ("fp32", "bf16", "fp16", "auto")
ENCODER_DTYPES = ("fp32", "bf16", "int8")


def add_adapter(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add ``--adapter`` and ``--revision``."""
    parser.add_argument(
        "--adapter", required=required, metavar="FOLDER_OR_HUB_ID", help="adapter folder, or user/name on the hub"
    )
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit of that hub id")


def add_running(group: Any, *, batch: int, what: str) -> None:
    """Add how a model runs to a group of options.

    Args:
        group: the group.
        batch: default of ``--batch-size``.
        what: what that option counts.
    """
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    group.add_argument(
        "--precision", default="fp32", choices=PRECISIONS,
        help="of all sums; auto is bf16 where the device multiplies it faster (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--encoder-dtype", default="fp32", choices=ENCODER_DTYPES,
        help="of the frozen encoders' weights: less memory, near results (default: %(default)s)",
    )  # fmt: skip
    group.add_argument("--compile", action="store_true", help="torch.compile: a slow start, then faster")
    group.add_argument("--batch-size", type=int, default=batch, metavar="N", help=f"{what} (default: %(default)s)")


def make_predictor(model: Any, args: argparse.Namespace, cascade: bool = False) -> Predictor:
    """The predictor of a model, as the options of `add_running`, and with `cascade` those of `add_cascade`, say.

    Raises:
        ConfigError: something that this machine or the method of the adapter cannot have.
    """
    from s4eca.model.predictor import Predictor
    from s4eca.model.running import Running

    running = Running(encoder_dtype=args.encoder_dtype, compile=args.compile)
    plain = running == Running()
    made = Predictor(model, device=args.device, precision=args.precision, running=None if plain else running)
    if cascade and asks_cascade(args):
        refining = cascade_of(args, str(made.model.device))
        told = made.fitting
        made = Predictor(made.model, precision=made.precision, cascade=refining)
        made.fitting = told
    if made.fitting is not None:
        print(f"s4eca: {made.fitting.sentence}", file=sys.stderr, flush=True)
    return made


def asked_only(model: Any) -> Predictor:
    """The predictor of a model that others run: it tells settings, and how expressions are read."""
    from s4eca.model.predictor import Predictor

    return Predictor(model, device="cpu")


@contextmanager
def named(adapter: str) -> Iterator[None]:
    """Inside, results that are no numbers are said to be those of the adapter as the user named it.

    Raises:
        NotFiniteError: with that name in front.
    """
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(f"{adapter}: {error}") from error

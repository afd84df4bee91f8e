"""Score a saved adapter on a data folder under the three scoring protocols.

Prints a table, or with --json the whole report as JSON and nothing else; --out and --records write files.

  s4eca evaluate --adapter runs/vhr10/adapter --data DATA/vhr10-ref --layout rrsisd --split val --out scores.json
  s4eca evaluate --adapter user/name --revision v1 --data tiles --layout jsonl --protocol native --json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4eca.cli.adapter_options import add_adapter, add_running, make_predictor, named
from s4eca.cli.cascade_options import add_cascade
from s4eca.cli.outputs import require_writable
from s4eca.cli.presence_options import add_absent, add_presence_threshold, check_presence
from s4eca.errors import ConfigError, S4ECAError
from s4eca.files import write_whole
from s4eca.registry import LAYOUTS

if TYPE_CHECKING:
    from s4eca.evaluation.protocols import ScoringProtocol

PROTOCOLS = ("lavt", "cris", "native")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of ``s4eca evaluate``."""
    add_adapter(parser)
    parser.add_argument("alone", nargs="?", action=_Alone, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder (or a .jsonl file)")
    parser.add_argument("--layout", required=True, choices=tuple(LAYOUTS), help="how the data folder is laid out")
    parser.add_argument(
        "--reader",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of the layout's reader, may be given several times (docs/data.md lists them)",
    )
    parser.add_argument("--split", default="test", help="split to score (default: test)")
    parser.add_argument(
        "--protocol",
        action="append",
        choices=PROTOCOLS,
        metavar="|".join(PROTOCOLS),
        help="scoring rules, may be given several times (default: all three)",
    )
    parser.add_argument("--expect-published", action="store_true", help="fail unless the counts are the published ones")
    flags = parser.add_argument_group("what a rule may be changed in, for all protocols asked")
    flags.add_argument("--threshold", type=float, metavar="T", help="probability above which a pixel is foreground")
    add_presence_threshold(flags)
    flags.add_argument("--truth-size", choices=("native", "input"), help="grid on which prediction and truth meet")
    flags.add_argument("--cut", choices=("inclusive", "strict"), help="P@X counts IoU >= X, or IoU > X")
    flags.add_argument("--empty", choices=("zero", "one"), help="IoU where prediction and truth are both empty")
    checks = parser.add_argument_group("controls")
    checks.add_argument("--shuffle-expressions", type=int, metavar="SEED", help="give each image another's expressions")
    checks.add_argument("--untrained", action="store_true", help="fresh adapters and decoder of the same settings")
    add_absent(checks, default=0.0)
    run = parser.add_argument_group("running and writing")
    add_running(run, batch=16, what="expressions decoded at a time")
    add_cascade(parser)
    run.add_argument("--json", action="store_true", help="print the report as JSON on stdout, and nothing else there")
    run.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the report (JSON) here")
    run.add_argument("--records", type=Path, metavar="FILE", help="write one line of counts per reference (jsonl)")
    run.add_argument("--overwrite", action="store_true", help="replace outputs that exist")


class _Alone(argparse.Action):
    """What stands by itself: the adapter or the file, as they were given before 0.2."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any, **more: Any) -> None:
        """Say how it is written.

        Raises:
            S4ECAError: always.
        """
        word = args[1]
        raise S4ECAError(
            f"evaluate: {word!r} belongs to no option; an adapter is named by --adapter {word}, a file for the report "
            "by --out FILE (--json alone prints it)."
        )


def run(args: argparse.Namespace) -> int:
    """Score, print and write.

    Raises:
        S4ECAError: a setting, a file or an output is not what it should be.
    """
    _check_settings(args)
    require_writable({"--out": args.out, "--records": args.records}, overwrite=args.overwrite)
    from s4eca.data.band_agreement import require_bands
    from s4eca.data.open import open_dataset
    from s4eca.data.reader_options import checked_options, from_words
    from s4eca.evaluation import records as lines
    from s4eca.evaluation import result_file
    from s4eca.evaluation.report import table
    from s4eca.evaluation.run import evaluate
    from s4eca.model.predictor import Predictor
    from s4eca.saved import folder as adapter_folder
    from s4eca.saved.locate import locate

    folder = locate(args.adapter, args.revision)
    note = adapter_folder.read_config(folder)
    config = adapter_folder.read_settings(folder, note)
    check_presence(args, config.presence > 0)
    reader = checked_options(args.layout, from_words(args.reader), config.bands)
    dataset = open_dataset(args.data, args.layout, args.split, expect_published=args.expect_published, **reader)
    require_bands(dataset, config.bands)  # before any encoder is loaded
    predictor, about = _load(args, folder)
    found: list[lines.Record] = []
    rules = _protocols(args, predictor)
    with named(args.adapter):
        report = evaluate(
            predictor, dataset, rules, shuffle_seed=args.shuffle_expressions,
            batch_size=args.batch_size, on_record=found.append, progress=sys.stderr.isatty(), absent=args.absent,
        )  # fmt: skip
    refining = predictor.cascade if isinstance(predictor, Predictor) else None
    notes = [] if refining is None else refining.told.notes()
    for finding in [*report["findings"], *notes]:
        print(f"s4eca: note: {finding}", file=sys.stderr)
    # Added absent expressions are no references of the split: they enter the no-target scores alone.
    split = {reference.id for reference in dataset.references}
    own = [record for record in found if record.id in split]
    report = result_file.with_references({"adapter": about, "untrained": args.untrained, **report}, own, rules)
    text = result_file.to_text(report)
    sys.stdout.write(text if args.json else table(report))
    if args.records is not None:
        _write(args.records, lines.to_jsonl(found))
    if args.out is not None:
        _write(args.out, text)
    return 0


def _check_settings(args: argparse.Namespace) -> None:
    """Refuse numbers that cannot be meant, before anything is loaded."""
    if args.threshold is not None and not 0.0 <= args.threshold <= 1.0:
        raise ConfigError(f"--threshold is {args.threshold}; it must lie between 0 and 1.")
    check_presence(args)
    if args.batch_size < 1:
        raise ConfigError(f"--batch-size is {args.batch_size}; it must be at least 1.")


def _load(args: argparse.Namespace, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The predictor, and what the report says about the adapter."""
    from s4eca.model.model import S4ECAModel
    from s4eca.saved import folder as adapter_folder

    model = S4ECAModel.from_pretrained(folder)
    config = model.config
    about: dict[str, Any] = {"folder": folder.name or str(folder), "vision": config.vision, "text": config.text}
    about |= {"method": config.method, "mode": config.mode, "sha256": adapter_folder.sha256(folder)}
    if args.untrained:
        model = _untrained(model)
        about["sha256"] = None
    predictor = make_predictor(model, args, cascade=True)
    if predictor.cascade is not None:
        about["refinement"] = predictor.cascade.name
    about |= {"device": str(model.device), "precision": predictor.precision, "encoder_dtype": args.encoder_dtype}
    return predictor, about


def _untrained(model: Any) -> Any:
    """The same encoders and settings with adapters and decoder as they are before training (seed 0)."""
    import torch

    from s4eca.model.model import S4ECAModel, attach

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if model.adapter.REWRITES:  # those encoders are no longer as their checkpoints have them
            return attach(config=model.config).eval()
        return S4ECAModel(model.vision, model.text, model.config).eval()


def _protocols(args: argparse.Namespace, predictor: Any) -> list[ScoringProtocol]:
    """The scoring protocols asked for, with the flags given."""
    from s4eca.evaluation.run import resolve_protocols

    strict = None if args.cut is None else args.cut == "strict"
    rules = resolve_protocols(args.protocol or PROTOCOLS, predictor, args.threshold, args.presence_threshold)
    return [rule.replace(grid=args.truth_size, strict=strict, empty=args.empty) for rule in rules]


def _write(path: Path, text: str) -> None:
    """Write a file under its final name only once it is whole.

    Raises:
        S4ECAError: it cannot be written, for instance because the disk is full.
    """
    try:
        write_whole(path, text)
    except OSError as error:
        raise S4ECAError(f"{path} cannot be written: {error.strerror or error}.") from error

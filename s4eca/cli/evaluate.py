"""`s4eca evaluate`: score an adapter folder on a data folder under the three scoring protocols."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError, NotFiniteError, S4ECAError
from s4eca.registry import LAYOUTS

if TYPE_CHECKING:
    from s4eca.evaluation.protocols import ScoringProtocol

PROTOCOLS = ("lavt", "cris", "native")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of ``s4eca evaluate``."""
    parser.add_argument("adapter", metavar="ADAPTER", help="saved adapter folder, or a hub id user/name")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder (or a .jsonl file)")
    parser.add_argument("--layout", required=True, choices=tuple(LAYOUTS), help="how the data folder is laid out")
    parser.add_argument(
        "--reader", action="append", default=[], metavar="NAME=VALUE",
        help="option of the layout's reader, may be given several times (docs/data.md lists them)",
    )
    parser.add_argument("--split", default="test", help="split to score (default: test)")
    parser.add_argument(
        "--protocol", action="append", choices=PROTOCOLS, metavar="|".join(PROTOCOLS),
        help="scoring rules, may be given several times (default: all three)",
    )
    parser.add_argument("--expect-published", action="store_true", help="fail unless the counts are the published ones")
    flags = parser.add_argument_group("what a rule may be changed in, for all protocols asked")
    flags.add_argument("--threshold", type=float, metavar="T", help="probability above which a pixel is foreground")
    flags.add_argument("--truth-size", choices=("native", "input"), help="grid on which prediction and truth meet")
    flags.add_argument("--cut", choices=("inclusive", "strict"), help="P@X counts IoU >= X, or IoU > X")
    flags.add_argument("--empty", choices=("zero", "one"), help="IoU where prediction and truth are both empty")
    checks = parser.add_argument_group("controls")
    checks.add_argument("--shuffle-expressions", type=int, metavar="SEED", help="give each image another's expressions")
    checks.add_argument("--untrained", action="store_true", help="fresh adapters and decoder of the same settings")
    run = parser.add_argument_group("running and writing")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    run.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"), help="(default: %(default)s)")
    run.add_argument("--batch-size", type=int, default=16, metavar="N", help="expressions decoded at a time")
    run.add_argument("--json", metavar="OUT", help="write the report here; - prints it in place of the table")
    run.add_argument("--records", type=Path, metavar="OUT", help="write one line of counts per reference (jsonl)")
    run.add_argument("--overwrite", action="store_true", help="replace outputs that exist")


def run(args: argparse.Namespace) -> int:
    """Score, print and write.

    Raises:
        S4ECAError: a setting, a file or an output is not what it should be.
    """
    json_out = None if args.json in (None, "-") else Path(args.json)
    _check_settings(args)
    _check_outputs([path for path in (json_out, args.records) if path is not None], overwrite=args.overwrite)
    from s4eca.data.open import open_dataset
    from s4eca.data.reader_options import checked_options, from_words
    from s4eca.evaluation import records as lines
    from s4eca.evaluation.report import table
    from s4eca.evaluation.run import evaluate
    from s4eca.saved import folder as adapter_folder
    from s4eca.saved.locate import locate

    args.adapter = locate(args.adapter)
    note = adapter_folder.read_config(args.adapter)
    config = S4ECAConfig.from_dict(note["config"], origin=str(args.adapter / adapter_folder.CONFIG))
    reader = checked_options(args.layout, from_words(args.reader), config.bands)
    dataset = open_dataset(args.data, args.layout, args.split, expect_published=args.expect_published, **reader)
    predictor, about = _load(args)
    found: list[lines.Record] = []
    try:
        report = evaluate(
            predictor, dataset, _protocols(args, predictor), shuffle_seed=args.shuffle_expressions,
            batch_size=args.batch_size, on_record=found.append, progress=sys.stderr.isatty(),
        )
    except NotFiniteError as error:
        raise NotFiniteError(f"{args.adapter}: {error}") from error
    report = {"adapter": about, "untrained": args.untrained, **report}
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(text if args.json == "-" else table(report))
    if args.records is not None:
        _write(args.records, lines.to_jsonl(found))
    if json_out is not None:
        _write(json_out, text)
    return 0


def _check_settings(args: argparse.Namespace) -> None:
    """Refuse numbers that cannot be meant, before anything is loaded."""
    if args.threshold is not None and not 0.0 <= args.threshold <= 1.0:
        raise ConfigError(f"--threshold is {args.threshold}; it must lie between 0 and 1.")
    if args.batch_size < 1:
        raise ConfigError(f"--batch-size is {args.batch_size}; it must be at least 1.")


def _check_outputs(paths: list[Path], *, overwrite: bool) -> None:
    """Refuse outputs that could not be written at the end, before the work begins."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise S4ECAError(f"--json and --records both name {paths[0]}; they need two files.")
    for path in paths:
        if path.is_dir():
            raise S4ECAError(f"{path} is a folder; name a file to write.")
        if path.exists() and not overwrite:
            raise S4ECAError(f"{path} exists; name another file, or give --overwrite.")
        if not path.resolve().parent.is_dir():
            raise S4ECAError(f"The folder {path.resolve().parent} does not exist; make it first.")
        _probe(path)


def _probe(path: Path) -> None:
    """Try whether the folder takes a file; its permissions alone do not tell."""
    from s4eca.files import aside

    trial = aside(path)
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise S4ECAError(f"{path} cannot be written: {error.strerror or error}.") from error


def _load(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The predictor, and what the report says about the adapter."""
    from s4eca.model.model import S4ECAModel
    from s4eca.model.predictor import Predictor
    from s4eca.saved import folder as adapter_folder

    model = S4ECAModel.from_pretrained(args.adapter)
    config = model.config
    about = {"folder": args.adapter.name or str(args.adapter), "vision": config.vision, "text": config.text}
    about |= {"method": config.method, "mode": config.mode, "sha256": adapter_folder.sha256(args.adapter)}
    if args.untrained:
        model = _untrained(model)
        about["sha256"] = None
    predictor = Predictor(model, device=args.device, precision=args.precision)
    return predictor, about | {"device": str(model.device), "precision": args.precision}


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
    rules = resolve_protocols(args.protocol or PROTOCOLS, predictor, args.threshold)
    return [rule.replace(grid=args.truth_size, strict=strict, empty=args.empty) for rule in rules]


def _write(path: Path, text: str) -> None:
    """Write a file under its final name only once it is whole.

    Raises:
        S4ECAError: it cannot be written, for instance because the disk is full.
    """
    from s4eca.files import write_whole

    try:
        write_whole(path, text)
    except OSError as error:
        raise S4ECAError(f"{path} cannot be written: {error.strerror or error}.") from error

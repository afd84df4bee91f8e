"""Look into a saved adapter, or save it in another form.

For instance:
    s4eca adapter show runs/vhr10/adapter
    s4eca adapter convert runs/vhr10/adapter small --dtype float16
    s4eca adapter convert runs/vhr10/checkpoints/last.ckpt folder
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from s4eca.errors import AdapterFolderError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="show | convert")
    show = actions.add_parser("show", help="print encoders, budget, data, scores and licence of an adapter folder")
    show.add_argument("folder", type=Path)
    show.add_argument("--json", action="store_true", help="print adapter_config.json with the folder's hash")
    convert = actions.add_parser("convert", help="save an adapter folder, or a training checkpoint, as a folder")
    convert.add_argument("source", type=Path, help="adapter folder, or checkpoint of s4eca fit")
    convert.add_argument("folder", type=Path, help="folder to write; must not exist")
    convert.add_argument("--dtype", default="float16", help="float32, float16 or bfloat16 (default: float16)")


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    return _show(args.folder, args.json) if args.action == "show" else _convert(args)


def _show(folder: Path, as_json: bool) -> int:
    from s4eca.adapter_folder import CARD, WEIGHTS, read_config, sha256, tensor_table

    note = read_config(folder)
    tensors = tensor_table(folder / WEIGHTS)
    if as_json:
        print(json.dumps({**note, "sha256": sha256(folder), "tensors": len(tensors)}, indent=2))
        return 0
    card = folder / CARD
    print(card.read_text() if card.exists() else json.dumps(note, indent=2))
    print(f"{len(tensors)} tensors, {sum(tensors.values()):,} numbers, hash {sha256(folder)}")
    return 0


def _convert(args: argparse.Namespace) -> int:
    from s4eca.adapter_folder import Card, read_config, save
    from s4eca.model import S4ECAModel

    if args.folder.exists():
        raise AdapterFolderError(f"{args.folder} exists; name a folder that does not.")
    if args.source.is_file():
        model, card = _from_checkpoint(args.source), Card(name=args.source.stem)
    else:
        note: dict[str, Any] = read_config(args.source)
        model, card = S4ECAModel.from_pretrained(args.source), Card(**note["card"])
    print(save(model, args.folder, card, dtype=args.dtype))
    return 0


def _from_checkpoint(path: Path) -> Any:
    """A model from the trained tensors of a checkpoint, averaged ones first, read without running any code in it."""
    import pickle

    import torch

    from s4eca.adapter_folder import fill
    from s4eca.config import S4ECAConfig
    from s4eca.model import attach

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        config = S4ECAConfig.from_dict(state["s4eca_config"], origin=str(path))
        tensors = {k.removeprefix("model."): v for k, v in state["state_dict"].items()}
        # Where a run keeps a moving average, that is what it validated and what its adapter folder holds.
        tensors |= state.get("callbacks", {}).get("MovingAverage", {}).get("average", {})
    except (OSError, RuntimeError, LookupError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AdapterFolderError(f"{path} is no checkpoint of s4eca fit: {first}.") from error
    model = attach(config=config)
    fill(path, model, tensors)
    return model.eval()

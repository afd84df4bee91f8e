"""Look into a saved adapter, save it in another form, push it to the hub or pull it from there.

Where an adapter is read, user/name on the hub does as well as a folder; a local folder of that name goes first, and
hf:user/name always means the hub.

For instance:
    s4eca adapter show runs/vhr10/adapter
    s4eca adapter push runs/vhr10/adapter user/name --private
    s4eca adapter pull user/name adapters/harbour --revision v1
    s4eca adapter convert runs/vhr10/adapter small --dtype float16
    s4eca adapter convert runs/vhr10/checkpoints/last.ckpt folder
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s4eca.errors import AdapterFolderError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="show | convert | push | pull")
    show = _action(actions, "show", "print encoders, budget, data, scores and licence of an adapter")
    show.add_argument("folder", help="adapter folder, or user/name on the hub")
    show.add_argument("--revision", metavar="REV", help="branch, tag or commit of that hub id")
    show.add_argument("--json", action="store_true", help="print adapter_config.json with the adapter's hash")
    convert = _action(actions, "convert", "save an adapter folder, or a training checkpoint, as a folder")
    convert.add_argument("source", help="adapter folder, user/name on the hub, or checkpoint of s4eca fit")
    convert.add_argument("--revision", metavar="REV", help="branch, tag or commit of that hub id")
    convert.add_argument("folder", type=Path, help="folder to write; must not exist")
    convert.add_argument("--dtype", default="float16", help="float32, float16 or bfloat16 (default: float16)")
    push = _action(actions, "push", "upload an adapter folder to the hub in one commit; prints its address")
    push.add_argument("folder", type=Path, help="adapter folder")
    push.add_argument("id", metavar="USER/NAME", help="repository, made if need be")
    push.add_argument("--private", action="store_true", help="make it private; an existing public one is refused")
    push.add_argument("--revision", metavar="BRANCH", help="branch, made if need be (default: the main one)")
    pull = _action(actions, "pull", "copy an adapter from the hub into a folder")
    pull.add_argument("id", metavar="USER/NAME", help="repository on the hub")
    pull.add_argument("folder", type=Path, help="folder to write; must not exist")
    pull.add_argument("--revision", metavar="REV", help="branch, tag or commit (default: newest of the main branch)")


def _action(actions: Any, name: str, what: str) -> argparse.ArgumentParser:
    """The parser of one action, its example under its description."""
    start = f"    s4eca adapter {name} "
    example = next(line for line in str(__doc__).splitlines() if line.startswith(start))
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}.\n\n{example}"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    return ACTIONS[args.action](args)


def _show(args: argparse.Namespace) -> int:
    from s4eca.saved.folder import CARD, WEIGHTS, read_config, sha256, tensor_table
    from s4eca.saved.locate import locate, on_hub

    commit = None
    if on_hub(args.folder):
        from s4eca.saved.hub import look

        seen = look(args.folder.removeprefix("hf:"), args.revision)
        folder, tensors, identity, commit = seen.folder, seen.tensors, seen.sha256, seen.commit
        note = read_config(folder)
    else:
        folder = locate(args.folder, args.revision)
        note = read_config(folder)
        tensors, identity = tensor_table(folder / WEIGHTS), sha256(folder)
    if args.json:
        about = {"sha256": identity, "tensors": len(tensors), **({"commit": commit} if commit else {})}
        print(json.dumps({**note, **about}, indent=2))
        return 0
    card = folder / CARD
    print(card.read_text(encoding="utf-8") if card.exists() else json.dumps(note, indent=2))
    named = [f"commit {commit}"] if commit else []
    named += [f"hash {identity}"] if identity else []
    print(f"{len(tensors)} tensors, {sum(tensors.values()):,} numbers, {', '.join(named)}")
    return 0


def _push(args: argparse.Namespace) -> int:
    from s4eca.saved.hub import push

    print(push(args.folder, args.id, private=args.private, revision=args.revision))
    return 0


def _pull(args: argparse.Namespace) -> int:
    from s4eca.saved.hub import pull

    print(pull(args.id.removeprefix("hf:"), args.folder, args.revision))
    return 0


def _convert(args: argparse.Namespace) -> int:
    from s4eca.model.model import S4ECAModel
    from s4eca.saved.folder import Card, read_config, save
    from s4eca.saved.locate import locate

    if args.folder.exists():
        raise AdapterFolderError(f"{args.folder} exists; name a folder that does not.")
    source = Path(args.source)
    if source.is_file() and args.revision is not None:
        raise AdapterFolderError(f"--revision is {args.revision!r}, but {source} is a file, which has none.")
    if source.is_file():
        model, card = _from_checkpoint(source), Card(name=source.stem)
    else:
        source = locate(args.source, args.revision)
        note: dict[str, Any] = read_config(source)
        model, card = S4ECAModel.from_pretrained(source), Card(**note["card"])
    print(save(model, args.folder, card, dtype=args.dtype))
    return 0


def _from_checkpoint(path: Path) -> Any:
    """A model from the trained tensors of a checkpoint, averaged ones first, read without running any code in it."""
    import pickle

    import torch

    from s4eca.config import S4ECAConfig
    from s4eca.model.model import attach
    from s4eca.saved.folder import fill

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        config = S4ECAConfig.from_saved(state["s4eca_config"], origin=str(path))
        tensors = {k.removeprefix("model."): v for k, v in state["state_dict"].items()}
        # Where a run keeps a moving average, that is what it validated and what its adapter folder holds.
        tensors |= state.get("callbacks", {}).get("MovingAverage", {}).get("average", {})
    except (OSError, RuntimeError, LookupError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AdapterFolderError(f"{path} is no checkpoint of s4eca fit: {first}.") from error
    model = attach(config=config)
    fill(path, model, tensors)
    return model.eval()


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "show": _show,
    "convert": _convert,
    "push": _push,
    "pull": _pull,
}

"""Every method at one budget on one real set, small enough for two cores: an early look, not the comparison of a paper.

    python benchmarks/methods_small.py --data DATA/vhr10-ref --layout rrsisd --work runs/methods-small \
        --out benchmarks/results/methods_small.json

All methods stand on the packaged pair and start from one decoder, trained with frozen encoders and nothing beside them
(`--warm` updates). Then each trains adapters and decoder together for `--updates` updates on the same samples in the
same order, at S4ECA's own number of parameters where it can scale, and is scored on the validation split with its own
expressions and with shuffled ones. The controls are the shared start, the same start trained on without adapters, and
fresh adapters on a fresh decoder. A method that hands proxies to the decoder brings a projection for them that the
start lacks; it begins at zero, so that the start is the same. Done rows are kept: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import record
import table
import torch
from lightning.pytorch import Callback

from s4eca.budgets.count import count_trainable, specs
from s4eca.budgets.report import budget
from s4eca.budgets.solve import fit_to
from s4eca.config import BEFORE_S4ECA_FIELDS, S4ECAConfig
from s4eca.data.open import open_dataset
from s4eca.evaluation.run import evaluate
from s4eca.model.model import S4ECAModel
from s4eca.model.predictor import Predictor
from s4eca.training.datamodule import ReferringData
from s4eca.training.module import S4ECAModule
from s4eca.training.optim import OptimConfig
from s4eca.training.quick import prepare, train

TARGET = 0.024
ROWS: dict[str, dict[str, Any]] = {
    "s4eca, side": {},
    "s4eca, side, a quarter of the rate": {"rate": 2e-4},
    "s4eca, late-inject 4": {"mode": "late-inject", "late_blocks": 4},
    "s4eca, inject": {"mode": "inject"},
    **{m: {"method": m} for m in ("lora", "dora", "ia3", "vera", "ln", "adaptformer", "detris", "etris", "full")},
    "decoder only, trained on": {"method": "decoder-only"},
}
# Vectors around frozen weights move little at the rate of matrices; all weights at once would break at it.
RATES = {"ia3": 5e-3, "vera": 5e-3, "ln": 5e-3, "full": 5e-5}


class Losses(Callback):
    """Keeps the training loss of every update."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *rest: Any) -> None:
        """Called by Lightning."""
        self.values.append(float(outputs["loss"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--layout", default="rrsisd")
    parser.add_argument("--size", type=int, default=168, help="input side in pixels (%(default)s)")
    parser.add_argument("--warm", type=int, default=1200, help="updates of the shared decoder (%(default)s)")
    parser.add_argument("--updates", type=int, default=200, help="updates of each method (%(default)s)")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=8e-4, help="of adapters (or RATES); a quarter for the decoder")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), help="only these rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="folder for the shared start")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = {k: getattr(args, k) for k in ("size", "warm", "updates", "batch", "rate", "seed", "layout")}
    result = resumed(args.out, settings)
    start = shared_start(args, result)
    for name in args.rows:
        if name not in result["rows"]:
            row = one_row(args, dict(ROWS[name]), start)
            result["rows"][name] = {**row, "commit": record.commit()}
            record.write(args.out, {**result, **record.provenance()})
    print(table.methods_small(result))


def base(args: argparse.Namespace) -> S4ECAConfig:
    """S4ECA at 2.4 % of the packaged pair, with the decoder of the small configurations."""
    return S4ECAConfig(
        **BEFORE_S4ECA_FIELDS,  # as the rows that are there
        vision="packaged:dinov2-s",
        text="packaged:minilm-l6",
        image_size=args.size,
        width=86,
        decoder_width=96,
        decoder_layers=2,
        decoder_ffn=384,
        decoder_heads=4,
        decoder_detail=16,
    )


def sized(args: argparse.Namespace, changes: dict[str, Any]) -> S4ECAConfig:
    """The configuration of a row, at S4ECA's number of parameters where its method can scale."""
    ours = base(args)
    if changes.get("method") in (None, "ia3", "vera", "ln", "full", "decoder-only"):
        return ours.replace(**changes)
    return fit_to(ours.replace(**changes), count=count_trainable(ours, *specs(ours))[0])


def fitted(
    args: argparse.Namespace, config: S4ECAConfig, start: dict[str, Any] | None, updates: int, adapter_rate: float
) -> S4ECAModule:
    # A decoder that has learned already goes on at a quarter of the rate, else its first updates undo the start.
    rate = args.rate if start is None else args.rate / 4
    optim = OptimConfig(
        lr_adapter=adapter_rate,
        lr_decoder=rate,
        lr_encoders=RATES.get(config.method),
        warmup=min(50, updates // 4 or 1),
        average=0.99,
    )
    module = prepare(config, optim, args.seed)
    if start is not None:
        begin_from(module.model, start)
    return module


@torch.no_grad()
def begin_from(model: S4ECAModel, start: dict[str, Any]) -> None:
    """The shared decoder; a projection of proxies that it lacks begins at zero."""
    own = model.decoder.state_dict()
    for name, tensor in own.items():
        if name in start:
            tensor.copy_(start[name])
        else:
            assert name.startswith("proxy_map."), name
            tensor.zero_()


def data(args: argparse.Namespace, cached: bool) -> ReferringData:
    cache = "memory" if cached else "none"
    reader = {"exhaustive": True} if args.layout == "rrsisd" else {}
    return ReferringData(str(args.data), args.layout, batch_size=args.batch, cache=cache, seed=args.seed, reader=reader)


def shared_start(args: argparse.Namespace, result: dict[str, Any]) -> dict[str, Any]:
    """The decoder trained alone; kept in the work folder."""
    path = args.work / f"start-{args.size}-{args.warm}-{args.batch}-{args.rate}-{args.seed}.pt"
    config = base(args).replace(method="decoder-only")
    if not path.exists():
        module = fitted(args, config, None, args.warm, args.rate)
        model = train(module, data(args, cached=True), args.warm, args.work)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.decoder.state_dict(), path)
    start: dict[str, Any] = torch.load(path, weights_only=True)
    for name, state in (("the shared start", start), ("untrained", None)):
        if name not in result["controls"]:
            model = fitted(args, config if state else base(args), state, 1, args.rate).model
            result["controls"][name] = scored(args, model)
    return start


def one_row(args: argparse.Namespace, changes: dict[str, Any], start: dict[str, Any]) -> dict[str, Any]:
    adapter_rate = changes.pop("rate", args.rate)
    config = sized(args, changes)
    module = fitted(args, config, start, args.updates, adapter_rate)
    counted = budget(module.model, check_effective=False)
    losses, began = Losses(), time.monotonic()
    cached = module.model.uncacheable is None and config.method == "s4eca" and config.mode == "side"
    model = train(module, data(args, cached), args.updates, args.work, callbacks=[losses])
    quarter = max(1, args.updates // 4)
    return {
        "config": {k: v for k, v in dataclasses.asdict(config).items() if k in ("method", "mode", "width", "options")},
        "adapters": counted.adapters,
        "share": counted.ratio_backbone,
        "loss_first_quarter": statistics.fmean(losses.values[:quarter]),
        "loss_last_quarter": statistics.fmean(losses.values[-quarter:]),
        "seconds": time.monotonic() - began,
        **scored(args, model),
    }


def scored(args: argparse.Namespace, model: S4ECAModel) -> dict[str, Any]:
    split = open_dataset(args.data, args.layout, "val")
    predictor = Predictor(model)
    native = evaluate(predictor, split, ("native",))["protocols"]["native"]
    shuffled = evaluate(predictor, split, ("native",), shuffle_seed=0)["protocols"]["native"]
    return {"native": native, "shuffled": {"mIoU": shuffled["mIoU"]}}


def resumed(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Rows of an earlier run with the same settings."""
    fresh: dict[str, Any] = {"settings": settings, "controls": {}, "rows": {}}
    if not out.exists():
        return fresh
    found: dict[str, Any] = json.loads(out.read_text())
    if found["settings"] != settings:
        sys.exit(f"{out} holds rows made with {found['settings']}; name another file or delete it")
    return found


if __name__ == "__main__":
    main()

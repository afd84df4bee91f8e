"""Whether each adapter method itself learns: the decoder is frozen at one shared trained state, only the method trains.

    python benchmarks/method_learns.py --work runs/method-learns --out benchmarks/results/method_learns.json
    python benchmarks/method_learns.py --data DATA/vhr10-ref --layout rrsisd --work runs/method-learns-vhr10 \
        --out benchmarks/results/method_learns_vhr10.json

All methods stand on the packaged pair. A decoder is trained on frozen encoders with nothing beside them (`--warm`
updates on up to `--references` references) and then frozen. Each method trains with that decoder for `--epochs` passes
over the same few references in the same order, at S4ECA's number of parameters where it can scale. The training losses
of the first and of the last pass are averaged: both hold the same references, so that no choice of samples enters, and
the decoder alone, which has nothing to train, gives the line at which the loss stays. A method learns if its loss falls
by 5 %.

S4ECA's proxies reach its visual adapters and not the decoder here: the shared decoder has no projection for them, and a
new one would be a trained part of a decoder that is said to be frozen. Methods that change the features from the start
(DETRIS-style, ETRIS-style) begin above the line; the column against the line says where they end. Rendered scenes
take the place of --data where it is not given. Done rows are kept: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import record
import table
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from s4eca.budgets.count import count_model
from s4eca.budgets.solve import fit_to, knobs
from s4eca.config import BEFORE_S4ECA_FIELDS, S4ECAConfig
from s4eca.data.feature_cache import FeatureCache, stack
from s4eca.data.open import open_dataset
from s4eca.data.preprocess import stretch, working_mask
from s4eca.data.rendered.scenes import render_scene
from s4eca.data.rendered.write import write_layout
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.decoder.loss import segmentation_loss
from s4eca.decoder.mask_decoder import MaskDecoder
from s4eca.layers.trainable import parameter_groups, trainable_parameters
from s4eca.model.encodings import feature_recipe
from s4eca.model.model import S4ECAModel, attach
from s4eca.registry import METHODS

SCENES = 60
LINE = "decoder-only"
# Vectors around frozen weights move little at the rate of matrices; all weights at once would break at it.
RATES = {"ia3": 5e-3, "vera": 5e-3, "ln": 5e-3, "full": 5e-5}
SETTINGS = ("layout", "size", "warm", "references", "samples", "epochs", "batch", "rate", "seed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of a data set (default: rendered scenes in --work)")
    parser.add_argument("--layout", default="rrsisd")
    parser.add_argument("--size", type=int, default=168, help="input side in pixels (%(default)s)")
    parser.add_argument("--warm", type=int, default=400, help="updates of the shared decoder (%(default)s)")
    parser.add_argument("--references", type=int, default=200, help="that the decoder is trained on (%(default)s)")
    parser.add_argument("--samples", type=int, default=32, help="references of these that methods train on")
    parser.add_argument("--epochs", type=int, default=10, help="passes over them (%(default)s)")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3, help="of the methods (ia3, vera, ln: 5e-3, full: 5e-5)")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="folder for the scenes and the shared decoder")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result = resumed(args)
    split = open_dataset(args.data or rendered(args.work / "scenes"), args.layout, "train")
    decoder = shared_decoder(args, Samples(split, args.references, args.size))
    samples = Samples(split, args.samples, args.size)
    for method in dict.fromkeys((LINE, *args.methods)):
        if method not in result["methods"]:
            result["methods"][method] = one_method(args, method, decoder, samples)
            record.write(args.out, {**result, **record.provenance()})
    print(table.method_learns(result))


def rendered(folder: Path) -> Path:
    """Rendered scenes with true expressions and exact masks, made once."""
    if not folder.exists():
        write_layout(folder, "rrsisd", {"train": [render_scene(seed) for seed in range(SCENES)]})
    return folder


class Samples:
    """References spread evenly over a split, with their images and masks in memory."""

    def __init__(self, split: ReferringDataset, count: int, size: int) -> None:
        places = np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).astype(int))
        self.references: list[Reference] = [split.references[i] for i in places]
        images = {str(r.image): torch.from_numpy(stretch(split.image(r), size).copy()) for r in self.references}
        self.images = {name: image.permute(2, 0, 1) for name, image in images.items()}
        masks = [torch.from_numpy(working_mask(split.mask(r), size).copy()) for r in self.references]
        self.truths = torch.stack(masks)[:, None].float() / 255

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """RGB (B, 3, S, S) in 0..255."""
        return torch.stack([self.images[str(self.references[i].image)] for i in indices])

    def said(self, indices: Sequence[int]) -> list[str]:
        """Their expressions."""
        return [self.references[i].expression for i in indices]


def batches(count: int, size: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """All references once, in an order that follows from seed and epoch alone."""
    order = np.random.default_rng((seed, epoch)).permutation(count).tolist()
    yield from (order[start : start + size] for start in range(0, count, size))


class Runner:
    """Losses of a model over samples; what no expression can change is encoded once where the method allows it."""

    def __init__(self, model: S4ECAModel, samples: Samples) -> None:
        self.model, self.samples = model, samples
        self.cache: FeatureCache | None = None
        if model.uncacheable is None:
            self.cache = FeatureCache(feature_recipe(model, "float32"))
            for name, image in samples.images.items():
                with torch.no_grad():
                    self.cache.put(name, model.encode(model.normalise(image[None])))

    def loss(self, indices: Sequence[int]) -> Tensor:
        """Loss of one batch."""
        if self.cache is None:
            encoded = self.model.encode(self.model.normalise(self.samples.pixels(indices)))
        else:
            entries = [self.cache.get(str(self.samples.references[i].image)) for i in indices]
            encoded = stack(entries, self.model.vision.spec.prefix_tokens)
        logits = self.model.decode(encoded, self.model.tokenize(self.samples.said(indices), cut=True)).logits
        return segmentation_loss(logits, self.samples.truths[list(indices)])

    def train(self, epochs: int, args: argparse.Namespace, rate: float, updates: int = 0) -> list[list[float]]:
        """Losses of every update, by epoch; with nothing to train, losses alone."""
        trained = list(trainable_parameters(self.model).values())
        groups = parameter_groups(self.model, lr_adapter=rate, lr_decoder=rate, lr_encoders=rate, weight_decay=0.0)
        optimiser = torch.optim.AdamW(groups) if groups else None
        losses: list[list[float]] = []
        for epoch in range(epochs):
            losses.append([])
            for indices in batches(len(self.samples.references), args.batch, args.seed, epoch):
                with torch.set_grad_enabled(optimiser is not None):
                    loss = self.loss(indices)
                losses[-1].append(float(loss.detach()))
                if optimiser is not None:
                    optimiser.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(trained, 1.0)
                    optimiser.step()
                if updates and sum(map(len, losses)) == updates:
                    return losses
        return losses


def base(args: argparse.Namespace) -> S4ECAConfig:
    """S4ECA at 2.4 % of the packaged pair, with a narrow decoder."""
    return S4ECAConfig(
        **BEFORE_S4ECA_FIELDS,  # as the rows that are there
        vision="packaged:dinov2-s",
        text="packaged:minilm-l6",
        image_size=args.size,
        width=86,
        decoder_width=96,
        decoder_layers=2,
        decoder_ffn=192,
        decoder_heads=4,
    )


def sized(args: argparse.Namespace, method: str) -> S4ECAConfig:
    """The method at S4ECA's number of parameters where it can scale, else at its natural size."""
    ours = base(args)
    config = ours.replace(method=method)
    if method == "s4eca" or not knobs(config):
        return config
    from s4eca.budgets.count import count_trainable, specs

    return fit_to(config, count=count_trainable(ours, *specs(ours))[0])


def shared_decoder(args: argparse.Namespace, samples: Samples) -> dict[str, Tensor]:
    """The state of a decoder trained with nothing beside it; kept in the work folder."""
    note = "-".join(str(getattr(args, name)) for name in SETTINGS if name not in ("samples", "epochs", "rate"))
    path = args.work / f"decoder-{note}.safetensors"
    if not path.exists():
        torch.manual_seed(args.seed)
        model = attach(config=sized(args, LINE)).train()
        epochs = args.warm * args.batch // len(samples.references) + 1
        losses = Runner(model, samples).train(epochs, args, 1e-3, args.warm)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(model.decoder.state_dict(), path)
        print(f"shared decoder: loss {losses[0][0]:.3f} before, {statistics.fmean(losses[-1]):.3f} in the last pass")
    return load_file(path)


def one_method(args: argparse.Namespace, method: str, decoder: dict[str, Tensor], samples: Samples) -> dict[str, Any]:
    """Train one method in front of the frozen decoder."""
    began = time.monotonic()
    torch.manual_seed(args.seed)
    config = sized(args, method)
    model = attach(config=config).train()
    if model.adapter.has_proxies:
        widths = [model.vision.spec.widths[i] for i in model.adapter.taps]
        model.decoder = MaskDecoder(config, widths, model.text.spec, proxies=False)
    model.decoder.load_state_dict(decoder)
    model.decoder.requires_grad_(False)
    rate = RATES.get(method, args.rate)
    losses = Runner(model, samples).train(args.epochs, args, rate)
    first, last = statistics.fmean(losses[0]), statistics.fmean(losses[-1])
    return {
        "adapters": count_model(model)[0],
        "size": config.options or ({"width": config.width} if method == "s4eca" else {}),
        "rate": rate,
        "updates": sum(map(len, losses)),
        "first": first,
        "last": last,
        "fall": 1 - last / first,
        "passes": [statistics.fmean(epoch) for epoch in losses],
        "seconds": time.monotonic() - began,
    }


def resumed(args: argparse.Namespace) -> dict[str, Any]:
    """Rows of an earlier run with the same settings."""
    settings = {name: getattr(args, name) for name in SETTINGS}
    settings["data"] = args.data.name if args.data else f"{SCENES} rendered scenes"
    if not args.out.exists():
        return {"settings": settings, "methods": {}}
    found: dict[str, Any] = json.loads(args.out.read_text())
    if found["settings"] != settings:
        sys.exit(f"{args.out} holds rows made with {found['settings']}; name another file or delete it")
    return {"settings": settings, "methods": found["methods"]}


if __name__ == "__main__":
    main()

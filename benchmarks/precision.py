"""What bf16 is worth on this machine, and what it costs in scores: why `precision: auto` takes what it takes.

Times of matrix products and of whole updates on the packaged encoders in fp32 and in bf16 (the shortest of some, in
turn), then a committed adapter scored on a real validation split in both.

    python benchmarks/precision.py --data DATA/vhr10-ref --layout rrsisd --split val \
        --adapter benchmarks/adapters/vhr10-ref --threads 1 --out benchmarks/results/precision.json

Exit code 1: the two mean IoUs are further apart than 0.003.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import record
import torch

from s4eca.data.open import open_dataset
from s4eca.decoder.loss import segmentation_loss
from s4eca.evaluation.run import evaluate
from s4eca.layers.trainable import trainable_parameters
from s4eca.model.model import S4ECAModel, attach
from s4eca.model.precision import fitting_precision
from s4eca.model.predictor import Predictor
from s4eca.saved.folder import sha256

# Rows, inner and columns of matrix products of the encoders: small, wide and large.
PRODUCTS = ((1024, 384, 1536), (4096, 768, 768), (2048, 2048, 2048))
NEAR = 0.003
SIDE, BATCH, ROUNDS = 224, 2, 7


def main() -> int:
    """Measure, score, write one JSON; 1 if the scores are not near."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--layout", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    fits = fitting_precision(args.device)
    result: dict[str, Any] = {
        **record.provenance(),
        "threads": torch.get_num_threads(),
        "auto": {"precision": fits.precision, "reason": fits.reason},
        "products": [product(*sizes, args.device) for sizes in PRODUCTS],
        "updates": [update(mode, args.device) for mode in ("side", "inject")],
        "adapter_sha256": sha256(args.adapter),
        "scores": {},
    }
    split = open_dataset(args.data, args.layout, args.split)
    for precision in ("fp32", "bf16"):
        predictor = Predictor(S4ECAModel.from_pretrained(args.adapter), device=args.device, precision=precision)
        started = time.process_time()
        report = evaluate(predictor, split, ("native",))
        taken = round(time.process_time() - started, 1)
        result["scores"][precision] = {**report["protocols"]["native"], "processor_seconds": taken}
        record.write(args.out, result)
    apart = abs(result["scores"]["fp32"]["mIoU"] - result["scores"]["bf16"]["mIoU"])
    result["mIoU_apart"] = apart
    record.write(args.out, result)
    return int(apart > NEAR)


def product(rows: int, inner: int, columns: int, device: str) -> dict[str, Any]:
    """Times of one matrix product as a linear layer takes it."""
    left, right = torch.randn(rows, inner, device=device), torch.randn(columns, inner, device=device)
    both = {dtype: (left.to(dtype), right.to(dtype)) for dtype in (torch.float32, torch.bfloat16)}

    def multiply(dtype: torch.dtype) -> None:
        torch.nn.functional.linear(*both[dtype])

    return {"rows": rows, "inner": inner, "columns": columns, **timed(multiply, device)}


def update(mode: str, device: str) -> dict[str, Any]:
    """Times of an update of the adapters on the packaged encoders, autocast for bf16, encoding included."""
    model = attach("packaged:dinov2-s", "packaged:minilm-l6", width=86, mode=mode, image_size=SIDE).to(device)
    pixels = 255 * torch.rand(BATCH, 3, SIDE, SIDE, device=device)
    truth = (torch.rand(BATCH, 1, 2 * SIDE // 4, 2 * SIDE // 4, device=device) > 0.5).float()
    optimiser = torch.optim.AdamW(trainable_parameters(model).values(), lr=1e-5)

    def step(dtype: torch.dtype) -> None:
        with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=dtype == torch.bfloat16):
            encoded = model.encode(model.normalise(pixels))
            logits = model.decode(encoded, model.tokenize(["the red roof by the road"] * BATCH)).logits
            loss = segmentation_loss(logits, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return {"mode": mode, "image_size": SIDE, "batch": BATCH, **timed(step, device)}


def timed(work: Callable[[torch.dtype], None], device: str) -> dict[str, float]:
    """Shortest milliseconds in fp32 and in bf16, and how many times as fast the second is."""
    shortest = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    for _ in range(ROUNDS):
        for dtype in shortest:
            started = time.perf_counter()
            work(dtype)
            if device != "cpu":
                torch.cuda.synchronize()
            shortest[dtype] = min(shortest[dtype], 1000 * (time.perf_counter() - started))
    plain, half = shortest.values()
    return {"fp32_ms": round(plain, 2), "bf16_ms": round(half, 2), "times_as_fast": round(plain / half, 2)}


if __name__ == "__main__":
    raise SystemExit(main())

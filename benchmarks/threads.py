"""Two processes on the same cores: at once, or one after the other, with threads that spin or sleep while they wait.

The command line has them sleep (OMP_WAIT_POLICY=PASSIVE, unless the environment says something else). A round is
forwards and backwards of a small layer on as many threads as there are cores.

    python benchmarks/threads.py --out benchmarks/results/threads.json

Exit code 1: sleeping, two at once take longer than one after the other.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import record

ROUNDS = 3
POLICIES: dict[str, dict[str, str]] = {"spin (the default)": {}, "sleep": {"OMP_WAIT_POLICY": "PASSIVE"}}


def main() -> int:
    """Measure, write one JSON; 1 if two at once are slower than one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=int, default=5, help="forwards and backwards of a round")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("threads.json"))
    args = parser.parse_args()
    if args.child:
        work(args.work)
        return 0
    result: dict[str, Any] = {**record.provenance(), "load_before": os.getloadavg()[0], "seconds": {}}
    for name, policy in POLICIES.items():
        rows = [
            (round(sum(seconds(1, policy, args.work) for _ in range(2)), 3), seconds(2, policy, args.work))
            for _ in range(ROUNDS)
        ]
        after, at_once = (sorted(column)[ROUNDS // 2] for column in zip(*rows, strict=True))
        ratio = round(at_once / after, 2)
        result["seconds"][name] = {"one after the other": after, "at once": at_once, "ratio": ratio}
        record.write(args.out, result)
    return int(result["seconds"]["sleep"]["ratio"] > 1)


def seconds(processes: int, policy: dict[str, str], amount: int) -> float:
    """Of the slowest of some processes that begin together, without their start."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--child", "--work", str(amount)]
    # Each says when it is warm, and begins when all are.
    children = [
        subprocess.Popen(command, env={**mine, **policy}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for child in children:
        assert child.stdout is not None and child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    return round(max(float(child.communicate()[0]) for child in children), 3)


def work(amount: int) -> None:
    """What a process does."""
    import torch

    layer = torch.nn.TransformerEncoderLayer(128, 4, 256, batch_first=True, dropout=0.0)
    tokens = torch.randn(4, 196, 128)

    def step() -> None:
        layer(tokens).sum().backward()

    step()
    print("warm", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    for _ in range(amount):
        step()
    print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())

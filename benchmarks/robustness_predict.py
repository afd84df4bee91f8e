"""`kill -9` while a scene is searched: nothing finished is lost, and the end has the bytes of an undisturbed run.

A run with mask, scores and polygons by a tiny adapter is killed at random moments between its beginning and its end,
and started again with the same arguments, until it comes through; then the outputs are compared with those of a run
that was never disturbed, and the next one begins. Lost is a cell that the journal called finished and a later run
computes anew. Runs are forked from one process that has imported everything, so that a start takes no time.

    python benchmarks/robustness_predict.py --scene scene.tif --out benchmarks/results/robustness_predict.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record import provenance, write

from s4eca.geo.staging.folder import JOURNAL, staging_path
from s4eca.geo.staging.journal import read_journal

PROMPTS = ("the red roof", "a car beside the road")
WINDOW, CELL = 64, 100


def forked(work: Callable[[], Any], kill_after: float | None = None) -> int:
    """Run something in a fork of this process; its exit code, or minus the signal that ended it.

    Args:
        work: what to run; an exception is printed and is exit code 1.
        kill_after: seconds after which it is killed if it still runs.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if kill_after is not None:
        end = time.perf_counter() + kill_after
        while time.perf_counter() < end:
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)  # its number is its own until it is waited for
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def finished(out: Path) -> tuple[list[int], int]:
    """The cells that the journal of an output calls finished, each as often as it does, and how many there are."""
    lines = read_journal(staging_path(out) / JOURNAL)
    rows, cols = lines[0]["asked"]["the cells"] if lines else ((), ())
    return [line["cell"] for line in lines if "cell" in line], len(rows) * len(cols)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its name in it; of a GeoPackage of what is in its table."""
    return {str(p.relative_to(folder)): _content(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def _content(path: Path) -> str:
    """A GeoPackage holds the time it was made, so that its features count and not its bytes."""
    if path.suffix != ".gpkg":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    import pyogrio.raw

    _, _, geometry, columns = pyogrio.raw.read(path)
    return hashlib.sha256(repr(([bytes(g) for g in geometry], [list(c) for c in columns])).encode()).hexdigest()


def make_run(scene: Path) -> Callable[[Path], None]:
    """What is run: the scene through a tiny adapter with random weights, into a folder."""
    import torch

    from s4eca.config import S4ECAConfig
    from s4eca.encoders.toy import toy_pair
    from s4eca.geo.segment import segment_geotiff
    from s4eca.model.model import attach
    from s4eca.model.predictor import Predictor

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = S4ECAConfig(
        image_size=WINDOW, text_length=16, width=8, proxies=4, vision_sites=3, text_sites=2, decoder_width=16,
        decoder_ffn=16, decoder_heads=2, decoder_layers=1,
    )  # fmt: skip
    segmenter = Predictor(attach(*toy_pair(), config))

    def run(folder: Path) -> None:
        result = segment_geotiff(
            scene, PROMPTS, segmenter, folder / "mask.tif", scores=folder / "scores.tif", threshold=0.5,
            polygons=folder / "found.gpkg", cell=CELL, progress=False, say=lambda note: None,
        )  # fmt: skip
        folder.with_suffix(".json").write_text(json.dumps(result.cells_before))

    return run


def run_until_whole(run: Callable[[Path], Any], out: Path, whole_s: float, dice: Any) -> dict[str, int]:
    """Kill and start again until a run comes through; counts of kills, and of cells lost between them."""
    counts = {"kills": 0, "kills_while_writing": 0, "lost": 0}
    known = 0
    while True:
        code = forked(lambda: run(out.parent), kill_after=float(dice.uniform(0, whole_s)))
        if code == 0:
            counts["lost"] += max(known - json.loads(out.parent.with_suffix(".json").read_text()), 0)
            return counts
        if code != -signal.SIGKILL:
            raise SystemExit(f"a run ended with {code}")
        if out.exists() and not staging_path(out).exists():  # killed behind its last deed
            return {**counts, "kills": counts["kills"] + 1}
        cells, count = finished(out)
        known = len(set(cells))
        counts["kills"] += 1
        counts["kills_while_writing"] += known == count > 0
        counts["lost"] += len(cells) - known


def main() -> int:
    """Kill until it was often enough, and write one JSON; 1 if anything was lost or differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", required=True, type=Path, help="GeoTIFF to search")
    parser.add_argument("--kills", type=int, default=200, help="at least so many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--folder", help="where the outputs are made for a while (default: the system's)")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    stamp = provenance()
    run, dice = make_run(args.scene.resolve()), np.random.default_rng(args.seed)
    totals = {"runs": 0, "kills": 0, "kills_while_writing": 0, "lost": 0, "differing_outputs": 0, "left_behind": 0}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        place = Path(name)
        (place / "undisturbed").mkdir()
        begun = time.perf_counter()
        if forked(lambda: run(place / "undisturbed")):
            return 1
        whole_s = time.perf_counter() - begun
        expected = hashes(place / "undisturbed")
        while totals["kills"] < args.kills:
            folder = place / str(totals["runs"])
            folder.mkdir()
            for key, count in run_until_whole(run, folder / "mask.tif", whole_s, dice).items():
                totals[key] += count
            found = hashes(folder)
            totals["runs"] += 1
            totals["differing_outputs"] += sum(found.get(name) != value for name, value in expected.items())
            totals["left_behind"] += len(found.keys() - expected.keys())
            print(f"{totals}", file=sys.stderr)
    result = {**stamp, "scene": args.scene.name, "undisturbed_s": round(whole_s, 2), **totals}
    print(json.dumps(result, indent=1)) if args.out is None else write(args.out, result)
    return int(any(totals[key] for key in ("lost", "differing_outputs", "left_behind")))


if __name__ == "__main__":
    sys.exit(main())

"""What finished cells are made from, so that none is taken for another: scene, request, model, versions.

Every value stands under the name that a user knows it by, for the first that differs is named when a run does not go on
from what another one left.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

from s4eca._version import __version__
from s4eca.geo.request import Request
from s4eca.records import Box, SceneFacts

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource, Segmenter

WHOLE = 4 * 2**20  # bytes of a file that is read to its end
PIECES, PIECE = 256, 4096  # of a longer one, these many pieces of these many bytes
SPOTS, SPOT = 3, 32  # of what is no file, these many squares along each axis of these many pixels
ELSEWHERE = ("source", "out", "polygons", "scores", "overwrite", "allow_ungeoreferenced", "preview")
NAMED_APART = ("expressions", "legend", "finish")


def of_request(request: Request) -> dict[str, Any]:
    """Every setting of a request that speaks of what is found and how it is finished, not of where it goes."""
    settings = {**asdict(request), **asdict(request.finish)}
    return {
        "legend": [[one.name, list(one.phrases)] for one in request.legend] or None,
        "the prompts": list(request.expressions),
        **{name: value for name, value in settings.items() if name not in (*ELSEWHERE, *NAMED_APART)},
    }


def of_scene(scene: RasterSource) -> dict[str, Any]:
    """The grid of a scene and samples of its bytes; a file that was changed since is another one."""
    facts = scene.facts
    files = [Path(name) for name in facts.files if os.path.isfile(name)]
    pieces = max(2, PIECES // max(len(files), 1))
    return {
        "the scene": facts.name.short,
        "the size of the scene": [facts.height, facts.width],
        "the place of the scene": [list(facts.transform)[:6], facts.crs.to_wkt() if facts.crs else None],
        "the bands shown": [list(facts.bands), list(facts.alpha), facts.dtype],
        "the content of the scene": [_of_file(path, pieces) for path in files] or _of_pixels(scene, facts),
    }


def of_model(segmenter: Segmenter, adapter_hash: str | None) -> dict[str, Any]:
    """What answers: the adapter and how it runs. Of a segmenter without a hash nothing is known; it has to be asked."""
    from s4eca.model.predictor import Predictor

    if not isinstance(segmenter, Predictor):
        return {"the adapter": adapter_hash}
    running = segmenter.model.running
    return {
        "the adapter": adapter_hash or _of_tensors(segmenter),
        "the precision": segmenter.precision,
        "the device": segmenter.model.device.type,
        "the encoders' type": running.encoder_dtype,
        "compilation": running.compile,
    }


def of_versions() -> dict[str, Any]:
    """The programs that bytes depend on."""
    others = {f"the version of {name}": version(name) for name in ("numpy", "torch", "rasterio")}
    return {"the version of s4eca": __version__, **others, "the version of GDAL": rasterio.__gdal_version__}


def _of_file(path: Path, pieces: int) -> list[Any]:
    """Size, time of the last change, and a hash of a short file or of pieces of a long one."""
    facts = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if facts.st_size <= WHOLE:
            digest.update(file.read())
        else:
            for start in np.linspace(0, facts.st_size - PIECE, pieces).astype(np.int64):
                file.seek(int(start))
                digest.update(file.read(PIECE))
    return [facts.st_size, facts.st_mtime_ns, digest.hexdigest()]


def _of_pixels(scene: RasterSource, facts: SceneFacts) -> str:
    """A hash of squares that lie evenly over the scene."""
    digest = hashlib.sha256()
    height, width = min(SPOT, facts.height), min(SPOT, facts.width)
    for row in np.linspace(0, facts.height - height, SPOTS).astype(int):
        for col in np.linspace(0, facts.width - width, SPOTS).astype(int):
            for part in scene.stored(Box(int(row), int(col), height, width)):
                digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _of_tensors(predictor: Any) -> str:
    """A hash of what was trained, with the names of the encoders' weights."""
    from s4eca.layers.trainable import trainable_state

    model = predictor.model
    digest = hashlib.sha256(f"{model.vision.fingerprint} {model.text.fingerprint}".encode())
    for name, tensor in sorted(trainable_state(model).items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()

"""What finished cells are made from, so that none is taken for another: scene, request, model, versions.

Every value stands under the name that a user knows it by, for the first that differs is named when a run does not go on
from what another one left.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import rasterio

from s4eca._version import __version__
from s4eca.geo.request import Request
from s4eca.records import Box

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource, Segmenter

WHOLE = 4 * 2**20  # bytes of a file that is read to its end
PIECES, PIECE = 256, 4096  # of a longer one, these many pieces of these many bytes
SPOTS, SPOT = 3, 32  # of what is no file, these many squares along each axis of these many pixels
SMALL = 512 * 512  # pixels of an overview that is read whole
ELSEWHERE = ("source", "aoi", "bounds", "out", "polygons", "scores", "overwrite", "allow_ungeoreferenced", "preview")
NAMED_APART = ("expressions", "legend", "finish", "sentences")
LIBRARIES = {"transformers": "transformers", "timm": "timm", "open_clip": "open_clip_torch", "peft": "peft"}
PAM, OVERVIEWS = ".aux.xml", ".ovr"  # what looking at a scene with other programs leaves beside it


def of_request(request: Request) -> dict[str, Any]:
    """Every setting of a request that speaks of what is found and how it is finished, not of where it goes."""
    settings = {**asdict(replace(request, source="")), **asdict(request.finish)}
    return {
        "legend": [[one.name, list(one.phrases)] for one in request.legend] or None,
        **({"the sentences": list(request.titles)} if request.sentences else {}),
        "the prompts": list(request.expressions),
        **{name: value for name, value in settings.items() if name not in (*ELSEWHERE, *NAMED_APART)},
    }


def of_scene(scene: RasterSource) -> dict[str, Any]:
    """The grid of a scene and samples of its bytes; a file that was changed since is another one.

    What other programs put beside a scene when it is looked at does not count: overviews, statistics and histograms.
    """
    facts = scene.facts
    files = [Path(name) for name in facts.files if os.path.isfile(name) and not name.lower().endswith((PAM, OVERVIEWS))]
    beside = [Path(name) for name in facts.files if os.path.isfile(name) and name.lower().endswith(PAM)]
    pieces = max(2, PIECES // max(len(files), 1))
    return {
        "the scene": facts.name.short,
        "the size of the scene": [facts.height, facts.width],
        "the place of the scene": [list(facts.transform)[:6], facts.crs.to_wkt() if facts.crs else None],
        "the area": facts.area,
        "the bands shown": [list(facts.bands), list(facts.alpha), facts.dtype],
        "the content of the scene": [_of_file(path, pieces) for path in files]
        or facts.name.digest
        or _of_pixels(scene.glance()),
        "what stands beside the scene": [said for path in beside if (said := _said_beside(path))],
    }


def of_model(segmenter: Segmenter, adapter_hash: str | None) -> dict[str, Any]:
    """What answers: the adapter, how it runs, and whose code it runs in; of any other segmenter, its hash.

    However much is known here, the segmenter is asked as well (`s4eca.geo.job`).
    """
    from s4eca.model.predictor import Predictor

    if not isinstance(segmenter, Predictor):
        return {"the adapter": adapter_hash}
    running = segmenter.model.running
    return {
        "the adapter": adapter_hash or _of_tensors(segmenter),
        "the configuration": segmenter.model.config.to_dict(),
        "the precision": segmenter.precision,
        "the device": segmenter.model.device.type,
        "the encoders' type": running.encoder_dtype,
        "compilation": running.compile,
        **({} if segmenter.cascade is None else _of_refinement(segmenter.cascade.name)),
        **_of_libraries(segmenter.model),
    }


def _of_refinement(name: str) -> dict[str, str]:
    """What refines, and the libraries that it runs in."""
    versions = {f"the version of {library}": version(library) for library in ("transformers", "torchvision")}
    return {"the refinement": name, **versions}


def of_versions() -> dict[str, Any]:
    """The programs that bytes depend on."""
    others = {f"the version of {name}": version(name) for name in ("numpy", "torch", "rasterio")}
    return {"the version of s4eca": __version__, **others, "the version of GDAL": rasterio.__gdal_version__}


def _of_libraries(model: Any) -> dict[str, str]:
    """Versions of the libraries that modules of a model come from."""
    kinds = {kind for module in model.modules() for kind in type(module).__mro__}
    found = {}
    for name in sorted({kind.__module__.partition(".")[0] for kind in kinds} & set(LIBRARIES)):
        with contextlib.suppress(PackageNotFoundError):
            found[f"the version of {name}"] = version(LIBRARIES[name])
    return found


def _said_beside(path: Path) -> str | None:
    """A hash of what GDAL's file beside a scene says of it; None for statistics and histograms alone."""
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    _without_statistics(root)
    return hashlib.sha256(ElementTree.tostring(root)).hexdigest() if len(root) else None


def _without_statistics(element: ElementTree.Element) -> None:
    """Take out what was counted, and what is empty then."""
    for part in [*element]:
        counted = part.tag == "Histograms" or (part.tag == "MDI" and part.get("key", "").startswith("STATISTICS_"))
        had = len(part)
        _without_statistics(part)
        if counted or (had and not len(part)) or (part.tag in ("Metadata", "PAMRasterBand") and not len(part)):
            element.remove(part)


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


def _of_pixels(scene: RasterSource) -> str:
    """A hash of squares that lie evenly over the scene, or over its overview, where they show all of it or much."""
    digest, facts = hashlib.sha256(), scene.facts
    whole = facts.height * facts.width <= SMALL
    height, width = (facts.height, facts.width) if whole else (min(SPOT, facts.height), min(SPOT, facts.width))
    for row in np.unique(np.linspace(0, facts.height - height, SPOTS).astype(int)):
        for col in np.unique(np.linspace(0, facts.width - width, SPOTS).astype(int)):
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

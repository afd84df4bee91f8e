"""What only looks wrong: exit 0 and a true result.

True means: equal to the model's own answer for the picture that the scene shows, put together here by hand, on the
pixels that are valid, and nodata on the others. Each scene is no larger than one window, so nothing is blended.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
from job_inputs import UTM, Place
from numpy.typing import NDArray

SIDE = 32  # of the tiny adapter's window
MEAN = np.array([123.675, 116.28, 103.53])  # what is shown where nothing is valid

Pixels = NDArray[Any]


@dataclass(frozen=True)
class Unusual:
    """One row: pixels (bands, h, w) and profile of the scene, more words of the line, and what follows from them.

    shown: pixels -> (3, h, w) in 0..255 as the model should see them; valid: pixels -> (h, w).
    notes: words of the remarks, in order; close: how far a probability may be off; seen: turns what is shown over, and
    back, where the model sees a scene the other way up.
    """

    pixels: Callable[[Place], Pixels]
    shown: Callable[[Pixels], Pixels]
    valid: Callable[[Pixels], Pixels] = lambda pixels: np.ones(pixels.shape[1:], bool)
    profile: tuple[tuple[str, Any], ...] = ()
    words: tuple[str, ...] = ()
    prompt: str = "the red roof"
    notes: tuple[str, ...] = ()
    close: float = 2e-5
    seen: Callable[[Pixels], Pixels] = lambda shown: shown


def with_nan(place: Place) -> Pixels:
    """Numbers from 0 to 1, with some that are none in one band only, and one that is infinite."""
    pixels = np.random.default_rng(0).random((3, SIDE, SIDE), dtype=np.float32)
    pixels[1, 3:9, 4:20] = np.nan
    pixels[0, 20, 20] = np.inf
    return pixels


def with_alpha(place: Place) -> Pixels:
    """Four bands, the fourth 0 on the left and 255 on the right."""
    pixels = place.pixels(4, SIDE)
    pixels[3] = 255
    pixels[3, :, :10] = 0
    return pixels


def with_collar(place: Place) -> Pixels:
    """Three bands, black on the left."""
    pixels = place.pixels(3, SIDE)
    pixels[:, :, :18] = 0
    return pixels


def same(pixels: Pixels) -> Pixels:
    """The first three bands."""
    return pixels[:3]


TABLE = {
    "1 band": Unusual(lambda p: p.pixels(1, SIDE), lambda a: np.repeat(a, 3, 0), notes=("one band",)),
    "2 bands": Unusual(lambda p: p.pixels(2, SIDE), lambda a: np.repeat(a[:1], 3, 0), notes=("band 1",)),
    "4 bands with alpha": Unusual(with_alpha, same, lambda a: a[3] > 0),
    "4 bands, alpha named as data": Unusual(with_alpha, lambda a: a[[3, 0, 1]], words=("--bands", "4,1,2")),
    "4 bands without colours": Unusual(
        lambda p: p.pixels(4, SIDE), same, profile=(("photometric", "MINISBLACK"),), notes=("--bands",)
    ),
    "uint16": Unusual(
        lambda p: p.pixels(3, SIDE, "uint16"), lambda a: np.clip(a / 3000.0, 0, 1) * 255,
        words=("--scale", "0,3000", "--bands", "1,2,3"),
    ),
    "uint16 that uses the lowest bits, as it comes": Unusual(
        lambda p: np.stack([np.linspace(100, 300, SIDE * SIDE).reshape(SIDE, SIDE)] * 3).astype(np.uint16),
        lambda a: np.clip((a - np.quantile(a, 0.02)) / (np.quantile(a, 0.98) - np.quantile(a, 0.02)), 0, 1) * 255,
        words=("--bands", "1,2,3"), close=2e-3,  # the ends are estimated from a sample
    ),
    "NaN": Unusual(
        with_nan, lambda a: a * 255, lambda a: np.isfinite(a).all(0), words=("--scale", "0,1", "--bands", "1,2,3")
    ),
    "nodata in one band of three": Unusual(
        lambda p: p.pixels(3, SIDE) // 16, same, lambda a: (a != 3).all(0), profile=(("nodata", 3),)
    ),
    "smaller than a window": Unusual(lambda p: p.pixels(3, SIDE)[:, :9, :20], same),
    "one pixel": Unusual(lambda p: p.pixels(3, SIDE)[:, :1, :1], same),
    "a prompt in Chinese": Unusual(lambda p: p.pixels(3, SIDE), same, prompt="roof 红色的屋顶", notes=("红色的屋顶",)),
    "a prompt in Arabic": Unusual(lambda p: p.pixels(3, SIDE), same, prompt="roof السقف الأحمر", notes=("الأحمر",)),
    "a prompt in Cyrillic": Unusual(lambda p: p.pixels(3, SIDE), same, prompt="roof красная крыша", notes=("красная",)),
    "a prompt of all that fits": Unusual(lambda p: p.pixels(3, SIDE), same, prompt="roof " * 13 + "roof"),
    "no CRS, allowed": Unusual(
        lambda p: p.pixels(3, SIDE), same, profile=(("crs", None), ("transform", None)),
        words=("--allow-ungeoreferenced",), notes=("no CRS",),
    ),
    "a turned grid": Unusual(
        lambda p: p.pixels(3, SIDE), same,
        profile=(("transform", rasterio.Affine.translation(5e5, 5e6) @ rasterio.Affine.rotation(30)
                  @ rasterio.Affine.scale(0.5, -0.5)),),
    ),
    "south up": Unusual(
        lambda p: p.pixels(3, SIDE), same, profile=(("transform", rasterio.Affine(0.5, 0, 5e5, 0, 0.5, 5e6)),),
        notes=("sees it north up",), seen=lambda a: a[:, ::-1],
    ),
    "east to the left": Unusual(
        lambda p: p.pixels(3, SIDE), same, profile=(("transform", rasterio.Affine(-0.5, 0, 5e5, 0, -0.5, 5e6)),),
        notes=("east to the left",), seen=lambda a: a[:, :, ::-1],
    ),
    "a fill that is not declared, told": Unusual(
        with_collar, same, lambda a: (a != 0).any(0), words=("--nodata", "0,0,0")
    ),
    "a fill that is not declared, named": Unusual(with_collar, same, notes=("--nodata 0,0,0 leaves them out",)),
    "4 bands with alpha, which is not believed": Unusual(with_alpha, same, words=("--no-alpha",)),
    "4 bands with alpha, three named": Unusual(
        with_alpha, lambda a: a[[2, 1, 0]], words=("--bands", "3,2,1"), notes=("is not among --bands",)
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def answer(tiny_adapter: Path) -> Callable[[Pixels, str], Pixels]:
    """Probabilities (h, w) of the tiny model for a picture (h, w, 3) no larger than its window."""
    from s4eca.model.model import S4ECAModel
    from s4eca.model.predictor import Predictor

    predictor = Predictor(S4ECAModel.from_pretrained(tiny_adapter))

    def ask(picture: Pixels, prompt: str) -> Pixels:
        height, width = picture.shape[:2]
        top, left = (SIDE - height) // 2, (SIDE - width) // 2
        framed = np.tile(MEAN, (SIDE, SIDE, 1))
        framed[top : top + height, left : left + width] = picture
        found = predictor.set_image(framed.astype(np.float32)).segment([prompt]).probabilities[0]
        return found[top : top + height, left : left + width]

    return ask


def read(path: Path) -> tuple[Pixels, Any, tuple[str, ...]]:
    """Pixels, CRS and band descriptions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as file:
            return file.read(), file.crs, file.descriptions


@pytest.mark.parametrize("name", TABLE)
def test_the_result_is_true(s4eca: Any, place: Place, answer: Any, name: str) -> None:
    row = TABLE[name]
    pixels = row.pixels(place)
    scene = place.scene(pixels, **dict(row.profile))
    valid = row.valid(pixels)
    picture = np.where(valid[..., None], np.moveaxis(row.shown(pixels), 0, 2), MEAN)
    turned = np.moveaxis(row.seen(np.moveaxis(picture, 2, 0)), 0, 2)
    expected = row.seen(answer(turned, row.prompt)[None])[0]
    threshold = float(np.median(expected[valid]))
    scores, polygons = place.tmp / "scores.tif", place.tmp / "found.gpkg"
    words = ("--scores", scores, "--polygons", polygons, "--threshold", repr(threshold), "--json", *row.words)
    result = s4eca(*place.predict(scene, *words, prompt=row.prompt))
    assert result.code == 0, result.err
    notes = [line for line in result.lines if line.startswith("s4eca: note: ")]
    assert len(notes) == len(row.notes) and all(w in n for w, n in zip(row.notes, notes, strict=True)), result.err
    mask, crs, described = read(place.out)
    found = read(scores)[0][0]
    np.testing.assert_allclose(found[valid], expected[valid], atol=row.close)
    assert np.isnan(found[~valid]).all() and (mask[0][~valid] == 255).all()
    assert (mask[0][valid] == (found[valid] > threshold)).all()
    assert described == (row.prompt,)
    assert crs == dict(row.profile).get("crs", rasterio.crs.CRS.from_string(UTM))
    report = json.loads(result.out)
    assert report["valid_pixels"] == valid.sum() and report["prompts"][0]["pixels"] == (mask == 1).sum()
    assert pyogrio.read_info(polygons)["features"] == report["prompts"][0]["polygons"]


@pytest.mark.parametrize("kind", ["all 255", "all NaN", "all transparent"])
def test_no_valid_pixel(s4eca: Any, place: Place, kind: str) -> None:
    if kind == "all 255":
        scene = place.scene(np.full((3, 50, 60), 255, np.uint8), nodata=255)
    elif kind == "all NaN":
        scene = place.scene(np.full((3, 50, 60), np.nan, np.float32))
    else:
        scene = place.scene(np.concatenate([place.pixels(3, 60), np.zeros((1, 60, 60), np.uint8)])[:, :50])
    words = ("--scores", place.tmp / "s.tif", "--polygons", place.tmp / "p.gpkg", "--json", "--threshold", "0")
    result = s4eca(*place.predict(scene, *words, *(() if kind == "all transparent" else ("--bands", "1,2,3"))))
    assert result.code == 0 and "nothing found" in result.err and "no valid pixel" in result.err
    assert (read(place.out)[0] == 255).all() and np.isnan(read(place.tmp / "s.tif")[0]).all()
    report = json.loads(result.out)
    assert (report["valid_pixels"], report["encoded"], report["prompts"][0]["max_score"]) == (0, 0, None)
    empty_layer(place.tmp / "p.gpkg")


def test_nothing_found(s4eca: Any, place: Place) -> None:
    result = s4eca(*place.predict(place.scene(), "--threshold", "1", "--polygons", place.tmp / "p.gpkg"))
    assert result.code == 0 and "nothing found" in result.err
    assert result.out.splitlines() == [str(place.out), str(place.tmp / "p.gpkg")]
    assert (read(place.out)[0] == 0).all()
    empty_layer(place.tmp / "p.gpkg")


def empty_layer(path: Path) -> None:
    """The layer is there, in the scene's CRS, with its columns and no row."""
    info, _, geometry, _ = pyogrio.raw.read(path)
    assert info["crs"] == UTM and list(info["fields"]) == ["prompt", "score", "area_m2", "source"]
    assert len(geometry) == 0 and "Polygon" in info["geometry_type"]


def test_ground_control_points_allowed(s4eca: Any, place: Place) -> None:
    result = s4eca(*place.predict(place.gcps(), "--allow-ungeoreferenced"))
    assert result.code == 0 and "no CRS" in result.err
    mask, crs, _ = read(place.out)
    assert mask.shape == (1, 40, 40) and crs is None


def test_overwrite_replaces_what_exists(s4eca: Any, place: Place) -> None:
    place.out.write_text("old")
    (place.tmp / "out.qml").write_text("old")
    assert s4eca(*place.predict(place.scene(), "--overwrite")).code == 0
    assert read(place.out)[0].shape == (1, 40, 40) and "qgis" in (place.tmp / "out.qml").read_text()

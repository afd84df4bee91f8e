"""Every raster of geo-scenes through the command line, with the expected outcome beside it.

What each file is made to say (bands, validity, pixel size) is tested in tests/unit/geo with an answer known pixel by
pixel; here a real model answers, a tiny one always and the adapter trained on vhr10-ref where it lies in benchmarks/.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio

ROOT = Path(os.environ.get("S4ECA_REALDATA", "/nowhere")) / "geo-scenes"
TRAINED = Path(__file__).parents[2] / "benchmarks" / "adapters" / "vhr10-ref"
PROMPTS = ("all the vehicles", "the storage tank", "a tennis court")
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not ROOT.is_dir(), reason="S4ECA_REALDATA is unset or holds no geo-scenes"),
]

# scene -> (pixels that count, metres a pixel covers or None, words of the one remark or None)
TABLE: dict[str, tuple[int, float | None, str | None]] = {
    "atlanta_pan_uint16": (810_000, 0.5, "one band"),
    "vegas_pan_wgs84": (1_690_000, 0.271, "one band"),
    "rotterdam_ms4_float": (90_000, 1.0, "--bands"),
    "sjer_rgb_crowns": (159_956, 0.1, None),
    "australia_tree": (531_708, 0.018, None),
    "manila_river_3395": (4_194_304, 0.0968, "--nodata 0,0,0 leaves them out"),
    "yell_no_crs": (1_292_715, None, "no CRS"),
    "naip_road_rgbn": (54_264, 0.599, None),
    "colorado_rgba": (78_812, 0.15, None),
    "bali_drone_rgba": (455_325, 0.3527, None),
    "olinda_l7_6band": (122_848, 28.5, "--bands"),
    "hls_10band_float": (50_176, 30.0, "--bands"),
    "naip_road_rotated": (54_153, 0.6, None),
}


def test_the_table_holds_every_raster() -> None:
    assert {path.stem for path in ROOT.glob("*.tif")} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_with_a_tiny_adapter(s4eca: Any, place: Any, name: str) -> None:
    # Large windows, which the predictor shrinks: the path is the same, and the test stays short.
    predict(s4eca, place.tmp, name, place.adapter, "--window", 448)


@pytest.mark.slow
@pytest.mark.skipif(not TRAINED.is_dir(), reason="benchmarks/adapters/vhr10-ref is not there")
@pytest.mark.parametrize("name", TABLE)
def test_with_the_trained_adapter(s4eca: Any, tmp_path: Path, name: str) -> None:
    predict(s4eca, tmp_path, name, TRAINED)


def predict(s4eca: Any, folder: Path, name: str, adapter: Path, *more: Any) -> None:
    """Run the verb on a scene and hold every output against the table."""
    valid, gsd, remark = TABLE[name]
    out, scores, polygons = folder / "mask.tif", folder / "scores.tif", folder / "found.gpkg"
    prompts = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    line = ["predict", ROOT / f"{name}.tif", *prompts, "--adapter", adapter, "--out", out, "--scores", scores]
    line += ["--polygons", polygons, "--json", *more]
    if gsd is None:
        refused = s4eca(*line)
        assert refused.code == 2 and "no CRS" in refused.err and not out.exists()
        line.append("--allow-ungeoreferenced")
    result = s4eca(*line)
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["valid_pixels"] == valid
    assert report["gsd"] == (None if gsd is None else pytest.approx(gsd, rel=0.01))
    notes = [text for text in result.lines if text.startswith("s4eca: note: ") and "was trained at" not in text]
    assert len(notes) == (remark is not None) and (remark or "") in "".join(notes), result.err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(ROOT / f"{name}.tif") as scene, rasterio.open(out) as mask, rasterio.open(scores) as file:
            assert (mask.crs, mask.transform, mask.shape) == (scene.crs, scene.transform, scene.shape)
            assert mask.descriptions == file.descriptions == PROMPTS
            marked, probabilities = mask.read(), file.read()
    assert ((marked != 255).sum(axis=(1, 2)) == valid).all()
    assert (np.isfinite(probabilities) == (marked != 255)).all()
    assert ((marked == 1) == (np.nan_to_num(probabilities) > report["threshold"])).all()
    assert [one["pixels"] for one in report["prompts"]] == [int((band == 1).sum()) for band in marked]
    features = pyogrio.read_info(polygons, force_feature_count=True)["features"]
    assert features == sum(one["polygons"] for one in report["prompts"])

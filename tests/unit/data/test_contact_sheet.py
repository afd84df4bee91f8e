"""The contact sheet shows outlines where masks are, and what `data check` says across splits and of contradictions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from s4eca.cli.main import main
from s4eca.data.contact_sheet import COLOURS, Choice, choose, draw_sheet, outlined
from s4eca.data.instances import Instance, _plain
from s4eca.data.open import open_dataset


def rle(mask):
    return _plain(Instance.of("x", mask).rle)


def lines_file(folder, rows):
    """rows: (image name, expression, split, mask)."""
    keys = ("image", "expression", "split", "rle")
    text = [json.dumps(dict(zip(keys, (*row[:3], rle(row[3])), strict=True))) for row in rows]
    (folder / "references.jsonl").write_text("\n".join(text))


def square(top, left, side, shape=(48, 64)):
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abc":
        image = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    return tmp_path


def test_outlines_lie_on_the_edge_of_the_mask_and_not_inside():
    image, mask = np.full((96, 128, 3), 90, np.uint8), square(10, 20, 20)
    shown = outlined(image, [mask])
    marked = (shown == COLOURS[0]).all(axis=2)
    large = np.asarray(Image.fromarray(mask).resize((128, 96), Image.Resampling.NEAREST))
    assert marked[20, 40:80].all() and marked[20:60, 40].all()
    assert not marked[30:50, 50:70].any() and not marked[:14].any()
    assert (shown[~large & ~marked].mean() > 80) and (shown[30:50, 50:70] == 90).all()


def test_outlines_on_one_another_take_turns():
    shown = outlined(np.zeros((96, 128, 3), np.uint8), [square(10, 20, 20), square(10, 20, 20)])
    counts = [int((shown == colour).all(axis=2).sum()) for colour in COLOURS[:2]]
    assert min(counts) > 0.3 * sum(counts) > 0


def test_what_is_too_small_to_see_gets_a_ring():
    mask = np.zeros((2000, 2000), bool)
    mask[1000, 1000] = True
    marked = (outlined(np.zeros((320, 320, 3), np.uint8), [mask]) == COLOURS[0]).all(axis=2)
    rows, cols = np.nonzero(marked)
    assert np.ptp(rows) > 40 and abs(rows.mean() - 160) < 3 and abs(cols.mean() - 160) < 3
    assert not (outlined(np.zeros((32, 32, 3), np.uint8), [np.zeros((5, 5), bool)])).any()


def test_a_sheet_has_every_split_and_is_the_same_for_the_same_seed(folder):
    rows = [(f"{name}.png", f"thing {n} {'with many words ' * 9}", split, square(4, 4 + n, 9))
            for name, split in (("a", "train"), ("b", "train"), ("c", "val")) for n in range(6)]  # fmt: skip
    lines_file(folder, rows)
    splits = [open_dataset(folder, "jsonl", split) for split in ("train", "val")]
    choice = Choice(images=2, expressions=3, seed=4)
    cells = choose(splits[0], choice)
    assert [(len(cell.references), cell.more) for cell in cells] == [(3, 3), (3, 3)]
    assert [c.references for c in choose(splits[0], choice)] == [c.references for c in cells]
    sheets = [draw_sheet([(s, choose(s, choice)) for s in splits], columns=2, side=120) for _ in range(2)]
    assert sheets[0].tobytes() == sheets[1].tobytes()
    assert (np.asarray(sheets[0]) == COLOURS[0]).all(axis=2).any()


def test_show_reads_with_the_options_of_the_reader(folder, capsys):
    Image.fromarray(np.full((48, 64), 3, np.uint8) * square(4, 4, 20)).save(folder / "m.png")
    (folder / "references.jsonl").write_text('{"image": "a.png", "mask": "m.png", "expression": "x", "split": "val"}')
    line = ["data", "show", str(folder), "--layout", "jsonl", "--out", str(folder / "s.png")]
    assert main([*line, "--reader", "foreground=3", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    with Image.open(folder / "s.png") as sheet:
        assert sheet.size == (said["width"], said["height"])
    assert main(line) == 2 and "exists" in capsys.readouterr().err
    assert main([*line, "--overwrite", "--reader", "foreground=4"]) == 2
    assert "No mask of split 'val'" in capsys.readouterr().err


def test_deep_bands_are_shown_by_their_names(folder):
    values = np.random.default_rng(2).normal(900, 100, (48, 64, 4)).astype(np.float32)
    np.save(folder / "d.npy", values)
    lines_file(folder, [("d.npy", "the pond", "train", square(4, 4, 20))])
    dataset = open_dataset(folder, "jsonl", "train", bands=("nir", "red", "green", "blue"))
    sheet = draw_sheet([(dataset, choose(dataset, Choice()))], side=120)
    assert np.asarray(sheet).std() > 20


def test_draws_stand_beside_what_they_are_drawn_from(folder, capsys):
    lines_file(folder, [("a.png", "the red roof", "train", square(4, 4, 9)), ("b.png", "left roof", "train",
                        square(9, 9, 9))])  # fmt: skip
    line = ["data", "show", str(folder), "--layout", "jsonl", "--out", str(folder / "s.png"), "--image-size", "56",
            "--augmented", "3", "--augment", "blur=1", "--augment", "reframe=1", "--overwrite", "--json"]  # fmt: skip
    assert main([*line, "--symmetries", "FLIP_LR"]) == 0
    said, told = capsys.readouterr()
    assert json.loads(said)["draws"] == 6 and json.loads(said)["reframed"] == 0
    assert "data.augment.reframe leaves all samples of split 'train' alone" in told and told.count("\n") == 1
    first = (folder / "s.png").read_bytes()
    with Image.open(folder / "s.png") as sheet:
        assert sheet.width > 4 * 320
    assert main([*line, "--symmetries", "FLIP_LR"]) == 0 and (folder / "s.png").read_bytes() == first
    assert main([*line, "--seed", "1", "--symmetries", "ROT90,IDENTITY"]) == 0
    assert (folder / "s.png").read_bytes() != first


def test_check_finds_contradictions_and_copies_in_other_splits(folder, capsys):
    with Image.open(folder / "a.png") as image:
        image.save(folder / "again.jpg", quality=85)
        image.save(folder / "copy.png", optimize=True)
    lines_file(folder, [
        ("a.png", "the roof", "train", square(4, 4, 9)), ("a.png", "The  roof", "train", square(20, 20, 9)),
        ("b.png", "the roof", "train", square(4, 4, 9)), ("b.png", "the roof", "train", square(4, 4, 9)),
        ("again.jpg", "the roof", "val", square(4, 4, 9)), ("copy.png", "the roof", "test", square(4, 4, 9)),
        ("c.png", "the roof", "test", square(4, 4, 9)),
    ])  # fmt: skip
    assert main(["data", "check", str(folder), "--layout", "jsonl", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["splits"]["train"]["findings"] == [
        "1 expressions repeat another one on the same pixels (4 = 3).",
        "1 expressions have another mask elsewhere on the same pixels (2 and 1).",
    ]
    assert report["across"] == [
        "1 images are in two splits, with the same pixels (train: a.png = test: copy.png).",
        "1 images are in two splits, as another file of the same picture (train: a.png = val: again.jpg).",
    ]
    assert main(["data", "check", str(folder), "--layout", "jsonl"]) == 0
    assert "across splits:" in capsys.readouterr().out


def test_check_refuses_masks_of_another_size(folder, capsys):
    lines_file(folder, [("a.png", "the roof", "train", square(4, 4, 9, (47, 64)))])
    assert main(["data", "check", str(folder), "--layout", "jsonl"]) == 2
    assert "the mask is 47 x 64, but its image a.png is 48 x 64" in capsys.readouterr().err


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "layout"), [("vhr10-ref", "rrsisd"), ("dubai-ref", "refsegrs")])
def test_real_sets_are_shown(realdata, tmp_path, name, layout):
    out = tmp_path / "sheet.png"
    line = ["data", "show", str(realdata / name), "--layout", layout, "--images", "6", "--out", str(out)]
    assert main(line) == 0
    drawn = ["--augmented", "3", "--augment", "reframe=1", "--expressions", "1", "--overwrite"]
    assert main([*line, *drawn, "--split", "train"]) == 0
    with Image.open(out) as sheet:
        assert sheet.width > 1200 and sheet.height > 800

"""A layout of another package, by its entry point, in fit, evaluate and data check: docs/extending.md's example."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4eca.cli.main import main
from s4eca.data.layouts.recognise import layout_named, recognise
from s4eca.data.open import open_dataset
from s4eca.errors import ConfigError, DataError
from s4eca.registry import LAYOUTS

CODE = (Path(__file__).parents[2] / "outside" / "s4eca_outside" / "layout.py").read_text(encoding="utf-8")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The page's example as an installed package; what it registers is forgotten afterwards."""
    site = tmp_path / "site"
    (site / "table_layout-1.0.dist-info").mkdir(parents=True)
    (site / "table_layout-1.0.dist-info" / "METADATA").write_text("Name: table-layout\nVersion: 1.0\n")
    rows = "table = table_layout:TableLayout\nlost = table_layout:NoSuchThing\nhalf = table_layout:Path\n"
    (site / "table_layout-1.0.dist-info" / "entry_points.txt").write_text(f"[s4eca.layouts]\n{rows}")
    (site / "table_layout.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(site))
    LAYOUTS.__dict__.pop("_installed", None)
    yield
    LAYOUTS.__dict__.pop("_installed", None)
    sys.modules.pop("table_layout", None)


@pytest.fixture
def table(tmp_path):
    """Four images with a bright square each, in train and val."""
    root = tmp_path / "tables"
    root.mkdir()
    lines = []
    for number in range(6):
        image = np.random.default_rng(number).integers(0, 90, (40, 40, 3)).astype(np.uint8)
        mask = np.zeros((40, 40), np.uint8)
        mask[5:20, 3 * number : 3 * number + 15] = 1
        image[mask > 0] = 250
        Image.fromarray(image).save(root / f"{number}.png")
        Image.fromarray(mask * 255).save(root / f"{number}.mask.png")
        lines.append(f"{'train' if number < 4 else 'val'};{number}.png;{number}.mask.png;square {number}")
    (root / "table.csv").write_text("\n".join(lines))
    return root


@pytest.mark.usefixtures("installed")
def test_every_verb_knows_it(table, line, tmp_path, capsys):
    assert "table" in LAYOUTS and recognise(table) == "table"
    check = ["data", "check", str(table), "--layout", "table", "--reader", "separator=;"]
    assert main([*check, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {split: row["references"] for split, row in report["splits"].items()} == {"train": 4, "val": 2}
    assert main([*check[:-1], "separatr=;"]) == 2
    assert "did you mean 'separator'?" in capsys.readouterr().err
    out = tmp_path / "run"
    data = {"root": str(table), "layout": "table", "batch_size": 4, "reader": {"separator": ";"}, "absent_share": 0}
    assert line("fit", out, data=data, trainer__max_epochs=1) == 0
    capsys.readouterr()
    words = ["evaluate", "--adapter", str(out / "adapter"), "--data", str(table), "--layout", "table", "--split", "val"]
    assert main([*words, "--reader", "separator=;", "--protocol", "native"]) == 0
    assert "split val: 2 references" in capsys.readouterr().out
    assert main([*words, "--reader", "separator=;", "--reader", "bands=a"]) == 2
    assert "other bands need the layout 'jsonl'" in capsys.readouterr().err


@pytest.mark.usefixtures("installed")
def test_what_it_opens_is_held_to_the_same(table):
    for path in table.glob("*.mask.png"):
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(path)
    with pytest.raises(DataError, match="No mask of split 'val' of .* has a foreground pixel"):
        open_dataset(table, "table", "val", separator=";")
    with pytest.raises(DataError, match="has no references in split 'test'"):
        open_dataset(table, "table", "test", separator=";")
    with pytest.raises(DataError, match="asked of a table data set; only RRSIS-D and RefSegRS are published"):
        open_dataset(table, "table", "val", expect_published=True, separator=";")
    with pytest.raises(DataError, match="it looks like the table layout, so read it with layout 'table'"):
        open_dataset(table, "refsegrs", "val")


@pytest.mark.usefixtures("installed")
def test_rows_that_lead_nowhere_are_named(tmp_path):
    with pytest.raises(ConfigError, match="'lost' in the entry-point group s4eca.layouts leads to table_layout:NoSuch"):
        open_dataset(tmp_path, "lost", "train")
    with pytest.raises(ConfigError, match="The layout 'half', table_layout:Path, lacks a part of"):
        layout_named("half")
    from s4eca.data.rendered.write import write_layout

    with pytest.raises(DataError, match="is 'table'; to render scenes it must be one of rrsisd, refsegrs, jsonl"):
        write_layout(tmp_path / "new", "table", {})

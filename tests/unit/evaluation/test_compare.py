"""`s4eca compare`: scores, paired intervals against a loop over the definition, tables, published rows, refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from result_files import IMAGES, KINDS, other, write

from s4eca.cli.main import main
from s4eca.errors import S4ECAError
from s4eca.evaluation.comparison import compare
from s4eca.evaluation.overlap import SCORES
from s4eca.evaluation.protocols import PROTOCOLS
from s4eca.evaluation.published_scores import COLUMNS, SETS, published_rows
from s4eca.evaluation.report import build
from s4eca.evaluation.result_file import KEY, read_result


def two(place: Path, **more: Any) -> list[Path]:
    return [write(place / "a.json"), write(place / "b.json", seed=1, shift=0.3, **more)]


def test_a_file_says_what_the_report_was_made_of(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", names=("lavt", "cris", "native"))
    content, result = json.loads(path.read_text()), read_result(path)
    for name, rule in result.rules.items():
        assert rule == PROTOCOLS[name]
        assert rule.scores(*result.counts[name]) == content["protocols"][name]
    assert '      ["r0", "images/0.png", "unique", "roof", 100, ' in path.read_text(), "one line a reference"
    assert result.split == "val" and result.image_size == 448 and len(result.ids) == len(IMAGES)


def test_differences_are_those_of_a_loop_over_drawn_images(tmp_path: Path) -> None:
    """Written apart: references of drawn images are put together and scored anew by the protocol itself."""
    a, b = (read_result(path) for path in two(tmp_path))
    found = compare([a, b], seed=3, resamples=200)
    images = np.array(IMAGES)
    drawn = np.random.default_rng(3).integers(6, size=(200, 6))
    for name in ("lavt", "native"):
        gaps: dict[str, list[float]] = {score: [] for score in SCORES}
        for sample in drawn:
            chosen = np.concatenate([np.flatnonzero(images == image) for image in sample])
            ours, theirs = (PROTOCOLS[name].scores(*r.counts[name][:, chosen]) for r in (a, b))
            for score in SCORES:
                gaps[score].append(theirs[score] - ours[score])
        part = found["protocols"][name]
        for score in SCORES:
            told = part["differences"]["b"][score]
            assert told["value"] == pytest.approx(part["scores"]["b"][score] - part["scores"]["a"][score], abs=1e-12)
            low, high = np.percentile(gaps[score], [2.5, 97.5])
            assert (told["low"], told["high"]) == pytest.approx((low, high), abs=1e-9), score
    assert found == compare([a, b], seed=3, resamples=200) != compare([a, b], seed=4, resamples=200)


def test_kinds_sizes_and_classes_are_scored_as_evaluate_does(tmp_path: Path) -> None:
    from result_files import records

    rules = (PROTOCOLS["native"],)
    report = build(records(0, rules), rules, split="val")
    paths = [write(tmp_path / "a.json", names=("native",)), write(tmp_path / "b.json", names=("native",), seed=1)]
    found = compare([read_result(path) for path in paths])
    for key in ("per_kind", "per_size", "per_class"):
        assert list(found[key]) == list(report[key])
        for name, part in found[key].items():
            assert part["count"] == report[key][name]["count"]
            assert part["scores"]["a"] == report[key][name]["protocols"]["native"]
    alone = found["per_kind"][KINDS[0]]
    assert alone["images"] == 3 and alone["differences"]["b"]["mIoU"]["low"] is not None


def test_a_group_of_one_image_has_no_interval(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{name}.json", seed=seed, references=lambda found: other(found, 3, kind="alone"))
        for seed, name in enumerate("ab")
    ]
    part = compare([read_result(path) for path in paths])["per_kind"]["alone"]
    assert part["images"] == 1 and part["differences"]["b"]["mIoU"] == {
        "value": part["scores"]["b"]["mIoU"] - part["scores"]["a"]["mIoU"], "low": None, "high": None,
    }  # fmt: skip


def test_the_order_of_references_does_not_matter(tmp_path: Path) -> None:
    a, b = two(tmp_path)
    turned = write(tmp_path / "turned.json", seed=1, shift=0.3, references=lambda found: found[::-1])
    one, same = (compare([read_result(a), read_result(path)]) for path in (b, turned))
    assert one["protocols"]["native"]["differences"]["b"] == same["protocols"]["native"]["differences"]["turned"]


def test_a_file_against_its_like_differs_by_nothing(tmp_path: Path) -> None:
    a = write(tmp_path / "a.json")
    (tmp_path / "copy.json").write_bytes(a.read_bytes())
    found = compare([read_result(a), read_result(tmp_path / "copy.json")])
    zero = {"value": 0.0, "low": 0.0, "high": 0.0}
    assert all(value == zero for value in found["protocols"]["native"]["differences"]["copy"].values())


def test_the_threshold_of_native_is_the_models_own_and_sizes_of_the_input_may_differ(tmp_path: Path) -> None:
    a = write(tmp_path / "a.json", names=("native",))
    b = write(tmp_path / "b.json", image_size=224, names=(), changed=(PROTOCOLS["native"].replace(threshold=0.3),))
    found = compare([read_result(a), read_result(b)])
    assert "S x S" in found["protocols"]["native"]["definition"]


def test_markdown_and_json_and_the_files_they_go_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = map(str, two(tmp_path, shuffle_seed=7))
    assert main(["compare", a, b, "--against", b, "--out", str(tmp_path / "t.md")]) == 0
    page = capsys.readouterr().out
    assert page == (tmp_path / "t.md").read_text()
    assert "# Split val: 12 references on 6 images" in page and "SHUFFLED (seed 7)" in page
    assert "| a - b |" in page and "## mIoU by size (native)" in page and "ship \\| boat" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    for before, line in zip(rows, rows[1:], strict=False):
        if line.startswith("|---"):
            assert line.count("|") == before.count("|")
    assert main(["compare", a, b, "--json", "--out", str(tmp_path / "t.json")]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "t.json").read_text()
    assert json.loads(printed)["protocols"]["native"]["differences"]["b"]["mIoU"]["low"] is not None


def test_protocols_that_a_file_lacks_are_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path / "a.json", names=("lavt", "native")), write(tmp_path / "b.json", names=("native",), seed=1)
    assert main(["compare", str(a), str(b)]) == 0
    assert "not all files have it: lavt" in capsys.readouterr().out
    assert main(["compare", str(a), str(b), "--protocol", "native"]) == 0
    assert "not all files" not in capsys.readouterr().out


def test_published_rows_stand_beside_with_protocol_and_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "mine.json", split="test")
    assert main(["compare", str(path), "--published", "rrsisd"]) == 0
    page = capsys.readouterr().out
    assert "12 references; RRSIS-D test has 3481" in page and "| **mine** |" in page
    assert "| RMSIN | 74.26 | 67.25 | 55.93 | 42.55 | 24.53 | 77.79 | 64.20 | lavt at 480 px | RS2-SAM2 Table 2" in page
    assert "| SBANet | 75.91 |  | 57.05 |" in page
    for name in SETS:
        for split in ("val", "test"):
            rows = published_rows(name, split)
            assert len(rows) >= 12 and len({row.method for row in rows}) == len(rows)
            for row in rows:
                assert row.protocol and row.source and list(row.scores) == list(COLUMNS)
                cuts = [value for column, value in row.scores.items() if column[0] == "P" and value is not None]
                assert cuts == sorted(cuts, reverse=True), row
                assert all(0 < value < 100 for value in row.scores.values() if value is not None)


def test_the_page_shows_what_the_line_prints(capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[3]
    page = (root / "docs" / "compare.md").read_text()
    files = [str(root / "benchmarks" / "results" / "compare" / f"{name}.json") for name in ("true", "shuffled")]
    assert main(["compare", *files, "--protocol", "native"]) == 0
    assert f"```markdown\n{capsys.readouterr().out}```" in page


def damaged(tmp_path: Path, **changes: Any) -> Path:
    """A file whose references have keys changed, or (None) taken away."""
    path = write(tmp_path / "bad.json")
    content = json.loads(path.read_text())
    content[KEY] = {key: value for key, value in {**content[KEY], **changes}.items() if value is not None}
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": []}, "no row"),
        ({"rows": None}, "'rows' is missing"),
        ({"rows": {"r0": 1}}, "no row"),
        ({"rows": [["r0", "i"]]}, "row 1 is not a list of 9 values"),
        ({"rows": ["r0"]}, "row 1 is not a list"),
        ({"rows": [[1, "i", None, None, 1, 1, 1, 1, 1]]}, "row 1 begins with"),
        ({"rows": [["r", "i", None, 5, 1, 1, 1, 1, 1]]}, "row 1 begins with"),
        ({"rows": [["r", "i", None, None, 1, 1.5, 1, 1, 1]]}, "whole numbers"),
        ({"rows": [["r", "i", None, None, 1, -1, 1, 1, 1]]}, "whole numbers"),
        ({"rows": [["r", "i", None, None, 1, 10**30, 10**30, 1, 1]]}, "whole numbers"),
        ({"rows": [["r", "i", None, None, 1, True, 1, 1, 1]]}, "whole numbers"),
        ({"rows": [["r", "i", None, None, 1, 2, 1, 1, 1]]}, "above its union"),
        ({"rows": [["r", "i", None, None, 1, 1, 1, 1, 1]] * 2}, "'r' occurs 2 times"),
        ({"columns": ["id"]}, "columns"),
        ({"rules": {}}, "columns"),
        ({"rules": {"native": {"name": "native"}}}, "'fit' is missing"),
        ({"rules": []}, "rules is [], which is no object"),
        ({"rules": {"native": 5}}, "damaged"),
        ({"version": 2}, "version 2; this s4eca reads version 1"),
        ({"version": None}, "version None"),
    ],
)
def test_damaged_references_are_one_sentence(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = damaged(tmp_path, **changes)
    with pytest.raises(S4ECAError) as caught:
        read_result(path)
    assert str(path) in str(caught.value) and said in str(caught.value)


@pytest.mark.parametrize("value", [True, "0.5", None, float("nan"), 7])
def test_a_rule_of_another_kind_is_refused(value: Any, tmp_path: Path) -> None:
    rules = json.loads(write(tmp_path / "a.json").read_text())[KEY]["rules"]
    rules["native"]["threshold"] = value
    with pytest.raises(S4ECAError, match="damaged"):
        read_result(damaged(tmp_path, rules=rules))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe{", b"[1, 2]", b'"text"', b"[" * 100_000, b"{'a': 1}", b"\xef\xbb\xbf{}", b"\x89PNG\r\n", b"{}"],
)
def test_what_is_no_result_is_one_sentence(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert main(["compare", str(write(tmp_path / "a.json")), str(tmp_path / "x.json")]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "x.json" in said.err


def test_a_link_to_a_file_is_that_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a.json")
    os.symlink(a, tmp_path / "link.json")
    assert main(["compare", str(a), str(tmp_path / "link.json")]) == 2
    assert "given twice" in capsys.readouterr().err

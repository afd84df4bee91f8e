"""Groups, borders of size buckets, records there and back, the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s4eca.errors import DataError
from s4eca.evaluation import report
from s4eca.evaluation.overlap import SCORES, Counts
from s4eca.evaluation.protocols import PROTOCOLS
from s4eca.evaluation.records import Record, read_records, to_jsonl


def record(number: int, inter: int, union: int, area: int, kind: str | None, category: str | None) -> Record:
    counts = {name: Counts(inter, union, inter, union) for name in PROTOCOLS}
    return Record(str(number), f"{number // 2}.jpg", "the thing", kind, category, area, counts)


RECORDS = [
    record(0, 1, 2, 100, "unique", "ship"),
    record(1, 3, 4, 300, "unique", "bridge"),
    record(2, 0, 8, 300, "position", "ship"),
    record(3, 0, 0, 0, None, None),
]


@pytest.mark.parametrize(
    ("area", "bucket"),
    [
        (0, None),
        (1, "<16"),
        (255, "<16"),
        (256, "16-32"),
        (1023, "16-32"),
        (1024, "32-64"),
        (4095, "32-64"),
        (4096, "64-128"),
        (16383, "64-128"),
        (16384, "64-128"),
        (16385, ">128"),
        (640000, ">128"),
    ],
)
def test_borders_of_the_size_buckets(area: int, bucket: str | None) -> None:
    assert report.size_bucket(area) == bucket


def test_a_report_by_hand() -> None:
    result = report.build(RECORDS, list(PROTOCOLS.values()), split="val", image_size=448, extra={"dataset": "toy"})
    assert list(result["protocols"]) == ["lavt", "cris", "native"]
    assert tuple(result["protocols"]["native"]) == SCORES
    assert result["protocols"]["native"]["mIoU"] == (0.5 + 0.75) / 4
    assert result["protocols"]["native"]["oIoU"] == 4 / 14
    assert result["protocols"]["native"]["P@0.5"] == 0.5
    assert result["protocols"]["cris"]["P@0.5"] == 0.25
    assert (result["count"], result["empty"], result["images"], result["main"]) == (4, 1, 2, "native")
    assert result["empty_where_scored"] == {"lavt": 1, "cris": 1, "native": 1}
    assert result["threshold"] == {"lavt": 0.5, "cris": 0.35, "native": 0.5}
    assert list(result["per_size"]) == ["<16", "16-32"]
    assert list(result["per_class"]) == ["bridge", "ship"]
    assert {kind: part["count"] for kind, part in result["per_kind"].items()} == {"position": 1, "unique": 2}
    assert result["per_kind"]["unique"]["mIoU"] == 0.625
    assert result["per_class"]["ship"]["oIoU"] == 0.1
    assert result["per_kind"]["unique"]["protocols"]["cris"]["P@0.5"] == 0.5
    low, high = result["interval"]["mIoU"]["native"]
    assert 0 <= low <= result["protocols"]["native"]["mIoU"] <= high <= 0.75
    assert set(PROTOCOLS) < set(result["definitions"]) and {"mIoU", "oIoU", "P@X"} < set(result["definitions"])
    json.dumps(result, allow_nan=False)


def test_without_native_the_first_protocol_leads() -> None:
    assert report.build(RECORDS, [PROTOCOLS["cris"], PROTOCOLS["lavt"]], split="val")["main"] == "cris"
    with pytest.raises(ValueError, match="at least one"):
        report.build([], list(PROTOCOLS.values()), split="val")


def test_the_table_shows_every_group_and_definition() -> None:
    result = report.build(
        RECORDS,
        list(PROTOCOLS.values()),
        split="val",
        image_size=448,
        extra={"dataset": "toy", "shuffle_seed": 3, "untrained": True},
    )
    text = report.table(result)
    parts = ("toy, split val: 4 references", "SHUFFLED (seed 3)", "UNTRAINED", "448 px", "1 empty", "31.25", "bridge")
    for part in parts:
        assert part in text
    for sentence in result["definitions"].values():
        assert sentence in text
    assert all(len(line) <= 118 for line in text.splitlines() if not line.startswith("- "))


def test_records_there_and_back_remake_the_report(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(to_jsonl(RECORDS), encoding="utf-8")
    again = read_records(path)
    assert again == RECORDS
    rules = list(PROTOCOLS.values())
    assert report.build(again, rules, split="val") == report.build(RECORDS, rules, split="val")
    first = json.loads(path.read_text().splitlines()[0])
    assert first["protocols"]["cris"] == {"I": 1, "U": 2, "predicted": 1, "truth": 2}


@pytest.mark.parametrize(
    ("line", "words"), [("{", "Line 1 .* is no record"), ('{"id": "1"}', "'protocols'"), ("[]", "is no record")]
)
def test_a_damaged_records_file_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=words):
        read_records(path)
    with pytest.raises(DataError, match="missing.jsonl"):
        read_records(tmp_path / "missing.jsonl")

"""What is published of RRSIS-D, asked for or not; class names as written and as said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from minisets import MiniRRSISD, realdata

from s4eca.data.layouts.class_names import longest_class, spoken_name
from s4eca.data.layouts.published import RRSISD_COUNTS, expect_rrsisd
from s4eca.data.open import open_dataset
from s4eca.errors import DataError


def published(count: dict[str, int]) -> list[dict[str, object]]:
    refs, number = [], 0
    for split, amount in count.items():
        for _ in range(amount):
            number += 1
            refs.append(
                {
                    "ref_id": number,
                    "ann_id": number,
                    "image_id": number,
                    "file_name": f"{number:05d}.jpg",
                    "split": split,
                    "sentences": [{"sent": "a", "sent_id": number}],
                }
            )
    return refs


def test_published_counts_and_identities() -> None:
    refs = published(RRSISD_COUNTS)
    expect_rrsisd(refs, Path("refs(unc).p"))
    for key, value, said in (
        ("ann_id", 9, "has ann_id 9; in RRSIS-D it is 7"),
        ("image_id", 9, "has image_id 9"),
        ("file_name", "7.jpg", "has file_name '7.jpg'; in RRSIS-D it is '00007.jpg'"),
        ("sentences", [], "has 0 sentences"),
        ("sentences", [{"sent": "a", "sent_id": 8}], "has sent_id 8"),
    ):
        bent = [dict(ref) for ref in refs[:7]] + refs[7:]
        bent[6][key] = value
        with pytest.raises(DataError, match=said):
            expect_rrsisd(bent, Path("refs(unc).p"))
    with pytest.raises(DataError, match="12180 references in split 'train'; RRSIS-D has 12181"):
        expect_rrsisd(refs[1:], Path("refs(unc).p"))


def test_published_counts_only_on_demand(rrsisd: MiniRRSISD) -> None:
    root = rrsisd.write()
    assert len(open_dataset(root, "rrsisd", "train")) == 2
    with pytest.raises(DataError, match=r"2 references in split 'train'; RRSIS-D has 12181"):
        open_dataset(root, "rrsisd", "train", expect_published=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("groundtrackfield", "ground track field"),
        ("Expressway-Service-area", "expressway service area"),
        ("storagetank", "storage tank"),
        ("storage_tank", "storage tank"),
        ("GroundTrackField", "ground track field"),
        ("low vegetation", "low vegetation"),
        ("dam", "dam"),
    ],
)
def test_spoken_names(name: str, said: str) -> None:
    assert spoken_name(name) == said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("road marking on the left", "road marking"),
        ("van driving on the road", "van"),
        ("roads", "road"),
        ("The Vehicle", "vehicle"),
        ("buses", "bus"),
        ("carpet", None),
        ("impervious surface", "impervious surface"),
    ],
)
def test_longest_class_wins(text: str, expected: str | None) -> None:
    names = ("road", "vehicle", "car", "van", "bus", "road marking", "impervious surface")
    assert longest_class(text, names) == expected


@pytest.mark.realdata
def test_real_expressions_say_their_class() -> None:
    folder = realdata("rrsisd-expressions")
    lines = [json.loads(line) for line in (folder / "expressions.jsonl").read_text().splitlines()]
    assert len(lines) == sum(RRSISD_COUNTS.values())
    assert all(spoken_name(line["category"]) in line["text"].lower() for line in lines)

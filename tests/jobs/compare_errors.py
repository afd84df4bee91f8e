"""Rows of the table of errors for `s4eca compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from error_lines import Make
from job_inputs import Place, cut
from result_files import other, write

from s4eca.evaluation.protocols import PROTOCOLS


def line(place: Place, *words: Any, second: Path | None = None, **settings: Any) -> list[Any]:
    """A line that compares two results; `settings` are of the second."""
    first = write(place.tmp / "a.json")
    return ["compare", first, second or write(place.tmp / "b.json", seed=1, **settings), *words]


def text(place: Place, content: str | bytes) -> list[Any]:
    """The second file has this content."""
    path = place.tmp / "b.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return line(place, second=path)


def former(place: Place) -> list[Any]:
    """A file as version 0.1 wrote it, without references."""
    content = json.loads(write(place.tmp / "b.json").read_text())
    del content["references"]
    return text(place, json.dumps(content))


def half(place: Place) -> list[Any]:
    """The second file is cut short."""
    path = write(place.tmp / "b.json")
    cut(path)
    return line(place, second=path)


def there(place: Place, name: str) -> Path:
    """A file that is in the way."""
    (place.tmp / name).write_text("precious")
    return place.tmp / name


COMPARE: dict[str, tuple[Make, list[str]]] = {
    "compare: no file": (lambda p: ["compare"], ["compare:", "RESULT.json"]),
    "compare: a file alone": (lambda p: ["compare", write(p.tmp / "a.json")], ["a.json", "alone", "--published"]),
    "compare: a file twice": (lambda p: line(p, p.tmp / "a.json"), ["a.json", "twice"]),
    "compare: missing file": (lambda p: line(p, second=p.tmp / "no.json"), ["no.json", "cannot be read"]),
    "compare: a folder": (lambda p: line(p, second=p.tmp), ["cannot be read", "directory"]),
    "compare: no JSON": (lambda p: text(p, "scores"), ["b.json", "no JSON"]),
    "compare: a picture": (lambda p: text(p, b"\x89PNG\r\n\x1a\n\x00"), ["b.json", "no JSON"]),
    "compare: cut short": (half, ["b.json", "no JSON"]),
    "compare: a list": (lambda p: text(p, "[]"), ["b.json", "list", "s4eca evaluate"]),
    "compare: another JSON": (lambda p: text(p, '{"mIoU": 1}'), ["b.json", "'split'", "s4eca evaluate"]),
    "compare: without references": (former, ["b.json", "'references'", "s4eca evaluate --out"]),
    "compare: another split": (lambda p: line(p, split="test"), ["a.json", "'val'", "b.json", "'test'"]),
    "compare: fewer references": (
        lambda p: line(p, references=lambda found: found[:-1]), ["12 references", "b.json 11", "'r11'"]
    ),
    "compare: another reference": (
        lambda p: line(p, references=lambda found: other(found, id="new")), ["'r3'", "same references"]
    ),
    "compare: another image": (
        lambda p: line(p, references=lambda found: other(found, image="images/9.png")), ["'r3'", "images/9.png"]
    ),
    "compare: another mask": (
        lambda p: line(p, references=lambda found: other(found, area=7)), ["'r3'", "7 pixels", "same data"]
    ),
    "compare: no protocol in both": (lambda p: line(p, names=("cris",)), ["lavt, native", "cris", "protocol"]),
    "compare: two rules of one name": (
        lambda p: line(p, changed=(PROTOCOLS["lavt"].replace(threshold=0.4),)), ["lavt", "threshold 0.5", "0.4"]
    ),
    "compare: lavt at two sizes": (lambda p: line(p, image_size=480), ["lavt", "image size 448", "480", "--protocol"]),
    "compare: a protocol that a file lacks": (
        lambda p: line(p, "--protocol", "cris"), ["--protocol", "cris", "a.json"]
    ),
    "compare: a protocol that is none": (lambda p: line(p, "--protocol", "lvat"), ["--protocol", "'lvat'"]),
    "compare: against a third": (lambda p: line(p, "--against", p.tmp / "c.json"), ["--against", "c.json"]),
    "compare: published of nothing": (lambda p: line(p, "--published", "coco"), ["--published", "'coco'", "rrsisd"]),
    "compare: published of train": (
        lambda p: ["compare", write(p.tmp / "a.json", split="train"), "--published", "rrsisd"], ["RRSIS-D", "'train'"]
    ),
    "compare: ten resamples": (lambda p: line(p, "--resamples", "10"), ["--resamples", "10", "100"]),
    "compare: seed below 0": (lambda p: line(p, "--seed", "-1"), ["--seed", "-1"]),
    "compare: out of another kind": (lambda p: line(p, "--out", p.tmp / "t.csv"), ["--out", "t.csv", ".md"]),
    "compare: out is an input": (
        lambda p: line(p, "--overwrite", "--out", p.tmp / "a.json"), ["--out", "a.json", "one of the files"]
    ),
    "compare: out exists": (lambda p: line(p, "--out", there(p, "t.md")), ["--out", "t.md", "--overwrite"]),
    "compare: no folder for out": (lambda p: line(p, "--out", p.tmp / "none" / "t.md"), ["--out", "none"]),
    "compare: out below a file": (lambda p: line(p, "--out", there(p, "file") / "t.md"), ["--out", "file"]),
    "compare: out where nobody may write": (lambda p: line(p, "--out", "/proc/t.md"), ["/proc/t.md", "written"]),
}  # fmt: skip

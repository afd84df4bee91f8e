"""How many of a file's real referring sentences the grammar reads whole, and why not the others.

    python benchmarks/parse_rate.py expressions.jsonl

The file has a JSON object a line with `text` (the sentence) and `category` (its class). The result holds counts and the
words at which reading stopped; no sentence is copied.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from record import provenance, write

from s4eca.data.layouts.class_names import spoken_name
from s4eca.files import sha256_of
from s4eca.language.lexicon import Lexicon
from s4eca.language.parser import Unread, parse
from s4eca.language.tree import Phrase

RESULT = Path(__file__).parent / "results" / "parse_rate.json"


def parse_rate(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Share of sentences read whole, the others by reason, and what was read by part of the grammar."""
    lexicon = Lexicon.of({spoken_name(line["category"]) for line in lines})
    reasons: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    whole = right = 0
    for line in lines:
        tree = parse(line["text"], lexicon)
        if isinstance(tree, Unread):
            reasons[_reason(tree)] += 1
            continue
        whole += 1
        right += tree.category == spoken_name(line["category"])
        parts.update(_parts(tree))
    return {
        "sentences": len(lines),
        "distinct": len({line["text"].lower() for line in lines}),
        "read_whole": whole,
        "rate": round(whole / len(lines), 5),
        "of_the_stated_class": right,
        "not_read": dict(sorted(reasons.items())),
        "read": dict(sorted(parts.items())),
    }


def _reason(unread: Unread) -> str:
    return f"{unread.reason} (at the end)" if not unread.rest else f"{unread.reason} before {unread.rest.split()[0]!r}"


def _parts(tree: Phrase) -> set[str]:
    found = {"class"}
    for phrase in tree.walk():
        found |= {name for name in ("colours", "size", "shapes", "extreme") if getattr(phrase, name)}
        if phrase.place is not None:
            found.add("place")
        if phrase.relation is not None:
            found.add(f"relation: {phrase.relation.name}")
    return found


def main() -> None:
    """Read the file, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a JSON object a line with text and category")
    parser.add_argument("--out", type=Path, default=RESULT, help=f"where the result goes (default: {RESULT.name})")
    args = parser.parse_args()
    lines = [json.loads(line) for line in args.file.read_text(encoding="utf-8").splitlines() if line.strip()]
    write(args.out, {**provenance(), "file_sha256": sha256_of(args.file), **parse_rate(lines)})


if __name__ == "__main__":
    main()

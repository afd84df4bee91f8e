"""The grammar on real sentences: what is read, and that it is read rightly. The sentences are not kept here."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from s4eca.data.layouts.class_names import spoken_name
from s4eca.language.lexicon import Lexicon
from s4eca.language.parser import parse
from s4eca.language.tree import Phrase

ROOT = Path(__file__).parents[3]
RESULT = json.loads((ROOT / "benchmarks" / "results" / "parse_rate.json").read_text())
WAYS = {
    "on the left": (-1, 0), "on the right": (1, 0), "on the top": (0, -1), "at the bottom": (0, 1),
    "in the middle": (0, 0), "on the upper left": (-1, -1), "on the upper right": (1, -1),
    "on the lower left": (-1, 1), "on the lower right": (1, 1), "above": (0, -1), "below": (0, 1),
}  # fmt: skip


@pytest.fixture(scope="module")
def lines(realdata):
    path = realdata / "rrsisd-expressions" / "expressions.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_committed_rate_is_whole():
    assert RESULT["rate"] >= 0.97 and RESULT["sentences"] == 17402 and RESULT["command"] and RESULT["machine"]["cores"]
    assert RESULT["read_whole"] + sum(RESULT["not_read"].values()) == RESULT["sentences"]
    assert len(RESULT["commit"]) == 40


def test_the_page_states_the_rate():
    assert f"{RESULT['rate'] * 100:.2f} % whole" in (ROOT / "docs" / "data.md").read_text()


@pytest.mark.realdata
def test_the_committed_rate_is_measured_again(lines, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name in ("parse_rate", "record"):
        sys.modules.pop(name, None)
    from parse_rate import parse_rate

    measured = parse_rate(lines)
    assert measured == {key: RESULT[key] for key in measured}


@pytest.mark.realdata
def test_places_relations_and_attributes_are_those_of_the_words(lines):
    """Against plain regular expressions over whole sentences, which know the few forms that these sentences have."""
    nouns = "|".join(sorted({spoken_name(line["category"]) for line in lines}, key=len, reverse=True))
    lexicon = Lexicon.of({spoken_name(line["category"]) for line in lines})
    ways = "|".join(sorted(WAYS, key=len, reverse=True))
    colours = "white|gray|black|red|orange|yellow|green|cyan|blue|purple|brown"
    simple = re.compile(rf"(?!.* (?:is|has) )(?:the|a) (?P<before>[\w ]*?)(?P<noun>{nouns})(?: (?P<way>{ways}))?")
    beside = re.compile(
        rf"(?:the|a) (?P<noun>{nouns}) is (?P<way>{ways})(?: of)? (?:the|a) (?P<before>[\w ]*?)(?P<other>{nouns})"
        rf"(?: (?P<place>{ways}))?"
    )
    checked = 0
    for line in lines:
        tree, text = parse(line["text"], lexicon), line["text"].lower()
        if not isinstance(tree, Phrase):
            continue
        if match := simple.fullmatch(text):
            assert tree.relation is None and tree.place == WAYS.get(match["way"]), text
            described = tree
        elif match := beside.fullmatch(text):
            assert tree.place is None and tree.relation.direction == WAYS[match["way"]], text
            (described,) = tree.relation.landmarks
            assert described.category == match["other"] and described.place == WAYS.get(match["place"]), text
        else:
            continue
        checked += 1
        assert tree.category == match["noun"], text
        assert list(described.colours) == re.findall(rf"\b(?:{colours})\b", match["before"]), text
        sized = re.search(r"\b(?:large|huge|big|small|tiny|little)\b", match["before"])
        assert (described.size is not None) == (sized is not None), text
    assert checked > 0.9 * len(lines)

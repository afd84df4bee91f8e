"""A pickle may hold containers, and never gets to run anything."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s4eca.data.layouts.pickles import load_plain
from s4eca.errors import DataError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


class Harmful:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.witness),)


@settings(max_examples=25, deadline=None)
@given(PLAIN, st.integers(0, 5))
def test_plain_containers_come_back(tmp_path_factory: pytest.TempPathFactory, value: object, protocol: int) -> None:
    path = tmp_path_factory.getbasetemp() / "plain.p"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    assert load_plain(path) == value


def test_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, witness = tmp_path / "refs(unc).p", tmp_path / "witness"
    path.write_bytes(pickle.dumps([{"ref_id": 1}, Harmful(witness)]))
    with pytest.raises(DataError, match=r"refs\(unc\)\.p names posix\.mkdir|names nt\.mkdir"):
        load_plain(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        (Path("x"), "Path"),
        (len, "builtins.len"),
        (complex(1, 2), "builtins.complex"),
        (Exception("x"), "builtins.Exception"),
    ],
)
def test_harmless_classes_are_refused_too(tmp_path: Path, value: object, named: str) -> None:
    path = tmp_path / "a.p"
    with path.open("wb") as file:
        pickler = pickle.Pickler(file)
        pickler.dispatch_table = {}  # other libraries teach `pickle` their own ways to write exceptions
        pickler.dump(value)
    with pytest.raises(DataError, match=named):
        load_plain(path)


def test_python_2_pickles_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.p"
    path.write_bytes(b"\x80\x02]q\x01}q\x02U\x05splitq\x03U\x05trainq\x04sa.")
    assert load_plain(path) == [{"split": "train"}]


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04]", b"\x80\xff.", b"cos\n", b"P1\n."])
def test_damage_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.p"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.p"):
        load_plain(path)


def test_every_cut_of_a_pickle_is_an_error(tmp_path: Path) -> None:
    whole = pickle.dumps([{"ref_id": n, "sentences": [{"sent": "the dam"}]} for n in range(3)])
    path = tmp_path / "cut.p"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError):
            load_plain(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_plain(tmp_path / "none.p")

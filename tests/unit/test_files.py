"""A file or folder appears under its name whole or not at all, whatever it is called and whoever else writes it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s4eca.files import obstacle, probe, sha256_of, staged, write_together, write_whole

ROOT = Path(__file__).parents[2]
OLD, NEW = b"what stood there", b"what is new" * 1000
ODD = [
    "plain", "two words.tif", "a!b;c.gpkg", "$(touch x).json", "-rf", ".hidden", ".hidden.json", "tar.tar.gz", "ends.",
    "a.b c", "Straße – 航空.png", "🚢.tif", "line\nbreak.json", "tab\t.csv", "%s%d.txt", "'\"`.md", "*?[x].tif",
    "C:x.tif", "x" * 255, "x" * 250 + ".json", "x." + "y" * 253, "ü" * 127, "ends.t!f", "~", "..three",
]  # fmt: skip


def listing(folder: Path) -> list[str]:
    """Everything in a folder, hidden names too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    head = "import os, resource, signal, sys\nfrom pathlib import Path\nfrom s4eca.files import *\n"
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code), *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_any_name_that_a_file_may_have(name: str, tmp_path: Path) -> None:
    for data in (OLD, NEW):
        write_whole(tmp_path / name, data)
        assert (tmp_path / name).read_bytes() == data and listing(tmp_path) == [name]


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"latin-\xe9.tif")
    write_whole(tmp_path / name, NEW)
    assert os.listdir(os.fsencode(tmp_path)) == [b"latin-\xe9.tif"]


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60))
@settings(max_examples=100)
def test_the_hidden_name_is_plain_and_has_the_ending(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("names")
    if name in (".", ".."):
        return
    with staged(folder / name) as hidden:
        assert hidden.parent == folder and hidden.name.startswith(".s4eca-") and hidden.name.isascii()
        assert hidden.name.replace("-", "").replace(".", "").replace("_", "").isalnum()
        ending = Path(name).suffix
        assert hidden.suffix == ending or not (ending.isascii() and ending[1:].isalnum() and len(ending) < 18)
        hidden.write_bytes(NEW)
    assert listing(folder) == [name]


def test_text_is_utf_8(tmp_path: Path) -> None:
    write_whole(tmp_path / "words", "Dächer 🚢\n")
    assert (tmp_path / "words").read_bytes() == "Dächer 🚢\n".encode()


@pytest.mark.parametrize("old", [OLD, None])
@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_a_failure_inside_leaves_what_stood_there(old: bytes | None, error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    if old is not None:
        path.write_bytes(old)
    before = listing(tmp_path)
    with pytest.raises(type(error)), staged(path) as hidden:
        hidden.write_bytes(NEW)
        raise error
    assert listing(tmp_path) == before and (old is None or path.read_bytes() == old)


@pytest.mark.parametrize("folder", [False, True])
def test_a_failing_check_keeps_the_name_from_it(folder: bool, tmp_path: Path) -> None:
    seen = []

    def check(hidden: Path) -> None:
        seen.append(listing(hidden) if folder else hidden.read_bytes())
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), staged(tmp_path / "x", check) as hidden:
        if folder:
            (hidden / "inner").mkdir(parents=True)
            (hidden / "inner" / "file").write_bytes(NEW)
        else:
            hidden.write_bytes(NEW)
    assert seen == [["inner", "inner/file"] if folder else NEW] and listing(tmp_path) == []


def test_a_passing_check_sees_all_of_it(tmp_path: Path) -> None:
    with staged(tmp_path / "x", check=lambda hidden: NEW.index(hidden.read_bytes())) as hidden:
        hidden.write_bytes(NEW)
    assert (tmp_path / "x").read_bytes() == NEW


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staged(tmp_path / "x"):
        pass
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "missing" / "x", NEW)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("what", ["file", "folder", "together"])
def test_a_killed_writer_leaves_no_final_name(what: str, tmp_path: Path) -> None:
    code = """
        place = Path(sys.argv[1])
        def stop(*_): os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[2] == "together":
            os.replace = stop
            write_together(place / "x", {"a": b"1" * 99, "b/c": b"2" * 99})
        with staged(place / "x") as hidden:
            if sys.argv[2] == "folder":
                hidden.mkdir()
            (hidden / "inner" if sys.argv[2] == "folder" else hidden).write_bytes(b"half")
            stop()
        """
    assert run(code, tmp_path, what).returncode == -signal.SIGKILL
    assert not (tmp_path / "x").exists()
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 1 and left[0].startswith(".s4eca-")
    write_whole(tmp_path / "x", NEW)  # what is left over is in nobody's way


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on file sizes")
@pytest.mark.parametrize("fits", [0, 1000, 16_000])
def test_a_disk_that_takes_no_more(fits: int, tmp_path: Path) -> None:
    """A limit on the size of a file stands in for the full disk."""
    (tmp_path / "whole").write_bytes(OLD)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a").write_bytes(OLD)
    before = listing(tmp_path)
    code = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
        place, large = Path(sys.argv[1]), b"x" * 20_000
        def refused(write, *arguments):
            try:
                write(*arguments)
            except OSError as error:
                assert error.strerror == "File too large", error
            else:
                raise AssertionError("it was written")
        refused(write_whole, place / "whole", large)
        refused(write_whole, place / "new", large)
        refused(write_together, place / "there", {"a": b"", "b/c": large})
        refused(write_together, place / "nowhere" / "yet", {"a": b"", "b": large})
        """
    done = run(code, tmp_path, fits)
    assert done.returncode == 0, done.stderr
    assert listing(tmp_path) == sorted([*before, "nowhere"])
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "there" / "a").read_bytes() == OLD


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_disk_full_at_the_last_moment(fails_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems say so only when what was written is brought to the disk: then no file has its name yet."""
    folder = tmp_path / "there"
    write_together(folder, {name: OLD for name in "abc"})
    calls = []

    def fsync(number: int) -> None:
        calls.append(number)
        if len(calls) >= fails_at:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        write_together(folder, {name: NEW for name in "abc"})
    assert listing(folder) == ["a", "b", "c"] and all((folder / name).read_bytes() == OLD for name in "abc")


def test_files_of_a_folder_together(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "new"
    write_together(folder, {"a": OLD, "old/b": OLD, "kept/c": OLD})
    (folder / "users").write_bytes(OLD)
    write_together(folder, {"a": NEW, "new/b": NEW}, without=["old/b", "kept/none"])
    assert listing(folder) == ["a", "kept", "kept/c", "new", "new/b", "users"]
    assert (folder / "a").read_bytes() == NEW and (folder / "users").read_bytes() == OLD
    assert listing(tmp_path) == ["deep", "deep/new", *(f"deep/new/{name}" for name in listing(folder))]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with staged(tmp_path / "made") as hidden:
        hidden.mkdir()
        (hidden / "x.txt").write_text("x")
        assert not (tmp_path / "made").exists()
    assert listing(tmp_path) == ["made", "made/x.txt"]


def test_a_folder_replaces_an_empty_one_alone(tmp_path: Path) -> None:
    for made in ("first", "second"):
        (tmp_path / "x").mkdir(exist_ok=True)
        try:
            with staged(tmp_path / "x") as hidden:
                hidden.mkdir()
                (hidden / made).touch()
        except OSError as error:
            assert made == "second" and "not empty" in str(error)
    assert listing(tmp_path) == ["x", "x/first"]


def test_kinds_do_not_replace_one_another(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder", NEW)
    with pytest.raises(NotADirectoryError), staged(tmp_path / "file") as hidden:
        hidden.mkdir()
    with pytest.raises(OSError):
        write_together(tmp_path / "file", {"a": NEW})
    assert listing(tmp_path) == ["file", "folder"] and (tmp_path / "file").read_bytes() == OLD


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    far.mkdir(), near.mkdir()
    (far / "real").write_bytes(OLD)
    (near / "link").symlink_to(far / "real")
    (near / "again").symlink_to("link")
    (near / "dangling").symlink_to(far / "yet-to-come")
    (tmp_path / "by-folder").symlink_to(far)
    for name, data in (("near/link", b"1"), ("near/again", b"2"), ("by-folder/real", b"3")):
        write_whole(tmp_path / name, data)
        assert (far / "real").read_bytes() == data
    write_whole(near / "dangling", NEW)
    assert (far / "yet-to-come").read_bytes() == NEW
    assert all((near / name).is_symlink() for name in ("link", "again", "dangling"))
    assert listing(far) == ["real", "yet-to-come"] and len(listing(near)) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes with names")
def test_a_device_or_pipe_is_refused_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for path in (tmp_path / "pipe", tmp_path / "null", Path("/dev/null")):
        with pytest.raises(OSError, match="neither a file nor a folder") as told:
            write_whole(path, NEW)
        assert told.value.filename == str(path)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_permissions_are_those_of_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_whole(path, OLD)
    (tmp_path / "plain").write_bytes(OLD)
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    path.chmod(0o640)
    write_whole(path, NEW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(OLD)
    path.chmod(0o444)
    if os.access(path, os.W_OK):  # the administrator may write everything
        monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError):
        write_whole(path, NEW)
    assert path.read_bytes() == OLD and listing(tmp_path) == ["x"]


def _write_often(path: Path, letter: bytes) -> None:
    for _ in range(30):
        write_whole(path, letter * 200_000)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_several_writers_of_one_name(kind: str, tmp_path: Path) -> None:
    """A reader finds one of the whole contents at any time; at the end nothing else is there."""
    path = tmp_path / "x.bin"
    write_whole(path, b"a" * 200_000)
    make = threading.Thread if kind == "threads" else multiprocessing.get_context("fork").Process
    writers = [make(target=_write_often, args=(path, letter)) for letter in (b"a", b"b", b"c")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert (found := path.read_bytes()) == found[:1] * 200_000
    for writer in writers:
        writer.join()
    assert listing(tmp_path) == ["x.bin"]


@given(parts=st.lists(st.binary(max_size=100), max_size=4))
@settings(max_examples=30)
def test_the_hash_is_of_the_bytes_in_a_row(parts: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("hash")
    for number, part in enumerate(parts):
        (folder / str(number)).write_bytes(part)
    assert sha256_of(*(folder / str(n) for n in range(len(parts)))) == hashlib.sha256(b"".join(parts)).hexdigest()


def test_the_hash_reads_in_pieces_and_names_what_it_cannot_read(tmp_path: Path) -> None:
    data = os.urandom(3_000_001)
    (tmp_path / "x").write_bytes(data)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()
    with pytest.raises(FileNotFoundError) as told:
        sha256_of(tmp_path / "x", tmp_path / "none")
    assert told.value.filename == str(tmp_path / "none") or told.value.filename == tmp_path / "none"


def test_what_stands_in_the_way_is_said_before_any_work(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "no" / "target")
    assert obstacle(tmp_path / "new", overwrite=False) is None and obstacle(there, overwrite=True) is None
    assert str(obstacle(tmp_path, overwrite=True)).startswith("is a folder")
    assert str(obstacle(there, overwrite=False)).startswith("exists; ")
    # What counts is the folder that a link leads to, for the file comes to lie there.
    for lost in (tmp_path / "no" / "new", link):
        assert f"there is no folder {tmp_path / 'no'};" in str(obstacle(lost, overwrite=False))


def test_a_probe_leaves_nothing_and_finds_what_permissions_hide(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    probe(tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"] and (tmp_path / "there").read_text() == "mine"
    with pytest.raises(OSError, match="No such file"):
        probe(Path("/proc/new"))

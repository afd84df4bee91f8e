"""Adapters on the hub, against a stand-in for its HTTP API: what goes up comes back, or is refused in one sentence."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from s4eca.encoders.toy import toy_pair
from s4eca.errors import AdapterFolderError
from s4eca.layers.trainable import trainable_state
from s4eca.model.model import S4ECAModel
from s4eca.saved.folder import CARD, CONFIG, WEIGHTS, Card, save, sha256, tensor_table
from s4eca.saved.hub import fetch, look, pull, push
from s4eca.saved.locate import locate

ID = "ann/ships"
OURS = sorted([WEIGHTS, CONFIG, CARD])


def toy_again(source, **more):
    """Load with the toy pair, which no identifier names."""
    vision, text = toy_pair(6, 3)
    return S4ECAModel.from_pretrained(source, vision=vision, text=text, **more)


def same(one, other):
    own, found = trainable_state(one), trainable_state(other)
    return own.keys() == found.keys() and all(torch.equal(own[k], found[k]) for k in own)


def now(server, name=ID, branch="main"):
    """The files at the tip of a branch."""
    repository = server.repositories[name]
    return repository.commits[repository.branches[branch]]


@pytest.fixture
def folder(toy_model, tmp_path):
    return save(toy_model(seed=3), tmp_path / "adapter", Card(name="ships", licence="CC0-1.0"))


@pytest.fixture
def pushed(folder, stand_in):
    push(folder, ID)
    stand_in.asked.clear()
    return folder


@pytest.fixture
def offline(stand_in, monkeypatch):
    """Call it: no hub from here on, and the user has said so."""

    def go():
        stand_in.status = 503
        stand_in.asked.clear()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    return go


@pytest.fixture
def impatient(monkeypatch):
    """The library waits between its attempts; the tests do not."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.mark.parametrize("large", ["*.safetensors", "none"])
def test_a_pushed_model_comes_back(large, toy_model, stand_in, monkeypatch, tmp_path):
    stand_in.large = large
    model = toy_model(seed=5)
    url = model.push_to_hub(ID, Card(name="ships at sea"), commit_message="first")
    repository = stand_in.repositories[ID]
    assert url == f"{stand_in.endpoint}/{ID}/commit/{repository.branches['main']}"
    assert repository.messages[-1] == "first" and not repository.private
    assert sorted(set(now(stand_in)) - {".gitattributes"}) == OURS
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert same(toy_again(ID), model) and same(toy_again(f"hf:{ID}"), model)
    assert b"ships at sea" in now(stand_in)[CARD]


def test_types_and_hash_survive(toy_model, stand_in, tmp_path):
    model = toy_model()
    model.push_to_hub(ID, dtype="float16")
    here = model.save_pretrained(tmp_path / "here", dtype="float16")
    assert sha256(fetch(ID)) == sha256(here)


def test_loading_stays_strict(pushed):
    vision, text = toy_pair(6, 3, seed=1)
    with pytest.raises(AdapterFolderError, match="made with the vision encoder toy:vision"):
        S4ECAModel.from_pretrained(ID, vision=vision, text=text)


def test_only_the_adapters_files_travel(folder, stand_in):
    (folder / "last.ckpt").write_bytes(b"x")
    (folder / ".env").write_text("SECRET=1")
    (folder / "vision").mkdir()
    save_file({"a": torch.ones(2)}, folder / "vision" / WEIGHTS)
    (folder / "vision" / CONFIG).write_text("{}")
    (folder / "vision" / "old.bin").write_bytes(b"x")
    push(folder, ID)
    encoder = [f"vision/{WEIGHTS}", f"vision/{CONFIG}"]
    assert sorted(set(now(stand_in)) - {".gitattributes"}) == sorted([*OURS, *encoder])
    now(stand_in)["vision/evil.pkl"] = b"x"
    now(stand_in)["notes.txt"] = b"x"
    found = fetch(ID)
    assert sorted(p.relative_to(found).as_posix() for p in found.rglob("*") if p.is_file()) == sorted([*OURS, *encoder])
    for name in encoder:
        (folder / name).unlink()
    push(folder, ID)
    left = set(now(stand_in))
    assert not left & set(encoder), "what the folder no longer has is no longer on the hub"
    assert {"vision/evil.pkl", "notes.txt"} <= left, "what is not ours stays"


def test_revisions(toy_model, stand_in):
    first, second = toy_model(seed=1), toy_model(seed=2)
    first.push_to_hub(ID, revision="v1")
    sha = second.push_to_hub(ID).rpartition("/")[2]
    assert same(toy_again(ID, revision="v1"), first) and same(toy_again(ID), second)
    assert same(toy_again(ID, revision=sha), second)
    with pytest.raises(AdapterFolderError, match=f"^{ID} on the hub has no revision 'v9'.$"):
        toy_again(ID, revision="v9")
    third = toy_model(seed=4)
    third.push_to_hub(ID)
    assert same(toy_again(ID), third), "the newest, not the cached one"


def test_offline_takes_the_copy_in_the_cache(pushed, offline, stand_in):
    kept = fetch(ID)
    offline()
    assert fetch(ID) == kept and same(toy_again(ID), toy_again(pushed))
    assert fetch(ID, kept.name) == kept, "by commit, too"
    for ask in (lambda: fetch("ann/other"), lambda: fetch(ID, "v2"), lambda: look("ann/other")):
        with pytest.raises(AdapterFolderError, match=r"^HF_HUB_OFFLINE is set and .*cache holds no whole copy of ann/"):
            ask()
    with pytest.raises(AdapterFolderError, match=f"^HF_HUB_OFFLINE is set, so that {ID} cannot be pushed.$"):
        push(pushed, ID)
    assert stand_in.asked == []


def test_offline_refuses_half_a_copy(pushed, offline, tmp_path):
    look(ID)
    offline()
    with pytest.raises(AdapterFolderError, match=f"no whole copy of {ID}.$"):
        pull(ID, tmp_path / "new")
    with pytest.raises(AdapterFolderError, match=f"no whole copy of {ID}.$"):
        look(ID)


@pytest.mark.parametrize("trouble", ["gone", "down", "broken"])
def test_a_cached_copy_is_no_silent_answer(trouble, pushed, stand_in, impatient, monkeypatch):
    fetch(ID)
    if trouble == "gone":
        del stand_in.repositories[ID]
        said = f"^The hub has no model {ID}, or it is private and the token in use may not see it.$"
    elif trouble == "broken":
        stand_in.status = 500
        said = f"^The hub answered 500 when asked to read {ID}: .*out of order"
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        said = rf"^The hub at http://127.0.0.1:\d+ cannot be reached to read {ID}: .*; HF_HUB_OFFLINE=1 takes the copy"
    with pytest.raises(AdapterFolderError, match=said):
        fetch(ID)


def test_private_and_unknown_look_alike(pushed, stand_in, monkeypatch):
    stand_in.repositories[ID].private = True
    assert fetch(ID)
    for token in ("hf_bob", "hf_stranger"):
        with pytest.raises(AdapterFolderError, match=f"^The hub has no model {ID}, or it is private"):
            fetch(ID, token=token)
    monkeypatch.setenv("HF_TOKEN", "hf_bob")
    with pytest.raises(AdapterFolderError, match=f"^The hub has no model {ID}, or it is private"):
        toy_again(ID)
    assert same(toy_again(ID, token="hf_ann"), toy_again(pushed))


def test_gated(pushed, stand_in):
    stand_in.repositories[ID].gated = True
    with pytest.raises(AdapterFolderError, match=f"^{ID} is gated on the hub; ask for access at http.*/{ID} and set"):
        fetch(ID)
    with pytest.raises(AdapterFolderError, match="is gated on the hub"):
        look(ID)


@pytest.mark.parametrize("lacks", [CONFIG, WEIGHTS])
def test_a_repository_that_is_no_adapter(lacks, pushed, stand_in):
    del now(stand_in)[lacks]
    with pytest.raises(AdapterFolderError, match=f"^{ID} is no s4eca adapter: it has no {re.escape(lacks)}.$"):
        toy_again(ID)


def test_a_peft_repository_is_refused_as_such(pushed, stand_in):
    now(stand_in)[CONFIG] = json.dumps({"peft_type": "LORA"}).encode()
    with pytest.raises(AdapterFolderError, match="a peft adapter of type LORA; expected library 's4eca'"):
        toy_again(ID)


@pytest.mark.parametrize("wrong", ["ann/shi ps", "ann/sh--ips", "ann/-x", "ann/" + "x" * 100, "ships", "a/b/c"])
def test_ids_that_cannot_be(wrong, folder, stand_in):
    for ask in (lambda: push(folder, wrong), lambda: fetch(wrong)):
        with pytest.raises(AdapterFolderError, match="is no id of an adapter on the hub; it must be user/name"):
            ask()
    assert not [path for _, path in stand_in.asked if "harness" not in path]


@pytest.mark.parametrize("meant", ["./ann/ships", "/nowhere/ships", "~/ann-ships", "ships", "ann/ships/new", "runs/x"])
def test_what_looks_like_a_path_never_asks_the_hub(meant, stand_in, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(AdapterFolderError, match="is no adapter folder: it has no adapter_config.json"):
        toy_again(meant)
    with pytest.raises(AdapterFolderError, match="is no adapter folder"):
        toy_again(Path(ID))
    assert stand_in.asked == []


def test_a_local_folder_wins(toy_model, pushed, stand_in, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    local = toy_model(seed=8)
    local.save_pretrained(tmp_path / ID)
    assert same(toy_again(ID), local) and locate(ID) == Path(ID) and stand_in.asked == []
    with pytest.raises(AdapterFolderError, match=f"revision is 'v1', but {ID} is a local folder"):
        toy_again(ID, revision="v1")
    assert same(toy_again(f"hf:{ID}"), toy_again(pushed)), "hf: in front always means the hub"


def test_private_means_private(folder, stand_in):
    push(folder, "ann/secret", private=True)
    assert stand_in.repositories["ann/secret"].private
    push(folder, ID)
    count = len(stand_in.repositories[ID].commits)
    with pytest.raises(AdapterFolderError, match=f"^{ID} exists on the hub and is public; it cannot be pushed"):
        push(folder, ID, private=True)
    assert len(stand_in.repositories[ID].commits) == count


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("hf_bob", "The hub does not let the owner of this token push to ann/ships: .*rights to create"),
        ("hf_stranger", "The hub does not know the token in use, so it does not let us push to ann/ships"),
        (False, "The hub does not know the token in use, so it does not let us push to ann/ships"),
    ],
)
def test_who_may_not_push(token, said, folder, stand_in):
    with pytest.raises(AdapterFolderError, match=f"^{said}"):
        push(folder, ID, token=token)
    assert stand_in.repositories == {}


def test_nothing_leaves_that_is_no_adapter(folder, stand_in, tmp_path):
    with pytest.raises(AdapterFolderError, match="is no adapter folder"):
        push(tmp_path, ID)
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:-5])
    with pytest.raises(AdapterFolderError, match="is damaged"):
        push(folder, ID)
    (folder / WEIGHTS).write_bytes(whole)
    (folder / CARD).write_text("---\nlicense: other (for research only)\n---\n")
    with pytest.raises(AdapterFolderError, match="has license 'other .*no identifier that the hub knows; s4eca"):
        push(folder, ID)
    (folder / CARD).write_text("---\nlicense: [\n---\n")
    with pytest.raises(AdapterFolderError, match="has a head that cannot be read"):
        push(folder, ID)
    assert stand_in.repositories == {}


def test_a_folder_without_a_card_gets_one_on_the_hub(folder, stand_in):
    (folder / CARD).unlink()
    push(folder, ID)
    assert b"# ships" in now(stand_in)[CARD] and not (folder / CARD).exists()


def test_pushing_the_same_again_is_harmless(pushed, stand_in):
    before = now(stand_in)
    push(pushed, ID)
    assert now(stand_in) == before


def test_pull_writes_a_folder_of_its_own(pushed, stand_in, tmp_path):
    target = pull(ID, tmp_path / "deep" / "new")
    assert sha256(target) == sha256(pushed) and sorted(p.name for p in target.iterdir()) == OURS
    assert not any(path.is_symlink() for path in target.iterdir())
    assert same(toy_again(target), toy_again(pushed))
    stand_in.asked.clear()
    with pytest.raises(AdapterFolderError, match="exists; name a folder that does not"):
        pull(ID, target)
    assert stand_in.asked == []


def test_a_connection_that_breaks_leaves_no_half_folder(pushed, stand_in, impatient, tmp_path):
    assert (pushed / WEIGHTS).stat().st_size > 20 * stand_in.cut_after
    stand_in.cuts = 1000
    for ask in (lambda: pull(ID, tmp_path / "new"), lambda: toy_again(ID)):
        with pytest.raises(AdapterFolderError, match=f"^The hub at .* cannot be reached to read {ID}: "):
            ask()
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob(".new*"))
    stand_in.cuts = 0
    assert sha256(pull(ID, tmp_path / "new")) == sha256(pushed)


def test_a_cut_that_heals_can_be_tried_again(pushed, stand_in, impatient):
    stand_in.cuts = 1
    with contextlib.suppress(AdapterFolderError):  # older releases of the library do not try again by themselves
        fetch(ID)
    assert sha256(fetch(ID)) == sha256(pushed) and stand_in.cuts == 0


def test_half_a_download_is_no_copy_offline(pushed, stand_in, offline, impatient):
    stand_in.cuts = 1000
    with pytest.raises(AdapterFolderError):
        fetch(ID)
    offline()
    with pytest.raises(AdapterFolderError, match=f"no whole copy of {ID}.$"):
        fetch(ID)


@pytest.mark.parametrize(("name", "said"), [(WEIGHTS, "is damaged"), (CONFIG, "cannot be read as JSON")])
def test_damage_on_the_hub_makes_no_folder(name, said, pushed, stand_in, tmp_path):
    now(stand_in)[name] = now(stand_in)[name][:-9]
    with pytest.raises(AdapterFolderError, match=said):
        pull(ID, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_full_disk_makes_no_folder(pushed, tmp_path, monkeypatch):
    fetch(ID)

    def copyfile(*what):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("s4eca.saved.hub.shutil.copyfile", copyfile)
    with pytest.raises(AdapterFolderError, match="new cannot be written: No space left on device"):
        pull(ID, tmp_path / "new")
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob(".new*"))


def test_a_look_reads_the_header_of_the_weights_alone(toy_model, stand_in):
    model = toy_model(width=160, decoder_width=64)
    model.push_to_hub(ID)
    size = len(now(stand_in)[WEIGHTS])
    seen = look(ID)
    assert stand_in.sent < size / 3 and not (seen.folder / WEIGHTS).exists()
    assert seen.tensors == {k: v.numel() for k, v in trainable_state(model).items()}
    assert seen.commit == stand_in.repositories[ID].branches["main"] and seen.sha256 is None
    folder = fetch(ID)
    again = look(ID)
    assert again.sha256 == sha256(folder) and again.tensors == tensor_table(folder / WEIGHTS) == seen.tensors


def test_a_local_folder_needs_no_network(folder, no_network, monkeypatch):
    assert isinstance(socket.gethostname(), str) and same(toy_again(folder), toy_again(str(folder)))

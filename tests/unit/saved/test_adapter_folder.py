"""A saved adapter comes back as it was, or is refused by the name of what does not fit."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from s4eca.encoders.hf import load_text, load_vision
from s4eca.encoders.toy import toy_pair
from s4eca.errors import AdapterFolderError, S4ECAError
from s4eca.layers.trainable import trainable_state
from s4eca.model.model import S4ECAModel
from s4eca.saved.folder import CARD, CONFIG, WEIGHTS, Card, fill, read_config, save, sha256, tensor_table

SAID = ["the red roof", "field"]


@pytest.fixture
def model(toy_model):
    model = toy_model(decoder_detail=4, seed=3)
    with torch.no_grad():
        for tensor in trainable_state(model).values():
            tensor.add_(0.05 * torch.randn_like(tensor))
    return model.eval()


@pytest.fixture
def folder(model, tmp_path):
    return save(model, tmp_path / "adapter", Card(name="small", scores={"val native mIoU": 0.25}))


def again(folder, **pair):
    """Load with the toy pair, which no identifier names."""
    vision, text = toy_pair(6, 3)
    return S4ECAModel.from_pretrained(folder, **{"vision": vision, "text": text, **pair})


def rewrite(folder, change):
    """Change the note in place."""
    path = folder / CONFIG
    note = json.loads(path.read_text())
    change(note)
    path.write_text(json.dumps(note))


def test_float32_comes_back_exactly(model, folder):
    back = again(folder)
    own, found = trainable_state(model), trainable_state(back)
    assert own.keys() == found.keys() and all(torch.equal(own[k], found[k]) for k in own)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(pixels, SAID), back(pixels, SAID))
    assert back.config == model.config and not back.training


@pytest.mark.parametrize(("dtype", "size"), [("float16", 2), ("bfloat16", 2), ("float32", 4)])
def test_types_of_the_file(dtype, size, model, tmp_path):
    path = save(model, tmp_path / dtype, dtype=dtype)
    tensors = load_file(path / WEIGHTS)
    assert {str(t.dtype) for t in tensors.values()} == {f"torch.{dtype}"}
    back = again(path)
    assert all(p.dtype == torch.float32 for p in back.parameters())
    own = trainable_state(model)
    assert all(torch.equal(v, own[k].to(getattr(torch, dtype)).float()) for k, v in trainable_state(back).items())
    assert sum(t.numel() for t in tensors.values()) * size < (path / WEIGHTS).stat().st_size


def test_what_lies_in_the_folder(model, folder):
    assert sorted(p.name for p in folder.iterdir()) == sorted([WEIGHTS, CONFIG, CARD])
    assert set(load_file(folder / WEIGHTS)) == set(trainable_state(model)), "adapter and decoder, nothing frozen"
    note, card = read_config(folder), (folder / CARD).read_text()
    for part, encoder in (("vision", model.vision), ("text", model.text)):
        assert note["encoders"][part]["sha256"] == encoder.fingerprint
        assert encoder.fingerprint in card
    assert "| val native mIoU | 25.00 |" in card and "reconstruction" in card
    assert tensor_table(folder / WEIGHTS) == {k: v.numel() for k, v in trainable_state(model).items()}


def test_from_the_hubs_format(hub, toy_model, tmp_path):
    pair = load_vision(str(hub("dinov2"))), load_text(str(hub("bert")))
    model = toy_model(pair=pair, image_size=28).eval()
    path = model.save_pretrained(tmp_path / "adapter")
    back = type(model).from_pretrained(path)
    pixels = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        assert torch.equal(model(pixels, SAID[:1]), back(pixels, SAID[:1]))
    moved = shutil.copytree(hub("dinov2"), tmp_path / "moved")
    assert type(model).from_pretrained(path, vision=str(moved)).config.vision == str(moved)
    with pytest.raises(AdapterFolderError, match="with the vision encoder .*dinov2 .*dinov2-registers has weights"):
        S4ECAModel.from_pretrained(path, vision=str(hub("dinov2-registers")))


def test_other_weights_of_an_encoder_are_refused(folder):
    vision, text = toy_pair(6, 3, seed=1)
    with pytest.raises(AdapterFolderError, match=r"made with the vision encoder toy:vision \(weights \w{12}"):
        again(folder, vision=vision)
    with pytest.raises(AdapterFolderError, match="made with the text encoder toy:text"):
        again(folder, text=text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size", 64),
        ("interpolation", "nearest"),
        ("position_interpolation", "none"),
        ("mean", [0, 0, 0]),
        ("std", [1, 1, 1]),
    ],
)
def test_other_preprocessing_is_refused(key, value, folder):
    rewrite(folder, lambda note: note["preprocessing"].update({key: value}))
    with pytest.raises(AdapterFolderError, match=f"preprocessing {key} = {re.escape(repr(value))}, here it is"):
        again(folder)


def retensor(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("adapter.queries"), "lacks the tensor adapter.queries"),
        (lambda t: t.pop("decoder.kernel.bias"), "lacks the tensor decoder.kernel.bias"),
        (lambda t: t.update(extra=torch.zeros(1)), "unknown tensor extra"),
        (lambda t: t.update({"vision.body.norm.bias": torch.zeros(16)}), "unknown tensor vision.body.norm.bias"),
        (lambda t: t.update({"adapter.queries": torch.zeros(4, 9)}), r"queries of shape \(4, 9\); expected \(4, 8\)"),
    ],
)
def test_tensors_must_be_exactly_those_expected(change, named, folder):
    retensor(folder, change)
    with pytest.raises(AdapterFolderError, match=named):
        again(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda n: n["config"].update(widht=8), "unknown key 'widht'; did you mean 'width'"),
        (lambda n: n["config"].update(width=0), "width is 0"),
        (lambda n: n["config"].update(method="s4ec"), "method is 's4ec'; did you mean 's4eca'"),
        (lambda n: n.update(extra=1), "unknown key extra"),
        (lambda n: n.pop("preprocessing"), "lacks the key preprocessing"),
        (lambda n: n["card"].update(stars=5), "unknown key card.stars"),
        (lambda n: n["preprocessing"].update(gamma=2), "unknown key preprocessing.gamma"),
        (lambda n: n["preprocessing"].pop("mean"), "preprocessing.* mean|mean"),
        (lambda n: n["encoders"].pop("text"), "text"),
        (lambda n: n.update(format_version=2), "format_version 2; this version of s4eca reads 1"),
        (lambda n: n.update(library="other"), "library 'other'; expected library 's4eca'"),
    ],
)
def test_the_note_is_read_strictly(change, named, folder):
    rewrite(folder, change)
    with pytest.raises(S4ECAError, match=named):
        again(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\x00", b'{"library": "s4eca"}'])
def test_a_damaged_note_is_refused(content, folder):
    (folder / CONFIG).write_bytes(content)
    with pytest.raises(AdapterFolderError, match=CONFIG):
        again(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, -10])
def test_damaged_weights_are_refused(keep, folder):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    for read in (lambda: again(folder), lambda: tensor_table(path)):
        with pytest.raises(AdapterFolderError, match=f"{WEIGHTS} is damaged"):
            read()


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(AdapterFolderError, match="no adapter folder: it has no adapter_config.json"):
        S4ECAModel.from_pretrained(tmp_path / "nowhere")
    (folder / WEIGHTS).unlink()
    with pytest.raises(AdapterFolderError, match=f"{WEIGHTS} does not exist; the adapter folder is incomplete"):
        again(folder)
    with pytest.raises(AdapterFolderError, match=WEIGHTS):
        sha256(folder)


def test_a_folder_of_peft_is_refused_as_such(tmp_path):
    from peft import LoraConfig, get_peft_model

    inner = torch.nn.Sequential(torch.nn.Linear(4, 4))
    get_peft_model(inner, LoraConfig(target_modules=["0"])).save_pretrained(tmp_path / "lora")
    with pytest.raises(AdapterFolderError, match="a peft adapter of type LORA; expected library 's4eca'"):
        S4ECAModel.from_pretrained(tmp_path / "lora")


def test_no_pickle_is_in_the_path(folder, model, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pickle was used")

    for holder, name in (
        (torch, "load"),
        (torch, "save"),
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (pickle, "dumps"),
    ):
        monkeypatch.setattr(holder, name, refuse)
    again(folder)
    save(model, tmp_path / "second")


def test_a_pickle_under_the_weights_name_is_not_run(folder, tmp_path):
    class Touch:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (folder / WEIGHTS).write_bytes(pickle.dumps(Touch()))
    with pytest.raises(AdapterFolderError, match="is damaged"):
        again(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_full_disk_leaves_the_old_files_whole(fails_at, folder, toy_model, monkeypatch):
    """Weights, note and card are each written aside; a file that could not be written keeps its old content."""
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    calls = []
    real = os.replace

    def replace(source, target):
        calls.append(target)
        if len(calls) == fails_at:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(AdapterFolderError, match="cannot be written: No space left on device"):
        save(toy_model(decoder_detail=4, seed=9), folder)
    assert sorted(p.name for p in folder.iterdir()) == sorted(before)
    assert (folder / [WEIGHTS, CONFIG, CARD][fails_at - 1]).read_bytes() in before.values()


def test_a_full_disk_leaves_no_new_folder_that_loads(model, tmp_path, monkeypatch):
    def fsync(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(AdapterFolderError, match="No space left on device"):
        save(model, tmp_path / "new")
    assert not list((tmp_path / "new").glob("*"))


def test_a_place_that_is_a_file_is_refused(model, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(AdapterFolderError, match="cannot be written"):
        save(model, tmp_path / "file")
    with pytest.raises(AdapterFolderError, match="dtype is 'int8'; it must be one of float32"):
        save(model, tmp_path / "other", dtype="int8")


def test_the_hash_is_of_weights_and_note(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert sha256(copy) == sha256(folder)
    (copy / CARD).write_text("other words")
    assert sha256(copy) == sha256(folder)
    retensor(copy, lambda t: t["adapter.queries"].add_(1e-3))
    assert sha256(copy) != sha256(folder)


# What stands for a method with batch norm: a count and a boolean beside its weights.
COUNTED = 70_001


def with_buffers(model):
    model.adapter.register_buffer("seen", torch.tensor(COUNTED))
    model.adapter.register_buffer("used", torch.tensor([True, False]))
    return model


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_whole_numbers_keep_their_type(dtype, toy_model, tmp_path):
    tensors = load_file(save(with_buffers(toy_model(seed=3)), tmp_path / "a", dtype=dtype) / WEIGHTS)
    assert tensors["adapter.seen"].dtype == torch.int64 and tensors["adapter.seen"] == COUNTED
    assert tensors["adapter.used"].dtype == torch.bool
    assert {t.dtype for name, t in tensors.items() if name not in ("adapter.seen", "adapter.used")} == {
        getattr(torch, dtype)
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [0, 220, 70_001])
def test_whole_numbers_written_as_fractions_load(dtype, count, toy_model, tmp_path):
    """As versions before 0.2 wrote them; what their type could not hold is its largest number, and said."""
    folder = save(with_buffers(toy_model(seed=3)), tmp_path / "a")
    written = torch.tensor(count).to(dtype)
    retensor(folder, lambda t: t.update({"adapter.seen": written, "adapter.used": t["adapter.used"].to(dtype)}))
    model = with_buffers(toy_model(seed=4))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fill(folder / WEIGHTS, model, load_file(folder / WEIGHTS))
    fits = bool(written.isfinite())
    assert model.adapter.seen.dtype == torch.int64 and model.adapter.used.tolist() == [True, False]
    assert int(model.adapter.seen) == (int(written) if fits else 65504)
    assert ["adapter.seen" in str(warning.message) for warning in said] == ([] if fits else [True])


@pytest.mark.parametrize("method", ["detris", "etris"])
def test_the_count_of_batch_norm_comes_back(method, toy_model, tmp_path):
    model = toy_model(method=method)
    counts = [m.num_batches_tracked for m in model.adapter.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert counts
    for count in counts:
        count.fill_(COUNTED)
    model.save_pretrained(tmp_path / "a", dtype="float16")
    other = toy_model(method=method)
    fill(tmp_path / "a" / WEIGHTS, other, load_file(tmp_path / "a" / WEIGHTS))
    assert all(m.num_batches_tracked == COUNTED for m in other.adapter.modules() if isinstance(m, torch.nn.BatchNorm1d))

"""Where timm weights may come from, and what is refused: each in one sentence that names it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_timm
import torch
from safetensors.torch import load_file, save_file

from s4eca.encoders import meta
from s4eca.errors import EncoderError, S4ECAError
from s4eca.registry import load_text_encoder, load_vision_encoder


@pytest.fixture
def broken(timm, tmp_path):
    """A copy of a tiny checkpoint, free to be damaged."""

    def copy(name="timm-dinov2"):
        return Path(shutil.copytree(timm(name).removeprefix("timm:"), tmp_path / "copy"))

    return copy


@pytest.fixture
def swapped(monkeypatch):
    """Makes timm build the tiny network where its list has a large one, so that names can be tried."""
    import timm

    build = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: build(*a, **{**tiny_timm.MODELS["timm-dinov2"][1], **k}))


def test_one_file_beside_a_named_architecture(swapped, timm, tmp_path, no_network):
    settings = tiny_timm.model("timm-dinov2", img_size=518).state_dict()
    for file, save in (("w.safetensors", save_file), ("w.pth", torch.save)):
        save(settings, tmp_path / file)
    found = [load_vision_encoder(f"timm:vit_small_patch14_dinov2@{tmp_path / f}") for f in ("w.safetensors", "w.pth")]
    assert found[0].fingerprint == found[1].fingerprint
    assert torch.equal(found[0].backbone.pos_embed, settings["pos_embed"])
    assert found[0].spec.mean == (0.485, 0.456, 0.406), "of the architecture's default weights"


def test_files_in_the_authors_layout_are_read_as_timm_reads_them(swapped, tmp_path):
    """DINOv2's own files have a mask token, which timm leaves out."""
    state = tiny_timm.model("timm-dinov2", classes=0, img_size=518).state_dict()
    ours = dict(state)
    torch.save({**state, "mask_token": torch.zeros(1, 24)}, tmp_path / "w.pth")
    found = load_vision_encoder(f"timm:vit_small_patch14_dinov2@{tmp_path / 'w.pth'}")
    assert torch.equal(found.backbone.blocks[3].attn.qkv.weight, ours["blocks.3.attn.qkv.weight"])


@pytest.mark.parametrize("name", ["timm-dinov3", "timm-swin", "timm-vit-avg"])
def test_a_local_folder_never_touches_the_network(timm, name, no_network):
    assert load_vision_encoder(timm(name)).spec.blocks == 6


def test_the_fingerprint_is_of_the_weights_not_of_the_file(broken, timm):
    folder = broken()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert load_vision_encoder(f"timm:{folder}").fingerprint == load_vision_encoder(timm("timm-dinov2")).fingerprint


class Trick:
    def __reduce__(self):
        return (Path, ("run",))


def test_a_pickle_that_holds_more_than_tensors_is_not_opened(broken):
    folder = broken()
    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": {}, "trick": Trick()}, folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"pytorch_model.bin is a pickle that holds more than tensors"):
        load_vision_encoder(f"timm:{folder}")


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (lambda s: s.pop("norm.weight"), "lacks 1 tensors of VisionTransformer, first norm.weight"),
        (lambda s: s.pop("reg_token", None) or s.pop("cls_token"), "lacks 1 tensors .*first cls_token"),
        (lambda s: s.update({"extra": torch.zeros(1)}), "holds 1 tensors .*first extra"),
        (lambda s: s.update({"norm.weight": torch.zeros(7)}), r"norm.weight of shape \(7,\) where the model needs"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(broken, edit, part):
    path = broken() / "model.safetensors"
    state = load_file(path)
    edit(state)
    save_file(state, path)
    with pytest.raises(EncoderError, match=part):
        load_vision_encoder(f"timm:{path.parent}")


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda f: (f / "config.json").unlink(), r"holds no config.json; pass a directory saved by timm"),
        (lambda f: (f / "config.json").write_text("{"), "does not describe a timm model"),
        (lambda f: (f / "config.json").write_text("{}"), "does not describe a timm model: 'architecture'"),
        (lambda f: (f / "model.safetensors").unlink(), "holds no weights; one of model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 9), "cannot be read as safetensors"),
    ],
)
def test_damaged_folders_are_named(broken, damage, part):
    folder = broken()
    damage(folder)
    with pytest.raises(EncoderError, match=part):
        load_vision_encoder(f"timm:{folder}")


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (lambda c: c.update(architecture="resnet50"), "is resnet50, of none of timm's vision_transformer, eva"),
        (lambda c: c.update(architecture="vit_unheard_of"), "'vit_unheard_of', no model of timm"),
        (lambda c: c["model_args"].update(depht=3), "settings of .* do not fit vit_small_patch14_dinov2.*depht"),
    ],
)
def test_configurations_that_cannot_be_built_are_named(broken, edit, part):
    folder = broken()
    values = json.loads((folder / "config.json").read_text())
    edit(values)
    (folder / "config.json").write_text(json.dumps(values))
    for ask in (load_vision_encoder, meta.vision_spec):
        with pytest.raises(EncoderError, match=part):
            ask(f"timm:{folder}")


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("timm:vit_base_patch14_dinov22", "no model of timm; did you mean vit_base_patch14_dinov2"),
        ("timm:vit_base_patch14_dinov2.sat", "timm knows no weights vit_base_patch14_dinov2.sat; known: .*lvd142m"),
        ("timm:vit_base_patch14_dinov2.sat@/some/file.pt", "timm knows no weights"),
        ("timm:resnet50", "is resnet50, of none of timm's"),
        ("timm:/no/such/folder", "directory /no/such/folder does not exist"),
        ("timm:vit_base_patch14_dinov2@/no/such/file.pt", "/no/such/file.pt does not exist"),
    ],
)
def test_identifiers_that_lead_nowhere_say_what_is_known(source, part, no_network, swapped):
    with pytest.raises(EncoderError, match=part):
        load_vision_encoder(source)


@pytest.mark.parametrize("source", ["timm:vit_small_patch14_dinov2.lvd142m", "timm:hf-hub:someone/tiny"])
def test_offline_is_honoured_and_says_what_to_pass(source, monkeypatch, swapped):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="Cannot get .*Without a network pass a local directory or file"):
        load_vision_encoder(source)


@pytest.mark.parametrize("name", ["timm-dinov2", "timm-swinv2"])
def test_the_hubs_cache_is_enough(broken, name, tmp_path, monkeypatch, timm):
    """A checkpoint that was downloaded before is found without a network, by spec and by loader."""
    from huggingface_hub import constants

    folder = broken(name)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    cache = tmp_path / "models--someone--tiny"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("abc")
    (cache / "snapshots").mkdir()
    folder.rename(cache / "snapshots" / "abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    vision = load_vision_encoder("timm:hf-hub:someone/tiny")
    assert vision.fingerprint == load_vision_encoder(timm(name)).fingerprint
    assert meta.vision_spec(vision.spec.source) == vision.spec
    with pytest.raises(EncoderError, match="neither a known encoder nor in the hub's cache"):
        meta.vision_spec("timm:hf-hub:someone/other")


def test_timm_has_no_text_encoders():
    with pytest.raises(S4ECAError, match="'timm', which is no source of text encoders; known: hf, open"):
        load_text_encoder("timm:vit_base_patch14_dinov2")
    with pytest.raises(EncoderError, match="'timm', which is no source of text encoders"):
        meta.text_spec("timm:vit_base_patch14_dinov2")

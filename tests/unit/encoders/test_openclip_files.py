"""Where open_clip weights may come from, and what is refused: each in one sentence that names it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import tiny_openclip
import torch
from safetensors.torch import load_file, save_file

from s4eca.encoders import meta
from s4eca.errors import EncoderError
from s4eca.registry import load_text_encoder, load_vision_encoder


@pytest.fixture
def broken(openclip, tmp_path):
    """A copy of a tiny checkpoint, free to be damaged."""

    def copy(name="openclip"):
        return Path(shutil.copytree(openclip(name).removeprefix("openclip:"), tmp_path / "copy"))

    return copy


@pytest.fixture
def named(tmp_path):
    """Makes a tiny architecture known to open_clip by name, as ViT-B-32 is, and gives a plain file of its weights."""
    places = open_clip.factory._MODEL_CONFIG_PATHS, open_clip.factory._MODEL_CONFIGS
    kept = [type(place)(place) for place in places]
    settings = tmp_path / "tiny-ViT.json"
    settings.write_text(json.dumps(tiny_openclip.config("openclip")))
    open_clip.add_model_config(settings)
    file = tmp_path / "Remote-tiny.pt"
    torch.save(tiny_openclip.model("openclip").state_dict(), file)
    yield file
    open_clip.factory._MODEL_CONFIG_PATHS, open_clip.factory._MODEL_CONFIGS = kept


def change(folder, edit):
    """Edit the configuration of a folder in place."""
    path = folder / "open_clip_config.json"
    values = json.loads(path.read_text())
    edit(values["model_cfg"])
    path.write_text(json.dumps(values))


def both(source):
    return load_vision_encoder(source), load_text_encoder(source)


def test_a_plain_state_dict_beside_a_named_architecture(named, openclip, no_network):
    """RemoteCLIP and GeoRSCLIP are published in this way."""
    source = f"openclip:tiny-ViT@{named}"
    vision, text = both(source)
    folder = both(openclip("openclip"))
    assert (vision.fingerprint, text.fingerprint) == tuple(encoder.fingerprint for encoder in folder)
    assert vision.spec.source == text.spec.source == source
    assert vision.spec.mean == open_clip.OPENAI_DATASET_MEAN and vision.spec.std == open_clip.OPENAI_DATASET_STD
    assert meta.vision_spec(source) == vision.spec and meta.text_spec(source) == text.spec


@pytest.mark.parametrize(
    "wrap", [lambda s: {"state_dict": s, "epoch": 3}, lambda s: {f"module.{k}": v for k, v in s.items()}]
)
def test_files_of_training_scripts_are_unpacked(named, openclip, wrap):
    torch.save(wrap(torch.load(named, weights_only=True)), named)
    assert (
        load_vision_encoder(f"openclip:tiny-ViT@{named}").fingerprint
        == load_vision_encoder(openclip("openclip")).fingerprint
    )


def test_half_precision_weights_are_widened(named):
    state = torch.load(named, weights_only=True)
    torch.save({name: t.half() if t.is_floating_point() else t for name, t in state.items()}, named)
    assert {p.dtype for e in both(f"openclip:tiny-ViT@{named}") for p in e.parameters()} == {torch.float32}


def test_pickled_weights_of_a_folder_are_read_where_there_are_no_others(broken, openclip):
    folder = broken()
    state = load_file(folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").unlink()
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    found = load_text_encoder(f"openclip:{folder}")
    assert found.fingerprint == load_text_encoder(openclip("openclip")).fingerprint


def test_a_local_folder_never_touches_the_network(openclip, no_network):
    vision, text = both(openclip("openclip-custom"))
    assert text.tokenize(["the red roof"], 8).ids.shape == (1, 5) and vision.spec.blocks == 6


class Trick:
    def __reduce__(self):
        return (Path, ("run",))


def test_a_pickle_that_holds_more_than_tensors_is_not_opened(named):
    torch.save({"state_dict": {}, "trick": Trick()}, named)
    with pytest.raises(EncoderError, match=r"Remote-tiny.pt is a pickle that holds more than tensors"):
        load_vision_encoder(f"openclip:tiny-ViT@{named}")


@pytest.mark.parametrize(
    ("write", "part"),
    [
        (lambda p: p.write_bytes(b"nothing"), "Remote-tiny.pt"),
        (lambda p: p.write_bytes(p.read_bytes()[:-2000]), "Remote-tiny.pt cannot be read"),
        (lambda p: torch.save([1, 2], p), "holds a list where the state dict"),
        (lambda p: torch.save({"epoch": 3}, p), "holds no tensors"),
        (lambda p: p.unlink(), "Remote-tiny.pt does not exist"),
    ],
)
def test_damaged_files_are_named(named, write, part):
    write(named)
    with pytest.raises(EncoderError, match=part):
        load_vision_encoder(f"openclip:tiny-ViT@{named}")


@pytest.mark.parametrize(
    ("edit", "load", "part"),
    [
        (lambda s: s.pop("visual.ln_post.weight"), load_vision_encoder, "lacks 1 tensors .*first ln_post.weight"),
        (lambda s: s.pop("ln_final.bias"), load_text_encoder, "lacks 1 tensors of TextBackbone, first ln_final.bias"),
        (lambda s: s.update({"visual.extra": torch.zeros(1)}), load_vision_encoder, "holds 1 tensors .*first extra"),
        (lambda s: s.update({"extra": torch.zeros(1)}), load_text_encoder, "holds 1 tensors .*first extra"),
        (
            lambda s: s.update({"visual.positional_embedding": torch.zeros(17, 32)}),
            load_vision_encoder,
            r"positional_embedding of shape \(17, 32\) where the model needs \(50, 32\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(broken, edit, load, part):
    path = broken() / "open_clip_model.safetensors"
    state = load_file(path)
    edit(state)
    save_file(state, path)
    with pytest.raises(EncoderError, match=part):
        load(f"openclip:{path.parent}")


def test_the_other_encoder_may_be_damaged_or_missing(broken):
    path = broken() / "open_clip_model.safetensors"
    save_file({n: t for n, t in load_file(path).items() if n.startswith("visual.")}, path)
    assert load_vision_encoder(f"openclip:{path.parent}").spec.blocks == 6
    with pytest.raises(EncoderError, match="lacks"):
        load_text_encoder(f"openclip:{path.parent}")


@pytest.mark.parametrize(
    ("edit", "load", "part"),
    [
        (lambda c: c["vision_cfg"].update(layers=[1, 1, 1, 1]), load_vision_encoder, "a ResNet; only open_clip's own"),
        (lambda c: c["vision_cfg"].update(timm_model_name="vit_x"), load_vision_encoder, "is vit_x; only open_clip"),
        (lambda c: c["vision_cfg"].update(attentional_pool=True), load_vision_encoder, "pools by attention"),
        (lambda c: c["vision_cfg"].update(depth=3), load_vision_encoder, "does not describe an open_clip model"),
        (lambda c: c.pop("vision_cfg"), load_vision_encoder, "is missing"),
        (lambda c: c["text_cfg"].update(no_causal_mask=True), load_text_encoder, "SigLIP.*google/siglip-base"),
        (lambda c: c["text_cfg"].update(pool_type="last"), load_text_encoder, "pooling 'last'"),
        (lambda c: c["text_cfg"].update(embed_cls=True), load_text_encoder, "does not read causally"),
        (lambda c: c["text_cfg"].update(hf_model_name="roberta-base"), load_text_encoder, "is roberta-base; load"),
        (lambda c: c["text_cfg"].update(vocab_size=300), load_text_encoder, "49408 entries.* the model has 300"),
    ],
)
def test_encoders_that_cannot_be_stepped_through_are_refused(broken, edit, load, part, no_network):
    folder = broken()
    change(folder, edit)
    with pytest.raises(EncoderError, match=part):
        load(f"openclip:{folder}")


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("openclip:ViT-B-32", "names an architecture without weights; write openclip:ViT-B-32@FILE"),
        ("openclip:/no/such/folder", "neither a directory nor an architecture"),
        ("openclip:ViT-B-33@/some/file.pt", "'ViT-B-33', no architecture of open_clip; did you mean ViT-B-32"),
        ("openclip:ViT-B-32@/no/such/file.pt", "/no/such/file.pt does not exist"),
        ("openclip:ViT-B-32@openai", "trained with QuickGELU; write openclip:ViT-B-32-quickgelu@openai"),
        ("openclip:ViT-B-32-quickgelu@laion2b_s34b_b79k", "is neither a file nor a tag of open_clip; its tags: openai"),
        ("openclip:ViT-B-32@hf-hub:someone/repository", "names no file on the hub"),
    ],
)
def test_identifiers_that_lead_nowhere_say_what_to_write(source, part, no_network):
    with pytest.raises(EncoderError, match=part):
        load_vision_encoder(source)


@pytest.mark.parametrize(
    "source",
    ["openclip:hf-hub:someone/tiny", "openclip:ViT-B-32@laion2b_s34b_b79k", "openclip:ViT-B-32@hf-hub:a/b/c/d.pt"],
)
def test_offline_is_honoured_and_says_what_to_pass(source, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="Cannot get .*Without a network pass a local directory or file"):
        load_vision_encoder(source)


def test_the_hubs_cache_is_enough(broken, tmp_path, monkeypatch, openclip):
    """A checkpoint that was downloaded before is found without a network, by spec and by loader."""
    from huggingface_hub import constants

    folder = broken()
    cache = tmp_path / "models--someone--tiny"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("abc")
    (cache / "snapshots").mkdir()
    folder.rename(cache / "snapshots" / "abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    vision, text = both("openclip:hf-hub:someone/tiny")
    assert vision.fingerprint == load_vision_encoder(openclip("openclip")).fingerprint
    assert meta.vision_spec(vision.spec.source) == vision.spec and meta.text_spec(text.spec.source) == text.spec
    with pytest.raises(EncoderError, match="neither a known encoder nor in the hub's cache"):
        meta.vision_spec("openclip:hf-hub:someone/other")


def test_a_tokenizer_of_transformers_is_read_from_the_folder(broken, no_network):
    from tiny_text import clip_vocabulary
    from transformers import CLIPTokenizer

    folder = broken()
    vocabulary = clip_vocabulary()
    settings = tiny_openclip.config("openclip")
    settings["text_cfg"] |= {"vocab_size": len(vocabulary), "hf_tokenizer_name": "someone/elsewhere"}
    change(folder, lambda c: c.update(settings))
    with torch.random.fork_rng(devices=[]):
        save_file(
            {n: t.contiguous() for n, t in open_clip.CLIP(**_plain(settings)).state_dict().items()},
            folder / "open_clip_model.safetensors",
        )
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    text = load_text_encoder(f"openclip:{folder}")
    batch = text.tokenize(["red", "a"], 12)
    end = vocabulary["<|endoftext|>"]
    assert text.end == end and batch.mask.sum(1).tolist() == [5, 3]
    assert (batch.ids.gather(1, batch.mask.sum(1)[:, None] - 1) == end).all()


def _plain(settings):
    return {key: value for key, value in settings.items() if key != "custom_text"}


@pytest.fixture
def plain(named, tmp_path):
    """A folder of plain files of the tiny architecture, by their names."""

    def folder(*names):
        place = tmp_path / "plain"
        for name in names:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(named, place / name)
        return place

    return folder


@pytest.mark.parametrize("name", ["Remote-tiny-ViT.pt", "ckpt/RS5M_tiny-ViT.pt", "tiny-ViT.pth"])
def test_a_folder_of_one_plain_file_says_its_architecture_by_the_files_name(plain, named, name, no_network):
    source = f"openclip:{plain(name)}"
    vision, text = both(source)
    wanted = both(f"openclip:tiny-ViT@{named}")
    assert [e.fingerprint for e in (vision, text)] == [e.fingerprint for e in wanted]
    assert vision.spec.source == text.spec.source == source and vision.behaviour == wanted[0].behaviour
    assert meta.vision_spec(source) == vision.spec and meta.text_spec(source) == text.spec


def test_folders_that_do_not_say_what_they_hold_list_what_to_write(plain, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(
        EncoderError, match="none holds neither open_clip_config.json nor a checkpoint; pass openclip:A"
    ):
        load_vision_encoder(f"openclip:{tmp_path / 'none'}")
    folder = plain("weights.pt")
    with pytest.raises(EncoderError, match=r"weights.pt, whose name .*; write openclip:ARCHITECTURE@.*/weights.pt\."):
        load_vision_encoder(f"openclip:{folder}")
    plain("Remote-tiny-ViT.pt")
    with pytest.raises(
        EncoderError, match=r"2 checkpoints; write openclip:tiny-ViT@.*Remote-tiny-ViT.pt or openclip:A"
    ):
        load_vision_encoder(f"openclip:{folder}")


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("RemoteCLIP-ViT-B-32.pt", ["ViT-B-32"]),
        ("RemoteCLIP-ViT-L-14.pt", ["ViT-L-14"]),
        ("RS5M_ViT-B-32.pt", ["ViT-B-32-quickgelu"]),
        ("mine-ViT-B-32.pt", ["ViT-B-32", "ViT-B-32-quickgelu"]),
        ("mine-ViT-B-32-quickgelu.pt", ["ViT-B-32-quickgelu"]),
        ("mine_ViT-B-16-plus-240.safetensors", ["ViT-B-16-plus-240"]),
        ("mine.pt", []),
    ],
)
def test_what_a_files_name_says(file, names):
    """Weights trained with and without QuickGELU look the same: a name that leaves it open is no answer."""
    from s4eca.encoders.openclip_plain import architectures

    assert architectures(file) == names


def test_known_repositories_of_plain_files(no_network, monkeypatch):
    from s4eca.encoders.openclip_files import Checkpoint

    remote = "hf-hub:chendelong/RemoteCLIP"
    with pytest.raises(
        EncoderError, match=f"write openclip:ViT-B-32@{remote}/RemoteCLIP-ViT-B-32.pt or openclip:ViT-L"
    ):
        load_vision_encoder(f"openclip:{remote}")
    source = "openclip:hf-hub:Zilun/GeoRSCLIP"
    known = Checkpoint.of(source)
    assert known.source == source and known.config()["quick_gelu"]
    assert meta.vision_spec(source).widths == (768,) * 12


def test_other_repositories_of_plain_files_say_what_to_write(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="opens as openclip:ARCHITECTURE@hf-hub:someone/files/FILE"):
        load_vision_encoder("openclip:hf-hub:someone/files")

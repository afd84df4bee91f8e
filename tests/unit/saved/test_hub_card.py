"""The head of a card is what the hub's library reads as metadata, whatever the free text holds."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from s4eca.encoders import catalog
from s4eca.errors import AdapterFolderError
from s4eca.registry import METHODS
from s4eca.saved.card import LICENCES, hub_id, licence_fields, metadata, write_card
from s4eca.saved.folder import CARD, CONFIG, Card, read_config, save, sha256

ROOT = Path(__file__).parents[3]
COUNTS = {
    "adapters": 3_600_000,
    "decoder": 1_000_000,
    "trainable": 4_600_000,
    "frozen_vision": 86_583_552,
    "frozen_text": 63_165_952,
    "ratio_backbone": 0.024,
    "ratio_with_decoder": 0.0307,
    "r": 160,
}
PAIR = "facebook/dinov2-with-registers-base", "openai/clip-vit-base-patch16"
EVIL = 'a "quoted": name\n---\nlicense: mit # {x} \x07\u2028 ünï 🚢 | \\n'


def note(vision=PAIR[0], text=PAIR[1], method="s4eca", **card):
    """What `adapter_config.json` holds, as far as a card needs it."""
    said = {
        "name": "ships",
        "data": "RRSIS-D train split; see its licence.",
        "licence": "CC-BY-4.0",
        "scores": {"val native mIoU": 0.5, "val native P@0.5": 0.61234, "test lavt oIoU": 0.7},
        "gsd": 0.5,
        "command": "s4eca fit",
        "budget": COUNTS,
        **card,
    }
    return {
        "s4eca_version": "0",
        "card": said,
        "config": {"image_size": 448, "mode": "side", "method": method, "width": 160, "threshold": 0.5},
        "encoders": {
            part: {"source": source, "sha256": "0" * 64, "parameters": 1}
            for part, source in (("vision", vision), ("text", text))
        },
    }


def card_of(**more):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ModelCard(write_card(note(**more), 10, "float16"))


def test_the_hubs_fields():
    data = card_of(datasets=["ann/rrsis-d"]).data.to_dict()
    assert data["library_name"] == "s4eca" and data["license"] == "cc-by-4.0" and "license_name" not in data
    assert data["base_model"] == list(PAIR) and data["base_model_relation"] == "adapter"
    assert data["datasets"] == ["ann/rrsis-d"] and data["pipeline_tag"] == "image-segmentation"
    assert {"referring-segmentation", "remote-sensing", "adapter", "s4eca"} <= set(data["tags"])
    assert data["metrics"] == ["mean_iou", "precision_at_0.5", "overall_iou"]
    own = data["s4eca"]
    assert own["budget"] == COUNTS and own["training_data"].startswith("RRSIS-D train")
    assert [e["license"] for e in own["encoders"]] == ["Apache-2.0", "MIT"]


def test_the_model_index_is_read_as_results():
    results = card_of().data.eval_results
    found = {(r.dataset_split, r.metric_type): r for r in results}
    assert {key: r.metric_value for key, r in found.items()} == {
        ("val", "mean_iou"): 0.5,
        ("val", "precision_at_0.5"): 0.6123,
        ("test", "overall_iou"): 0.7,
    }
    first = found["val", "mean_iou"]
    assert (first.task_type, first.dataset_name, first.dataset_type) == ("image-segmentation", "RRSIS-D", "rrsis-d")
    assert first.metric_name == "native mIoU"
    listed = card_of(datasets=["ann/rrsis-d"]).data.eval_results[0]
    assert listed.dataset_type == listed.dataset_name == "ann/rrsis-d"


def test_the_body():
    text = card_of(datasets=["ann/rrsis-d"]).text
    assert "| adapters | 3,600,000 | 2.40 % |" in text and "| adapters and decoder | 4,600,000 | 3.07 % |" in text
    assert "The denominator of both shares is the frozen vision and text encoders together, 149,749,504" in text
    assert "| val native mIoU | 50.00 |" in text and "RRSIS-D train split; see its licence." in text
    assert "keep their own terms: `facebook/dinov2-with-registers-base`: Apache-2.0; `openai/" in text
    assert "Ours, because nothing more is public" in text and "Ground sampling distance 0.5 m." in text


def test_what_is_not_known_is_left_out():
    bare = card_of(vision="packaged:dinov2-s", text="toy:text", scores={}, budget={}, gsd=None, licence="not stated")
    data = bare.data.to_dict()
    assert not {"base_model", "base_model_relation", "datasets", "metrics", "model-index"} & set(data)
    assert data["license"] == "unknown"
    assert "## Scores" not in bare.text and "## Budget" not in bare.text
    assert "`toy:text`: not known to s4eca; see its source" in bare.text


@pytest.mark.parametrize("key", ["name", "data", "licence", "command"])
@pytest.mark.parametrize("said", [EVIL, "- x", "yes", "no: no", "{a: b}", "'", "#", "\x85\x7f x"])
def test_free_text_cannot_break_the_head(key, said):
    card = card_of(**{key: said})
    data = card.data.to_dict()
    assert data["library_name"] == "s4eca" and data["license"] in LICENCES
    assert len(card.data.eval_results) == 3 and data["s4eca"]["budget"] == COUNTS
    if key == "name" and said == EVIL:
        assert data["model-index"][0]["name"] == 'a "quoted": name --- license: mit # {x}   ünï 🚢 | \\n'


@given(said=st.text(max_size=60), name=st.sampled_from(["2024-01-01", "1e3", "on", "0x1f", "&a", "*a", "!!int 3", "~"]))
@settings(max_examples=60)
def test_what_the_head_says_is_what_is_read(said, name):
    """Whatever text: the parsed head holds the very values, and nothing in it is an anchor or wrapped."""
    given_note = note(data=said or "x", name=name, datasets=[name, "ann/x"])
    wanted = metadata(given_note)
    text = write_card(given_note, 10, "float16")
    head = text.split("\n---\n")[0].removeprefix("---\n")
    assert yaml.safe_load(head) == wanted
    assert not any(line.lstrip("- ").partition(": ")[2].startswith(("&", "*")) for line in head.splitlines())
    assert ModelCard(text).data.to_dict()["s4eca"] == wanted["s4eca"]


def test_numbers_of_numpy_are_numbers():
    import numpy as np

    card = card_of(budget={**COUNTS, "ratio_backbone": np.float64(0.024)}, scores={"val native mIoU": np.float64(0.5)})
    assert card.data.to_dict()["s4eca"]["budget"] == COUNTS and card.data.eval_results[0].metric_value == 0.5


@pytest.mark.parametrize("score", [float("nan"), float("inf"), "much", None, True])
def test_scores_that_are_no_numbers_are_in_no_index(score):
    card = card_of(scores={"val native mIoU": score, "val a|b": 0.25})
    assert [r.metric_value for r in card.data.eval_results] == [0.25]
    assert r"| val a\|b | 25.00 |" in card.text


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC0-1.0", {"license": "cc0-1.0"}),
        ("cc by nc sa 4.0", {"license": "cc-by-nc-sa-4.0"}),
        ("MIT\nand a second line", {"license": "mit"}),
        ("not stated", {"license": "unknown"}),
        ("  ", {"license": "unknown"}),
        ("other (for research only)", {"license": "other", "license_name": "for-research-only"}),
        (
            "Ours v1.2, https://x.org/terms.",
            {"license": "other", "license_name": "ours-v1.2", "license_link": "https://x.org/terms"},
        ),
        ("研究", {"license": "other", "license_name": "see-below"}),
        ("word " * 40, {"license": "other", "license_name": "-".join(["word"] * 12)}),
    ],
)
def test_licences(said, fields):
    assert licence_fields(said) == fields
    assert card_of(licence=said).data.to_dict()["license"] in LICENCES


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("facebook/dinov2-base", "facebook/dinov2-base"),
        ("hf:facebook/dinov2-base", "facebook/dinov2-base"),
        ("bert-base-uncased", "google-bert/bert-base-uncased"),
        ("openclip:hf-hub:org/Remote-CLIP", "org/Remote-CLIP"),
        ("openclip:ViT-B-32@hf-hub:org/Remote-CLIP/ckpt/a.pt", "org/Remote-CLIP"),
        ("openclip:ViT-B-32@laion2b_s34b_b79k", None),
        ("packaged:dinov2-s", None),
        ("toy:vision", None),
        ("/srv/models/dino", None),
        ("./models/dino", None),
        ("models/a/b", None),
        ("timm:vit_base_patch16", None),
    ],
)
def test_which_encoders_are_on_the_hub(source, found):
    assert hub_id(source) == found


def test_tagged_weights_of_timm_are_where_timm_says():
    import timm

    known = [entry.id for entry in catalog.ENTRIES if entry.id.startswith("timm:")]
    assert known
    for source in known:
        config = timm.models.get_pretrained_cfg(source.removeprefix("timm:"))
        assert config is not None and hub_id(source) == config.hf_hub_id


def test_a_local_copy_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub_id("models/dino") == "models/dino"
    (tmp_path / "models" / "dino").mkdir(parents=True)
    assert hub_id("models/dino") is None


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_says_where_it_comes_from(method):
    card = card_of(method=method)
    assert "one that s4eca does not come with" not in card.text and method in card.data.tags
    assert ("reconstruction of S4ECA" in card.text) == (method == "s4eca")


def test_every_known_encoder_has_its_licence_on_the_card():
    for entry in catalog.ENTRIES:
        assert entry.licence in card_of(**{entry.role: entry.id}).text


@pytest.mark.parametrize("name", ["vhr10-ref", "dubai-ref"])
def test_folders_written_before_still_load(name):
    folder = ROOT / "benchmarks" / "adapters" / name
    saved = read_config(folder)
    assert "datasets" not in saved["card"]
    head = ModelCard(write_card(saved, 1, "float16")).data.to_dict()
    assert head["license"] == "other" and head["license_name"].startswith("for-research-only")
    assert ModelCard((folder / CARD).read_text()).data.to_dict() == head, "the committed card is the one we write"


def test_data_sets_are_optional_and_kept(toy_model, tmp_path):
    model = toy_model()
    bare = save(model, tmp_path / "bare", Card(name="x"))
    assert "datasets" not in read_config(bare)["card"]
    listed = save(model, tmp_path / "listed", Card(name="x", datasets=("ann/rrsis-d",)))
    assert Card(**read_config(listed)["card"]).datasets == ["ann/rrsis-d"] and sha256(bare) != sha256(listed)
    wrong = shutil.copytree(listed, tmp_path / "wrong")
    for value in ("ann/x", [1], [""]):
        saved = json.loads((listed / CONFIG).read_text())
        saved["card"]["datasets"] = value
        (wrong / CONFIG).write_text(json.dumps(saved))
        with pytest.raises(AdapterFolderError, match=r"card.datasets is .*; it must be a list of hub ids"):
            read_config(wrong)


@pytest.mark.parametrize(
    ("method", "said"),
    [("s4eca", "width 160"), ("lora", "rank 13"), ("detris", "width 128, width_text 64"), ("vera", "rank 256, seed 0"),
     ("full", "one size")],
)  # fmt: skip
def test_the_card_says_the_size_that_the_method_has(method: str, said: str) -> None:
    from s4eca import S4ECAConfig
    from s4eca.saved.card import _size

    assert _size(S4ECAConfig(method=method).to_dict()) == said

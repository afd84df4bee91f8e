"""The built-in sizes against the transformers classes on the meta device, and specs without weights or network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s4eca.encoders import catalog, meta
from s4eca.errors import EncoderError

ROWS = [
    pytest.param(entry, id=f"{entry.id}-{entry.role}")
    for entry in catalog.ENTRIES
    if catalog.FAMILIES[entry.family].library == "hf"
]

# METHOD's sizes that are not rows of the catalogue: class, settings, arguments, number of parameters.
FURTHER = [
    ("CLIPVisionModelWithProjection", "openai/clip-vit-base-patch32", {}, {}, 87_849_216),
    ("CLIPVisionModelWithProjection", "openai/clip-vit-base-patch16", {}, {}, 86_192_640),
    ("CLIPVisionModelWithProjection", "openai/clip-vit-large-patch14", {"projection_dim": 768}, {}, 303_966_208),
    ("CLIPTextModelWithProjection", "openai/clip-vit-base-patch16", {}, {}, 63_428_096),
    ("CLIPTextModelWithProjection", "openai/clip-vit-large-patch14", {"projection_dim": 768}, {}, 123_650_304),
    ("SiglipVisionModel", "google/siglip-base-patch16-224", {"vision_use_head": True}, {}, 92_884_224),
    ("BertModel", "bert-base-uncased", {}, {}, 109_482_240),
    ("RobertaModel", "roberta-base", {}, {}, 124_645_632),
    ("BertModel", "sentence-transformers/all-MiniLM-L6-v2", {}, {}, 22_713_216),
    ("SwinModel", "microsoft/swin-base-patch4-window7-224", {"window_size": 12, "image_size": 384}, {}, 86_878_584),
]
WHOLE = [
    ("CLIP", "openai/clip-vit-base-patch32", 512, 151_277_313),
    ("CLIP", "openai/clip-vit-base-patch16", 512, 149_620_737),
    ("CLIP", "openai/clip-vit-large-patch14", 768, 427_616_513),
    ("Siglip", "google/siglip-base-patch16-224", None, 203_155_970),
    ("Siglip", "google/siglip2-base-patch16-224", None, 375_187_970),
]


def _count(model: object) -> int:
    return sum(p.numel() for p in model.parameters())  # type: ignore[attr-defined]


@pytest.mark.parametrize("entry", ROWS)
def test_built_in_size_is_that_of_the_class(entry: catalog.Entry) -> None:
    model = meta.build_on_meta(entry.family, entry.sizes)
    assert _count(model) == entry.parameters
    assert model.config.model_type == entry.family


@pytest.mark.parametrize("entry", ROWS)
def test_spec_agrees_with_the_built_configuration(entry: catalog.Entry) -> None:
    config = meta.build_on_meta(entry.family, entry.sizes).config
    if entry.role == "text":
        spec = meta.text_spec(entry.id)
        assert (spec.width, spec.blocks) == (config.hidden_size, config.num_hidden_layers)
        assert spec.longest == config.max_position_embeddings - (2 if entry.family == "roberta" else 0)
    else:
        vision = meta.vision_spec(entry.id)
        depth = sum(config.depths) if hasattr(config, "depths") else config.num_hidden_layers
        assert vision.blocks == depth == len(vision.strides)
        assert vision.widths[-1] == config.hidden_size
        assert vision.parameters == entry.parameters


@pytest.mark.parametrize(("cls", "source", "changes", "build", "count"), FURTHER)
def test_sizes_with_projection_head_or_pooler(cls: str, source: str, changes: dict, build: dict, count: int) -> None:
    import torch
    import transformers

    entry = catalog.find(source, "text" if "Text" in cls or cls in ("BertModel", "RobertaModel") else "vision")
    assert entry is not None
    config = getattr(transformers, catalog.FAMILIES[entry.family].config_class)(**{**entry.sizes, **changes})
    with torch.device("meta"):
        assert _count(getattr(transformers, cls)(config, **build)) == count


@pytest.mark.parametrize(("kind", "source", "projection", "count"), WHOLE)
def test_sizes_of_whole_checkpoints(kind: str, source: str, projection: int | None, count: int) -> None:
    import torch
    import transformers

    encoders = {f"{role}_config": catalog.find(source, role).sizes for role in ("vision", "text")}  # type: ignore[union-attr]
    more = {} if projection is None else {"projection_dim": projection}
    config = getattr(transformers, f"{kind}Config")(**encoders, **more)
    with torch.device("meta"):
        assert _count(getattr(transformers, f"{kind}Model")(config)) == count


def test_prefix_tokens_and_normalisation() -> None:
    assert [meta.vision_spec(f"facebook/dinov2{x}-base").prefix_tokens for x in ("", "-with-registers")] == [1, 5]
    assert meta.vision_spec("facebook/dinov3-vitb16-pretrain-lvd1689m").prefix_tokens == 5
    assert meta.vision_spec("openai/clip-vit-base-patch16").prefix_tokens == 1
    siglip = meta.vision_spec("google/siglip-base-patch16-224")
    assert (siglip.prefix_tokens, siglip.mean) == (0, (0.5, 0.5, 0.5))
    satellite = meta.vision_spec("facebook/dinov3-vitl16-pretrain-sat493m")
    assert satellite.mean != meta.vision_spec("facebook/dinov3-vitl16-pretrain-lvd1689m").mean


def test_hierarchical_widths_grow_with_the_stride() -> None:
    spec = meta.vision_spec("microsoft/swin-base-patch4-window7-224")
    assert spec.widths[:5] == (128, 128, 256, 256, 512)
    assert spec.strides[0] == 4 and spec.strides[-1] == 32


def test_alias_and_prefix_name_the_same_encoder() -> None:
    specs = [meta.text_spec(name) for name in ("bert-base-uncased", "google-bert/bert-base-uncased")]
    assert specs[0].parameters == specs[1].parameters == 108_891_648
    assert meta.vision_spec("hf:facebook/dinov2-base") == meta.vision_spec("facebook/dinov2-base")


def test_identifiers_are_unique_per_role() -> None:
    keys = [(entry.id, entry.role) for entry in catalog.ENTRIES]
    assert len(keys) == len(set(keys))


def test_every_family_can_be_stepped_through() -> None:
    from s4eca.encoders import hf

    ours = {name: family for name, family in catalog.FAMILIES.items() if family.library == "hf"}
    assert set(ours) == {*hf.VISION, *hf.TEXT}
    for name, family in ours.items():
        assert name in (hf.VISION if family.role == "vision" else hf.TEXT)


@pytest.mark.parametrize("entry", ROWS)
def test_the_wrapper_on_the_meta_device_is_as_the_table_says(entry: catalog.Entry) -> None:
    encoder = (meta.vision_encoder if entry.role == "vision" else meta.text_encoder)(entry.id)
    assert all(p.is_meta for p in encoder.parameters())
    assert _count(encoder) == entry.parameters == encoder.spec.parameters
    assert encoder.spec == (meta.vision_spec if entry.role == "vision" else meta.text_spec)(entry.id)
    assert len(encoder.roles()["query"]) == encoder.spec.blocks


def _directory(tmp_path: Path, values: object) -> str:
    (tmp_path / "config.json").write_text(json.dumps(values) if not isinstance(values, str) else values)
    return str(tmp_path)


def test_local_directory_needs_its_config_alone(tmp_path: Path) -> None:
    values = {"model_type": "dinov2", "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 2}
    spec = meta.vision_spec(_directory(tmp_path, {**values, "patch_size": 14, "image_size": 56}))
    assert (spec.widths, spec.strides, spec.prefix_tokens) == ((96,) * 3, (14,) * 3, 1)
    assert spec.parameters == _count(meta.build_on_meta("dinov2", {**values, "patch_size": 14, "image_size": 56}))


def test_patches_may_be_given_by_two_equal_sides(tmp_path: Path) -> None:
    values = {"model_type": "swin", "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "image_size": 56}
    for given in (4, [4, 4]):
        assert meta.vision_spec(_directory(tmp_path, {**values, "patch_size": given})).strides == (4, 8)
    with pytest.raises(EncoderError, match=r"patch_size is \[4, 2\]; patches must be square"):
        meta.vision_spec(_directory(tmp_path, {**values, "patch_size": [4, 2]}))


def test_local_directory_of_both_encoders(tmp_path: Path) -> None:
    encoder = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**encoder, "hidden_size": 96, "patch_size": 16}
    source = _directory(tmp_path, {"model_type": "clip", "text_config": encoder, "vision_config": vision})
    assert (meta.text_spec(source).width, meta.vision_spec(source).widths) == (64, (96, 96))
    assert meta.text_spec(source).longest == 77


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ("{", "cannot be read as JSON"),
        ({"hidden_size": 3}, "no field model_type"),
        ({"model_type": "gpt2"}, "'gpt2', which is no known vision encoder"),
        ({"model_type": "bert"}, "'bert', which is no known vision encoder"),
        ({"model_type": "clip"}, "no field vision_config"),
        ({"model_type": "dinov2", "hidden_size": "wide"}, "does not describe a dinov2 encoder"),
    ],
)
def test_unusable_config_is_refused_by_name(tmp_path: Path, values: object, part: str) -> None:
    with pytest.raises(EncoderError, match=part):
        meta.vision_spec(_directory(tmp_path, values))


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("facebook/dinov2-bse", "did you mean facebook/dinov2-base"),
        ("nobody/nothing-at-all", "s4eca models"),
        ("bert-base-uncased", "is a text encoder; a vision encoder is wanted"),
        ("./no/such/folder", "neither a known vision encoder nor a directory"),
    ],
)
def test_unknown_identifier_says_what_is_known(source: str, part: str) -> None:
    with pytest.raises(EncoderError, match=part):
        meta.vision_spec(source)


def test_directory_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"holds no config\.json"):
        meta.text_spec(str(tmp_path))


def test_checkpoint_in_the_hubs_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--someone--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    values = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    _directory(folder / "snapshots" / "abc", values)
    assert meta.text_spec("someone/tiny").width == 32
    assert meta.cached_snapshot("someone/tiny") == folder / "snapshots" / "abc"
    (folder / ".no_exist" / "abc").mkdir(parents=True)
    (folder / ".no_exist" / "abc" / "model.bin").touch()
    for name, file in (("someone/tiny", "model.bin"), ("someone/tiny", "other.json"), ("someone/other", "config.json")):
        assert meta.cached_snapshot(name, file) is None


@pytest.mark.parametrize("name", ["", ".", "/etc", "~/x", "a/b/c", "models--someone--tiny", "a b/c", "x" * 300, "../x"])
def test_what_is_no_hub_id_is_in_no_cache(name: str) -> None:
    assert meta.cached_snapshot(name) is None

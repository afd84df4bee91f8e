"""Teachers of every kind behind one contract, from checkpoints in their own formats."""

from __future__ import annotations

import pytest
import torch

from s4eca.distill.teachers.named import load_teacher
from s4eca.errors import AdapterFolderError, ConfigError, EncoderError

PHRASES = ["the red roof", "left of the roof", "roof"]


@pytest.mark.parametrize(
    "kind", ["clip", "siglip", "clipseg", "openclip", "openclip-custom", "openclip-quick", "s4eca"]
)
def test_shapes_norms_and_no_gradient(kind, teacher_id, images):
    teacher = load_teacher(teacher_id(kind))
    found = teacher.targets(images, PHRASES)
    h, w = found.grid
    given = {name for name in ("patch", "phrase", "image", "sim", "mask") if getattr(found, name) is not None}
    assert given == teacher.gives
    assert found.valid.shape == (3, h, w) and found.valid.all()
    assert found.patch.shape == (3, h, w, teacher.width)
    for name in given & {"patch", "phrase", "image"}:
        value = getattr(found, name)
        assert torch.allclose(value.norm(dim=-1), torch.ones(value.shape[:-1]), atol=1e-5)
        assert value.shape[-1] == teacher.width
    assert not any(getattr(found, name).requires_grad for name in given)
    if "mask" in given:
        assert found.mask.min() >= 0 and found.mask.max() <= 1 and found.sim.shape == (3, h, w)
        assert torch.allclose(found.sim.mean((1, 2)), found.mask.mean((1, 2, 3)), atol=0.02)
    else:
        cosine = torch.einsum("bhwe,be->bhw", found.patch, found.phrase)
        assert torch.allclose(found.sim, cosine, atol=1e-5)
    # Pairs do not see one another.
    alone = teacher.targets(images[1:2], PHRASES[1:2])
    assert torch.allclose(alone.sim[0], found.sim[1], atol=1e-5)
    assert not torch.allclose(found.sim[1], teacher.targets(images[1:2], PHRASES[:1]).sim[0], atol=1e-4)


def test_clip_is_the_librarys_own_where_the_library_has_it(teacher_id, images):
    """The class token through what the patches go through is what the library pools; sentences likewise."""
    from transformers import CLIPModel

    identifier = teacher_id("clip")
    teacher = load_teacher(identifier)
    theirs = CLIPModel.from_pretrained(identifier.removeprefix("clip:")).eval()
    found = teacher.targets(images, PHRASES)
    from s4eca.distill.teachers.joint import pixels_of

    spec = teacher.vision.spec
    pixels = pixels_of(images, teacher.size, spec.mean, spec.std)
    with torch.no_grad():
        seen = theirs.get_image_features(pixels).pooler_output
        batch = teacher.text.tokenize(PHRASES, 77)
        read = theirs.get_text_features(batch.ids, attention_mask=batch.mask.long()).pooler_output
        last = theirs.vision_model(pixels).last_hidden_state[:, 1:]
        patch = theirs.visual_projection(theirs.vision_model.post_layernorm(last))
    unit = torch.nn.functional.normalize
    assert torch.allclose(found.image, unit(seen, dim=-1), atol=1e-5)
    assert torch.allclose(found.phrase, unit(read, dim=-1), atol=1e-5)
    assert torch.allclose(found.patch.flatten(1, 2), unit(patch, dim=-1), atol=1e-5)


def test_a_siglip_patch_is_what_its_head_makes_of_it_alone(teacher_id, images):
    from transformers import SiglipModel

    identifier = teacher_id("siglip")
    teacher = load_teacher(identifier)
    theirs = SiglipModel.from_pretrained(identifier.removeprefix("siglip:")).eval()
    from s4eca.distill.teachers.joint import pixels_of

    spec = teacher.vision.spec
    pixels = pixels_of(images, teacher.size, spec.mean, spec.std)
    unit = torch.nn.functional.normalize
    found = teacher.targets(images, PHRASES)
    with torch.no_grad():
        tokens = theirs.vision_model(pixels).last_hidden_state
        alone = theirs.vision_model.head(tokens[:1, 5:6])
        seen = theirs.get_image_features(pixels).pooler_output
        read = theirs.get_text_features(teacher.text.tokenize(PHRASES, 64).ids).pooler_output
    assert torch.allclose(found.patch[0].flatten(0, 1)[5], unit(alone, dim=-1)[0], atol=1e-5)
    assert torch.allclose(found.image, unit(seen, dim=-1), atol=1e-5)
    assert torch.allclose(found.phrase, unit(read, dim=-1), atol=1e-5)


@pytest.mark.parametrize("name", ["openclip", "openclip-custom", "openclip-quick"])
def test_open_clip_is_the_librarys_own(name, teacher_id, images):
    import tiny_openclip

    from s4eca.distill.teachers.joint import pixels_of

    theirs = tiny_openclip.model(name)
    teacher = load_teacher(teacher_id(name))
    spec = teacher.vision.spec
    pixels = pixels_of(images, teacher.size, spec.mean, spec.std)
    ids = teacher.text.tokenizer(PHRASES, context_length=tiny_openclip.PLACES)
    found = teacher.targets(images, PHRASES)
    with torch.no_grad():
        assert torch.allclose(found.phrase, theirs.encode_text(ids, normalize=True), atol=1e-5)
        if name != "openclip-quick":  # there the library applies its norm to the pooled token alone
            assert torch.allclose(found.image, theirs.encode_image(pixels, normalize=True), atol=1e-5)


def test_clipseg_draws_the_librarys_own_mask(teacher_id, images):
    from transformers import CLIPSegForImageSegmentation

    from s4eca.distill.teachers.joint import pixels_of

    identifier = teacher_id("clipseg")
    teacher = load_teacher(identifier)
    theirs = CLIPSegForImageSegmentation.from_pretrained(identifier.removeprefix("clipseg:")).eval()
    said = teacher.tokenizer(PHRASES, padding=True, return_tensors="pt")
    pixels = pixels_of(images, teacher.size, teacher.mean, teacher.std)
    with torch.no_grad():
        logits = theirs(**said, pixel_values=pixels).logits
    assert torch.allclose(teacher.targets(images, PHRASES).mask[:, 0], logits.sigmoid(), atol=1e-5)


def test_an_adapter_teaches_what_it_predicts(teacher_id, images):
    from s4eca.model.predictor import Predictor

    teacher = load_teacher(teacher_id("s4eca"))
    predictor = Predictor(teacher.model)
    drawn = predictor.decode(predictor.encode(predictor.stretched(images[0][None])), PHRASES[:1]).logits
    mask = teacher.targets(images[:1], PHRASES[:1]).mask
    assert torch.allclose(mask[:, 0], drawn.sigmoid(), atol=1e-5)
    assert teacher.id.startswith("s4eca:adapter@") and "/" not in teacher.id


@pytest.mark.parametrize(
    ("identifier", "error", "said"),
    [
        ("clop:x", ConfigError, "did you mean clip:x?"),
        ("openai/clip", ConfigError, "it must be PREFIX:ID with one of clip"),
        ("clip:", ConfigError, "it must be PREFIX:ID"),
        ("clip:{clipseg}", EncoderError, "is a checkpoint of the family 'clipseg'; a whole 'clip' is wanted here."),
        ("siglip:{clip}", EncoderError, "is a checkpoint of the family 'clip'; a whole 'siglip' is wanted here."),
        ("clipseg:{siglip}", EncoderError, "is a checkpoint of the family 'siglip'"),
        ("clip:./nowhere", EncoderError, "does not exist"),
        ("openclip:{clip}", EncoderError, "openclip"),
        ("s4eca:./nowhere", AdapterFolderError, "nowhere"),
    ],
)
def test_what_is_no_teacher_is_refused_in_one_sentence(identifier, error, said, teacher_id):
    for kind in ("clip", "clipseg", "siglip"):
        if f"{{{kind}}}" in identifier:
            identifier = identifier.replace(f"{{{kind}}}", teacher_id(kind).partition(":")[2])
    with pytest.raises(error) as caught:
        load_teacher(identifier)
    assert said in str(caught.value) and "\n" not in str(caught.value)

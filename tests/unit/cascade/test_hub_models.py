"""Detectors and refiners of transformers: tiny random checkpoints in the hub's format, opened by their names."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_models
import torch
import transformers

from s4eca.cascade import hub
from s4eca.cascade.cascade import Cascade
from s4eca.cascade.grounding_dino import caption
from s4eca.cascade.settings import CascadeSettings
from s4eca.errors import CascadeError

PROPOSERS = {
    "grounding-dino": tiny_models.grounding_dino,
    "mm-grounding-dino": lambda folder: tiny_models.grounding_dino(folder, "mm-grounding-dino"),
    "owlv2": tiny_models.owl,
    "owlvit": lambda folder: tiny_models.owl(folder, "OwlViT"),
}
REFINERS = {"sam": tiny_models.sam, "sam_hq": tiny_models.sam_hq, "sam2": tiny_models.sam2}
if hasattr(transformers, "Sam3TrackerModel"):  # of transformers 5
    REFINERS["sam3_tracker"] = tiny_models.sam3_tracker
SAID = ["a red roof", "the ship left of the pier"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of a tiny checkpoint by its kind."""
    root, made = tmp_path_factory.mktemp("hub"), {}

    def of(kind):
        if kind not in made:
            made[kind] = {**PROPOSERS, **REFINERS}[kind](root / kind)
        return made[kind]

    return of


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    return [random.integers(0, 255, size, dtype=np.uint8) for size in ((50, 70, 3), (64, 48, 3))]


def detector(folder, **settings):
    """Random models score low; what is tested is not how high."""
    found = hub.load_proposer(str(folder))
    found.least = 0.0
    return found


@pytest.mark.parametrize("kind", PROPOSERS)
def test_boxes_by_phrases(folder, images, kind):
    one, two = hub.load_proposer(f"{kind}:{folder(kind)}"), hub.load_proposer(str(folder(kind)))
    assert one.name == two.name and one.name.startswith(f"{kind}:{folder(kind).name} (")
    one.least = 0.0
    found = one.propose(images, [SAID, SAID[:1]])
    assert [sorted(set(b.phrase.tolist())) for b in found] == [[0, 1], [0]]
    for image, boxes in zip(images, found, strict=True):
        assert boxes.xyxy.shape == (len(boxes.score), 4) and boxes.xyxy.dtype == torch.float32
        assert ((boxes.score >= 0) & (boxes.score <= 1)).all()
        width, height = image.shape[1], image.shape[0]
        centre = (boxes.xyxy[:, :2] + boxes.xyxy[:, 2:]) / 2
        # OWLv2 looks at a square padded to the right and at the bottom, and may speak of what was padded.
        limit = torch.tensor([max(width, height)] * 2 if kind == "owlv2" else [width, height])
        assert (centre >= -1e-3).all() and (centre <= limit + 1e-3).all()
        for number in set(boxes.phrase.tolist()):
            scores = boxes.score[boxes.phrase == number]
            assert torch.equal(scores, scores.sort(descending=True).values)


@pytest.mark.parametrize("kind", PROPOSERS)
def test_a_phrase_is_answered_the_same_in_any_company_and_batch(folder, images, kind):
    asked = detector(folder(kind))
    together, swapped = asked.propose(images, [SAID, SAID]), asked.propose(images, [SAID[::-1]] * 2)
    for image, both, other in zip(images, together, swapped, strict=True):
        for number, phrase in enumerate(SAID):
            alone = asked.propose([image], [[phrase]])[0]
            own, turned = both.phrase == number, other.phrase == 1 - number
            assert torch.equal(both.xyxy[own], alone.xyxy) and torch.equal(both.score[own], alone.score)
            assert torch.equal(other.xyxy[turned], alone.xyxy)


@pytest.mark.parametrize("kind", PROPOSERS)
def test_no_phrase_gives_no_box(folder, images, kind):
    found = hub.load_proposer(str(folder(kind))).propose(images[:1], [[]])[0]
    assert found.xyxy.shape == (0, 4) and len(found.phrase) == 0


def test_captions_are_made_by_one_rule():
    assert caption("  The Red roof. ") == "the red roof."
    assert caption("St. Mary's?  church") == "st mary's church."
    with pytest.raises(CascadeError, match=r"' \. \? ' has no word that a detector could look for"):
        caption(" . ? ")


def test_only_a_phrases_own_tokens_are_asked(folder):
    asked = detector(folder("grounding-dino"))
    ids = asked.processor.tokenizer(caption("a red roof"))["input_ids"]
    assert asked.own(torch.tensor(ids)).tolist() == [False, True, True, True, False, False]


@pytest.mark.parametrize(("kind", "most"), [("grounding-dino", 32), ("owlv2", 40), ("owlvit", 40)])
def test_a_phrase_that_is_too_long_is_refused(folder, images, kind, most):
    with pytest.raises(CascadeError, match=f"has more tokens than the detector {kind}:.* reads, which are {most}"):
        detector(folder(kind)).propose(images[:1], [["a red roof " * 20]])


@pytest.mark.parametrize("kind", PROPOSERS)
def test_the_best_boxes_above_a_score(folder, images, kind):
    asked = detector(folder(kind))
    every = asked.propose(images[:1], [SAID[:1]])[0]
    asked.most = 2
    assert torch.equal(asked.propose(images[:1], [SAID[:1]])[0].score, every.score[:2])
    asked.least = float(every.score[0])
    assert (asked.propose(images[:1], [SAID[:1]])[0].score >= asked.least).all()


@pytest.mark.parametrize(("kind", "dtype"), [("sam2", torch.bfloat16), ("grounding-dino", torch.float16)])
def test_checkpoints_in_half_precision(tmp_path, images, kind, dtype):
    from transformers import AutoModelForMaskGeneration, AutoModelForZeroShotObjectDetection

    where = {**PROPOSERS, **REFINERS}[kind](tmp_path / "m")
    auto = AutoModelForMaskGeneration if kind == "sam2" else AutoModelForZeroShotObjectDetection
    auto.from_pretrained(where).to(dtype).save_pretrained(where)
    if kind == "sam2":
        found = hub.load_refiner(str(where)).refine(images[:1], [torch.tensor([[5.0, 6, 30, 40]])], [None])[0]
        assert found.logits.dtype == torch.float32 and found.logits.isfinite().all()
    else:
        assert detector(where).propose(images[:1], [SAID])[0].score.dtype == torch.float32


@pytest.mark.parametrize("kind", REFINERS)
def test_masks_from_boxes(folder, images, kind):
    one, two = hub.load_refiner(f"{kind}:{folder(kind)}"), hub.load_refiner(str(folder(kind)))
    assert one.name == two.name
    boxes = [torch.tensor([[5.0, 6, 30, 40], [1, 1, 9, 9]]), torch.tensor([[2.0, 2, 40, 60]])]
    coarse = [torch.randn(2, 50, 70), None]
    found = one.refine(images, boxes, coarse)
    assert [tuple(f.logits.shape) for f in found] == [(2, 50, 70), (1, 64, 48)]
    assert all(f.logits.isfinite().all() and f.iou.shape == (len(f.logits),) for f in found)
    # A batch is a loop: rows see neither one another nor other images.
    for number, image in enumerate(images):
        for row, box in enumerate(boxes[number]):
            mask = None if coarse[number] is None else [coarse[number][row : row + 1]]
            alone = two.refine([image], [box[None]], mask or [None])[0]
            assert torch.allclose(alone.logits[0], found[number].logits[row], atol=1e-5)
            assert torch.equal(alone.logits[0] > 0, found[number].logits[row] > 0)
    # Box and coarse mask are both read.
    other = one.refine(images[:1], [boxes[0] + 7], coarse[:1])[0]
    blind = one.refine(images[:1], boxes[:1], [None])[0]
    assert not torch.equal(other.logits, found[0].logits) and not torch.equal(blind.logits, found[0].logits)


@pytest.mark.parametrize("kind", REFINERS)
def test_no_box_asks_nothing(folder, images, kind):
    found = hub.load_refiner(str(folder(kind))).refine(images[:1], [torch.zeros(0, 4)], [None])[0]
    assert found.logits.shape == (0, 50, 70) and len(found.iou) == 0


def test_a_mask_prompt_lies_where_the_image_lies(folder, images):
    """SAM pads the shorter side: a mask's left half must not be spread over the padding."""
    refiner = hub.load_refiner(str(folder("sam")))
    mask = torch.full((50, 70), -8.0)
    mask[:, :35] = 8.0
    drawn = refiner._prompt(mask, None)[0, 0]
    assert drawn.shape == (16, 16)
    assert (drawn[:11, :7] > 0).all() and (drawn[:, 9:] < 0).all() and (drawn[12:] < 0).all()


def test_the_best_of_three_masks_takes_nobodys_place(folder):
    refiner = hub.load_refiner(str(folder("sam2")))
    assert refiner.model.mask_decoder.dynamic_multimask_via_stability is False


@pytest.mark.parametrize("isolation", ["none", "crop", "mask_out"])
@pytest.mark.parametrize("refiner", REFINERS)
@pytest.mark.parametrize("proposer", PROPOSERS)
def test_a_whole_cascade(folder, images, proposer, refiner, isolation):
    cascade = Cascade(
        hub.load_refiner(str(folder(refiner))), detector(folder(proposer)), CascadeSettings("joint", isolation, 2)
    )
    found, foretold = cascade.apply(images[0], torch.randn(2, 12, 12), SAID)
    assert found.shape == (2, 50, 70) and found.isfinite().all() and foretold.shape == (2,)


def test_a_checkpoint_of_a_video_model_is_its_image_model(folder, tmp_path, images):
    import shutil

    video = shutil.copytree(folder("sam2"), tmp_path / "video")
    note = json.loads((video / "config.json").read_text())
    (video / "config.json").write_text(json.dumps({**note, "model_type": "sam2_video"}))
    box = [torch.tensor([[5.0, 6, 30, 40]])]
    found = hub.load_refiner(f"sam2:{video}").refine(images[:1], box, [None])[0]
    assert torch.equal(found.logits, hub.load_refiner(str(folder("sam2"))).refine(images[:1], box, [None])[0].logits)


def test_how_images_go_in_is_part_of_the_name(folder, tmp_path):
    import shutil

    other = shutil.copytree(folder("sam2"), tmp_path / "sam2")
    path = next(p for p in (other / "processor_config.json", other / "preprocessor_config.json") if p.exists())
    path.write_text(path.read_text().replace("0.485", "0.4"))
    assert hub.load_refiner(str(other)).name != hub.load_refiner(str(folder("sam2"))).name


@pytest.mark.parametrize(
    ("load", "identifier", "says"),
    [
        (hub.load_refiner, "yolo:x", r"'yolo:x' begins with 'yolo', which is no kind of refiner; known: sam, sam_hq"),
        (hub.load_proposer, "sam:x", r"'sam:x' begins with 'sam', which is no kind of detector; known: grounding-dino"),
        (hub.load_refiner, "sam:", r"'sam:' names no model; it must be sam:ID\."),
        (hub.load_refiner, "no/such-model-here", r"The refiner 'no/such-model-here' cannot be had: "),
        (hub.load_refiner, "box-prompt:nowhere", r"nowhere is no folder of a box-prompt refiner: "),
    ],
)
def test_unknown_identifiers(monkeypatch, load, identifier, says):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CascadeError, match=says) as caught:
        load(identifier)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_the_wrong_kind(folder):
    with pytest.raises(CascadeError, match=r"is a model of the kind 'sam', which is no detector; known: grounding"):
        hub.load_proposer(str(folder("sam")))
    with pytest.raises(CascadeError, match=r"is a model of the kind 'sam', not 'sam2'; name it as sam:"):
        hub.load_refiner(f"sam2:{folder('sam')}")


def test_a_checkpoint_that_lacks_tensors(folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(folder("sam"), tmp_path / "sam")
    tensors = load_file(broken / "model.safetensors")
    del tensors["mask_decoder.iou_token.weight"]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CascadeError, match=r"lacks 1 tensors of its kind 'sam', first mask_decoder.iou_token.weight"):
        hub.load_refiner(str(broken))

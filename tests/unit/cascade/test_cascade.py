"""The four modes with doubles: what each takes and leaves, recursion and its choice, and the predictor around it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from s4eca.cascade.cascade import Cascade, filled
from s4eca.cascade.doubles import EchoRefiner, TruthProposer
from s4eca.cascade.isolation import FILL
from s4eca.cascade.settings import CascadeSettings
from s4eca.errors import CascadeError, ConfigError
from s4eca.model.predictor import Predictor
from s4eca.optional import Boxes, RefinedMasks

SAID = ["the red roof", "a ship"]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)


@pytest.fixture
def coarse():
    """Logits (2, 60, 80): a blob each, the second of two parts."""
    found = torch.full((2, 60, 80), -4.0)
    found[0, 20:30, 30:50] = 3.0
    found[1, 40:50, 5:25] = 2.0
    found[1, 5:8, 60:63] = 2.0
    return found


def settings(mode, **more):
    return CascadeSettings(mode, **more)


def truth(boxes):
    return TruthProposer(lambda image, phrase: None if boxes.get(phrase) is None else torch.tensor(boxes[phrase]))


class Counting(EchoRefiner):
    """Draws, in its n-th call, a square that shrinks; foretells what it is told to."""

    name = "counting"

    def __init__(self, foretold):
        self.foretold, self.calls, self.seen = foretold, 0, []

    def refine(self, images, boxes, coarse):
        self.seen.append((images[0].shape, boxes[0].tolist(), None if coarse[0] is None else coarse[0].clone()))
        h, w = images[0].shape[:2]
        left, top, right, bottom = (int(v) for v in boxes[0][0])
        drawn = torch.full((1, h, w), -5.0)
        drawn[0, top : bottom - 1, left : right - 1] = 5.0
        self.calls += 1
        return [RefinedMasks(drawn, torch.tensor([self.foretold[self.calls - 1]]))]


@pytest.mark.parametrize("isolation", ["none", "crop", "mask_out"])
def test_an_echo_gives_the_coarse_mask_inside_the_window(image, coarse, isolation):
    cascade = Cascade(EchoRefiner(), None, settings("cascade", isolation=isolation, parts=1))
    found, foretold = cascade.apply(image, coarse, SAID)
    assert found.shape == coarse.shape and (foretold == 0.5).all()
    for number in range(2):
        shown = found[number] != FILL
        assert torch.equal(found[number][shown], coarse[number][shown]) and shown.any()
        assert bool(shown.all()) == (isolation != "crop")
    # Of two parts the one with more probability is what is meant; the other stays in the coarse mask alone.
    assert (found[0] > 0).equal(coarse[0] > 0)
    if isolation == "crop":
        assert (found[1] > 0).sum() == 200


@pytest.mark.parametrize("isolation", ["none", "crop", "mask_out"])
def test_every_part_of_a_mask_is_refined_by_itself(image, coarse, isolation):
    refiner = Counting([0.5, 0.7, 0.9])
    cascade = Cascade(refiner, None, settings("cascade", isolation=isolation))
    found, foretold = cascade.apply(image, coarse, SAID)
    assert refiner.calls == 3 and foretold.tolist() == pytest.approx([0.5, 0.8])
    assert (found[1] > 0).sum() == 19 * 9 + 2 * 2  # each loses its last row and column
    # A part is not prompted with its neighbours.
    assert all((seen[2] > 0).sum() in (200, 9) for seen in refiner.seen)
    echo, _ = Cascade(EchoRefiner(), None, settings("cascade", isolation=isolation)).apply(image, coarse, SAID)
    assert torch.equal(echo > 0, coarse > 0)


def test_parts_beyond_the_most_stay_as_they_were(image):
    many = torch.full((1, 60, 80), -4.0)
    for n in range(5):
        many[0, 4 * n : 4 * n + 2, 10 : 12 + n] = 3.0
    refiner = Counting([0.5] * 5)
    found, _ = Cascade(refiner, None, settings("cascade", parts=2)).apply(image, many, SAID[:1])
    assert refiner.calls == 2
    assert torch.equal(found[0, :11] > 0, many[0, :11] > 0) and (found[0, 11:] > 0).sum() < (many[0, 11:] > 0).sum()


def test_coarse_logits_are_drawn_to_the_image_first(image):
    small = torch.randn(2, 15, 20)
    found, _ = Cascade(None, None, settings("s4eca")).apply(image, small, SAID)
    drawn = torch.nn.functional.interpolate(small[:, None], (60, 80), mode="bilinear", align_corners=False)[:, 0]
    assert torch.equal(found, drawn)
    assert torch.equal(Cascade(None, None, settings("cascade", recursion=0)).apply(image, small, SAID)[0], drawn)


def test_the_detector_alone_prompts_with_its_box_and_no_mask(image, coarse):
    refiner = Counting([0.9])
    cascade = Cascade(refiner, truth({"the red roof": [10.0, 12, 30, 22]}), settings("detector", isolation="none"))
    found, foretold = cascade.apply(image, coarse, SAID)
    assert refiner.calls == 1 and refiner.seen[0][1:] == ([[10.0, 12, 30, 22]], None)
    assert (found[0] > 0).sum() == 19 * 9 and foretold[0] == pytest.approx(0.9)
    # Nothing was detected for the second: an empty mask, and no call.
    assert (found[1] == FILL).all() and foretold[1] == float("-inf") and cascade.told.nothing == 1


def test_the_detector_without_refinement_is_its_filled_box(image, coarse):
    box = [10.0, 12, 30, 22]
    cascade = Cascade(None, truth(dict.fromkeys(SAID, box)), settings("detector", recursion=0))
    found, _ = cascade.apply(image, coarse, SAID)
    assert torch.equal(found[0], filled(torch.tensor(box), coarse[0])) and (found[0] > 0).sum() == 200


def test_joint_takes_the_box_that_the_mask_speaks_for_and_falls_back_to_the_masks_own(image, coarse):
    class Two:
        name = "two"

        def propose(self, images, phrases):
            return [
                Boxes(
                    torch.tensor([[0.0, 0, 10, 10], [30, 20, 50, 30]]), torch.tensor([0.9, 0.5]), torch.zeros(2).long()
                )
            ]

    refiner = Counting([0.9, 0.8, 0.7])
    Cascade(refiner, Two(), settings("joint", isolation="none")).apply(image, coarse, SAID)
    assert [seen[1] for seen in refiner.seen] == [[[30.0, 20, 50, 30]], [[5.0, 40, 25, 50]], [[60.0, 5, 63, 8]]]
    assert all(seen[2] is not None and seen[2].abs().max() <= 10 for seen in refiner.seen)


def test_boxes_outside_are_dropped_and_counted(image, coarse):
    cascade = Cascade(
        EchoRefiner(), truth({"the red roof": [90.0, 5, 99, 9], "a ship": [3.0, 3, 3.5, 9]}), settings("detector")
    )
    found, _ = cascade.apply(image, coarse, SAID)
    assert (found == FILL).all() and cascade.told.dropped == 2 and cascade.told.nothing == 2


def test_swapping_phrases_swaps_answers(image, coarse):
    boxes = {"the red roof": [10.0, 12, 30, 22], "a ship": [40.0, 30, 60, 50]}
    for mode in ("detector", "joint"):
        cascade = Cascade(EchoRefiner(), truth(boxes), settings(mode))
        one, two = cascade.apply(image, coarse, SAID)[0], cascade.apply(image, coarse.flip(0), SAID[::-1])[0]
        assert torch.equal(one, two.flip(0))


def test_an_empty_mask_stays_and_asks_nobody(image):
    refiner = Counting([])
    empty = torch.full((1, 60, 80), -4.0)
    found, _ = Cascade(refiner, None, settings("cascade")).apply(image, empty, SAID[:1])
    assert torch.equal(found, empty) and refiner.calls == 0
    assert Cascade(refiner, None, settings("cascade")).told.notes() == []
    assert Cascade(refiner, None, settings("cascade")).apply(image, empty[:0], [])[0].shape == (0, 60, 80)


@pytest.mark.parametrize(("choice", "place"), [("best", 1), ("first", 0), ("last", 2)])
def test_recursion_narrows_and_takes_what_is_chosen(image, coarse, choice, place):
    foretold = [0.4, 0.7, 0.7]
    refiner = Counting(foretold)
    cascade = Cascade(refiner, None, settings("cascade", recursion=3, choice=choice))
    found, said = cascade.apply(image, coarse[:1], SAID[:1])
    assert refiner.calls == 3 and said[0] == pytest.approx(foretold[place])
    assert (found[0] > 0).sum() == (19 - place) * (9 - place)
    assert [seen[0][0] for seen in refiner.seen] == [36, 35, 34]  # 20, 19, 18 px, and 8 px on either side


def test_margins_shrink_and_the_last_answer_prompts(image):
    wide = torch.full((1, 60, 80), -4.0)
    wide[0, 5:55, 10:60] = 3.0
    refiner = Counting([0.1, 0.2, 0.3])
    Cascade(refiner, None, settings("cascade", recursion=3, margin=0.5)).apply(image, wide, SAID[:1])
    assert [seen[0][1] < 80 for seen in refiner.seen] == [False, False, True]  # margins of 25, 17 and 11 px
    assert [int((seen[2] > 0).sum()) for seen in refiner.seen] == [50 * 50, 49 * 49, 48 * 48]


def test_recursion_never_foretells_less_and_stops_where_nothing_changes(image, coarse):
    best = []
    for rounds in (1, 2, 3):
        cascade = Cascade(Counting([0.4, 0.2, 0.6]), None, settings("cascade", recursion=rounds))
        best.append(float(cascade.apply(image, coarse[:1], SAID[:1])[1]))
    assert best == sorted(best)

    class Same(EchoRefiner):
        calls = 0

        def refine(self, *args):
            self.calls += 1
            return super().refine(*args)

    same = Same()
    Cascade(same, None, settings("cascade", recursion=5)).apply(image, coarse[:1], SAID[:1])
    assert same.calls == 1  # the mask came back as it went


def test_an_empty_refinement_is_no_candidate(image, coarse):
    class Empty(EchoRefiner):
        def refine(self, images, boxes, masks):
            return [RefinedMasks(torch.full((1, *images[0].shape[:2]), -5.0), torch.tensor([0.99]))]

    found, foretold = Cascade(Empty(), None, settings("cascade", recursion=2)).apply(image, coarse[:1], SAID[:1])
    assert torch.equal(found, coarse[:1]) and foretold[0] == float("-inf")


def test_the_box_is_that_of_the_mask_at_the_models_threshold(image, coarse):
    refiner = Counting([0.5, 0.5])
    cascade = Cascade(refiner, None, settings("cascade", isolation="none"))
    wide = coarse[:1].clone()
    wide[0, 15:35, 25:55] = torch.maximum(wide[0, 15:35, 25:55], torch.tensor(-1.0))  # a probability of 0.27
    found = [cascade.apply(image, wide, SAID[:1], threshold)[0][0].sigmoid() for threshold in (0.5, 0.2)]
    assert [seen[1][0] for seen in refiner.seen] == [[30, 20, 50, 30], [25, 15, 55, 35]]
    # What the refiner drew is cut where it drew it, at either threshold, and it was prompted with a mask of that size.
    assert [int((p > t).sum()) for p, t in zip(found, (0.5, 0.2), strict=True)] == [19 * 9, 29 * 19]
    assert [int((seen[2] > 0).sum()) for seen in refiner.seen] == [200, 600]
    told = Cascade(Counting([0.5]), None, settings("cascade", isolation="none"), threshold=0.2)
    told.apply(image, wide, SAID[:1], 0.5)
    assert told.refiner.seen[0][1][0] == [25, 15, 55, 35] and "threshold 0.2" in told.name


def test_joint_without_a_mask_is_the_detector_alone_and_without_a_box_the_mask_alone(image, coarse):
    box = {"the red roof": [10.0, 12, 30, 22]}
    empty = torch.full((2, 60, 80), -12.0)
    found, _ = Cascade(EchoRefiner(), truth(box), settings("joint", isolation="none")).apply(image, empty, SAID)
    assert (found[0] > 0).sum() == 200 and torch.equal(found[1], empty[1])
    found, _ = Cascade(EchoRefiner(), truth(box), settings("joint", isolation="none")).apply(image, coarse, SAID)
    assert torch.equal(found[1] > 0, coarse[1] > 0)  # both of its parts


def test_a_refined_mask_in_two_halves_keeps_both(image, coarse):
    class Halves(EchoRefiner):
        def refine(self, images, boxes, masks):
            drawn = torch.full((1, *images[0].shape[:2]), -5.0)
            left, top, right, bottom = (int(v) for v in boxes[0][0])
            drawn[0, top:bottom, left:right] = 5.0
            drawn[0, top:bottom, (left + right) // 2] = -5.0
            return [RefinedMasks(drawn, torch.tensor([0.5 + 0.1 * bool(masks[0] is not None)]))]

    sizes = []
    for rounds in (1, 2, 3):
        cascade = Cascade(Halves(), None, settings("cascade", recursion=rounds, choice="last"))
        sizes.append(int((cascade.apply(image, coarse[:1], SAID[:1])[0] > 0).sum()))
    assert sizes == [190, 190, 190]


def test_a_refiner_that_gives_no_numbers_is_named(image, coarse):
    class Broken(EchoRefiner):
        name = "broken"

        def refine(self, images, boxes, masks):
            return [RefinedMasks(torch.full((1, *images[0].shape[:2]), float("nan")), torch.tensor([0.5]))]

    class Unsure(EchoRefiner):
        name = "broken"

        def refine(self, images, boxes, masks):
            return [RefinedMasks(f.logits, f.iou * float("nan")) for f in super().refine(images, boxes, masks)]

    for refiner in (Broken(), Unsure()):
        with pytest.raises(CascadeError, match="The refiner broken gave NaN or infinity"):
            Cascade(refiner, None, settings("cascade")).apply(image, coarse[:1], SAID[:1])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"mode": "both"}, "mode of the cascade is 'both'; it must be one of s4eca, detector, cascade, joint"),
        ({"isolation": "cut"}, "isolation of the cascade is 'cut'"),
        ({"choice": "any"}, "choice of the cascade is 'any'"),
        ({"parts": 0}, "parts of the cascade is 0; it must be at least 1"),
        ({"recursion": -1}, "recursion of the cascade is -1; it must be at least 0"),
        ({"margin": float("nan")}, "margin of the cascade is nan"),
        ({"agreement": 2.0}, "agreement of the cascade is 2.0; it must lie between 0 and 1"),
    ],
)
def test_settings_are_refused_by_name(wrong, says):
    with pytest.raises(ConfigError, match=says):
        CascadeSettings(**wrong)


def test_modes_need_their_parts():
    for mode in ("detector", "joint"):
        with pytest.raises(ConfigError, match=f"mode of the cascade is '{mode}', which needs a detector"):
            Cascade(EchoRefiner(), None, settings(mode))
    with pytest.raises(ConfigError, match="'cascade', which needs a refiner"):
        Cascade(None, None, settings("cascade"))
    with pytest.raises(ConfigError, match="'cascade', which asks no detector"):
        Cascade(EchoRefiner(), truth({}), settings("cascade"))


def test_its_name_tells_results_apart():
    names = {
        Cascade(EchoRefiner(), None, replace(settings("cascade"), **change)).name
        for change in ({}, {"isolation": "none"}, {"recursion": 2}, {"margin": 0.5}, {"choice": "last"}, {"parts": 1})
    }
    assert len(names) == 6 and all("echo" in name for name in names)


class Filled(EchoRefiner):
    """Fills every box: no coarse mask looks like it."""

    name = "filled"

    def refine(self, images, boxes, coarse):
        return super().refine(images, boxes, [None] * len(images))


@pytest.fixture
def model(toy_model):
    torch.manual_seed(1)
    made = toy_model(decoder_detail=4)
    with torch.no_grad():
        made.decoder.kernel.bias[-1] = 0.0
    return made.eval()


def test_a_predictor_refines_images_windows_and_scores_alike(model, image):
    plain = Predictor(model)
    echo = Predictor(model, cascade=Cascade(EchoRefiner(), None, settings("cascade", isolation="none", parts=1)))
    full = Predictor(model, cascade=Cascade(Filled(), None, settings("cascade", isolation="none", parts=1)))
    assert echo.refines and not plain.refines
    before = plain.set_image(image).segment(SAID)
    assert before.masks.any()
    as_window = image.astype(np.float32)  # bytes are stretched by another library, windows are floats
    same, other = echo.set_image(image).segment(SAID), full.set_image(as_window).segment(SAID)
    assert np.array_equal(before.masks, same.masks)
    for number in range(2):
        if before.masks[number].any():
            left, top, right, bottom = other.boxes[number]
            assert other.masks[number].sum() == (right - left) * (bottom - top)
    windows = np.stack([image, image[::-1]]).astype(np.float32)
    drawn = full.probabilities(windows, SAID)
    assert drawn.shape == (2, 2, 60, 80)
    # A window's size is another than the stretched square's, and its mask the same as that of an image.
    assert np.array_equal(drawn[0] > 0.5, other.masks)
    assert np.allclose(echo.probabilities(windows, SAID), plain.probabilities(windows, SAID), atol=1e-6)


def test_a_refiner_sees_the_image_and_each_window_as_it_is(model, image):
    class Seeing(EchoRefiner):
        def __init__(self):
            self.seen = []

        def refine(self, images, boxes, coarse):
            self.seen += images
            return super().refine(images, boxes, coarse)

    refiner = Seeing()
    predictor = Predictor(model, cascade=Cascade(refiner, None, settings("cascade", isolation="none", parts=1)))
    predictor.set_image(image).segment(SAID[:1])
    predictor.probabilities(np.stack([image, image[::-1]]).astype(np.float32), SAID[:1])
    assert len(refiner.seen) == 3
    assert all(np.array_equal(a, b) for a, b in zip(refiner.seen, (image, image, image[::-1]), strict=True))


def test_bands_are_refused(toy_model):
    model = toy_model(bands=["red", "nir"], band_ranges=[[0, 1], [0, 1]])
    with pytest.raises(ConfigError, match=r"sees the bands red, nir, and detectors and refiners see RGB"):
        Predictor(model, cascade=Cascade(EchoRefiner(), None, settings("cascade")))

"""Placement and blending of windows, with MONAI's sliding window inference as the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from s4eca.errors import ConfigError
from s4eca.geo.blend import StripAccumulator, gaussian_importance
from s4eca.geo.windows import Plan, padding, starts


@pytest.mark.parametrize(
    ("length", "window", "overlap", "expected"),
    [
        (1000, 512, 0.25, (0, 384, 488)),
        (513, 512, 0.25, (0, 1)),
        (512, 512, 0.25, (0,)),
        (512, 512, 0.9, (0,)),
        (21, 20, 0.9, (0, 1)),
        (64, 32, 0.0, (0, 32)),
        (65, 32, 0.0, (0, 32, 33)),
    ],
)
def test_starts(length, window, overlap, expected):
    assert starts(length, window, overlap) == expected


def test_step_keeps_the_rounding_of_the_expression():
    assert starts(2000, 1000, 0.9)[1] == 99
    assert starts(30, 20, 0.9)[1] == 1


@pytest.mark.parametrize("length", range(8, 60))
def test_starts_cover_every_pixel(length):
    places = starts(length, 8, 0.3)
    assert places[0] == 0 and places[-1] == length - 8
    assert all(0 < b - a <= 8 for a, b in zip(places, places[1:], strict=False))


def test_padding_centres():
    assert padding(5, 8) == (1, 2)
    assert padding(9, 8) == (0, 0)


def test_spans_finish_every_row_once():
    plan = Plan(100, 40, 32, 0.25)
    spans = plan.spans()
    assert spans[0][0] == 0 and spans[-1][1] == 100
    assert all(a[1] == b[0] for a, b in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize(("window", "overlap"), [(0, 0.2), (8, 1.0), (8, -0.1)])
def test_impossible_plans(window, overlap):
    with pytest.raises(ConfigError):
        Plan(10, 10, window, overlap)


def test_importance_values():
    four = gaussian_importance(4)
    assert four[0, 0] == pytest.approx(0.001)
    assert four[0, 1] == pytest.approx(0.00673795, abs=1e-8)
    assert four[1, 1] == pytest.approx(0.36787945, abs=1e-7)
    big = gaussian_importance(512)
    assert big.max() == pytest.approx(0.99993896, abs=1e-7)
    assert big.sum(dtype=np.float64) == pytest.approx(25794.557, abs=0.05)


@pytest.mark.parametrize("window", [1, 4, 15, 32, 448])
def test_importance_equals_monai(window):
    data = pytest.importorskip("monai.data.utils")
    theirs = data.compute_importance_map((window, window), mode="gaussian").numpy()
    np.testing.assert_allclose(gaussian_importance(window), theirs, atol=1e-6)


def test_constant_probabilities_stay_constant():
    plan = Plan(60, 50, 16, 0.5)
    sums = StripAccumulator(1, plan)
    for row, behind in plan.spans():
        for col in plan.cols:
            sums.add(col, np.full((1, 16, 16), 0.7, np.float32))
        np.testing.assert_allclose(sums.blended(0, behind - row), 0.7, atol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "window", "overlap"),
    [
        (32, 32, 32, 0.25),
        (33, 32, 32, 0.25),
        (20, 70, 32, 0.25),
        (70, 21, 32, 0.5),
        (1, 1, 32, 0.25),
        (7, 90, 32, 0.25),
        (100, 75, 32, 0.25),
        (80, 57, 32, 0.0),
        (61, 64, 20, 0.9),
        (57, 83, 31, 0.6),
    ],
)
def test_scene_equals_monai(raster, rgb, predict, place_coded, height, width, window, overlap):
    torch = pytest.importorskip("torch")
    inferers = pytest.importorskip("monai.inferers")
    picture = rgb(height, width)
    segmenter = place_coded(window)
    ours = predict(
        raster(picture), ["a", "b"], segmenter, overlap=overlap, batch_size=3, fill=(0, 0, 0)
    ).scores  # fmt: skip

    def network(batch):
        return torch.from_numpy(segmenter.probabilities(np.moveaxis(batch.numpy(), 1, -1), ["a", "b"]))

    theirs = inferers.sliding_window_inference(
        torch.from_numpy(picture[None].astype(np.float32)), window, 2, network, overlap=overlap, mode="gaussian"
    )
    np.testing.assert_allclose(ours, theirs[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_batch_size_changes_nothing(raster, rgb, predict, place_coded, batch_size):
    scene = raster(rgb(100, 130))
    one = predict(scene, segmenter=place_coded(), batch_size=1)
    segmenter = place_coded()
    other = predict(scene, segmenter=segmenter, batch_size=batch_size, overwrite=True)
    assert np.array_equal(one.scores, other.scores)
    assert max(shape[0] for shape in segmenter.shapes) <= batch_size


def test_windows_are_always_whole(raster, rgb, predict, brightness):
    segmenter = brightness(32)
    predict(raster(rgb(17, 100)), segmenter=segmenter)
    assert {shape[1:] for shape in segmenter.shapes} == {(32, 32, 3)}


def test_scores_do_not_depend_on_extent(raster, rgb, predict, place_coded):
    """The same window over the same pixels gives the same scores: far from the cut, a longer scene agrees."""
    picture = rgb(160, 64)
    whole = predict(raster(picture, "whole.tif"), segmenter=place_coded(), overlap=0.25)
    part = predict(raster(picture[:, :104], "part.tif"), segmenter=place_coded(), overlap=0.25, overwrite=True)
    assert np.array_equal(whole.scores[:, :64], part.scores[:, :64])


def test_no_seam_under_a_model_that_does_not_look_at_places(raster, rgb, predict):
    picture = rgb(77, 91)
    run = predict(raster(picture), ["red", "green", "blue"])
    np.testing.assert_allclose(run.scores, picture / 255.0, atol=1e-6)

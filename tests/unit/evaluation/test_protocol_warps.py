"""The three ways in and out, against a second implementation in loops, torchvision, and warps there and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from s4eca.errors import ConfigError
from s4eca.evaluation.protocols import PROTOCOLS, scoring_protocol
from s4eca.evaluation.warps import Geometry, image_in, probabilities_on_image, probabilities_on_square, truth_in

RANDOM = np.random.default_rng(11)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def cubic(t: float, a: float = -0.75) -> float:
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def slow_bilinear(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Half-pixel centres, edges repeated, no smoothing."""
    out = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            y = max((i + 0.5) * grid.shape[0] / size[0] - 0.5, 0)
            x = max((j + 0.5) * grid.shape[1] / size[1] - 0.5, 0)
            for dy in (0, 1):
                for dx in (0, 1):
                    row, col = min(int(y) + dy, grid.shape[0] - 1), min(int(x) + dx, grid.shape[1] - 1)
                    weight = (1 - abs(y - int(y) - dy)) * (1 - abs(x - int(x) - dx))
                    out[i, j] += weight * grid[row, col]
    return out


def slow_bicubic_aligned(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Aligned corners, edges repeated."""
    out = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = i * (grid.shape[0] - 1) / (size[0] - 1), j * (grid.shape[1] - 1) / (size[1] - 1)
            for row in range(math.floor(y) - 1, math.floor(y) + 3):
                for col in range(math.floor(x) - 1, math.floor(x) + 3):
                    value = grid[min(max(row, 0), grid.shape[0] - 1), min(max(col, 0), grid.shape[1] - 1)]
                    out[i, j] += cubic(y - row) * cubic(x - col) * value
    return out


def slow_unletterbox(square: np.ndarray, native: tuple[int, int]) -> np.ndarray:
    """Every native pixel asks the square where CRIS's three corners put it; zero outside, cubic between."""
    side = square.shape[0]
    scale = min(side / native[0], side / native[1])
    top, left = (side - native[0] * scale) / 2, (side - native[1] * scale) / 2
    out = np.zeros(native)
    for i in range(native[0]):
        for j in range(native[1]):
            y, x = i * scale + top, j * scale + left
            for row in range(math.floor(y) - 1, math.floor(y) + 3):
                for col in range(math.floor(x) - 1, math.floor(x) + 3):
                    if 0 <= row < side and 0 <= col < side:
                        out[i, j] += cubic(y - row) * cubic(x - col) * square[row, col]
    return out


def slow_nearest(mask: np.ndarray, side: int) -> np.ndarray:
    out = np.zeros((side, side), dtype=np.bool_)
    for i in range(side):
        for j in range(side):
            out[i, j] = mask[int((i + 0.5) * mask.shape[0] / side), int((j + 0.5) * mask.shape[1] / side)]
    return out


@pytest.mark.parametrize("native", [(30, 46), (24, 24), (17, 9)])
def test_lavt_and_native_equal_the_loops(native: tuple[int, int]) -> None:
    side = 24
    logits = RANDOM.normal(size=(6, 6)).astype(np.float32) * 3
    mask = RANDOM.random(native) < 0.5
    geometry = Geometry("stretch", side, native)
    on_square = np.vectorize(sigmoid)(slow_bilinear(logits, (side, side)))
    on_image = np.vectorize(sigmoid)(slow_bilinear(logits, native))
    for rule, slow in ((PROTOCOLS["lavt"], on_square), (PROTOCOLS["native"], on_image)):
        fast = rule.probabilities_out(logits, geometry, native)
        assert fast.dtype == np.float32
        np.testing.assert_allclose(fast, slow, atol=2e-6)
        sure = np.abs(slow - 0.5) > 1e-5
        assert (rule.prediction_out(logits, geometry, native) == (slow > 0.5))[sure].all()
    assert (PROTOCOLS["lavt"].truth_out(mask, geometry) == slow_nearest(mask, side)).all()
    assert (PROTOCOLS["native"].truth_out(mask, geometry) == mask).all()


@pytest.mark.parametrize("native", [(30, 46), (24, 24), (50, 20)])
def test_cris_equals_the_loops(native: tuple[int, int]) -> None:
    side = 32
    logits = RANDOM.normal(size=(8, 8)).astype(np.float32) * 2
    geometry = Geometry("letterbox", side, native)
    square = slow_bicubic_aligned(np.vectorize(sigmoid)(logits), (side, side))
    np.testing.assert_allclose(probabilities_on_square(logits, geometry), square, atol=1e-5)
    slow = slow_unletterbox(square, native)
    fast = PROTOCOLS["cris"].probabilities_out(logits, geometry, native)
    np.testing.assert_allclose(fast, slow, atol=0.02)  # OpenCV rounds coordinates to 1/32 pixel
    sure = np.abs(slow - 0.35) > 0.02
    assert sure.mean() > 0.8
    assert (PROTOCOLS["cris"].prediction_out(logits, geometry, native) == (slow > 0.35))[sure].all()


def test_torch_and_numpy_logits_are_one() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for rule in PROTOCOLS.values():
        geometry = rule.geometry((20, 30), 16)
        ours = rule.prediction_out(logits, geometry, (20, 30))
        assert (ours == rule.prediction_out(logits.detach().numpy(), geometry, (20, 30))).all()
        assert ours.dtype == np.bool_
        assert ours.shape == ((16, 16) if rule.grid == "input" else (20, 30))


@pytest.mark.parametrize("shape", [(40, 64), (33, 33), (16, 16), (10, 13)])
def test_the_stretch_is_torchvisions_resize(shape: tuple[int, int]) -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    from PIL import Image

    image = RANDOM.integers(0, 256, (*shape, 3), dtype=np.uint8)
    mask = RANDOM.random(shape) < 0.3
    square, geometry = PROTOCOLS["lavt"].image_in(image, 16)
    theirs = np.asarray(functional.resize(Image.fromarray(image), [16, 16]))
    assert (square == theirs).all() and square.dtype == np.float32 and square.max() > 1
    grey = Image.fromarray(mask.astype(np.uint8))
    nearest = functional.resize(grey, [16, 16], interpolation=functional.InterpolationMode.NEAREST)
    assert (PROTOCOLS["lavt"].truth_out(mask, geometry) == np.asarray(nearest)).all()


def test_native_and_lavt_feed_the_model_the_same_square() -> None:
    image = RANDOM.integers(0, 256, (40, 64, 3), dtype=np.uint8)
    squares = {name: rule.image_in(image, 28)[0] for name, rule in PROTOCOLS.items()}
    assert (squares["lavt"] == squares["native"]).all()
    assert not (squares["cris"] == squares["native"]).all()


def test_the_letterbox_centres_the_image_on_clips_mean_colour() -> None:
    image = np.full((20, 40, 3), 200, dtype=np.uint8)
    square, _ = PROTOCOLS["cris"].image_in(image, 40)
    assert (square[12:28] == 200).all()
    assert (square[:8] == np.round([255 * 0.48145466, 255 * 0.4578275, 255 * 0.40821073])).all()
    assert (square[:8] == square[32:]).all()


@pytest.mark.parametrize("native", [(48, 64), (64, 48), (64, 64)])
@pytest.mark.parametrize("mask_size", [None, (50, 61)])
def test_cris_there_and_back_gives_the_image(native: tuple[int, int], mask_size: tuple[int, int] | None) -> None:
    import cv2

    side = 96
    rows, columns = np.mgrid[: native[0], : native[1]]
    wave = (0.5 + 0.4 * np.sin(rows / 7) * np.cos(columns / 9)).astype(np.float32)
    geometry = Geometry("letterbox", side, native)
    grey = np.repeat(np.round(255 * wave).astype(np.uint8)[..., None], 3, axis=2)
    square = np.clip(image_in(grey, geometry)[..., 0] / 255, 1e-3, 1 - 1e-3)
    back = probabilities_on_image(np.log(square / (1 - square)), geometry, mask_size or native)
    target = wave if mask_size is None else cv2.resize(wave, mask_size[::-1], interpolation=cv2.INTER_LINEAR)
    inside = np.s_[3:-3, 3:-3]
    assert back.shape == (mask_size or native)
    np.testing.assert_allclose(back[inside], target[inside], atol=0.012 if mask_size is None else 0.03)


def test_cris_there_and_back_gives_the_mask() -> None:
    native = (60, 90)
    truth = np.zeros(native, dtype=np.bool_)
    truth[15:40, 20:70] = True
    rule = PROTOCOLS["cris"]
    geometry = rule.geometry(native, 120)
    square = truth_in(truth, geometry)
    counts = rule.count(np.where(square, 9.0, -9.0).astype(np.float32), geometry, truth)
    assert counts.truth == 25 * 50
    assert counts.intersection / counts.union > 0.93


def test_a_probability_at_the_threshold_is_background() -> None:
    geometry = Geometry("stretch", 8, (8, 8))
    zero = np.zeros((8, 8), dtype=np.float32)
    assert not PROTOCOLS["lavt"].prediction_out(zero, geometry, (8, 8)).any()
    assert not PROTOCOLS["native"].prediction_out(zero, geometry, (8, 8)).any()
    assert PROTOCOLS["cris"].prediction_out(zero, Geometry("letterbox", 8, (8, 8)), (8, 8))[2:-2, 2:-2].all()
    assert scoring_protocol("native", threshold=0.49).prediction_out(zero, geometry, (8, 8)).all()
    assert PROTOCOLS["native"].prediction_out(zero, geometry, (8, 8), threshold=0.49).all()


def test_a_tiny_target_can_vanish_where_the_truth_is_resized() -> None:
    truth = np.zeros((80, 80), dtype=np.bool_)
    truth[40, 40] = True
    logits = np.full((8, 8), -9.0, dtype=np.float32)
    geometry = Geometry("stretch", 48, (80, 80))
    resized = PROTOCOLS["lavt"].truth_out(truth, geometry)
    assert resized.sum() == slow_nearest(truth, 48).sum()
    vanished = [
        PROTOCOLS["lavt"].count(logits, geometry, np.roll(truth, shift, axis=(0, 1))).truth == 0 for shift in range(5)
    ]
    assert any(vanished) and not all(vanished)
    assert all(PROTOCOLS["native"].count(logits, geometry, np.roll(truth, s, axis=(0, 1))).truth for s in range(5))


def test_each_flag_has_its_own_effect() -> None:
    """Threshold, truth size and cut, one at a time, each moves what it should and nothing else."""
    native = (40, 40)
    truth = np.zeros(native, dtype=np.bool_)
    truth[10:31, 10:31] = True
    logits = np.full((5, 5), -3.0, dtype=np.float32)
    logits[1:4, 1:4] = 1.0
    base = PROTOCOLS["native"]
    geometry = base.geometry(native, 20)
    plain = base.count(logits, geometry, truth)
    lower = base.replace(threshold=0.35).count(logits, geometry, truth)
    smaller = base.replace(grid="input").count(logits, geometry, truth)
    assert lower.predicted > plain.predicted and lower.truth == plain.truth
    assert smaller.truth == int(slow_nearest(truth, 20).sum()) < plain.truth
    assert base.replace(strict=True).count(logits, geometry, truth) == plain
    assert base.replace(strict=True).scores([1], [2])["P@0.5"] == 0 < base.scores([1], [2])["P@0.5"]
    cris = PROTOCOLS["cris"].replace(grid="input")
    boxed = cris.count(logits, cris.geometry(native, 20), truth)
    assert 0 < boxed.truth < plain.truth and boxed.union <= 400


def test_definitions_say_what_is_in_force() -> None:
    sentence = scoring_protocol("cris", threshold=0.4, strict=False, empty="one").definition(448)
    for part in ("cris", "letterbox", "448 x 448", "p > 0.4", "I / (U + 1e-06)", "IoU >= X", "1 where", "DETRIS"):
        assert part in sentence
    assert "resized to it (nearest)" in PROTOCOLS["lavt"].definition()
    assert "never resized" in PROTOCOLS["native"].definition(448)
    assert "IoU > X (X in float32)" in PROTOCOLS["cris"].definition(448)


@pytest.mark.parametrize(
    ("name", "flags", "words"),
    [
        ("lavd", {}, "did you mean 'lavt'"),
        ("coco", {}, "none of lavt, cris, native"),
        ("native", {"threshold": 1.2}, "threshold is 1.2"),
        ("native", {"threshold": float("nan")}, "threshold is nan"),
        ("native", {"grid": "half"}, "grid is 'half'"),
        ("native", {"empty": "nan"}, "empty is 'nan'"),
    ],
)
def test_impossible_rules_are_refused(name: str, flags: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        scoring_protocol(name, **flags)


@pytest.mark.parametrize(("shape", "kind"), [((4, 4), np.uint8), ((4, 4, 3), np.float32), ((4, 4, 4), np.uint8)])
def test_images_of_other_kinds_are_refused(shape: tuple[int, ...], kind: type) -> None:
    array = np.zeros(shape, kind)
    with pytest.raises(ValueError, match="uint8"):
        PROTOCOLS["native"].image_in(array, 8)

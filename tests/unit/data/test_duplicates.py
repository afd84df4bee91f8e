"""Pictures that are in two splits are found, as the same pixels or re-encoded, and others are not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from s4eca.data.duplicates import look_at, same_pictures


def ground(seed: int, side: int = 160) -> Image.Image:
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).resize((side, side))
    return rough.filter(ImageFilter.GaussianBlur(2))


def coded(image: Image.Image, form: str, **options: object) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, form, **options)
    return np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.parametrize(
    ("change", "equal"),
    [
        (lambda i: np.asarray(i), True),
        (lambda i: coded(i, "PNG"), True),
        (lambda i: coded(i, "JPEG", quality=90), False),
        (lambda i: coded(i, "JPEG", quality=40), False),
        (lambda i: coded(i, "WEBP", quality=60), False),
        (lambda i: np.asarray(i.resize((120, 120), Image.Resampling.BICUBIC)), False),
        (lambda i: np.clip(np.asarray(i).astype(float) * 0.8 + 20, 0, 255).astype(np.uint8), False),
    ],
)
def test_a_picture_is_found_again(change, equal):
    train = [look_at(Path(f"t{n}.png"), np.asarray(ground(n))) for n in range(6)]
    val = [look_at(Path("v.png"), change(ground(4)))]
    assert same_pictures([train, val]) == [(Path("t4.png"), Path("v.png"), equal)]


def test_other_pictures_and_plain_ones_are_not_taken_for_the_same():
    rng = np.random.default_rng(0)
    water = [np.clip(rng.normal(60, 3, (96, 96, 3)), 0, 255).astype(np.uint8) for _ in range(4)]
    train = [look_at(Path(f"t{n}"), np.asarray(ground(n))) for n in range(20)] + [look_at(Path("a"), water[0])]
    val = [look_at(Path(f"v{n}"), np.asarray(ground(n + 50))) for n in range(20)] + [look_at(Path("b"), water[1])]
    assert same_pictures([train, val]) == []
    assert same_pictures([train, [look_at(Path("c"), water[0])]]) == [(Path("a"), Path("c"), True)]


def test_bands_and_unknown_values_are_compared_too():
    values = np.random.default_rng(1).normal(1000, 300, (20, 20, 4)).repeat(8, 0).repeat(8, 1).astype(np.float32)
    values[:9, :9] = np.nan
    other = np.nan_to_num(values) + np.float32(0.5)
    assert same_pictures([[look_at(Path("a"), values)], [look_at(Path("b"), other)]]) == [(Path("a"), Path("b"), False)]


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "layout"), [("vhr10-ref", "rrsisd"), ("dubai-ref", "refsegrs")])
def test_real_splits_have_nothing_in_common(realdata, name, layout):
    from s4eca.data.audit import audit
    from s4eca.data.open import open_dataset

    root = realdata / name
    looks = [audit(open_dataset(root, layout, split)).looks for split in ("train", "val")]
    assert same_pictures(looks) == []
    one = looks[1][3]
    again = look_at(Path("again.jpg"), coded(Image.open(one.path).convert("RGB"), "JPEG", quality=60))
    assert [(b.name, equal) for _, b, equal in same_pictures([looks[1], [again]])] == [("again.jpg", False)]

"""Images of many bands from files: values as they are, bands by name, and what cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
from band_images import FOUR, field, write_bands
from PIL import Image

from s4eca.data.audit import audit
from s4eca.data.augment.symmetries import Symmetry, apply_symmetry
from s4eca.data.band_files import bands_size, read_bands
from s4eca.data.open import open_dataset
from s4eca.errors import DataError
from s4eca.evaluation.protocols import PROTOCOLS


def noise(kind=np.uint16, bands=4, shape=(9, 7)):
    dice = np.random.default_rng(0)
    return (dice.integers(0, 200, (*shape, bands)) - (50 if np.dtype(kind).kind != "u" else 0)).astype(kind)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("ending", [".tif", ".TIFF", ".npy"])
def test_values_come_as_they_are(kind, ending, tmp_path):
    path, image = tmp_path / f"a{ending}", noise(kind)
    if ending == ".npy":
        np.save(path, image)
    else:
        write_bands(path, image)
    found = read_bands(path, FOUR)
    assert found.dtype == np.float32 and np.array_equal(found, image.astype(np.float32))
    assert bands_size(path) == (9, 7)


def test_a_file_that_describes_its_bands_is_read_by_name(tmp_path):
    image = noise(bands=6)
    path = write_bands(tmp_path / "a.tif", image, ("NIR", "swir", "Blue", "green ", None, "RED"))
    assert np.array_equal(read_bands(path, FOUR), image[..., [5, 3, 2, 0]].astype(np.float32))


def test_a_picture_serves_three_bands_of_any_name(tmp_path):
    image = noise(np.uint8, 3)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert np.array_equal(read_bands(tmp_path / "a.png", ("nir", "red", "green")), image.astype(np.float32))
    assert bands_size(tmp_path / "a.png") == (9, 7)
    with pytest.raises(DataError, match="a.png is a picture of three colours, but 4 bands are declared"):
        read_bands(tmp_path / "a.png", FOUR)


@pytest.mark.parametrize(("names", "bands", "message"), [
    (None, 3, "has 3 bands without descriptions; 4 are declared: red, green, blue, nir"),
    (None, 5, "has 5 bands without descriptions; 4 are declared"),
    (("red", "green", "blue", "swir"), 4, "no band described as 'nir' \\(it has 1 'red'.*4 'swir'\\)"),
    (("red", "green", "blue", "Red"), 4, "describes bands 1 and 4 both as 'red'"),
])  # fmt: skip
def test_bands_that_are_not_there_are_named(names, bands, message, tmp_path):
    path = write_bands(tmp_path / "a.tif", noise(bands=bands), names)
    with pytest.raises(DataError, match=message):
        read_bands(path, FOUR)


def test_what_is_no_array_of_bands_is_refused(tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((4, 4)))
    np.save(tmp_path / "five.npy", np.zeros((4, 4, 5)))
    np.save(tmp_path / "odd.npy", np.zeros((4, 4, 4), complex))
    np.save(tmp_path / "code.npy", np.array([{"a": 1}]), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "cut.tif").write_bytes(b"II*\x00")
    for name, message in {
        "flat.npy": "holds float64 \\(4, 4\\)",
        "five.npy": "has shape \\(4, 4, 5\\); with the bands red, green, blue, nir it must be \\(height, width, 4\\)",
        "odd.npy": "holds complex128",
        "code.npy": "cannot be read as an array of numbers",
        "cut.npy": "cannot be read as an array of numbers",
        "cut.tif": "cannot be opened as a raster",
        "none.npy": "cannot be read as an array of numbers",
        "none.tif": "does not exist",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            read_bands(tmp_path / name, FOUR)
        assert name in str(caught.value)


def test_what_a_file_calls_no_data_is_unknown_in_every_band(tmp_path):
    image = noise().astype(np.float32) + 1
    image[2, 3, 1], image[4, 4, 0] = -9999, np.nan
    found = read_bands(write_bands(tmp_path / "a.tif", image, nodata=-9999), FOUR)
    unknown = np.isnan(found)
    assert unknown[2, 3].all() and unknown[4, 4].all() and unknown.sum() == 8
    np.save(tmp_path / "a.npy", np.where(image == -9999, np.inf, image))
    assert np.isnan(read_bands(tmp_path / "a.npy", FOUR)).sum() == 2


@pytest.mark.parametrize("ending", [".tif", ".npy"])
def test_a_jsonl_set_gives_bands_in_the_order_asked(ending, make_set):
    split = open_dataset(make_set(ending=ending), "jsonl", "train", bands=FOUR)
    image = split.image(split.references[0])
    assert np.array_equal(image, field(0)[0].astype(np.float32)) and split.bands == FOUR
    assert audit(split).faults == []
    turned = apply_symmetry(image, Symmetry.ROT90)
    assert np.array_equal(turned, np.rot90(image)) and turned.dtype == np.float32


def test_another_order_is_found_by_name(make_set):
    root = make_set()
    image = open_dataset(root, "jsonl", "train", bands=FOUR)
    other = open_dataset(root, "jsonl", "train", bands=("nir", "blue"))
    reference = image.references[0]
    assert np.array_equal(other.image(reference), image.image(reference)[..., [3, 2]])


def test_faults_of_a_set_are_sentences(make_set):
    root = make_set(names=None)
    wide = open_dataset(root, "jsonl", "train", bands=(*FOUR, "swir"))
    assert any("has 4 bands without descriptions; 5 are declared" in fault for fault in audit(wide).faults)
    with pytest.raises(DataError, match="Images of layout 'rrsisd' are 8-bit RGB; other bands need the layout 'jsonl'"):
        open_dataset(root, "rrsisd", "train", bands=FOUR)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_scores_look_at_bands_as_at_colours(name):
    """Bands without rounding enter the square as 8-bit colours do, to a grey level or so."""
    x, y = np.meshgrid(np.linspace(0, 3, 70), np.linspace(0, 2, 50))
    image = (127 + 100 * np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=2)).astype(np.uint8)
    square, geometry = PROTOCOLS[name].image_in(image, 28)
    bands, same = PROTOCOLS[name].bands_in(image.astype(np.float32), 28)
    assert geometry == same and bands.shape == (28, 28, 3)
    inside = ~np.isnan(bands)
    assert np.abs(bands - square)[inside].max() < (1.5 if geometry.fit == "stretch" else 60)
    assert np.abs(bands - square)[inside].mean() < 4
    assert inside.all() == (geometry.fit == "stretch") and inside[14].all()
    with pytest.raises(ValueError, match="float32"):
        PROTOCOLS[name].bands_in(image, 28)

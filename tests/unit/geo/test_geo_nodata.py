"""Values that are no data though no file says so: told by the user, or named with the option that leaves them out."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from s4eca.errors import ConfigError, RasterError
from s4eca.geo.read.fills import find_fills

CHOSEN = {"bands": [1, 2, 3]}


def waves(dtype, low=100, high=3000, size=(60, 80)):
    """Three smooth bands without two like values at their ends."""
    y, x = np.mgrid[: size[0], : size[1]]
    bands = np.stack([np.sin(x / 9.0) + y / 70, np.cos(y / 7.0) + x / 90, np.sin((x + y) / 5.0) + x / 80])
    shares = (bands - bands.min()) / (bands.max() - bands.min())
    return (low + shares * (high - low)).astype(dtype)


def option(notes):
    """What the remark tells the user to add."""
    found = [re.search(r"--nodata[ =](\S+) leaves", note) for note in notes]
    assert sum(match is not None for match in found) == 1, notes
    return [float(value) for match in found if match for value in match[1].split(",")]


CASES = {
    "int16 -9999": (np.int16, -9999), "int16 -32768": (np.int16, -32768), "uint16 65535": (np.uint16, 65535),
    "float32 lowest": (np.float32, np.finfo(np.float32).min), "float32 1e20": (np.float32, np.float32(1e20)),
    "float64 -1.7e308": (np.float64, np.finfo(np.float64).min), "int32 -2147483648": (np.int32, -(2**31)),
    "float32 0": (np.float32, 0), "uint16 0": (np.uint16, 0),
}  # fmt: skip


def test_the_odd_input(odd, predict):
    run = predict(odd / "i16_unflagged_9999.tif", **CHOSEN)
    assert run.said == [
        "25% of the pixels of i16_unflagged_9999.tif that were looked at are -9999, the lowest value, and the file "
        "does not call that no data; the stretch is found without them; if it is a fill, --nodata=-9999 "
        "leaves them out."
    ]
    assert min(json.loads(run.result.scaling)["low"]) >= 0 and run.result.prompts[0].pixels > 100
    assert predict(odd / "i16_unflagged_9999.tif", nodata=-9999, overwrite=True, **CHOSEN).result.valid_pixels == 768


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("only_one_band", [False, True])
def test_a_fill_is_named_left_out_of_the_stretch_and_left_out_on_request(raster, predict, case, only_one_band):
    """The oracle is the same scene with the value declared."""
    dtype, fill = CASES[case]
    values = waves(dtype)
    values[: 1 if only_one_band else 3, :, :20] = fill
    wanted = predict(raster(values, "declared.tif", nodata=fill), **CHOSEN)
    assert not wanted.said
    path = raster(values)
    run = predict(path, overwrite=True, **CHOSEN)
    assert run.result.scaling == wanted.result.scaling or only_one_band
    first = [np.array(json.loads(r.result.scaling)[end][0]) for r in (run, wanted) for end in ("low", "high")]
    assert first[0] == pytest.approx(first[2]) and first[1] == pytest.approx(first[3])
    told = predict(path, nodata=option(run.said), overwrite=True, **CHOSEN)
    assert not told.said and told.result.scaling == wanted.result.scaling
    assert np.array_equal(told.mask, wanted.mask) and np.array_equal(told.scores, wanted.scores, equal_nan=True)


def test_fills_at_both_ends(raster, predict):
    values = waves(np.int16)
    values[:, :, :8], values[:, :, 70:] = -9999, 30000
    notes = predict(raster(values), **CHOSEN).said
    assert len(notes) == 2 and "--nodata=-9999" in notes[0] and "--nodata 30000" in notes[1]


def test_two_fills_at_one_end(raster, predict):
    values = waves(np.int16)
    values[:, :, :8], values[:, :, 8:12] = -9999, -32768
    run = predict(raster(values), **CHOSEN)
    assert len(run.said) == 2 and min(json.loads(run.result.scaling)["low"]) > 100


def test_declared_ranges_and_a_range_of_the_users_are_looked_after_too(raster, predict):
    values = waves(np.int16)
    values[:, :, :8] = -9999
    run = predict(raster(values), scale=(0, 3000), **CHOSEN)
    assert len(run.said) == 1 and "stretch" not in run.said[0] and "--nodata=-9999" in run.said[0]


@pytest.mark.parametrize("kind", [
    "saturated", "one bright pixel", "flat", "two values", "noise", "few zeros", "dark half",
])  # fmt: skip
def test_what_is_no_fill_is_left_alone(raster, predict, kind):
    values = waves(np.uint16)
    if kind == "saturated":
        values = np.minimum(waves(np.uint16, 0, 9000), 4095)
    elif kind == "one bright pixel":
        values[:, 30, 40] = 65535
    elif kind == "flat":
        values[:] = 700
    elif kind == "two values":
        values[:] = np.where(np.random.default_rng(0).random((60, 80)) < 0.5, 0, 1000)
    elif kind == "noise":
        values = np.random.default_rng(0).integers(0, 60000, values.shape).astype(np.uint16)
    elif kind == "few zeros":
        values[:, 20:24, 20:24] = 0
    else:
        values[:, :, :40] //= 20
    run = predict(raster(values), **CHOSEN)
    ends = np.percentile(values.reshape(3, -1), (2, 98), axis=1)
    if kind in ("flat", "two values"):
        ends = np.array([values.min((1, 2)), values.max((1, 2))])
    scaling = json.loads(run.result.scaling)
    assert not run.said and np.allclose(scaling["low"], ends[0]) and np.allclose(scaling["high"], ends[1])


def test_nothing_but_a_fill_beside_one_value():
    assert find_fills(np.array([[0, 0, 5, 5]], np.uint16), []) == []
    assert find_fills(np.zeros((3, 0), np.uint16), []) == []


# ---- collars ----

COLLARS = {"black": (0, 0, 0), "white": (255, 255, 255), "magenta": (255, 0, 255), "grey": (128, 128, 128)}


@pytest.mark.parametrize("colour", COLLARS)
@pytest.mark.parametrize("where", ["all round", "left", "rotated", "bottom right", "thin all round", "thin below"])
def test_a_collar_is_named_and_left_out_on_request(raster, rgb, predict, colour, where):
    y, x = np.mgrid[:120, :140]
    collar = {
        "all round": (np.abs(y - 60) > 40) | (np.abs(x - 70) > 50), "left": x < 30,
        "rotated": np.abs(y - 60) + np.abs(x - 70) > 75, "bottom right": (y > 90) & (x > 90),
        "thin all round": (np.abs(y - 60) > 54) | (np.abs(x - 70) > 64), "thin below": y >= 115,
    }[where]  # fmt: skip
    picture = np.clip(rgb(120, 140), 1, 254)
    picture[:, collar] = np.array(COLLARS[colour], np.uint8)[:, None]
    path = raster(picture)
    run = predict(path)
    assert run.result.valid_pixels == collar.size and len(run.said) == 1
    assert "from a corner of the scene inwards" in run.said[0] and f"{collar.mean():.0%} of the pixels" in run.said[0]
    assert option(run.said) == list(COLLARS[colour])
    told = predict(path, nodata=option(run.said), overwrite=True)
    assert not told.said and np.array_equal(told.mask[0] == 255, collar)


def test_values_go_with_the_bands_in_the_order_they_are_shown(raster, rgb, predict):
    picture = np.clip(rgb(120, 140), 40, 254)
    picture[:, :, :30] = np.array([10, 20, 30], np.uint8)[:, None, None]
    run = predict(raster(picture), bands=[3, 2, 1])
    assert option(run.said) == [30, 20, 10]
    told = predict(raster(picture), bands=[3, 2, 1], nodata=option(run.said), overwrite=True)
    assert told.result.valid_pixels == 120 * 110
    assert option(predict(raster(picture), bands=[2], overwrite=True).said) == [20]


def test_a_collar_takes_no_part_in_the_stretch(raster, predict):
    values = waves(np.uint16)
    values[:, :20, :25] = 0
    run = predict(raster(values), **CHOSEN)
    assert option(run.said) == [0.0, 0.0, 0.0] and min(json.loads(run.result.scaling)["low"]) > 100


@pytest.mark.parametrize("kind", ["small", "inside", "one colour", "declared", "alpha"])
def test_what_is_no_collar(raster, rgb, predict, kind):
    picture = np.clip(rgb(120, 140), 1, 254)
    if kind == "small":
        picture[:, :17, :17] = 0
    elif kind == "inside":
        picture[:, 40:90, 40:90] = 0
    elif kind == "one colour":
        picture[:] = 7
    else:
        picture[:, :, :40] = 0
    options = {"nodata": 0} if kind == "declared" else {}
    if kind == "alpha":
        picture = np.concatenate([picture, picture[:1]])
        options = {"colours": ["red", "green", "blue", "alpha"]}
    assert not predict(raster(picture, **options)).said


def test_black_pixels_inside_keep_one_dark_band(raster, rgb, predict):
    """`--nodata 0,0,0` is what is black in all bands; `--nodata 0` what is 0 in any."""
    picture = np.clip(rgb(60, 60), 1, 254)
    picture[:, :, :10] = 0
    picture[1, 30, 30:40] = 0
    path = raster(picture)
    assert predict(path, nodata=(0, 0, 0)).result.valid_pixels == 3600 - 600
    assert predict(path, nodata=0, overwrite=True).result.valid_pixels == 3600 - 610


# ---- the option ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_are_values(raster, predict, dtype):
    values = waves(dtype)
    values[0, 0, 0], values[0, 0, 1] = np.nan, np.inf
    for nodata in (float("nan"), float("inf")):
        assert predict(raster(values), nodata=nodata, overwrite=True, **CHOSEN).result.valid_pixels == 4798


@pytest.mark.parametrize(("dtype", "nodata", "message"), [
    (np.uint8, -9999, "--nodata is -9999, a value that the type uint8 of .* cannot hold"),
    (np.uint16, float("nan"), "--nodata is nan"), (np.int16, 0.5, "--nodata is 0.5"),
    (np.float32, 1e39, "--nodata is 1e\\+39"), (np.uint8, (0, 0), "--nodata has 2 values, but 3 bands"),
    (np.uint8, (0, 0, 0, 0), "--nodata has 4 values, but 3 bands"),
])  # fmt: skip
def test_a_value_that_cannot_be_is_refused(raster, never, predict, dtype, nodata, message):
    with pytest.raises(RasterError, match=message):
        predict(raster(np.ones((3, 32, 32), dtype)), segmenter=never, nodata=nodata, **CHOSEN)


@pytest.mark.parametrize("nodata", ["0", [], [None], object()])
def test_what_is_no_number_is_refused(raster, rgb, never, predict, nodata):
    if nodata == "0":
        assert predict(raster(rgb(32, 32)), nodata=nodata).result.valid_pixels < 1024
        return
    with pytest.raises(ConfigError, match="nodata is"):
        predict(raster(rgb(32, 32)), segmenter=never, nodata=nodata)


def test_grey_takes_one_value_and_a_colour_table_its_indices(raster, predict):
    values = np.random.default_rng(0).integers(0, 4, (1, 32, 32), dtype=np.uint8)
    path = raster(values)
    assert predict(path, nodata=3).result.valid_pixels == (values != 3).sum()


def test_the_record_says_so(raster, rgb, predict):
    run = predict(raster(rgb(32, 32)), nodata=(1, 2, 3), alpha=False)
    assert run.tags["nodata"] == "1.0,2.0,3.0" and run.tags["alpha"] == "not believed"
    assert not {"nodata", "alpha"} & set(predict(raster(rgb(32, 32)), overwrite=True).tags)

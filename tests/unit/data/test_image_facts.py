"""Training images that are not 8-bit pictures: read at full depth, or refused with the true cause; never as others."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from s4eca.data.band_files import bands_size, read_bands
from s4eca.data.image_facts import image_facts
from s4eca.data.open import open_dataset
from s4eca.data.pixels import image_size, read_rgb
from s4eca.errors import DataError

ODD = Path(__file__).parents[2] / "odd_inputs"
DICE = np.random.default_rng(0)


def raster(path: Path, image: np.ndarray, **profile: Any) -> Path:
    """An image (H, W, n) as GDAL writes it."""
    height, width, count = image.shape
    made = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": image.dtype, **profile}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", **made) as file:
            file.write(np.moveaxis(image, 2, 0))
    return path


def noise(kind: str, bands: int, high: int = 120) -> np.ndarray:
    return DICE.integers(0, high, (12, 10, bands)).astype(kind)


@pytest.mark.parametrize("name", ["train_u16_rgb.tif", "train_u16_rgb_planar.tif", "train_u16.png"])
def test_sixteen_bits_are_refused_or_read_whole(name: str) -> None:
    with pytest.raises(DataError, match=f"{name} has 16 bits a channel; .*declare its bands with their ranges"):
        read_rgb(ODD / name)
    found = read_bands(ODD / name, ("red", "green", "blue"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(ODD / name) as file:
            stored = np.moveaxis(file.read(), 0, -1)
    assert stored.dtype == np.uint16 and found.max() > 255
    assert np.array_equal(found, stored.astype(np.float32)) and bands_size(ODD / name) == stored.shape[:2]


@pytest.mark.parametrize("kind", ["uint16", "int16", "uint32", "int32", "float32", "float64", "int8"])
@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_no_other_type_is_read_as_bytes(kind: str, bands: int, interleave: str, tmp_path: Path) -> None:
    image = noise(kind, bands)
    path = raster(tmp_path / "a.tif", image, interleave=interleave)
    said = r"a\.tif has .*(8|16|32|64)[ -]bit.*; images without declared bands are"
    with pytest.raises(DataError, match=said) as caught:
        read_rgb(path)
    assert "damaged" not in str(caught.value)
    names = tuple("abcd"[:bands])
    assert np.array_equal(read_bands(path, names), image.astype(np.float32))


@pytest.mark.parametrize("options", [{"NBITS": 12}, {"BIGTIFF": "YES"}, {"compress": "deflate"}, {"tiled": True,
                                     "blockxsize": 16, "blockysize": 16}])  # fmt: skip
def test_twelve_bits_in_sixteen_and_other_containers(options: dict[str, Any], tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif", noise("uint16", 3, 4095), **options)
    with pytest.raises(DataError, match=r"has 1[26] bits a channel"):
        read_rgb(path)


def test_deep_pictures_of_other_formats(tmp_path: Path) -> None:
    deep = noise("uint16", 3, 60000)
    raster(tmp_path / "a.jp2", deep, driver="JP2OpenJPEG")
    (tmp_path / "a.ppm").write_bytes(b"P6\n# deep\n10 12\n65535\n" + deep.astype(">u2").tobytes())
    (tmp_path / "a.pfm").write_bytes(b"Pf\n10 12\n-1.0\n" + noise("float32", 1).tobytes())
    raster(tmp_path / "a.png", noise("uint16", 4), driver="PNG")
    for name, said in (("a.jp2", "16 bits"), ("a.ppm", "16 bits"), ("a.pfm", "32-bit"), ("a.png", "16 bits")):
        with pytest.raises(DataError, match=f"{name} has .*{said}"):
            read_rgb(tmp_path / name)


@pytest.mark.parametrize(
    ("bands", "profile"),
    [
        (4, {"photometric": "minisblack"}),
        (4, {"photometric": "minisblack", "interleave": "band"}),
        (3, {"photometric": "minisblack"}),
        (5, {}),
        (4, {"photometric": "rgb", "interleave": "band"}),
        (3, {"compress": "lerc"}),
    ],
)
def test_a_tiff_that_is_no_picture_is_not_called_damaged(bands: int, profile: Any, tmp_path: Path) -> None:
    image = noise("uint8", bands, 255)
    path = raster(tmp_path / "a.tif", image, **profile)
    for read in (read_rgb, image_size) if "compress" not in profile else (read_rgb,):
        with pytest.raises(DataError, match=f"is a TIFF of {bands} bands of 8 bits .* declare its bands") as caught:
            read(path)
        assert "damaged" not in str(caught.value)
    assert np.array_equal(read_bands(path, tuple("abcde"[:bands])), image)


def test_the_four_band_example() -> None:
    path = ODD / "train_rgbn_minisblack.tif"
    with pytest.raises(DataError, match=r"is a TIFF of 4 bands of 8 bits \(min-is-black\), no picture"):
        read_rgb(path)
    assert read_bands(path, ("red", "green", "blue", "nir")).shape == (32, 32, 4)


def test_eight_bits_are_read_as_before(tmp_path: Path) -> None:
    colours = noise("uint8", 3, 255)
    for name, options in {"a.tif": {}, "b.tif": {"interleave": "band"}, "c.tif": {"BIGTIFF": "YES"},
                          "d.tif": {"compress": "zstd"}, "e.png": {"driver": "PNG"}}.items():  # fmt: skip
        assert np.array_equal(read_rgb(raster(tmp_path / name, colours, **options)), colours)
    four = noise("uint8", 4, 255)
    assert np.array_equal(read_rgb(raster(tmp_path / "f.tif", four, photometric="rgb")), four[..., :3])
    for ending in ("bmp", "sgi", "ppm", "png", "tif"):
        Image.fromarray(colours).save(tmp_path / f"g.{ending}")
        assert np.array_equal(read_rgb(tmp_path / f"g.{ending}"), colours)
        assert image_facts(tmp_path / f"g.{ending}").fits_bytes  # type: ignore[union-attr]
    for ending in ("jpg", "webp", "gif", "avif"):
        Image.fromarray(colours).save(tmp_path / f"g.{ending}")
        assert read_rgb(tmp_path / f"g.{ending}").shape == (12, 10, 3)


def test_what_is_no_image_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("this is a page of text and no image at all")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    for name, said in (("text.png", "begins with b'this is a pa'"), ("empty.png", "is empty"), ("phone.jpg", "heic")):
        with pytest.raises(DataError, match=said) as caught:
            read_rgb(tmp_path / name)
        assert "damaged" not in str(caught.value)


def test_a_tiff_whose_data_break_off_is_cut_short(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif", noise("uint8", 3, 255))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="is damaged or cut short: it has .* bytes and names data up to byte"):
        read_rgb(path)


def test_too_large_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(noise("uint8", 3)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(DataError, match="more than 40 pixels, too many for one training image"):
        read_rgb(tmp_path / "a.png")


def test_data_check_names_such_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from s4eca.cli.main import main

    run = {"rle": {"size": [32, 32], "counts": [10, 20, 994]}, "expression": "it", "split": "train"}
    for name, said in (("train_u16_rgb_planar.tif", "16 bits"), ("train_rgbn_minisblack.tif", "TIFF of 4 bands")):
        line = json.dumps({**run, "image": str(ODD / name)})
        (tmp_path / "references.jsonl").write_text(line)
        assert main(["data", "check", str(tmp_path), "--layout", "jsonl"]) == 2
        assert said in capsys.readouterr().err
        bands = ["a", "b", "c", "d"][: 3 if "rgb_" in name else 4]
        assert main(["data", "check", str(tmp_path), "--layout", "jsonl", "--bands", ",".join(bands)]) == 0
        capsys.readouterr()
        dataset = open_dataset(tmp_path, "jsonl", "train", bands=bands)
        assert dataset.image(dataset.references[0]).shape == (32, 32, len(bands))

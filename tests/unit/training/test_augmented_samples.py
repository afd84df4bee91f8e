"""What training is fed with `data.augment`: nothing else changes, the same draws anywhere, and a cache is refused."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from torch.utils.data import DataLoader

from s4eca.cli.main import main
from s4eca.data.augment.settings import Augmentation
from s4eca.data.augment.symmetries import apply_symmetry
from s4eca.data.preprocess import window_mask, working_mask
from s4eca.training.datamodule import ReferringData

ALL = Augmentation(reframe=1.0, recolour=0.5, blur=0.5, haze=0.5)
TURNS = ["IDENTITY", "FLIP_LR", "ROT90"]


@pytest.fixture
def samples(dataset, opened):
    def make(layout="rrsisd", root=None, model=None, **more):
        where = {"root": str(root or dataset(layout)), "layout": layout}
        made = opened(model, limit_val_batches=0, **where, symmetries=TURNS, **more)
        return made.train_dataloader().dataset

    return make


def same(one, other):
    return (one.expression, one.present) == (other.expression, other.present) and all(
        np.array_equal(a, b) for a, b in ((one.image, other.image), (one.truth, other.truth))
    )


def test_off_it_changes_nothing_and_on_it_shifts_no_other_draw(samples):
    plain, off = samples(), samples(augment=Augmentation())
    augmented, blurred = samples(augment=ALL), samples(augment=Augmentation(blur=1e-9))
    assert off.augmenter is None and len(plain) == len(augmented)
    for index in range(len(plain)):
        for seed in (1, 2):
            one = plain[(index, seed, 0)]
            assert same(one, off[(index, seed, 0)])
            # The way through the augmenter gives the same where nothing is drawn.
            assert same(one, blurred[(index, seed, 0)])
            assert one.expression == augmented[(index, seed, 0)].expression


def test_samples_are_a_function_of_their_seed(samples):
    """In another process, in another order, before and after others were drawn."""
    here = samples(augment=ALL)
    there = pickle.loads(pickle.dumps(here))
    asked = [(i, seed, 0) for i in range(len(here)) for seed in (3, 4)]
    first = [here[one] for one in asked]
    for one, item in reversed(list(zip(asked, first, strict=True))):
        assert same(item, there[one])
    loaded = DataLoader(here, sampler=asked[:4], num_workers=1, batch_size=None, multiprocessing_context="fork",
                        collate_fn=lambda item: item)  # fmt: skip
    assert all(same(a, b) for a, b in zip(loaded, first, strict=False))
    assert len({item.image.tobytes() for item in first}) > len(here)


def test_truth_is_the_mask_of_the_window(samples):
    """Image, mask and words of a sample show one window under one symmetry."""
    here = samples(augment=Augmentation(reframe=1.0, scale=(0.6, 2.0)))
    reframed = 0
    for index, reference in enumerate(here.split.references):
        image, mask = here.split.image(reference), here.split.mask(reference)
        window = here.augmenter.window(reference, image, lambda mask=mask: mask, 7)
        item = here[(index, 7, 0)]
        wanted = working_mask(mask, here.mask_size) if window is None else window_mask(
            window.cut(mask, False), here.mask_size
        )  # fmt: skip
        assert any(np.array_equal(item.truth, apply_symmetry(wanted, s)) for s in here.symmetries)
        if window is not None:
            reframed += 1
            assert window.cut(mask, False).sum() == mask.sum()  # whole targets, unless `keep` says otherwise
    assert reframed > 0.6 * len(here.split)


def test_absent_expressions_stay_absent_in_their_windows(samples):
    here = samples(absent_share=0.4, augment=Augmentation(reframe=1.0, scale=(0.6, 2.0)))
    assert len(here) > len(here.split)
    assert not any(here[(index, 5, 2)].truth.any() for index in range(len(here.split), len(here)))


@pytest.mark.parametrize(("layout", "said"), [
    ("refsegrs", "has no instance annotations"), ("jsonl", "does not say that every object is annotated"),
])  # fmt: skip
def test_without_exhaustive_instances_windows_are_left_alone_and_it_is_said(layout, said, samples, dataset, tmp_path):
    options = {"reader": {"exhaustive": False}} if layout == "jsonl" else {}
    with pytest.warns(UserWarning, match="data.augment.reframe leaves all samples of split 'train' alone") as caught:
        here = samples(layout, augment=Augmentation(reframe=1.0), **options)
    assert said in str(caught[0].message)
    plain = samples(layout, **options)
    assert all(same(plain[(i, 3, 0)], here[(i, 3, 0)]) for i in range(len(plain)))


def test_a_described_folder_brings_its_instances(samples, dataset, tmp_path):
    described = tmp_path / "described"
    assert main(["data", "describe", str(dataset("rrsisd")), "--layout", "rrsisd", "--out", str(described)]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        here = samples("jsonl", described, augment=Augmentation(reframe=1.0))
    drawn = [
        here.augmenter.window(r, here.split.image(r), lambda r=r: here.split.mask(r), 1) for r in here.split.references
    ]  # fmt: skip
    assert sum(window is not None for window in drawn) > 0.7 * len(drawn)


def test_bands_are_framed_and_changed_with_their_units(samples, dataset, tmp_path):
    """The same windows as of the RGB pictures; what lies outside an image has no data."""
    described = tmp_path / "described"
    assert main(["data", "describe", str(dataset("rrsisd")), "--layout", "rrsisd", "--out", str(described),
                 "--copy-images"]) == 0  # fmt: skip
    model = {"bands": ("red", "green", "blue"), "band_ranges": ((0.0, 255.0),) * 3}
    settings = {"saturation": 0.0, "hue": 0.0, "scale": (0.6, 0.9), "reframe": 1.0, "blur": 1.0, "recolour": 1.0}
    here = samples("jsonl", described, model, augment=Augmentation(**settings))
    # Colours are not measured in bands.
    places = [i for i, r in enumerate(here.split.references) if r.kind in ("unique", "position")]
    items = [here[(index, 2, 0)] for index in places]
    unknown = [np.isnan(item.image).mean() for item in items]
    assert all(item.image.dtype == np.float32 for item in items)
    assert np.mean([0.1 < share < 0.8 for share in unknown]) > 0.6


@pytest.mark.parametrize("name", ["reframe", "recolour", "blur", "haze"])
def test_a_feature_cache_is_refused_by_name(name):
    with pytest.raises(Exception, match=f"data.cache is 'memory', but data.augment.{name} changes pixels"):
        ReferringData("x", "jsonl", cache="memory", augment=Augmentation(**{name: 0.1}))


@pytest.mark.parametrize(("changes", "said"), [
    ({"haze": 0.2}, "data.augment.haze is 0.2, but haze is modelled for RGB alone"),
    ({"recolour": 0.2}, "data.augment.saturation is 0.2, but images with the bands red, green, blue have none"),
    ({"recolour": 0.2, "saturation": 0.0}, "data.augment.hue is 0.02"),
])  # fmt: skip
def test_what_bands_do_not_have_is_refused_by_name(changes, said, samples):
    with pytest.raises(Exception, match=said):
        samples("jsonl", model={"bands": ("red", "green", "blue"), "band_ranges": ((0.0, 255.0),) * 3},
                augment=Augmentation(**changes))  # fmt: skip


def test_a_run_takes_the_settings_of_its_file_and_of_its_line(line, tmp_path, capfd):
    out = tmp_path / "run"
    short = {"max_steps": 2, "accelerator": "cpu", "enable_progress_bar": False}
    code = line("fit", out, "--data.augment.blur", "1.0", data__augment={"reframe": 1.0, "scale": [0.8, 1.5]},
                trainer=short)  # fmt: skip
    assert code == 0, capfd.readouterr().err
    noted = (out / "config.yaml").read_text()
    assert "reframe: 1.0" in noted and "blur: 1.0" in noted
    assert (out / "adapter").is_dir()


@pytest.mark.parametrize(("changes", "said"), [
    ({"data__augment": {"blur": 3}}, "data.augment.blur is 3; it must be from 0 to 1"),
    ({"data__augment": {"blurr": 0.3}}, "blurr"),
    ({"data__augment": {"scale": [2, 1]}}, "data.augment.scale is [2, 1]"),
    ({"data__augment": {"scale": 2}}, "scale"),
    ({"data__augment": {"haze": 0.3}, "data__cache": "memory"}, "data.cache is 'memory', but data.augment.haze"),
])  # fmt: skip
def test_a_wrong_setting_is_one_sentence(changes, said, line, tmp_path, capfd):
    assert line("fit", tmp_path / "run", **changes) == 2
    shown = capfd.readouterr().err
    assert shown.startswith("s4eca: ") and shown.strip().count("\n") == 0 and "Traceback" not in shown, shown
    assert said in shown and not (tmp_path / "run").exists()

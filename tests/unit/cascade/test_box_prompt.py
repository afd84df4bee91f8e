"""The refiner that this library brings: what it reads, its folder, and what is refused of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from s4eca.cascade.box_prompt import CONFIG, WEIGHTS, BoxPrompt, load, save
from s4eca.cascade.box_prompt_network import BoxPromptSizes
from s4eca.cascade.hub import load_refiner
from s4eca.errors import CascadeError

SMALL = BoxPromptSizes(side=32, seen=56, widths=(4, 6, 8, 8))


@pytest.fixture(scope="module")
def refiner():
    torch.manual_seed(0)
    return BoxPrompt(SMALL).eval()


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def test_rows_are_independent_and_read_box_mask_and_pixels(refiner, image):
    boxes = torch.tensor([[5.0, 6, 30, 30], [40, 1, 58, 20]])
    coarse = torch.randn(2, 40, 60)
    found = refiner.refine([image], [boxes], [coarse])[0]
    assert found.logits.shape == (2, 40, 60) and ((found.iou > 0) & (found.iou < 1)).all()
    for row in range(2):
        alone = refiner.refine([image], [boxes[row : row + 1]], [coarse[row : row + 1]])[0]
        assert torch.allclose(alone.logits[0], found.logits[row], atol=1e-5)
    for other in (
        refiner.refine([image], [boxes + 5], [coarse])[0],
        refiner.refine([image], [boxes], [-coarse])[0],
        refiner.refine([image], [boxes], [None])[0],
        refiner.refine([image[:, ::-1].copy()], [boxes], [coarse])[0],
    ):
        assert not torch.allclose(other.logits, found.logits, atol=1e-4)
    assert refiner.refine([image], [torch.zeros(0, 4)], [None])[0].logits.shape == (0, 40, 60)


def test_prompts_cover_their_share_of_each_cell(refiner):
    made = refiner.prompts(torch.tensor([10.0, 4, 30, 20]), None, (40, 60))
    assert made.shape == (3, 32, 32) and made[1:].abs().sum() == 0
    scale = (32 / 60) * (32 / 40)
    assert made[0].sum().item() == pytest.approx(20 * 16 * scale, rel=1e-4)
    tiny = refiner.prompts(torch.tensor([10.0, 4, 10.5, 4.5]), None, (40, 60))
    assert tiny[0].sum().item() == pytest.approx(0.25 * scale, rel=1e-3)
    coarse = refiner.prompts(torch.tensor([10.0, 4, 30, 20]), torch.full((40, 60), -30.0), (40, 60))
    assert (coarse[1] == -1).all() and (coarse[2] == 1).all()


def test_a_saved_refiner_comes_back(refiner, image, tmp_path):
    folder = save(refiner, tmp_path / "r", "# card", torch.float32)
    again = load_refiner(f"box-prompt:{folder}")
    assert again.name == refiner.name
    box = [torch.tensor([[5.0, 6, 30, 30]])]
    one, two = refiner.refine([image], box, [None])[0], again.refine([image], box, [None])[0]
    assert torch.equal(one.logits, two.logits) and torch.equal(one.iou, two.iou)
    assert not any(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda note: note.update(kind="other"), "must have exactly the keys"),
        (lambda note: note.update(more=1), "must have exactly the keys"),
        (lambda note: note["sizes"].update(depth=3), "has sizes that no box-prompt refiner has"),
        (
            lambda note: note["sizes"].update(side=30),
            "side of the box-prompt refiner is 30; it must be a multiple of 8",
        ),
        (lambda note: note["sizes"].update(widths=[1, 2]), r"widths of the box-prompt refiner is \[1, 2\]"),
        (lambda note: note["sizes"].update(widths=[4, 6, 8, 9]), "does not fit its sizes at the tensor"),
        (lambda note: note.update(encoder_sha256="0" * 64), "was made with an encoder of weights 000000000000"),
    ],
)
def test_folders_that_do_not_fit_are_refused_by_name(refiner, tmp_path, change, says):
    folder = save(refiner, tmp_path / "r", "# card")
    note = json.loads((folder / CONFIG).read_text())
    change(note)
    (folder / CONFIG).write_text(json.dumps(note))
    with pytest.raises(CascadeError, match=says):
        load("box-prompt", str(folder), "cpu")


def test_damaged_weights_are_refused(refiner, tmp_path):
    folder = save(refiner, tmp_path / "r", "# card")
    (folder / WEIGHTS).write_bytes(b"x")
    with pytest.raises(CascadeError, match="is no folder of a box-prompt refiner"):
        load("box-prompt", str(folder), "cpu")


def test_gradients_reach_everything_but_the_encoder(refiner):
    model = BoxPrompt(SMALL, refiner.vision)
    pixels, shown = model.seen([np.zeros((20, 20, 3), np.uint8)] * 2)
    prompts = torch.stack([model.prompts(torch.tensor([2.0, 2, 9, 9]), torch.randn(20, 20), (20, 20))] * 2)
    logits, iou = model.network(pixels, prompts, model.features(shown))
    (logits.square().mean() + iou.square().mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.network.parameters())
    assert all(p.grad is None for p in model.vision.parameters())

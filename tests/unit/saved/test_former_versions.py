"""Folders and a checkpoint that version 0.1 wrote: they load, and say what they said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from s4eca import S4ECAModel
from s4eca.registry import own_settings

WRITTEN = Path(__file__).parent / "version_0_1"
ANSWERS = json.loads((WRITTEN / "answers.json").read_text())


def test_every_folder_has_its_answer() -> None:
    assert {path.name for path in WRITTEN.iterdir() if path.is_dir()} == set(ANSWERS)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_folder_answers_as_it_did(name: str) -> None:
    model = S4ECAModel.from_pretrained(WRITTEN / name)
    image = torch.rand(1, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    if model.config.bands:
        image = model.normalise(torch.cat([image, image[:, :1]], dim=1) * 255)
    with torch.no_grad():
        said = model(image, ["the ship on the left"]).flatten()[::19].tolist()
    assert said == pytest.approx(ANSWERS[name], abs=2e-4)


@pytest.mark.parametrize("name", ["lora", "s4eca-side"])
def test_saved_again_it_has_todays_names(name: str, tmp_path: Path) -> None:
    from s4eca.saved.folder import WEIGHTS, tensor_table

    model = S4ECAModel.from_pretrained(WRITTEN / name)
    again = model.save_pretrained(tmp_path / name, dtype="float16")
    assert tensor_table(again / WEIGHTS) == tensor_table(WRITTEN / name / WEIGHTS)
    assert not any(key.startswith("towers") for key in tensor_table(again / WEIGHTS))
    S4ECAModel.from_pretrained(again)


def test_a_training_run_goes_on_from_its_checkpoint(dataset_folder: Path, tmp_path: Path) -> None:
    """Weights, moving average and optimiser come back; the run stops where its three updates ended, or goes on."""
    from s4eca.cli.main import main

    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    shutil.copyfile(WRITTEN / "lora-run.ckpt", out / "checkpoints" / "last.ckpt")
    config = own_settings(json.loads((WRITTEN / "lora" / "adapter_config.json").read_text())["config"])
    settings = {
        "model": {
            "config": {**config, "options": {"rank": 1}},
            "optim": {"lr_adapter": 1e-3, "lr_decoder": 1e-3, "lr_encoders": 1e-3, "warmup": 1, "average": 0.8},
        },
        "data": {"root": str(dataset_folder), "layout": "rrsisd", "batch_size": 4},
        "trainer": {
            "max_steps": 5, "max_epochs": 10, "accelerator": "cpu", "limit_val_batches": 1, "val_check_interval": 1,
            "enable_progress_bar": False,
        },
        "run": {"out": str(out), "name": "tiny", "threads": 1},
        "seed_everything": 0,
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    assert main(["fit", "-c", str(path), "--ckpt_path", str(out / "checkpoints" / "last.ckpt")]) == 0
    after = torch.load(out / "checkpoints" / "last.ckpt", weights_only=False)
    assert after["global_step"] == 5
    before = torch.load(WRITTEN / "lora-run.ckpt", weights_only=False)
    assert len(after["state_dict"]) == len(before["state_dict"])
    kept = after["callbacks"]["MovingAverage"]
    assert kept["updates"] == 5 and len(kept["average"]) == len(before["callbacks"]["MovingAverage"]["average"])
    assert not any(name.startswith("towers") for name in kept["average"])
    assert (out / "adapter").is_dir()  # though the checkpoint's best was never beaten here


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from s4eca.cli.main import main

    root = tmp_path_factory.mktemp("data") / "rendered"
    words = "--layout rrsisd --scenes 8 --seed 5 --size 96"
    assert main(["data", "render", str(root), *words.split()]) == 0
    return root

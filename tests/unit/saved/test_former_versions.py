"""Folders and a checkpoint that version 0.1 wrote: they load, and say what they said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from s4eca import S4ECAModel
from s4eca.errors import AdapterFolderError
from s4eca.layers.trainable import trainable_parameters
from s4eca.registry import own_settings
from s4eca.training.former_optimiser import regroup
from s4eca.training.optim import OptimConfig, build_optimiser

WRITTEN = Path(__file__).parent / "version_0_1"
SIZES = [
    ("s4eca", {}), ("lora", {"rank": 2}), ("dora", {"rank": 2}), ("ia3", {}), ("ln", {}), ("etris", {"ladder": 8}),
    ("detris", {"width": 8, "width_text": 8}), ("adaptformer", {"rank": 4}), ("full", {}),
]  # fmt: skip
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
            "max_steps": 5,
            "max_epochs": 10,
            "accelerator": "cpu",
            "limit_val_batches": 1,
            "val_check_interval": 1,
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


def grouped_as_0_1_did(model) -> dict[str, list[str]]:
    """Version 0.1's rule: matrices decay, but for some endings of names."""
    endings = ("queries", "place", "up.weight", "bands.weight")
    groups: dict[str, list[str]] = {}
    for name, parameter in trainable_parameters(model).items():
        part = name.partition(".")[0].replace("encoder_updates", "towers")
        decays = parameter.ndim >= 2 and not name.endswith(endings)
        groups.setdefault(part if decays else f"{part}-no-decay", []).append(name)
    return groups


@pytest.mark.parametrize(("method", "options"), SIZES)
def test_each_tensor_gets_the_optimisers_state_that_it_had(method, options, toy_model) -> None:
    """Where other tensors decay than in 0.1, the state of its optimiser is dealt out by names."""
    model = toy_model(method=method, options=options)
    named, then = trainable_parameters(model), grouped_as_0_1_did(model)
    order = [name for names in then.values() for name in names]
    marks, numbers = {name: float(number) for number, name in enumerate(order)}, iter(range(len(order)))
    state = {
        number: {"step": torch.tensor(3.0), "exp_avg": torch.full_like(named[name], marks[name]),
                 "exp_avg_sq": torch.zeros_like(named[name])}
        for number, name in enumerate(order)
    }  # fmt: skip
    groups = [
        {"name": part, "lr": 1e-3, "initial_lr": 1e-3, "weight_decay": 0.0 if part.endswith("decay") else 0.01,
         "betas": (0.9, 0.999), "params": [next(numbers) for _ in names]}
        for part, names in then.items()
    ]  # fmt: skip
    rates = [float(place) for place in range(len(groups))]
    checkpoint = {
        "optimizer_states": [{"state": state, "param_groups": groups}],
        "lr_schedulers": [{"base_lrs": rates, "_last_lr": rates, "lr_lambdas": [None] * len(groups)}],
    }
    regroup(checkpoint, model)
    optimiser, _ = build_optimiser(model, OptimConfig(), total=10)
    optimiser.load_state_dict(checkpoint["optimizer_states"][0])
    for name, parameter in named.items():
        assert (optimiser.state[parameter]["exp_avg"] == marks[name]).all(), name
    for group in optimiser.param_groups:
        assert group["weight_decay"] == (0.0 if group["name"].endswith("-no-decay") else 0.01)
    assert len(checkpoint["lr_schedulers"][0]["base_lrs"]) == len(optimiser.param_groups)
    again = {key: list(value) for key, value in checkpoint.items()}
    regroup(checkpoint, model)
    assert {key: list(value) for key, value in checkpoint.items()} == again, "today's groups are left as they are"


def test_only_version_0_1_may_write_out_what_a_method_does_not_have(tmp_path: Path) -> None:
    folder = tmp_path / "lora"
    shutil.copytree(WRITTEN / "lora", folder)
    note = json.loads((folder / "adapter_config.json").read_text())
    assert note["config"]["width"] and note["s4eca_version"] == "0.1.0"
    (folder / "adapter_config.json").write_text(json.dumps({**note, "s4eca_version": "0.2.0"}))
    with pytest.raises(AdapterFolderError, match="adapter_config.json: .*belongs to the method 's4eca'"):
        S4ECAModel.from_pretrained(folder)


@pytest.mark.parametrize("said", [{}, {"candidate_order": True, "residual_norm": True}, {"candidate_order": True}])
def test_a_folder_older_than_a_setting_stays_without_it(said: dict[str, bool], tmp_path: Path, toy_model) -> None:
    """What it says holds; what it does not say was not there, whatever the default is today."""
    from s4eca.config import BEFORE_S4ECA_FIELDS, S4ECASettings
    from s4eca.saved.folder import read_config, read_settings

    assert {name: getattr(S4ECASettings(), name) for name in BEFORE_S4ECA_FIELDS} == dict.fromkeys(
        BEFORE_S4ECA_FIELDS, True
    )
    wanted = {**BEFORE_S4ECA_FIELDS, **said}
    model = toy_model(**wanted)
    folder = model.save_pretrained(tmp_path / "adapter")
    note = json.loads((folder / "adapter_config.json").read_text())
    note["config"] = {k: v for k, v in note["config"].items() if k not in BEFORE_S4ECA_FIELDS or k in said}
    (folder / "adapter_config.json").write_text(json.dumps(note))
    config = read_settings(folder, read_config(folder))
    assert (
        {name: getattr(config, name) for name in wanted} == wanted == {n: note["config"].get(n, False) for n in wanted}
    )


def test_a_checkpoint_older_than_a_setting_goes_on_without_it_alone() -> None:
    from s4eca.config import BEFORE_S4ECA_FIELDS, S4ECAConfig
    from s4eca.training.module import S4ECAModule

    pair = {"vision": "packaged:dinov2-s", "text": "packaged:minilm-l6", "image_size": 56, "width": 8}
    module = S4ECAModule(S4ECAConfig(**pair, **BEFORE_S4ECA_FIELDS))
    checkpoint: dict[str, object] = {}
    module.on_save_checkpoint(checkpoint)
    settings = checkpoint["s4eca_config"]
    assert isinstance(settings, dict)
    for name in BEFORE_S4ECA_FIELDS:
        del settings[name]
    module.on_load_checkpoint(checkpoint)
    other = S4ECAModule(S4ECAConfig(**pair))
    with pytest.raises(AdapterFolderError, match="made with candidate_order = False, here .* is True"):
        other.on_load_checkpoint(checkpoint)


def test_an_older_checkpoint_becomes_an_adapter_without_it(tmp_path: Path) -> None:
    from s4eca.cli.main import main
    from s4eca.config import BEFORE_S4ECA_FIELDS, S4ECAConfig
    from s4eca.training.module import S4ECAModule

    pair = {"vision": "packaged:dinov2-s", "text": "packaged:minilm-l6", "image_size": 56, "width": 8}
    module, checkpoint = S4ECAModule(S4ECAConfig(**pair, **BEFORE_S4ECA_FIELDS)), {}
    module.on_save_checkpoint(checkpoint)
    checkpoint["s4eca_config"] = {k: v for k, v in checkpoint["s4eca_config"].items() if k not in BEFORE_S4ECA_FIELDS}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert main(["adapter", "convert", str(tmp_path / "last.ckpt"), str(tmp_path / "adapter")]) == 0
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["config"]
    assert {name: config[name] for name in BEFORE_S4ECA_FIELDS} == BEFORE_S4ECA_FIELDS

"""A card speaks of the data it was trained on, and a run that goes on with other settings says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from s4eca.errors import ConfigError
from s4eca.training.provenance import check_provenance

CONFIGS = Path(__file__).parents[3] / "configs"
PACKAGED = yaml.safe_load((CONFIGS / "vhr10_ref.yaml").read_text())["run"]["data"]


def test_the_text_of_a_packaged_configuration_does_not_follow_another_layout(line, dataset, tmp_path, capfd):
    other = {"data__root": str(dataset("jsonl")), "data__layout": "jsonl", "run__data": PACKAGED}
    assert line("fit", tmp_path / "run", **other) == 2
    said = capfd.readouterr().err
    assert "data.layout is 'jsonl', but run.data is the text of vhr10_ref.yaml" in said and said.count("\n") == 1
    assert "run.licence" in said and "own_data.yaml" in said and not (tmp_path / "run").exists()


# That of several sets has a test of its own.
@pytest.mark.parametrize("config", sorted(path.name for path in CONFIGS.glob("*.yaml") if path.stem != "aerial"))
def test_every_configuration_is_of_its_own_layout(config):
    found = yaml.safe_load((CONFIGS / config).read_text())
    if config == "own_data.yaml":
        assert not {"data", "licence", "name"} & set(found["run"]) and found["data"]["layout"] == "jsonl"
        return
    said, layout = found["run"]["data"], found["data"]["layout"]
    assert check_provenance(said, layout, Path("DATA") / said.split()[0]) == []
    (told,) = check_provenance(said, layout, Path("mine"))
    assert told.startswith("the card will say of mine what run.data of ") and " ".join(said.split()) in told
    with pytest.raises(ConfigError, match="data.layout is 'jsonl'"):
        check_provenance(said, "jsonl", Path("mine"))


def test_other_data_and_other_settings_are_said(line, tmp_path, capfd, recwarn):
    """Of the same layout: said when training begins, once; a run that goes on names what differs, and only that."""
    out, last = tmp_path / "run", str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert line("fit", out, run__data=PACKAGED, trainer__max_epochs=1) == 0
    assert capfd.readouterr().err.count("what run.data of vhr10_ref.yaml says: vhr10-ref train split") == 1
    shutil.copytree(out, tmp_path / "copy")
    changes = {"data__symmetries": ["IDENTITY"], "data__augment": {"blur": 0.5}, "model__optim__lr_adapter": 1e-3}
    assert line("fit", out, "--ckpt_path", last, "--trainer.max_epochs", "2", **changes) == 0
    said = capfd.readouterr().err
    note = next(text for text in said.splitlines() if "goes on with other settings" in text)
    for part in (
        'data.symmetries ["IDENTITY"] (was ["IDENTITY", "FLIP_LR"])', "data.augment.blur 0.5 (was 0.0)",
        "model.optim.lr_adapter 0.001 (was 0.003)", "trainer.max_epochs 2 (was 1)",
    ):  # fmt: skip
        assert part in note, note
    assert note.count("(was ") == 4, note
    assert not [warned for warned in recwarn if "exists and is not empty" in str(warned.message)]
    again = str(tmp_path / "copy" / "checkpoints" / "last.ckpt")
    assert line("fit", tmp_path / "copy", "--ckpt_path", again, trainer__max_epochs=1) == 0
    assert "other settings" not in capfd.readouterr().err

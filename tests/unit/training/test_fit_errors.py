"""What is wrong with a run is said in one sentence, with exit code 2."""

from __future__ import annotations

import pytest

from s4eca.cli.main import main


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model__config__widht": 8}, "widht"),
        ({"model__config__mode": "sideways"}, "sideways"),
        ({"model__optim__lr": 1.0}, "lr"),
        ({"data__rooot": "x"}, "rooot"),
        ({"data__batch_size": "many"}, "batch_size"),
        ({"data__layout": "coco"}, "layout is 'coco'"),
        ({"data__root": "no/such/folder"}, "no/such/folder"),
        ({"data__symmetries": ["ROT45"]}, "symmetries has 'ROT45'"),
        ({"data__val_split": "nothing"}, "nothing"),
        ({"data__absent_share": 0.9}, "0.9"),
        ({"model__config__vision": "no/such/dir/model"}, "no/such/dir/model"),
        ({"model__config__image_size": 30}, "30 px"),
        ({"run__ouut": "x"}, "ouut"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_named(changes, named, line, tmp_path, capfd):
    assert line("fit", tmp_path / "run", **changes) == 2
    said = capfd.readouterr().err
    assert said.startswith("s4eca: ") and said.strip().count("\n") == 0, said
    assert named in said and "Traceback" not in said and len(said) < 700
    assert not (tmp_path / "run" / "adapter").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["-c", "nowhere.yaml"], "nowhere.yaml does not exist; packaged ones: aerial.yaml, dubai_ref.yaml, isaid_"),
        (["-c"], "-c"),
        (["--data.root"], "data.root"),
    ],
)
def test_a_wrong_line_is_named(words, named, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *words]) == 2
    said = capfd.readouterr().err
    assert said.startswith("s4eca: ") and said.strip().count("\n") == 0 and named in said
    assert list(tmp_path.iterdir()) == []


def test_the_packaged_configurations_are_read_wherever_one_stands(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "-c", "vhr10_ref.yaml", "--data.root", "elsewhere"]) == 2
    assert "elsewhere" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"data__batch_size": 0}, "data.batch_size is 0; it must be at least 1"),
        ({"data__workers": -1}, "data.workers is -1; it must be at least 0"),
        ({"data__absent_share": 2}, "data.absent_share is 2"),
        ({"trainer__devices": 0}, "Lightning's trainer refuses its settings"),
        ({"trainer__strategy": "nope"}, "trainer.strategy is 'nope'; it must be auto, ddp"),
        ({"trainer__max_epochs": -5}, "must be a non-negative integer"),
    ],
)
def test_a_refused_run_leaves_nothing(changes, part, line, tmp_path, capfd):
    assert line("fit", tmp_path / "run", **changes) == 2
    said = capfd.readouterr().err
    assert part in said and "Traceback" not in said and said.strip().count("\n") == 0
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_is_not_there_is_named(line, tmp_path, capfd):
    assert line("fit", tmp_path / "run", "--ckpt_path", "nope.ckpt") == 2
    assert "ckpt_path is nope.ckpt, which does not exist" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data.augment.refame", "0.5"], "data.augment.refame is no setting; did you mean data.augment.reframe?"),
        (["--data.augment.reframe", "yes"], "data.augment.reframe is true; it must be a number."),
        (["--data.augment.scale", "[1]"], "data.augment.scale is [1]; it must be a list of 2."),
        (["--data.batch_size", "many"], "data.batch_size is many; it must be a whole number."),
        (["--trainer.max_epochs", "x"], "trainer.max_epochs is x; it must be a whole number or null."),
        (["--model.optim.warmup", "x"], "model.optim.warmup is x; it must be a whole number."),
        (["--data.root"], "argument --data.root: expected one argument"),
        (["--data.batch_size", "0"], "data.batch_size is 0; it must be at least 1."),
    ],
)
def test_what_the_line_says_is_not_blamed_on_the_file(words, said, line, tmp_path, capfd):
    assert line("fit", tmp_path / "run", *words) == 2
    assert capfd.readouterr().err == f"s4eca: s4eca fit: {said}\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data__augment": {"refram": 0.5}}, "data.augment.refram is no setting; did you mean data.augment.reframe?"),
        ({"data__augment": {"xyz": 1}}, "data.augment.xyz is no setting; data.augment has reframe, recolour, blur,"),
        ({"data__augment": {"reframe": True}}, "data.augment.reframe is true; it must be a number."),
        ({"data__augment": 7}, "data.augment is 7; it must be settings with values"),
        ({"data__symmetries": 7}, "data.symmetries is 7; it must be a list."),
        ({"model__config__width": "wide"}, "model.config.width is wide; it must be a whole number or null."),
        ({"model__config__widht": 8}, "model.config.widht is no setting; did you mean model.config.width?"),
        ({"model__optim__lr": 1.0}, "model.optim.lr is no setting; model.optim has lr_adapter, lr_decoder"),
        ({"model__optim__warmup": "x"}, "model.optim.warmup is x; it must be a whole number."),
        ({"trainer__max_epoch": 3}, "trainer.max_epoch is no setting; did you mean trainer.max_epochs?"),
    ],
)
def test_a_setting_of_the_file_is_said_in_our_words(changes, said, line, tmp_path, capfd):
    assert line("fit", tmp_path / "run", **changes) == 2
    told = capfd.readouterr().err
    assert f"tiny.yaml: {said}" in told and told.count("\n") == 1 and "<class" not in told

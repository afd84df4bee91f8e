"""Runs on several data sets through the command line: scores of each, what the card says, and how a run goes on."""

from __future__ import annotations

import csv
import json
import random
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from several import assert_same_end, killed_at, last

from s4eca.data.identity import identity
from s4eca.data.open import open_dataset
from s4eca.errors import ConfigError
from s4eca.saved.card import metadata
from s4eca.saved.folder import CONFIG
from s4eca.training.provenance import check_joint_provenance, check_provenance

CONFIGS = Path(__file__).parents[3] / "configs"
AERIAL = yaml.safe_load((CONFIGS / "aerial.yaml").read_text())


@pytest.fixture(scope="module")
def joint(dataset):
    """Changes to a configuration: three sets in place of one, validated within an epoch of seven updates."""
    where = dataset("rrsisd").parent
    for layout in ("jsonl", "refsegrs"):
        dataset(layout)
    sets = [
        {"root": "rrsisd", "layout": "rrsisd", "share": 0.5},
        {"root": "jsonl", "layout": "jsonl", "share": 0.3, "name": "lines", "reader": {"exhaustive": True}},
        {"root": "refsegrs", "layout": "refsegrs", "share": 0.2, "val_split": None},
    ]
    return {
        "data__root": None, "data__layout": None, "data__base": str(where), "data__sets": sets, "data__batch_size": 2,
        "data__epoch_samples": 15, "data__absent_share": 0.2, "trainer__max_epochs": 3, "trainer__max_steps": 16,
        "trainer__val_check_interval": 2, "model__config": None,
    }  # fmt: skip


@pytest.fixture(scope="module")
def changes(joint, hub):
    from sizes import SMALL

    config = {"vision": str(hub("dinov2")), "text": str(hub("bert")), "image_size": 28, **SMALL, "presence": 4}
    return {**joint, "model__config": config}


@pytest.fixture(scope="module")
def undisturbed(line, changes, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert line("fit", out, **changes) == 0
    return out


def test_every_set_is_scored_and_so_are_all(undisturbed):
    rows = list(csv.DictReader((undisturbed / "scores.csv").open()))
    assert [int(row["update"]) for row in rows] == [2, 4, 6, 9, 11, 13, 16]
    for row in rows:
        for name in ("mIoU", "oIoU", "P@0.5", "N-acc", "gIoU"):
            own = [float(row[f"val/{name}/{one}"]) for one in ("rrsisd", "lines")]
            assert float(row[f"val/{name}"]) == pytest.approx(sum(own) / 2, abs=2e-6)
        assert not any("refsegrs" in name for name in row)
    assert rows[-1]["val/mIoU/rrsisd"] != rows[-1]["val/mIoU/lines"]
    assert any((undisturbed / "pictures").iterdir())


def test_the_adapter_is_the_one_of_the_best_mean_and_says_what_it_learnt_from(undisturbed, dataset):
    note = json.loads((undisturbed / "adapter" / CONFIG).read_text())
    best = max(float(row["val/mIoU"]) for row in csv.DictReader((undisturbed / "scores.csv").open()))
    assert note["card"]["scores"]["val native mIoU"] == pytest.approx(best, abs=1e-6)
    told = {one["name"]: {k: v for k, v in one.items() if k != "name"} for one in note["card"]["sets"]}
    assert {name: one.pop("share") for name, one in told.items()} == {"rrsisd": 0.5, "lines": 0.3, "refsegrs": 0.2}
    assert told["lines"] == identity(open_dataset(dataset("jsonl"), "jsonl", "train"))
    card = (undisturbed / "adapter" / "README.md").read_text()
    count, mark = told["lines"]["references"], told["lines"]["sha256"]
    assert f"| lines | jsonl | train | 30.0 % | {count} | 4 | `{mark}` |" in card
    assert "| score | mean of the sets | rrsisd | lines |" in card and card.count("| native mIoU") == 0
    assert card.count("| val native mIoU |") == 1
    named = {result["dataset"]["name"]: result["metrics"] for result in metadata(note)["model-index"][0]["results"]}
    assert set(named) == {"rendered scenes", "rrsisd", "lines"}
    assert all(metric["name"] != "native mIoU/lines" for metrics in named.values() for metric in metrics)


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been(undisturbed, line, changes, tmp_path, monkeypatch):
    """kill -9 at a random update, within an epoch and between two validations; the end is the undisturbed run's."""
    out, same = tmp_path / "killed", {**changes, "data__workers": 1}
    dies = random.SystemRandom().randint(3, 16)
    killed_at(dies, lambda: line("fit", out, **same), out, monkeypatch)
    assert line("fit", out, "--ckpt_path", str(out / "checkpoints" / "last.ckpt"), **same) == 0
    assert last(out)["global_step"] == 16
    assert_same_end(undisturbed, out, f"killed in update {dies}")


def test_a_run_that_goes_on_with_other_shares_says_so(undisturbed, line, changes, tmp_path, capfd):
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out)
    first, *others = changes["data__sets"]
    other = {**changes, "data__sets": [{**first, "share": 0.6}, *others], "trainer__max_steps": 17}
    assert line("fit", out, "--ckpt_path", str(out / "checkpoints" / "last.ckpt"), **other) == 0
    note = next(text for text in capfd.readouterr().err.splitlines() if "with other settings" in text)
    now, _, former = note.partition(" data.sets ")[2].partition(" (was ")
    assert '"share": 0.6' in now and '"share": 0.5' in former and "model.config" not in note


def test_sets_of_the_line_replace_those_of_the_file(line, changes, dataset, tmp_path, capfd):
    """As JSON; and a checkpoint is scored on sets that it was not trained on."""
    sets = json.dumps([{"root": str(dataset("refsegrs")), "layout": "refsegrs", "test_split": "val", "name": "other"}])
    out = tmp_path / "run"
    assert line("fit", out, "--data.sets", sets, **{**changes, "trainer__max_steps": 1}) == 0
    scores = json.loads((out / "adapter" / CONFIG).read_text())["card"]["scores"]
    assert scores["val native mIoU"] == scores["val native mIoU/other"]
    capfd.readouterr()
    assert line("test", out, "--data.sets", sets, "--ckpt_path", str(out / "checkpoints" / "last.ckpt"), **changes) == 0
    assert "test/mIoU/other" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data.root", "x"], "s4eca fit: data.root is 'x', but data.sets is given"),
        (["--data.sets", "[{root: a, layout: rrsisd, shar: 1}]"], "s4eca fit: data.sets[0].shar is no setting"),
        (["--data.sets", "7"], "s4eca fit: data.sets is 7; it must be a list or null."),
        (["--data.sets", "null"], "data.root is not given"),
    ],
)
def test_a_wrong_line_is_one_sentence(words, said, line, changes, tmp_path, capfd):
    assert line("fit", tmp_path / "run", *words, **changes) == 2
    told = capfd.readouterr().err
    assert said in told and told.count("\n") == 1 and not (tmp_path / "run").exists()


def test_no_set_to_score_is_said(line, changes, tmp_path, capfd):
    sets = [{**one, "test_split": None} for one in changes["data__sets"]]
    assert line("test", tmp_path / "run", **{**changes, "data__sets": sets}) == 2
    assert "test_split of all data.sets is null, so there is nothing to score" in capfd.readouterr().err


def test_the_text_of_the_packaged_configuration_is_about_its_own_sets():
    said = AERIAL["run"]["data"]
    own = {one["root"]: one["layout"] for one in AERIAL["data"]["sets"]}
    assert check_joint_provenance(said, own) == [] and check_joint_provenance("mine", {"a": "jsonl"}) == []
    assert all(name in said for name in own)
    fewer = {name: layout for name, layout in own.items() if name != "golf-ref"}
    (told,) = check_joint_provenance(said, {**fewer, "mine": "jsonl"})
    assert told.startswith("the run is without golf-ref, with mine; the card will say what run.data of aerial.yaml")
    with pytest.raises(ConfigError, match="The set 'golf-ref' has the layout 'rrsisd', but run.data is the text of"):
        check_joint_provenance(said, {**own, "golf-ref": "rrsisd"})
    with pytest.raises(ConfigError, match="data.root is given, but run.data is the text of aerial.yaml"):
        check_provenance(said, "rrsisd", Path("vhr10-ref"))
    one = yaml.safe_load((CONFIGS / "vhr10_ref.yaml").read_text())["run"]["data"]
    with pytest.raises(ConfigError, match="data.sets is given, but run.data is the text of vhr10_ref.yaml"):
        check_joint_provenance(one, own)


@pytest.fixture
def cross(monkeypatch):
    """The script of the cross-domain table, run on some words."""
    monkeypatch.syspath_prepend(str(CONFIGS.parent / "benchmarks"))
    import cross_domain

    def run(*words):
        monkeypatch.setattr("sys.argv", ["cross_domain.py", *words])
        cross_domain.main()

    return run


def test_the_cross_domain_table_knows_what_was_trained_on(undisturbed, cross, dataset, tmp_path, capsys):
    out = tmp_path / "rows.json"
    line = [
        "--data", f"rrsisd={dataset('rrsisd')}", "--data", f"other={dataset('jsonl')}", "--exhaustive", "rrsisd",
        "--adapter", f"all={undisturbed / 'adapter'}", "--small", "5", "--out", str(out),
    ]  # fmt: skip
    cross(*line)
    rows = json.loads(out.read_text())["rows"]
    assert [(row["set"], row["references"]) for row in rows.values()] == [("rrsisd", 5), ("other", 5)]
    head, _, body = capsys.readouterr().out.strip().splitlines()[-3:]
    assert head == "| adapter | rrsisd | other |"
    assert re.fullmatch(r"\| all \| \[[\d.]+ / [\d.]+, N-acc \d+\] \| [\d.]+ / [\d.]+ \|", body), body
    cross(*line)
    assert json.loads(out.read_text())["rows"] == rows, "what is there is not scored again"


def test_each_source_is_left_out_once(cross, capsys):
    cross("--runs", str(CONFIGS / "aerial.yaml"), "--together", "isaid-ref+isaid-more")
    every, *left = capsys.readouterr().out.strip().splitlines()
    assert "--data.sets" not in every and len(left) == 4
    words = [shlex.split(line) for line in left]
    sets = [{one["root"] for one in json.loads(some[some.index("--data.sets") + 1])} for some in words]
    own = {one["root"] for one in AERIAL["data"]["sets"]}
    assert [own - some for some in sets] == [{"vhr10-ref"}, {"isaid-ref", "isaid-more"}, {"dubai-ref"}, {"golf-ref"}]
    assert "runs/without-isaid-ref+isaid-more" in words[1]


@pytest.mark.realdata
def test_the_packaged_configuration_is_of_sets_that_there_are(realdata):
    """Every set opens as the configuration says, with the numbers of its text."""
    from s4eca.training.sets import read_sets

    counts = {}
    for one in read_sets(AERIAL["data"]["sets"], str(realdata)):
        for part in ("train", "val"):
            if one.split(part) is not None:
                counts[one.called, part] = len(open_dataset(one.root, one.layout, one.split(part), **one.reader))
    told = AERIAL["run"]["data"]
    isaid = counts["isaid-ref", "train"] + counts["isaid-more", "train"]
    assert all(f"{count:,}" in told for count in (counts["vhr10-ref", "train"], isaid, counts["dubai-ref", "train"]))
    assert {name for name, part in counts if part == "val"} == {"vhr10-ref", "isaid-ref", "dubai-ref", "golf-ref"}


def test_the_packaged_twin_is_the_same_file():
    from s4eca.cli.fit import packaged_configs

    assert packaged_configs()["aerial.yaml"].read_bytes() == (CONFIGS / "aerial.yaml").read_bytes()

"""The equal-budget grid: a small one from end to end, cut and gone on with, and the parts its numbers rest on."""

from __future__ import annotations

import importlib
import json
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from s4eca.errors import ConfigError
from s4eca.evaluation.protocols import scoring_protocol

ROOT = Path(__file__).parents[2]
PARTS = (
    "equal_budget", "grid_ahead", "grid_data", "grid_graph", "grid_pool", "grid_rows", "grid_scores", "grid_store",
    "grid_table", "grid_tasks", "grid_training",
)  # fmt: skip


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of benchmarks/ by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    found = {name: importlib.import_module(name) for name in PARTS}
    yield found
    for name in (*PARTS, "record", "cost_measures"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished small run."""
    place = tmp_path_factory.mktemp("grid")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import equal_budget

        words = ["run", "--small", "--work", str(place / "work"), "--out", str(place / "rows.json")]
        assert equal_budget.main(words) == 0
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return place


def test_the_small_grid_runs_and_is_tabulated(small: Path, grid: Any, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((small / "rows.json").read_text())
    beside = json.loads((small / "rows_references.json").read_text())
    assert [row["form"] for row in content["rows"].values()] == ["s4eca, late-inject 4", "lora, late-inject 4"]
    assert len(content["searches"]) == 6, "three rates of each method"
    for key, row in content["rows"].items():
        assert row["updates"] == 2 and row["share"] == pytest.approx(0.024, rel=0.02)
        assert row["rate"] in [float(rate) for rate in row["rates_tried"]]
        assert {"mIoU", "oIoU", "P@0.5", "P@0.7", "per_kind", "per_size", "shuffled"} <= set(row["scores"]["rendered"])
        ious = beside["rows"][key]["rendered"]
        assert len(ious) == row["scores"]["rendered"]["count"] == len(beside["images"]["rendered"])
        assert np.mean(ious) / 10_000 == pytest.approx(row["scores"]["rendered"]["mIoU"], abs=1e-4)
        assert row["train_seconds"] > 0 and row["peak_mib"] > 0 and row["command"]
    assert not list((small / "work" / "checkpoints").iterdir()), "what is done needs no checkpoint"
    assert grid["equal_budget"].main(["table", "--out", str(small / "rows.json")]) == 0
    printed = capsys.readouterr().out
    assert "| lora, late-inject 4 | 1 |" in printed and "mIoU by kind" in printed and "| S4ECA |" in printed


def test_what_is_done_is_skipped(small: Path, grid: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = (small / "rows.json").read_bytes()
    words = ["run", "--small", "--work", str(small / "work"), "--out", str(small / "rows.json")]
    assert grid["equal_budget"].main(words) == 0
    assert grid["equal_budget"].main([*words, "--list"]) == 0
    assert (small / "rows.json").read_bytes() == before
    assert "| all | 0 | |" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["s4eca", "lora"])
def test_cut_and_gone_on_with_it_is_the_uncut_run(method: str, small: Path, grid: Any, tmp_path: Path) -> None:
    training, rows = grid["grid_training"], grid["grid_rows"]
    row = rows.Row(rows.Form(method, "late-inject", 4), "rendered", 3, replace(_recipe(grid), updates=4))

    class Cut(training.Workshop):
        """Out of time at the given look at the clock."""

        looks = 0

        def check(self) -> None:
            Cut.looks += 1
            if Cut.looks == 3:
                raise training.OutOfTimeError

    place = training.Place({"rendered": small / "work" / "rendered"}, "memory", tmp_path)
    shop, cut = training.Workshop(place), Cut(place)
    cut.prefixes = shop.prefixes
    whole, measured = training.trained(shop, row, 1e-3, "whole")
    with pytest.raises(training.OutOfTimeError):
        training.trained(cut, row, 1e-3, "cut")
    assert torch.load(tmp_path / "cut.pt", weights_only=True)["done"] == 2
    again, then = training.trained(shop, row, 1e-3, "cut")
    assert then["loss_last_quarter"] == measured["loss_last_quarter"]
    from s4eca.layers.trainable import trainable_state

    ours, theirs = trainable_state(whole), trainable_state(again)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    uncached = training.Workshop(replace(place, cache="none"))
    _, same = training.trained(uncached, row, 1e-3, "uncached")
    assert same["loss_first_quarter"] == pytest.approx(measured["loss_first_quarter"], rel=2e-3)


def test_all_decoders_start_alike(grid: Any) -> None:
    rows = grid["grid_rows"]
    forms = [rows.Form("decoder-only"), rows.Form("s4eca"), rows.Form("detris", "late-inject", 4)]
    made = [grid["grid_training"].fresh(rows.Row(form, "a", 7, _recipe(grid))).decoder.state_dict() for form in forms]
    common = set(made[0])
    assert all(torch.equal(made[0][name], other[name]) for other in made for name in common)
    assert set(made[1]) - common == {"proxy_map.weight", "proxy_map.bias"} and set(made[2]) == common


def test_out_of_time_leaves_no_row(small: Path, grid: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--data", f"rendered={small / 'work' / 'rendered'}", "--train", "rendered", "--minutes", "0"]
    words += ["--methods", "decoder-only", "--work", str(tmp_path), "--out", str(tmp_path / "rows.json")]
    assert grid["equal_budget"].main(words) == 0
    assert not (tmp_path / "rows.json").exists() and "goes on from here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no data set is given"),
        (["--data", "nowhere"], "it must be NAME=FOLDER"),
        (["--data", "a=/nowhere", "--train", "a", "--methods", "decoder-only"], "no data set in a known layout"),
        (["--data", "a=/nowhere", "--set", "dense=no"], "it must be NAME=JSON"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str], said: str, grid: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--work", str(tmp_path), "--out", str(tmp_path / "rows.json")]
    assert grid["equal_budget"].main(["run", *words, *place]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_the_order_of_samples_is_a_function_of_the_update(grid: Any) -> None:
    batches = grid["grid_data"].batches
    whole = list(batches(7, 3, seed=5, start=0, total=12))
    assert len(whole) == 12 and all(len(batch) == 3 for batch in whole)
    for start in range(12):
        assert list(batches(7, 3, seed=5, start=start, total=12)) == whole[start:]
    drawn = [draw[0] for batch in whole for draw in batch]
    assert all(sorted(drawn[i : i + 7]) == list(range(7)) for i in range(0, 35, 7)), "every pass sees every sample"
    assert list(batches(7, 3, seed=6, start=0, total=12)) != whole


def test_the_interval_is_that_of_images(grid: Any) -> None:
    """Against a bootstrap written as a loop; a difference that only one image has is no certain one."""
    paired = grid["grid_scores"].paired
    images = [0, 0, 0, 1, 2, 2, 3]
    ours, theirs = [[0] * 7, [200] * 7], [[100, 300, 900, 500, 4000, 100, 700]]
    mean, low, high = paired(ours, theirs, images, seed=4)
    gap = (np.array(theirs[0]) - 100) / 100
    drawn = np.random.default_rng(4).integers(4, size=(2000, 4))
    means = [np.concatenate([gap[np.array(images) == image] for image in sample]).mean() for sample in drawn]
    assert mean == pytest.approx(gap.mean())
    assert (low, high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))
    assert paired([[5, 5]], [[5, 5]], [0, 1]) == (0.0, 0.0, 0.0)
    _, low, high = paired([[0] * 6], [[9000, 0, 0, 0, 0, 0]], [0, 1, 2, 3, 4, 5])
    assert low == 0 < high


def test_tiers_hold_what_was_asked_for(grid: Any) -> None:
    rows = grid["grid_rows"]
    sets = {"vhr10-ref", "isaid-ref", "isaid-more", "dubai-ref", "golf-ref"}
    last = rows.ours("late-inject", 4)
    one = list(rows.tier_rows(1, rows.Recipe(), sets, lambda _: last))
    names = [row.name for row in one]
    assert len(set(names)) == len(names)
    for train in ("vhr10-ref", "isaid-ref", "dubai-ref"):
        at = [row for row in one if row.train == train]
        seeds = {m: {row.seed for row in at if row.form.method == m} for m in (*rows.CORE, *rows.FURTHER)}
        assert all(seeds[m] == {0, 1, 2} for m in rows.CORE) and all(seeds[m] == {0} for m in rows.FURTHER)
        assert all(row.form.late_blocks == 4 for row in at if row.form.method not in ("decoder-only", "s4eca"))
    assert not {"ia3", "vera", "ln"} & {row.form.method for row in one}
    assert "isaid-ref+isaid-more" in {row.train for row in one}
    two = list(rows.tier_rows(2, rows.Recipe(), {"vhr10-ref"}, lambda _: None))
    assert [row.form.name for row in two[:6]] == [
        "decoder-only, side", rows.ours("inject").name, rows.ours().name, "lora, side", "detris, side", "full, side",
    ]  # fmt: skip
    assert {"ia3", "vera", "ln", "dora", "adaptformer", "etris"} <= {row.form.method for row in two}


def test_a_key_holds_everything_that_matters(grid: Any) -> None:
    rows = grid["grid_rows"]
    recipe, form = rows.Recipe(), rows.Form("lora", "late-inject", 4)
    others = [
        rows.Row(replace(form, late_blocks=3), "a", 0, recipe),
        rows.Row(replace(form, method="dora"), "a", 0, recipe),
        rows.Row(replace(form, changes=(("taps", "2"),)), "a", 0, recipe),
        rows.Row(form, "b", 0, recipe),
        rows.Row(form, "a", 1, recipe),
    ]
    changes = {"size": 448, "passes": 6, "batch": 4, "updates": 9, "precision": "bf16", "symmetries": ("IDENTITY",)}
    changes |= {"search": 0.1, "rate": 1e-3, "vision": "x", "text": "x", "decoder": ()}
    assert set(changes) == set(vars(recipe)), "a new setting of the recipe must be part of the key"
    others += [rows.Row(form, "a", 0, replace(recipe, **{name: value})) for name, value in changes.items()]
    keys = [row.key("hash") for row in (rows.Row(form, "a", 0, recipe), *others)]
    assert len(set(keys)) == len(keys)
    assert rows.Row(form, "a", 0, recipe).key("other") not in keys


def test_comments_and_docstrings_do_not_make_a_row_old(grid: Any) -> None:
    import ast

    def bare(text: str) -> str:
        return ast.dump(grid["grid_rows"]._bare(ast.parse(text)))

    code = "def f(x):\n    return x\n"
    assert bare('"""A."""\ndef f(x):\n    """B."""\n    return x  # C\n') == bare(code) != bare(code + "y = 1\n")


def test_an_ablation_is_solved_for_the_same_share(grid: Any) -> None:
    rows = grid["grid_rows"]
    from s4eca.budgets.report import budget

    form = rows.Form("s4eca", "side", 0, (("vision_sites", "3"),))
    config, plain = (rows.Row(one, "a", 0, rows.Recipe()).config() for one in (form, rows.Form("s4eca")))
    assert config.vision_sites == 3 and config.width > plain.width
    assert budget(config, check_effective=False).ratio_backbone == pytest.approx(0.024, rel=0.03)


def _recipe(grid: Any) -> Any:
    return grid["grid_rows"].Recipe(**grid["equal_budget"].SMALL)


class Inline:
    """A pool whose processes are this one."""

    def __init__(self, count: int, context: Any, initializer: Any, initargs: Any) -> None:
        initializer(*initargs)

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, work: Any, *given: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*given))
        return done


@pytest.mark.parametrize("pool", [Inline, pytest.param(None, marks=pytest.mark.slow)])
def test_several_processes_give_the_rows_of_one(
    pool: Any, small: Path, grid: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pool is not None:
        monkeypatch.setattr(grid["grid_pool"], "ProcessPoolExecutor", pool)
        monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    plan = [{"method": "s4eca", "mode": "late-inject:4", "train": ["rendered"], "rate": 8e-4, "set": {"proxies": 2}}]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    words = ["run", "--data", f"rendered={small / 'work' / 'rendered'}", "--plan", str(tmp_path / "plan.json")]
    words += ["--size", "56", "--updates", "2", "--batch", "2", "--precision", "fp32", "--symmetries", "IDENTITY"]
    found = []
    for count in ("1", "2"):
        place = ["--work", str(tmp_path / count), "--out", str(tmp_path / f"{count}.json"), "--processes", count]
        keep = ["--keep", str(tmp_path / "kept"), "--keep-only", "s4eca"]
        assert grid["equal_budget"].main([*words, *place, *keep]) == 0
        found.append(json.loads((tmp_path / f"{count}.json").read_text())["rows"])
    (one, first), (two, second) = (next(iter(rows.items())) for rows in found)
    assert one == two and first["changes"] == {"proxies": 2} and (first["at_once"], second["at_once"]) == (1, 2)
    assert all(first[name] == second[name] for name in ("scores", "loss_last_quarter", "adapters", "kept"))
    from safetensors import safe_open

    with safe_open(tmp_path / "kept" / first["kept"], framework="pt") as file:
        assert json.loads(file.metadata()["config"])["proxies"] == 2 and "adapter.queries" in list(file.keys())


def test_scores_decoded_ahead_are_those_of_a_predictor(small: Path, grid: Any) -> None:
    from s4eca.evaluation.run import evaluate
    from s4eca.model.predictor import Predictor

    rows = grid["grid_rows"]
    model = grid["grid_training"].fresh(rows.Row(rows.ours("late-inject", 4), "rendered", 0, _recipe(grid))).eval()
    with torch.no_grad():
        model.decoder.kernel.bias[-1] = 0.0
    sets = grid["grid_data"].Sets({"rendered": small / "work" / "rendered"})
    found, _ = grid["grid_scores"].scored(model, sets, "rendered", "cpu", "fp32", lambda: None)
    split = sets.split("rendered", "val")
    plain = evaluate(Predictor(model), split, ("native",), progress=False)["protocols"]["native"]
    scores = found["scores"]["rendered"]
    assert 0 < scores["mIoU"] == pytest.approx(plain["mIoU"], abs=1e-3)


def test_expressions_of_a_common_length_say_the_same(grid: Any) -> None:
    rows = grid["grid_rows"]
    model = grid["grid_training"].fresh(rows.Row(rows.ours("late-inject", 4), "a", 0, _recipe(grid))).eval()
    encoded = model.encode(torch.rand(2, 3, 56, 56))
    said = model.tokenize(["the ship", "the ship on the left"])
    padded = grid["grid_graph"].of_length(said, 32)
    assert padded.ids.shape == (2, 32) and int(padded.mask.sum()) == int(said.mask.sum())
    torch.testing.assert_close(model.decode(encoded, padded).logits, model.decode(encoded, said).logits)


@pytest.mark.parametrize("text", ["{", "[1]", '[{"mode": "side"}]', '[{"method": "lora", "pases": 3}]'])
def test_a_plan_that_is_none_is_one_sentence(text: str, grid: Any, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "plan.json").write_text(text)
    words = ["run", "--data", f"a={tmp_path}", "--plan", str(tmp_path / "plan.json"), "--work", str(tmp_path)]
    assert grid["equal_budget"].main([*words, "--out", str(tmp_path / "rows.json")]) == 2
    error = capsys.readouterr().err
    assert "is no list of rows" in error and error.count("\n") == 1


def test_a_task_that_fails_is_said_when_the_others_are_done(
    small: Path, grid: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def perform(task: Any) -> Any:
        if task.row.form.method == "lora":
            raise RuntimeError("no memory is left")
        return found

    class Failing(Inline):
        def submit(self, work: Any, *given: Any) -> Future[Any]:
            done: Future[Any] = Future()
            try:
                done.set_result(perform(*given) if isinstance(given[0], grid["grid_tasks"].Task) else True)
            except RuntimeError as error:
                done.set_exception(error)
            return done

    found = grid["grid_tasks"].Outcome("key", {"scores": {"rendered": {"mIoU": 0.5}}, "updates": 2})
    pool = grid["grid_pool"]
    monkeypatch.setattr(pool, "ProcessPoolExecutor", Failing)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    kept: list[str] = []
    monkeypatch.setattr(pool, "keep", lambda store, task, outcome: kept.append(task.row.form.method))
    rows = [replace(row, recipe=replace(row.recipe, rate=1e-3)) for row in _rows(grid, "lora", "s4eca")]
    place = grid["grid_training"].Place({"rendered": small / "work" / "rendered"}, "none", tmp_path, at_once=2)
    store = grid["grid_store"].Store(tmp_path / "rows.json")
    with pytest.raises(ConfigError, match="1 of the tasks failed"):
        pool.at_once(place, store, lambda: iter([row for row in rows if row.form.method not in kept]))
    assert kept == ["s4eca"] and "no memory is left" in capsys.readouterr().err


def test_copies_of_an_image_and_ids_of_two_sets_are_told_apart(small: Path, grid: Any, tmp_path: Path) -> None:
    """An image under two names is one image; a reference's id is its own set's."""
    rows, data = grid["grid_rows"], grid["grid_data"]
    split = data.Sets({"rendered": small / "work" / "rendered"}).split("rendered", "val")
    one = split.references[0]
    copy = tmp_path / f"copy{one.image.suffix}"
    copy.write_bytes(one.image.read_bytes())
    other = replace(one, image=copy, expression="another thing")
    joined = data.Remembered(**{**vars(split), "references": (one, other), "root": tmp_path.parent})
    model = grid["grid_training"].fresh(rows.Row(rows.ours("late-inject", 4), "rendered", 0, _recipe(grid))).eval()
    predictor = grid["grid_ahead"].Ahead(model)
    predictor.prepare(joined, [one.expression, other.expression])
    encoded = predictor.encode(scoring_protocol("native").image_in(joined.image(one), 56)[0][None])
    assert predictor.decode(encoded, [one.expression, other.expression]).logits.shape[0] == 2
    shifted = next(r for r in split.references if not np.array_equal(split.mask(r), split.mask(one)))
    twin = replace(shifted, id=one.id, image=copy)
    assert not np.array_equal(joined.mask(one), joined.mask(twin))


def test_a_row_in_tf32_leaves_the_next_one_as_it_is(grid: Any) -> None:
    (row,) = _rows(grid, "lora")
    for precision, wanted in (("tf32", "high"), ("fp32", "highest")):
        grid["grid_training"].autocast(replace(row, recipe=replace(row.recipe, precision=precision)), "cpu")
        assert torch.get_float32_matmul_precision() == wanted


def _rows(grid: Any, *methods: str) -> list[Any]:
    rows = grid["grid_rows"]
    return [rows.Row(rows.Form(method, "late-inject", 4), "rendered", 0, _recipe(grid)) for method in methods]

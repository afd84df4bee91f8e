"""The configurations for RRSIS-D and RefSegRS: budgets as their files say, and a run of each through the command line.

Sizes are counted on the meta device. Runs take everything but sizes from the file, on tiny random checkpoints of the
same families in the hub's own format and on rendered sets in the official layouts.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from sizes import SMALL

from s4eca.cli.main import main
from s4eca.config import S4ECAConfig

CONFIGS = Path(__file__).parents[3] / "configs"
COST = CONFIGS.parent / "benchmarks" / "results" / "field_cost.json"
SETS = ("rrsisd", "refsegrs")
# Pair of encoders -> the tiny vision and text checkpoints of its families.
PAIRS = {
    "dinov2b_clipb": ("dinov2-registers", "clip-text"),
    "dinov2b_bert": ("dinov2-registers", "bert"),
    "dinov2l_clipb": ("dinov2-registers", "clip-text"),
    "remoteclip": ("openclip", "openclip"),
    "dinov3sat_clipl": ("dinov3", "clip-text"),
    "siglip2": ("siglip-whole", "siglip-whole"),
}
FILES = [f"{name}_{pair}" for name in SETS for pair in PAIRS]
BUDGET = re.compile(
    r"# Budget: r ([\d,]+), adapters ([\d,]+) of ([\d,]+) frozen = ([\d.]+) %, decoder ([\d,]+); "
    r"([\d,]+) GFLOP a sample and update\n"
)


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    return found


def told(name: str) -> tuple[int, int, int, float, int, int]:
    """The budget in the head of a file: r, adapters, frozen, percent, decoder, GFLOP."""
    found = BUDGET.search((CONFIGS / f"{name}.yaml").read_text())
    assert found, name
    r, adapters, frozen, percent, decoder, work = (part.replace(",", "") for part in found.groups())
    return int(r), int(adapters), int(frozen), float(percent), int(decoder), int(work)


@cache
def counted(settings: str) -> Any:
    from s4eca.budgets.report import budget

    return budget(S4ECAConfig.from_dict(json.loads(settings)), check_effective=False)


@pytest.mark.parametrize("name", FILES)
def test_the_budget_is_that_of_the_file(name: str) -> None:
    settings = read(name)["model"]["config"]
    found = counted(json.dumps(settings))
    r, adapters, frozen, percent, decoder, _ = told(name)
    assert (found.r, found.adapters, found.decoder) == (r, adapters, decoder)
    assert found.frozen_vision + found.frozen_text == frozen
    assert percent == round(100 * found.ratio_backbone, 4)
    assert abs(found.ratio_backbone - 0.024) < 0.0005 and settings["mode"] == "inject"
    found.check(0.025)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_width_is_the_one_that_meets_the_share(pair: str) -> None:
    from s4eca.budgets.solve import solve_width

    config = S4ECAConfig.from_dict(read(f"rrsisd_{pair}")["model"]["config"])
    assert solve_width(0.024, config) == config.width


@pytest.mark.parametrize("pair", PAIRS)
def test_the_operations_are_those_that_hours_are_made_of(pair: str) -> None:
    assert told(f"rrsisd_{pair}")[5] == round(json.loads(COST.read_text())["pairs"][pair]["step"] / 1e9)


def test_the_page_has_the_hours_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CONFIGS.parent / "benchmarks"))
    import field_cost

    text = field_cost.PAGE.read_text()
    assert text == field_cost.written(text, json.loads(COST.read_text()))
    assert all(f"`{name}.yaml`" in text for name in FILES) and set(field_cost.SETS) == set(SETS)
    for name in ("field_cost", "record", "cost_measures", "cost_variants"):
        sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_the_operations_are_those_of_the_file(pair: str) -> None:
    from s4eca.budgets.flops import flops

    config = S4ECAConfig.from_dict(read(f"rrsisd_{pair}")["model"]["config"])
    assert told(f"rrsisd_{pair}")[5] == round(flops(config).step / 1e9)


def test_every_file_is_here_and_they_differ_in_their_pairs_and_sets_alone() -> None:
    there = {path.stem for name in SETS for path in CONFIGS.glob(f"{name}_*.yaml")}
    assert there == set(FILES)
    for pair in PAIRS:
        assert read(f"rrsisd_{pair}")["model"]["config"] == read(f"refsegrs_{pair}")["model"]["config"]
        assert told(f"rrsisd_{pair}") == told(f"refsegrs_{pair}")
    for name in SETS:
        first = read(f"{name}_dinov2b_clipb")
        for pair in PAIRS:
            other = read(f"{name}_{pair}")
            for part in ("data", "trainer", "seed_everything"):
                assert other[part] == first[part]
            assert other["model"]["optim"] == first["model"]["optim"]
            assert other["run"] == first["run"] | {key: other["run"][key] for key in ("out", "name")}
            assert other["run"]["out"] == f"runs/{name}_{pair}"


@pytest.mark.parametrize("name", FILES)
def test_the_head_says_the_licences_of_the_weights(name: str) -> None:
    from s4eca.encoders import catalog

    head = (CONFIGS / f"{name}.yaml").read_text().partition("model:")[0]
    assert f"s4eca fit -c configs/{name}.yaml " in head
    for role in ("vision", "text"):
        licence = catalog.licence(read(name)["model"]["config"][role], role)
        assert licence and (licence if "not verified" not in licence else "no licence was verified") in head


def test_the_first_is_what_the_issue_of_2_4_percent_is_about() -> None:
    config = S4ECAConfig.from_dict(read("rrsisd_dinov2b_clipb")["model"]["config"])
    assert (config.image_size, config.mode, config.width) == (448, "inject", 160)
    assert (config.vision, config.text) == (S4ECAConfig().vision, S4ECAConfig().text)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Rendered sets in the official layouts, by the verb that a user has."""
    place = tmp_path_factory.mktemp("drawn")
    for name in SETS:
        assert main(["data", "render", str(place / name), "--layout", name, "--scenes", "24", "--size", "96"]) == 0
    return {name: place / name for name in SETS}


@pytest.fixture(scope="module")
def tiny(hub: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What to write for a tiny checkpoint in its library's own format."""
    import tiny_openclip

    root = tmp_path_factory.mktemp("openclip")
    return lambda name: f"openclip:{tiny_openclip.write(root, name)}" if name == "openclip" else str(hub(name))


def small(name: str, data: Path, tiny: Any, out: Path) -> list[str]:
    """A line that fits a configuration for two updates with small sizes, on tiny checkpoints."""
    vision, text = (tiny(source) for source in PAIRS[name.partition("_")[2]])
    changes = {
        **{f"model.config.{key}": value for key, value in SMALL.items()},
        "model.config.vision": vision, "model.config.text": text, "model.config.image_size": 28, "data.root": data,
        "data.batch_size": 2, "data.workers": 0, "trainer.accelerator": "cpu", "trainer.max_steps": 2,
        "trainer.limit_val_batches": 2, "trainer.enable_progress_bar": "false", "run.out": out, "run.threads": 1,
    }  # fmt: skip
    words = [str(word) for key, value in changes.items() for word in (f"--{key}", value)]
    return ["fit", "-c", str(CONFIGS / f"{name}.yaml"), *words]


@pytest.mark.parametrize("name", FILES)
def test_two_updates_a_validation_and_a_save(
    name: str, drawn: dict[str, Path], tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s4eca.model.model import S4ECAModel
    from s4eca.saved.folder import read_config

    monkeypatch.chdir(tmp_path)
    assert main(small(name, drawn[name.partition("_")[0]], tiny, tmp_path / "run")) == 0
    rows = list(csv.DictReader((tmp_path / "run" / "scores.csv").open()))
    assert [row["update"] for row in rows] == ["2"] and 0 <= float(rows[0]["val/mIoU"]) <= 1
    card, settings = read_config(tmp_path / "run" / "adapter")["card"], read(name)
    assert card["name"] == settings["run"]["name"] and card["licence"] == settings["run"]["licence"]
    model = S4ECAModel.from_pretrained(tmp_path / "run" / "adapter")
    assert model.config.mode == "inject"
    assert [model.vision.spec.source, model.text.spec.source] == [tiny(one) for one in PAIRS[name.partition("_")[2]]]


@pytest.mark.parametrize("layout", SETS)
def test_the_five_commands_of_the_page(
    layout: str, drawn: dict[str, Path], tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the page has them but for sizes and the published counts, which a rendered set has not."""
    page = (CONFIGS.parent / "docs" / "rrsisd.md").read_text()
    block = next(b for b in re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S) if f"--published {layout}" in b)
    lines = [shlex.split(line)[1:] for line in block.splitlines()]
    assert [line[0] for line in lines] == ["data", "fit", "evaluate", "evaluate", "compare"]
    monkeypatch.chdir(tmp_path)
    for line in lines:
        words = [str(drawn[layout]) if word == "DATA" else word for word in line if word != "--expect-published"]
        if words[0] == "fit":
            assert (CONFIGS.parent / words[2]).exists()
            words = small(Path(words[2]).stem, drawn[layout], tiny, Path(words[-1]))
        assert main(words) == 0, words
    table = (tmp_path / "table.md").read_text()
    assert "SHUFFLED (seed 0)" in table and "| RMSIN |" in table and "| **ours** |" in table

"""METHOD's table of budgets, its counts met by scaling, and which of the counted parameters can learn."""

from __future__ import annotations

import argparse
import json

import pytest
from conforming import SMALL

from s4eca.budgets import effective
from s4eca.budgets.count import count_trainable
from s4eca.cli import budget as verb
from s4eca.config import S4ECAConfig
from s4eca.encoders.toy import toy_pair
from s4eca.registry import METHODS

# Method, options, parameters that train in the encoders of the default pair, of 149,749,504 frozen ones.
TABLE = (
    ("decoder-only", {}, 0),
    ("full", {}, 149_749_504),
    ("lora", {}, 3_594_240),
    ("lora", {"rank": 58, "roles": ["query", "value"]}, 3_563_520),
    ("dora", {}, 3_621_888),
    ("ia3", {}, 92_160),
    ("vera", {}, 175_104),
    ("ln", {}, 64_000),
    ("adaptformer", {}, 3_581_664),
    ("detris", {}, 2_715_696),
    ("detris", {"width": 160, "width_text": 128}, 3_585_000),
    ("etris", {}, 598_592),
    ("etris", {"ladder": 256}, 3_555_584),
    ("s4eca", {}, 3_585_902),
)
SCALABLE = [name for name in SMALL if METHODS.load(name).KNOBS]
PACKAGED = {"vision": "packaged:dinov2-s", "text": "packaged:minilm-l6"}


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict]:
    """What `s4eca budget ... --json` answers: exit code and JSON."""
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    code = verb.run(parser.parse_args([*words, "--json"]))
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("name", "options", "adapters"), TABLE, ids=str)
def test_the_table_of_budgets(name: str, options: dict, adapters: int, monkeypatch, capsys) -> None:
    monkeypatch.setattr(effective, "dead_parameters", lambda *args: [])
    code, found = asked(capsys, "--method", name, "--set", f"options={json.dumps(options)}")
    assert code == 0
    assert (found["adapters"], found["frozen_vision"] + found["frozen_text"]) == (adapters, 149_749_504)
    assert found["ratio_backbone"] == adapters / 149_749_504


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_no_method_has_a_fault_of_its_own(name: str, capsys) -> None:
    code, found = asked(capsys, "--method", name)
    assert code == 0
    assert found["dead"] == found.get("known_dead", [])


def test_the_dead_are_those_declared(method: str) -> None:
    config = S4ECAConfig(
        method=method, options=SMALL[method], vision_sites=3, image_size=28, decoder_layers=1, decoder_ffn=16
    )
    found = effective.dead_parameters(config, *(encoder.spec for encoder in toy_pair(6, 3)))
    assert found == effective.known_dead(config, found)
    assert bool(found) == bool(METHODS.load(method).DEAD)


@pytest.mark.parametrize("pair", [{}, {**PACKAGED, "width": 86}], ids=["default", "packaged"])
@pytest.mark.parametrize("name", SCALABLE)
def test_scaled_to_the_same_count(name: str, pair: dict) -> None:
    from s4eca.budgets.solve import fit_to, specs

    ours = S4ECAConfig(**pair)
    wanted = count_trainable(ours, *specs(ours))[0]
    fitted = fit_to(ours.replace(method=name), count=wanted)
    found = count_trainable(fitted, *specs(fitted))[0]
    assert abs(found - wanted) <= 0.02 * wanted

"""A folder that `data describe` made is trained on, its absent expressions and contrasts included."""

from __future__ import annotations

import json

from s4eca.cli.main import main


def test_a_described_set_is_fitted(line, dataset, tmp_path):
    described = tmp_path / "described"
    assert main(["data", "describe", str(dataset("rrsisd")), "--layout", "rrsisd", "--out", str(described)]) == 0
    out = tmp_path / "run"
    code = line(
        "fit", out, data__root=str(described), data__layout="jsonl", trainer={"max_steps": 3, "accelerator": "cpu"}
    )
    assert code == 0
    scores = json.loads(next(out.rglob("adapter_config.json")).read_text())
    assert scores["config"]["vision"] and next(out.rglob("adapter_model.safetensors")).stat().st_size > 0

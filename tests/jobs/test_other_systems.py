"""The ablation of the other systems: arms from one base, resumed, judged by a rule whose every outcome can happen."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from s4eca.errors import ConfigError

ROOT = Path(__file__).parents[2]
NAMES = ("equal_budget", "other_systems", "systems_arms", "systems_verdicts", "box_refiner_score", "box_refiner_data")


@pytest.fixture(scope="module")
def bench() -> Any:
    """The modules of benchmarks/ by name."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
        for name in [n for n in sys.modules if n.startswith(("grid_", "systems_")) or n in (*NAMES, "record")]:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def words(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A rendered set, an untrained base, and a line that runs arms."""
    from grid_rows import Recipe, Row, ours
    from grid_training import fresh

    from s4eca.layers.trainable import trainable_state

    place = tmp_path_factory.mktemp("systems")
    data = bench["equal_budget"]._rendered(place / "rendered")
    model = fresh(Row(ours("late-inject", 4), "rendered", 0, Recipe(size=56)))
    save_file({n: t.contiguous() for n, t in trainable_state(model).items()}, place / "base.safetensors")
    line = ["run", "--data", f"rendered={data}", "--base", f"rendered={place / 'base.safetensors'}", "--size", "56"]
    return [*line, "--precision", "fp32", "--work", str(place / "work"), "--out", str(place / "systems.json")]


def test_arms_run_are_skipped_when_done_and_judged(bench: Any, words: list[str], capsys: Any) -> None:
    main, out = bench["other_systems"].main, Path(words[-1])
    arms = ["none", "detail_stem", "box_head", "scale_loss", "stem at half the cells"]
    assert main([*words, "--arms", *arms]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["arm"] for row in rows.values()] == arms
    by_arm = {row["arm"]: row for row in rows.values()}
    assert by_arm["none"]["parameters"] == {} and by_arm["detail_stem"]["parameters"]["detail_stem"] > 0
    assert all(row["commit"] and row["command"] and "rendered" in row["scores"] for row in rows.values())
    boxes = by_arm["box_head"]["scores"]["rendered"]["boxes"]
    kept = json.loads(out.with_name("systems_references.json").read_text())["rows"]
    row = next(found for key, found in kept.items() if key.startswith("box_head"))
    for name, kind in (("rendered, boxes of the head", "predicted"), ("rendered, boxes of the masks", "of_mask")):
        assert np.mean(row[name]) / 10_000 == pytest.approx(boxes[kind]["mIoU"], abs=1e-4)
    # All begin alike, bit for bit, so the first losses differ by what an arm adds to them alone.
    assert by_arm["none"]["loss_first_quarter"] == by_arm["scale_loss"]["loss_first_quarter"]
    before = out.read_bytes()
    assert main([*words, "--arms", *arms]) == 0 and out.read_bytes() == before
    assert main([*words, "--arms", "foreground_gate", "--list"]) == 0
    assert "foreground_gate on rendered, seed 0" in capsys.readouterr().out and out.read_bytes() == before
    assert main(["verdicts", "--out", str(out)]) == 0
    verdicts = json.loads(out.read_text())["verdicts"]
    assert set(verdicts) == {"detail_stem", "box_head", "scale_loss"}
    assert set(verdicts["detail_stem"]["against"]) == {"none", "stem at half the cells"}
    assert set(verdicts["box_head"]["against"]) == {"none", "boxes of its masks"}
    capsys.readouterr()
    assert main(["table", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert told.count("| detail_stem |") == 2 and told.count("| box_head |") == 2 and "after Holm: nothing." in told


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--arms", "nothing"], "--arms has 'nothing'; known: none, detail_stem"),
        (["--base", "rendered"], "--data is 'rendered'; it must be NAME=FOLDER"),
        (["--shown", "tinny"], "--shown is 'tinny', which has no --base; those that have: rendered."),
    ],
)
def test_mistakes_are_one_sentence(bench: Any, words: list[str], capsys: Any, change: list[str], says: str) -> None:
    assert bench["other_systems"].main([*words, *change]) == 2
    assert says in capsys.readouterr().err


def test_a_base_of_another_form_is_refused(bench: Any, words: list[str], tmp_path: Path, capsys: Any) -> None:
    save_file({"decoder.x": torch.zeros(1)}, tmp_path / "other.safetensors")
    line = [
        w if not w.startswith("rendered=") or "base" not in w else f"rendered={tmp_path}/other.safetensors"
        for w in words
    ]
    assert bench["other_systems"].main([*line, "--arms", "none"]) == 2
    assert "--base other.safetensors does not fit at " in capsys.readouterr().err


def judged(bench: Any, gain: float, noise: float, everywhere: float = 0.0, count: int = 400) -> Any:
    """Verdict of a part that gains `gain` points below 32 px and `everywhere` above, with so much noise."""
    random = np.random.default_rng(0)
    sizes = np.where(np.arange(count) % 2, 20.0, 60.0)
    gaps = np.where(sizes < 32, gain, everywhere) + random.normal(0, noise, count)
    theirs = np.full(count, 5000.0)
    ours = theirs + 100 * gaps
    return bench["systems_verdicts"].compared(
        [ours.tolist()], [theirs.tolist()], list(range(count)), sizes.tolist(), "<32"
    )


def test_every_verdict_can_happen(bench: Any) -> None:
    assert judged(bench, 3, 2, 1)["verdict"] == "useful"
    assert judged(bench, 3, 2, -8)["verdict"] == "harmful"  # paid for elsewhere
    assert judged(bench, -3, 2)["verdict"] == "harmful"
    assert judged(bench, 0, 0.5)["verdict"] == "useless"
    undecided = judged(bench, 1, 20)
    assert undecided["verdict"] == "undecided" and undecided["references_to_decide"] > 400
    assert undecided["primary"]["references"] == 200 and undecided["primary"]["measurable"]
    assert not judged(bench, 1, 2, count=200)["primary"]["measurable"]


def test_a_part_that_its_control_equals_is_useless_as_explained(bench: Any) -> None:
    explained = bench["other_systems"]._explained
    useful, equal = judged(bench, 3, 2, 1), judged(bench, 0, 1)
    assert explained({"none": useful, "control": useful}, "none") == "useful"
    assert explained({"none": useful, "control": equal}, "none") == "useless as explained (as good: control)"
    assert explained({"none": equal, "control": equal}, "none") == equal["verdict"]
    assert explained({"none": equal, "its boxes": useful}, "its boxes") == "useful"


def test_seeds_are_resampled_with_images(bench: Any) -> None:
    """Where seeds disagree the interval is wider than that of their mean; where they agree it is the same."""
    difference = bench["systems_verdicts"].difference
    noise, images, all_ = np.random.default_rng(1).normal(1, 3, 400), np.arange(400), np.ones(400, bool)
    one, alike = difference(noise[None], images, all_), difference(np.stack([noise, noise]), images, all_)
    apart = difference(np.stack([noise - 2, noise + 2]), images, all_)
    assert (one["points"], one["low"], one["high"]) == (alike["points"], alike["low"], alike["high"])
    assert apart["points"] == pytest.approx(one["points"]) and apart["high"] - apart["low"] > 3 * (
        one["high"] - one["low"]
    )
    assert one["p"] < 0.001 < 0.1 < apart["p"] <= 1


def test_holm_by_hand(bench: Any) -> None:
    found = {name: {"p": p, "measurable": True} for name, p in zip("abcd", (0.04, 0.01, 0.03, 0.9), strict=True)}
    found["nothing there"] = {"references": 0, "measurable": False}
    found["too few"] = {"p": 0.0002, "measurable": False}
    bench["systems_verdicts"].holm(found)
    assert [found[name]["holm"] for name in "abcd"] == [0.09, 0.04, 0.09, 0.9] and "holm" not in found["nothing there"]
    assert "holm" not in found["too few"]


def test_a_box_head_is_judged_by_its_boxes(bench: Any) -> None:
    """Boxes that hit where those of the masks miss, though the masks are worse than without the head."""
    arms, rows = bench["systems_arms"].BY_NAME, {}
    common = {"seed": 0, "from": "x", "passes": 1, "rate": 1.0, "size": 56, "precision": "fp32", "train": "a"}
    beside: dict[str, Any] = {"images": {"a": list(range(300))}, "sizes": {"a": [20.0] * 300}, "rows": {}}
    head, of_mask = "a, boxes of the head", "a, boxes of the masks"
    for name, told in {
        "none": {"a": [5000] * 300},
        "box_head": {"a": [4000] * 300, head: [6000] * 300, of_mask: [4999] * 300},
        "box without NWD": {"a": [5000] * 300, head: [5000] * 150 + [0] * 150, of_mask: [0] * 300},
    }.items():
        rows[name], beside["rows"][name] = {**common, "arm": name}, told
    found = bench["other_systems"]._against(rows, beside, arms["box_head"])
    points = {name: one["primary"]["points"] for name, one in found.items()}
    assert points == {"none": -10, "boxes of its masks": 100, "box without NWD": 50}
    assert bench["other_systems"]._explained(found, "boxes of its masks") == "useful"
    rows["another rate"] = {**rows["none"], "rate": 2.0}
    rows["its part"] = {**rows["box_head"], "rate": 2.0}
    beside["rows"] |= {"another rate": beside["rows"]["none"], "its part": beside["rows"]["box_head"]}
    with pytest.raises(ConfigError, match="box_head on a has rows of several bases, passes, rates"):
        bench["other_systems"]._against(rows, beside, arms["box_head"])
    del rows["another rate"], rows["its part"]
    rows["none"]["shown"] = True
    assert "none" not in bench["other_systems"]._against(rows, beside, arms["box_head"])


def test_tiny_scenes_hold_tiny_targets_only(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("tiny_scenes")
    monkeypatch.setattr(module, "SIDE", 384)
    scene = module.tiny(3)
    sides = [float(np.sqrt(r.mask.sum())) for r in scene.references]
    assert scene.image.shape == (96, 96, 3) and scene.image.dtype == np.uint8 and sides and 0 < max(sides) < 16
    assert scene.gsd == 2 and scene.transform[0] == 2 and abs(scene.transform[4]) == 2
    assert {t.category for t in scene.things} == scene.present and all(t.mask.shape == (96, 96) for t in scene.things)
    assert all(mask.shape == (96, 96) for mask in scene.masks.values())
    assert module.shrunk(np.arange(32, dtype=np.float32).reshape(4, 8)).tolist() == [[13.5, 17.5]]


def test_boundary_f_by_hand(bench: Any) -> None:
    f = bench["box_refiner_score"].boundary_f
    truth = np.zeros((40, 40), bool)
    truth[10:20, 10:20] = True
    assert f(truth, truth) == 1 and f(np.zeros_like(truth), truth) == 0
    assert f(np.roll(truth, 2, 0), truth) == 1 and f(np.roll(truth, 6, 0), truth) < 0.9
    assert f(np.roll(truth, 15, 1), truth) == 0


def test_training_views_hold_their_object(bench: Any) -> None:
    data, random = bench["box_refiner_data"], np.random.default_rng(0)
    mask = np.zeros((80, 100), bool)
    mask[30:42, 50:58] = True
    for _ in range(50):
        box = data.jittered((50, 30, 58, 42), random)
        assert (box - torch.tensor([50.0, 30, 58, 42])).abs().max() <= 5 and box[2] > box[0] and box[3] > box[1]
        left, top, right, bottom = data.view_of(box, mask.shape, random)
        assert 0 <= left <= 50 and 0 <= top <= 30 and right >= 58 and bottom >= 42
    drawn = [data.corrupted(mask, random) for _ in range(60)]
    assert any(d is None for d in drawn)
    kept = [d for d in drawn if d is not None]
    assert all(d.shape == mask.shape and d.isfinite().all() for d in kept)
    overlaps = [float(((d > 0).numpy() & mask).sum() / ((d > 0).numpy() | mask).sum()) for d in kept]
    assert np.mean(overlaps) > 0.2 and min(overlaps) < 0.5 < max(overlaps)


def test_the_page_has_the_table_of_the_committed_verdicts(bench: Any) -> None:
    content = json.loads((ROOT / "benchmarks" / "results" / "other_systems.json").read_text())
    page = (ROOT / "docs" / "decoder_parts.md").read_text()
    begin, end = "<!-- parts: python benchmarks/other_systems.py table -->", "<!-- end of parts -->"
    assert page.partition(begin)[2].partition(end)[0].strip() == bench["other_systems"].table(content)

"""The lift gate accepts teachers that know, rejects those that do not, and says what the others may teach."""

from __future__ import annotations

import dataclasses
import json

import doubles
import numpy as np
import pytest

from s4eca.cli.main import main
from s4eca.data.open import open_dataset
from s4eca.distill.audit import audit
from s4eca.distill.cache import TargetCache
from s4eca.distill.grid import area_shares
from s4eca.distill.lift import area_auc, centred
from s4eca.distill.report import bucket_names, read_report
from s4eca.distill.source import TargetSource
from s4eca.errors import ConfigError, TeacherRejected


@pytest.fixture(scope="module")
def split(rendered):
    return open_dataset(rendered, "rrsisd", "val")


def audited(teacher, split, **settings):
    return audit(TargetSource(teacher, frozenset({"sim"}), TargetCache()), split, progress=False, **settings)


def test_auc_against_all_pairs():
    random = np.random.default_rng(0)
    for _ in range(10):
        m, a = random.integers(0, 4, (3, 4)).astype(float), random.random((3, 4))
        m_u, m_w, a_u, a_w = m.reshape(-1, 1), m.reshape(1, -1), a.reshape(-1, 1), a.reshape(1, -1)
        pairs = a_u * (1 - a_w) * ((m_u > m_w) + 0.5 * (m_u == m_w))
        assert area_auc(m, a) == pytest.approx(pairs.sum() / (a.sum() * (1 - a).sum()))


def test_auc_of_nothing_everything_and_the_truth():
    truth = np.zeros((14, 14))
    truth[4:6, 7:9] = 1
    assert area_auc(np.ones((14, 14)), truth) == 0.5
    assert area_auc(truth, truth) == 1.0 and area_auc(-truth, truth) == 0.0
    assert np.isnan(area_auc(truth, np.zeros((14, 14)))) and np.isnan(area_auc(truth, np.ones((14, 14))))
    middle = np.zeros((14, 14))
    middle[6:8, 6:8] = 1
    assert area_auc(centred((14, 14)), middle) == 1.0


@pytest.mark.parametrize("shape", [(28, 42), (10, 9), (5, 3)])
def test_shares_of_an_area_are_exact(shape):
    mask = np.random.default_rng(1).random(shape) > 0.6
    fine = np.kron(mask, np.ones((14, 14)))  # a grid of 14 parts falls on whole pixels of this
    height, width = fine.shape
    wanted = fine.reshape(14, height // 14, 14, width // 14).mean((1, 3))
    assert np.allclose(area_shares(mask, (14, 14)), wanted)
    assert area_shares(mask, (7, 4)).mean() == pytest.approx(mask.mean())


def test_a_teacher_that_knows_passes(split):
    report = audited(doubles.knowing(split), split)
    assert report.passed and not report.class_only and report.reasons == ()
    assert report.scores["AUC"][0] > 0.9 and report.scores["AUC_shuf"][0] == pytest.approx(0.5, abs=0.05)
    report.require()
    measured = {name for name, found in report.buckets.items() if found["references"]}
    assert set(report.closed) == set(bucket_names()) - measured, "what was not measured may not be taught"


@pytest.mark.parametrize(
    ("draw", "because"),
    [
        (lambda image, phrase: np.full(doubles.GRID, 0.3), "AUC 0.500"),
        (doubles.random_map, "AUC 0."),
        (lambda image, phrase: centred(doubles.GRID), "AUC - AUC_ctr 0.000"),
    ],
    ids=["constant", "random", "middle"],
)
def test_a_teacher_that_does_not_is_rejected(draw, because, split):
    report = audited(doubles.Double(draw), split)
    assert not report.passed and any(reason.startswith(because) for reason in report.reasons)
    with pytest.raises(TeacherRejected, match="fails its audit on .*force: true"):
        report.require()


def test_a_teacher_that_sees_classes_may_not_teach_places(split):
    report = audited(doubles.seeing_classes(split), split)
    assert report.passed and report.class_only and report.scores["AUC-AUC_same"][1] <= 0
    assert "features and pairs alone" in report.verdict


def test_the_same_seed_is_the_same_report_and_fewer_references_are_fewer(split):
    teacher = doubles.Double(doubles.random_map)
    assert audited(teacher, split) == audited(teacher, split)
    assert audited(teacher, split, most=7).references == 7


def test_sizes_are_half_open(split):
    report = dataclasses.replace(audited(doubles.knowing(split), split), closed=("16-32",))
    assert report.is_open([15.9, 16.0, 31.9, 32.0, 500]).tolist() == [True, False, False, True, True]


def test_a_report_is_read_as_it_was_written(split, tmp_path):
    report = audited(doubles.knowing(split), split)
    (tmp_path / "a.json").write_text(report.to_json())
    assert read_report(tmp_path / "a.json") == report
    (tmp_path / "b.json").write_text('{"teacher": 1}')
    with pytest.raises(ConfigError, match="no report of an audit"):
        read_report(tmp_path / "b.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_report(tmp_path / "c.json")


def test_the_verb_ends_with_one_for_a_rejected_teacher_and_nought_for_one_that_passes(
    rendered, split, teacher_id, tmp_path, capsys, monkeypatch
):
    words = ["distill", "audit", "--data", str(rendered), "--references", "6", "--device", "cpu"]
    out = tmp_path / "audit.json"
    assert main([*words, "--teacher", teacher_id("clip"), "--out", str(out), "--resamples", "200"]) == 1
    printed = capsys.readouterr().out
    assert "AUC_shuf" in printed and "rejected: AUC" in printed and "<16" in printed
    found = json.loads(out.read_text())
    assert found["passed"] is False and found["teacher"].startswith("clip:clip-whole@")
    assert read_report(out).references == 6
    assert main([*words, "--teacher", teacher_id("clip"), "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    monkeypatch.setattr("s4eca.distill.teachers.named.load_teacher", lambda identifier: doubles.knowing(split))
    assert main([*words, "--teacher", "clip:double", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--teacher", "clop:x"], "did you mean clip:x?"),
        (["--teacher", "clip:{clipseg}"], "a whole 'clip' is wanted here"),
        (["--teacher", "clip:{clip}", "--split", "nowhere"], "nowhere"),
        (["--teacher", "clip:{clip}", "--resamples", "3"], "--resamples is 3; it must be at least 100."),
        (["--teacher", "clip:{clip}", "--device", "cuda:9"], "which this machine cannot use"),
    ],
)
def test_a_mistake_is_one_line_and_two(more, said, rendered, teacher_id, capsys):
    kinds = {kind: teacher_id(kind).partition(":")[2] for kind in ("clip", "clipseg")}
    line = [word.format(**kinds) if "{" in word else word for word in more]
    capsys.readouterr()
    assert main(["distill", "audit", "--data", str(rendered), *line]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1

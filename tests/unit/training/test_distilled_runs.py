"""Runs with a teacher: what they leave behind, what they refuse, and that one without weights is none."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from several import assert_same_end, in_processes, killed_at, last, toy_config

from s4eca.distill.settings import NO_TEACHER, DistillConfig
from s4eca.errors import ConfigError, EncoderError
from s4eca.layers.trainable import trainable_state
from s4eca.saved.folder import WEIGHTS
from s4eca.training.optim import OptimConfig
from s4eca.training.teaching import distiller_of

STEPS = {"trainer__max_epochs": None, "trainer__max_steps": 3, "trainer__limit_val_batches": 1}
OFF = {"features": 0.0, "map": 0.0, "pairs": 0.0, "mask": 0.0}


@pytest.fixture(scope="module")
def clip(hub):
    return f"clip:{hub('clip-whole')}"


@pytest.fixture(scope="module")
def plain(line, tmp_path_factory):
    """A run of three updates without a teacher."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    assert line("fit", out, **STEPS) == 0
    return out


@pytest.fixture(scope="module")
def distilled(line, clip, tmp_path_factory):
    """The same with one."""
    out = tmp_path_factory.mktemp("runs") / "distilled"
    taught = {"teacher": clip, "force": True, "mask": 0.0}
    assert line("fit", out, model__distill=taught, **STEPS) == 0
    return out


def test_weights_of_nought_are_no_teacher_bit_for_bit(plain, line, clip, tmp_path, monkeypatch):
    def refuse(identifier):
        raise EncoderError("a teacher was loaded")

    monkeypatch.setattr("s4eca.distill.distiller.load_teacher", refuse)
    out = tmp_path / "off"
    assert line("fit", out, model__distill={"teacher": clip, **OFF}, **STEPS) == 0
    one, other = last(plain), last(out)
    assert one["global_step"] == 3
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(torch.equal(one["state_dict"][name], other["state_dict"][name]) for name in one["state_dict"])
    groups = [state["optimizer_states"][0]["param_groups"] for state in (one, other)]
    assert [group["name"] for group in groups[0]] == [group["name"] for group in groups[1]]
    assert "s4eca_distill" not in other and not (out / "distillation.json").exists()


def test_a_saved_adapter_does_not_tell_that_it_was_taught(plain, distilled):
    one, other = (load_file(run / "adapter" / WEIGHTS) for run in (plain, distilled))
    assert one.keys() == other.keys()
    assert {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in other.items()}
    assert any(not torch.equal(one[name], other[name]) for name in one)
    ours, theirs = last(plain)["state_dict"], last(distilled)["state_dict"]
    assert ours.keys() == theirs.keys()
    width = last(distilled)["s4eca_distill"]["projectors"]["seen.weight"].shape[0]
    assert width == 512, "CLIP's own, which no tensor of the adapter has"
    assert not any(width in value.shape for value in (*other.values(), *theirs.values()))


def test_the_record_of_a_run_names_teacher_and_audit(distilled):
    record = json.loads((distilled / "distillation.json").read_text())
    assert record["forced"] is True and record["teacher"].startswith("clip:clip-whole@")
    assert record["weights"] == {"features": 1.0, "map": 1.0, "pairs": 0.5}
    assert record["audit"]["passed"] is False and record["audit"]["scores"]["AUC"][0] < 0.7
    assert "distill" in (distilled / "config.yaml").read_text()


def test_everything_else_starts_as_without_a_teacher(clip, configuration):
    import yaml
    from lightning.pytorch import seed_everything

    from s4eca.config import S4ECAConfig
    from s4eca.training.module import S4ECAModule

    config = S4ECAConfig.from_dict(yaml.safe_load(configuration())["model"]["config"])
    made = []
    for taught in (NO_TEACHER, DistillConfig(teacher=clip)):
        seed_everything(5, verbose=False)
        module = S4ECAModule(config, distill=taught)
        made.append((trainable_state(module.model), torch.rand(3)))
    assert all(torch.equal(made[0][0][name], made[1][0][name]) for name in made[0][0])
    assert torch.equal(made[0][1], made[1][1]), "nor are random numbers drawn that others would have had"


def test_a_teacher_that_fails_its_audit_is_refused_in_one_line(line, clip, tmp_path, capsys):
    capsys.readouterr()
    assert line("fit", tmp_path / "out", model__distill={"teacher": clip}, **STEPS) == 2
    told = [row for row in capsys.readouterr().err.splitlines() if row.startswith("s4eca:")]
    assert len(told) == 1 and "fails its audit" in told[0] and "lower bound" in told[0]
    assert not (tmp_path / "out" / "adapter").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__distill": {"teacher": "clip:./nowhere"}}, "does not exist"),
        ({"model__distill": {"teacher": "CLIP", "teecher": 1}}, "did you mean model.distill.teacher?"),
        ({"model__distill": {"teacher": "CLIP"}, "data__augment": {"reframe": 0.5}}, "data.augment.reframe is 0.5"),
        ({"model__distill": {"teacher": "CLIP"}, "data__val_split": None}, "cannot be audited"),
    ],
)
def test_what_cannot_be_taught_is_refused_in_one_line(changes, said, line, clip, tmp_path, capsys):
    if changes["model__distill"]["teacher"] == "CLIP":
        changes["model__distill"]["teacher"] = clip
    capsys.readouterr()
    assert line("fit", tmp_path / "out", **{**STEPS, **changes}) == 2
    told = [row for row in capsys.readouterr().err.splitlines() if row.startswith("s4eca:")]
    assert len(told) == 1 and said in told[0]


@pytest.mark.parametrize(
    ("taught", "optim", "said"),
    [
        ({"tau": 0.0}, {}, "model.distill.tau is 0; it must be from 0.001 to 10."),
        ({"features": -1.0}, {}, "model.distill.features is -1"),
        ({"mask": 1.0}, {}, "model.distill.mask is 1, but the teacher .* has no mask to teach; it must be 0."),
        ({}, {"presence_alone": True}, "model.optim.presence_alone is true"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(taught, optim, said, clip, toy_model):
    with pytest.raises(ConfigError, match=said):
        distiller_of(DistillConfig(teacher=clip, **taught), toy_model(), OptimConfig(**optim))


def test_a_run_that_was_killed_goes_on_to_the_same_end(line, clip, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    taught = {"model__distill": {"teacher": clip, "force": True, "cache": str(tmp_path / "kept")}}
    assert line("fit", whole, **taught) == 0
    updates = last(whole)["global_step"]
    killed_at(updates // 2 + 2, lambda: line("fit", out, **taught), out, monkeypatch)
    checkpoint = str(out / "checkpoints" / "last.ckpt")
    assert line("fit", out, "--ckpt_path", checkpoint, **taught) == 0
    assert_same_end(whole, out, "with a teacher")
    one, other = (last(run)["s4eca_distill"]["projectors"] for run in (whole, out))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("taught", "said"),
    [(None, "model.distill.teacher is null"), ({"tau": 0.5}, "model.distill.tau = 0.07, here it is 0.5")],
)
def test_a_checkpoint_of_another_teacher_is_refused(taught, said, distilled, line, clip, tmp_path, capsys):
    changes = {} if taught is None else {"model__distill": {"teacher": clip, "force": True, **taught}}
    capsys.readouterr()
    checkpoint = str(distilled / "checkpoints" / "last.ckpt")
    changes |= {**STEPS, "trainer__max_steps": 4}
    assert line("fit", tmp_path / "out", "--ckpt_path", checkpoint, **changes) == 2
    assert said in capsys.readouterr().err


def test_an_adapter_teaches_its_mask(plain, line, toy_model, tmp_path):
    taught = {"teacher": f"s4eca:{plain / 'adapter'}", "pairs": 0.0, "mask": 1.0, "force": True}
    assert line("fit", tmp_path / "out", model__distill=taught, **STEPS) == 0
    record = json.loads((tmp_path / "out" / "distillation.json").read_text())
    assert record["weights"] == {"features": 1.0, "map": 1.0, "mask": 1.0}
    with pytest.raises(ConfigError, match="no space that images and phrases share; it must be 0."):
        distiller_of(DistillConfig(**{**taught, "pairs": 0.5}), toy_model(), OptimConfig())


def test_two_processes_learn_what_one_learns(clip, dataset, tmp_path, monkeypatch):
    """D3 compares the pairs of both; everything else is a mean over each."""
    from s4eca.encoders.toy import toy_pair
    from s4eca.model.model import S4ECAModel

    monkeypatch.setattr(
        "s4eca.training.module.attach", lambda config, running=None: S4ECAModel(*toy_pair(6, 3), config)
    )
    from s4eca.training.datamodule import ReferringData
    from s4eca.training.module import S4ECAModule

    def train(out, batch, **several):
        from lightning.pytorch import Callback, Trainer, seed_everything

        class Plain(S4ECAModule):
            """Plain descent: Adam makes full steps of what is nought but for rounding."""

            def configure_optimizers(self):
                super().configure_optimizers()
                return torch.optim.SGD(self.parameters(), 0.05)

        class Keep(Callback):
            def on_train_end(self, trainer, pl_module):
                if trainer.is_global_zero:
                    logged = {name: value.clone() for name, value in trainer.callback_metrics.items()}
                    state = {**pl_module.distiller.state_dict(), **trainable_state(pl_module.model)}
                    torch.save({"made": state, "logged": logged}, out)

        seed_everything(0, verbose=False)
        taught = DistillConfig(teacher=clip, force=True, least_patches=0.0, fade=0.0)
        module = Plain(toy_config(), OptimConfig(), distill=taught)
        data = ReferringData(
            root=str(dataset("rrsisd")), layout="rrsisd", batch_size=batch, absent_share=0.0, val_split=None
        )
        Trainer(
            accelerator="cpu", max_steps=3, limit_val_batches=0, logger=False, enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False, default_root_dir=tmp_path, callbacks=[Keep()],
            **several,
        ).fit(module, data)  # fmt: skip

    train(tmp_path / "one.pt", 4)
    in_processes(2, lambda rank: train(tmp_path / "two.pt", 2, devices=2, strategy="ddp"))
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    assert float(one["logged"]["distill_loss"]) == pytest.approx(float(two["logged"]["distill_loss"]), rel=1e-3)
    for name, value in one["made"].items():
        assert torch.allclose(value, two["made"][name], atol=2e-5), name

"""The loss that is weighed by size: at alpha 0, its bounds, what it learns and keeps, and several processes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from several import assert_same_end, in_processes, killed_at, last, toy_run

from s4eca.data.open import open_dataset
from s4eca.decoder.loss import segmentation_loss, segmentation_losses
from s4eca.errors import ConfigError, NotFiniteError
from s4eca.evaluation.report import SIZES, size_bucket
from s4eca.training.scale_loss import OFF, ScaleBalancedLoss, ScaleLossConfig

SIZES_PX = torch.tensor([6.0, 20.0, 40.0, 200.0])


def batch(seed=0, count=4, side=8):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 1, side, side, generator=g).requires_grad_()
    return logits, (torch.rand(count, 1, 2 * side, 2 * side, generator=g) > 0.7).float()


def made(**settings):
    return ScaleBalancedLoss(ScaleLossConfig(**{"alpha": 0.5, "warmup": 0, **settings}))


def learned(averages, **settings):
    """A loss that has seen every size with these gradients."""
    loss = made(**settings)
    loss.average.copy_(torch.tensor(averages))
    loss.count.copy_((torch.tensor(averages) > 0).long())
    return loss


def weights(loss, sizes):
    """The weights a batch gets: the slopes of the loss in the losses of samples."""
    logits = torch.zeros(len(sizes), 1, requires_grad=True)
    losses = (logits * 1.0).sum(1)
    handle = losses.detach().requires_grad_()
    joined = handle + losses - losses.detach()
    loss(joined, logits, sizes).backward()
    return handle.grad * len(sizes)


def test_the_mean_of_single_losses_is_the_loss():
    logits, truth = batch()
    each = segmentation_losses(logits, truth)
    assert each.shape == (4,)
    torch.testing.assert_close(each.mean(), segmentation_loss(logits, truth))
    for place in range(4):
        one = segmentation_loss(logits[place : place + 1], truth[place : place + 1])
        torch.testing.assert_close(each[place], one)


@pytest.mark.parametrize("seed", range(3))
def test_alpha_0_is_the_plain_mean_to_the_bit_in_value_and_gradient(seed):
    loss = made(alpha=0.0)
    for step in range(3):
        logits, truth = batch(10 * seed + step)
        plain = segmentation_loss(logits, truth)
        plain.backward(retain_graph=True)
        wanted, logits.grad = logits.grad.clone(), None
        found = loss(segmentation_losses(logits, truth), logits, SIZES_PX, plain)
        found.backward()
        assert torch.equal(found, plain) and torch.equal(logits.grad, wanted)
        each = segmentation_losses(logits, truth)
        assert torch.equal(made(alpha=0.0)(each, logits, SIZES_PX), each.mean())
    assert (loss.count[[0, 1, 2, 4]] == 3).all() and loss.average[3] == 0, "and it has measured"


def test_the_measure_is_the_gradient_of_each_sample_alone():
    logits, truth = batch()
    loss = made()
    loss(segmentation_losses(logits, truth), logits, SIZES_PX)
    for place, group in enumerate((0, 1, 2, 4)):
        alone = logits[place : place + 1].detach().requires_grad_()
        segmentation_loss(alone, truth[place : place + 1]).backward()
        assert loss.average[group].item() == pytest.approx(alone.grad.norm().item(), rel=1e-4)


def test_averages_move_by_beta_and_only_where_a_size_is_seen():
    loss = made(beta=0.75)
    for factor, sizes in ((1.0, [6.0, 6.0]), (3.0, [6.0, 40.0]), (2.0, [40.0, 40.0])):
        logits = torch.zeros(2, 1, requires_grad=True)
        loss(factor * logits.sum(1), logits, torch.tensor(sizes))
    assert loss.average.tolist() == pytest.approx([0.75 * 1 + 0.25 * 3, 0, 0.75 * 3 + 0.25 * 2, 0, 0])
    assert loss.count.tolist() == [3, 0, 3, 0, 0] and int(loss.step) == 3


def test_weights_by_hand():
    """e = 1, 4, 16: their middle is 4, so r = 1/4, 1, 4 and u = 2, 1, 1/2 at alpha 1/2."""
    loss = learned([1.0, 4.0, 16.0, 0.0, 0.0])
    assert loss.factors().tolist() == pytest.approx([2, 1, 0.5, 1, 1])
    found = weights(loss, torch.tensor([6.0, 20.0, 40.0, 70.0]))
    assert found.tolist() == pytest.approx([2 / 1.125, 1 / 1.125, 0.5 / 1.125, 1 / 1.125])


@given(st.lists(st.floats(1e-6, 1e3), min_size=5, max_size=5), st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 12))
def test_bounds_and_mean(averages, alpha, count):
    loss = learned(averages, alpha=alpha)
    generator = np.random.default_rng(count)
    found = weights(loss, torch.tensor(generator.choice([4.0, 20, 40, 70, 300, 0], count), dtype=torch.float32))
    assert found.mean().item() == pytest.approx(1, abs=1e-5)
    assert found.max() <= found.min() * 4 ** (2 * alpha) * (1 + 1e-4)


def test_one_size_in_a_batch_has_weights_of_1():
    loss = learned([1.0, 7.0, 0.3, 2.0, 5.0], alpha=1.0)
    assert torch.equal(weights(loss, torch.full((4,), 20.0)), torch.ones(4))


def test_ten_times_the_loss_gives_the_same_weights():
    one, ten = made(), made()
    for seed in range(4):
        for loss, factor in ((one, 1.0), (ten, 10.0)):
            logits, truth = batch(seed)
            loss(factor * segmentation_losses(logits, truth), logits, SIZES_PX)
    torch.testing.assert_close(one.factors(), ten.factors())
    assert len(set(one.factors().tolist())) > 2


def test_weights_are_of_before_the_batch_and_of_none_while_it_warms_up():
    loss = made(warmup=2, alpha=1.0)
    for step, same in enumerate((True, True, False)):
        logits, truth = batch(step)
        each = segmentation_losses(logits, truth)
        found = loss(each, logits, SIZES_PX)
        assert torch.equal(found, each.mean()) == same


@pytest.mark.parametrize(
    ("area", "group"), [(255, 0), (256, 1), (1023, 1), (1024, 2), (4096, 3), (16383, 3), (16384, 4), (0, -1)]
)
def test_a_border_is_of_the_larger_size_as_in_reports(area, group):
    """But for 128, which a report counts to 64-128."""
    assert made().groups(torch.tensor([math.sqrt(area)])).tolist() == [group]
    if area not in (0, 16384):
        assert SIZES.index(size_bucket(area)) == group


def test_names_of_sizes():
    assert OFF.names == ("<16", "16-32", "32-64", "64-128", ">=128")


def test_a_sample_without_a_target_is_of_no_size():
    loss = learned([1.0, 4.0, 0.0, 0.0, 0.0])
    before = loss.average.clone()
    assert weights(loss, torch.zeros(3)).tolist() == [1, 1, 1]
    assert torch.equal(loss.average, before) and loss.count.tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_in_one_sample_raises_and_poisons_nothing(value):
    loss = made()
    logits, truth = batch()
    loss(segmentation_losses(logits, truth), logits, SIZES_PX)
    before = loss.state()
    logits, truth = batch(1)
    with torch.no_grad():
        logits[2, 0, 0, 0] = value
    with pytest.raises(NotFiniteError, match="NaN or infinite"):
        loss(segmentation_losses(logits, truth), logits, SIZES_PX)
    assert all(torch.equal(before[name], loss.state()[name]) for name in ("average", "count", "step"))


def test_the_control_weighs_by_how_many_there_are():
    """Of 8 tiny and 2 large samples the weights are as 1 to 2 at alpha 1/2: share ** -1/2, whatever their slopes."""
    loss = made(measure="share")
    logits, truth = batch(count=10)
    sizes = torch.tensor([6.0] * 8 + [300.0] * 2)
    loss(segmentation_losses(logits, truth), logits, sizes)
    found = weights(loss, sizes)
    assert (found[-1] / found[0]).item() == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"alpha": 1.5}, "alpha is 1.5"), ({"alpha": -0.1}, "alpha is -0.1"), ({"edges": (32, 16)}, "rising"),
        ({"edges": ()}, "edges"), ({"beta": 1.0}, "beta is 1.0"), ({"kappa": 0.5}, "kappa is 0.5"),
        ({"warmup": -1}, "warmup is -1"), ({"measure": "guess"}, "gradient, share"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        ScaleLossConfig(**wrong)


def test_two_processes_learn_what_one_does(tmp_path):
    """Averages are the same in both to the bit, and those of one process but for rounding; so is the gradient."""
    import torch.distributed as dist

    batches = [batch(seed, count=8) for seed in range(4)]
    sizes = torch.tensor([6.0, 20, 40, 200, 8, 0, 70, 9])

    def run(rows):
        loss = made(alpha=1.0, warmup=1)
        slopes = []
        for logits, truth in batches:
            part = logits[rows].detach().requires_grad_()
            loss(segmentation_losses(part, truth[rows]), part, sizes[rows]).backward()
            slopes.append(part.grad)
        return {"slopes": slopes, **loss.state()}

    def work(rank):
        dist.init_process_group("gloo")
        torch.save(run(slice(rank, None, 2)), tmp_path / f"{rank}.pt")

    in_processes(2, work)
    one, (first, second) = run(slice(None)), (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in ("average", "count", "step"))
    assert torch.equal(first["count"], one["count"])
    torch.testing.assert_close(first["average"], one["average"])
    for whole, a, b in zip(one["slopes"], first["slopes"], second["slopes"], strict=True):
        joined = torch.empty_like(whole)
        joined[0::2], joined[1::2] = a / 2, b / 2  # DDP takes the mean over processes
        torch.testing.assert_close(joined, whole)


def test_nan_in_one_process_ends_both(tmp_path):
    """Else the other would wait for it for ever."""
    import torch.distributed as dist

    def work(rank):
        dist.init_process_group("gloo")
        logits, truth = batch()
        each = segmentation_losses(logits, truth) * (float("nan") if rank else 1.0)
        with pytest.raises(NotFiniteError):
            made()(each, logits, SIZES_PX)

    in_processes(2, work)


@pytest.fixture
def toys(monkeypatch):
    """Configurations of the toy pair, which has no checkpoint, are attached to it."""
    from s4eca.encoders.toy import toy_pair
    from s4eca.model.model import S4ECAModel

    monkeypatch.setattr(
        "s4eca.training.module.attach", lambda config, running=None: S4ECAModel(*toy_pair(6, 3), config)
    )


def test_a_run_at_alpha_0_is_a_run_without_it(toys, dataset, tmp_path):
    """Whole runs, to the bit; and one at alpha 1 is another."""
    root = dataset("rrsisd")
    found = {}
    for name, alpha in (("plain", None), ("zero", 0.0), ("one", 1.0)):
        scale = None if alpha is None else ScaleLossConfig(alpha=alpha, warmup=2)
        toy_run(root, tmp_path / f"{name}.pt", batch=4, scale=scale)
        found[name] = torch.load(tmp_path / f"{name}.pt")
    state = {name: one["state"] for name, one in found.items()}
    assert all(torch.equal(state["plain"][name], state["zero"][name]) for name in state["plain"])
    assert not all(torch.equal(state["plain"][name], state["one"][name]) for name in state["plain"])
    assert torch.equal(found["plain"]["logged"]["loss"], found["zero"]["logged"]["loss"])
    told = {name for name in found["zero"]["logged"] if name.startswith("scale_grad/")}
    assert told and told <= {f"scale_grad/{name}" for name in OFF.names}


def test_a_whole_run_of_two_processes_is_that_of_one(toys, dataset, tmp_path):
    root, scale = dataset("rrsisd"), ScaleLossConfig(alpha=1.0, warmup=2)
    toy_run(root, tmp_path / "one.pt", batch=4, scale=scale)
    in_processes(2, lambda rank: toy_run(root, tmp_path / "two.pt", batch=2, devices=2, strategy="ddp", scale=scale))
    one, two = torch.load(tmp_path / "one.pt"), torch.load(tmp_path / "two.pt")
    apart = max(float((one["state"][name] - two["state"][name]).abs().max()) for name in one["state"])
    assert apart < 1e-6
    for name in (name for name in one["logged"] if name.startswith("scale_grad/")):
        assert one["logged"][name].item() == pytest.approx(two["logged"][name].item(), rel=1e-6)


SETTINGS = {"model__scale_loss": {"alpha": 0.5, "warmup": 1, "edges": [16, 24]}}


@pytest.fixture(scope="module")
def finished(line, tmp_path_factory):
    """A run of two epochs through the command line."""
    out = tmp_path_factory.mktemp("scales") / "run"
    assert line("fit", out, **SETTINGS) == 0
    return out


def test_what_is_learned_is_in_the_checkpoint_and_not_in_the_adapter(finished):
    kept = last(finished)["s4eca_scale_loss"]
    assert kept["settings"]["edges"] in ((16, 24), [16, 24]) and int(kept["step"]) == last(finished)["global_step"]
    assert (kept["average"][kept["count"] > 0] > 0).all() and kept["count"].sum() > 0
    files = sorted(path.name for path in (finished / "adapter").iterdir())
    assert files == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    told = json.loads((finished / "adapter" / "adapter_config.json").read_text())
    assert "scale_loss" not in json.dumps(told["config"])
    from safetensors import safe_open

    with safe_open(finished / "adapter" / "adapter_model.safetensors", "pt") as tensors:
        assert not [name for name in tensors.keys() if "scale" in name and "loss" in name]  # noqa: SIM118


def test_a_run_that_is_killed_and_goes_on_ends_as_one_that_was_not(finished, line, tmp_path, monkeypatch):
    """To the bit, with what was learned."""
    out = tmp_path / "run"
    killed_at(last(finished)["global_step"] - 1, lambda: line("fit", out, **SETTINGS), out, monkeypatch)
    half = last(out)["s4eca_scale_loss"]
    assert line("fit", out, "--ckpt_path", str(out / "checkpoints" / "last.ckpt"), **SETTINGS) == 0
    assert_same_end(finished, out, "killed")
    whole, again = last(finished)["s4eca_scale_loss"], last(out)["s4eca_scale_loss"]
    assert all(torch.equal(whole[name], again[name]) for name in ("average", "count", "step"))
    assert not torch.equal(half["average"], again["average"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"alpha": 0.5, "warmup": 1, "edges": [16, 32]},
            "made with edges = (16, 24), here model.scale_loss.edges is (16, 32)",
        ),
        ({"alpha": 0.25, "warmup": 1, "edges": [16, 24]}, "made with alpha = 0.5, here model.scale_loss.alpha is 0.25"),
        ({"alpha": None}, "made with model.scale_loss.alpha set, here it is null"),
    ],
)
def test_a_checkpoint_of_other_sizes_is_refused(settings, said, finished, line, tmp_path, capfd):
    source = str(finished / "checkpoints" / "last.ckpt")
    code = line("fit", tmp_path / "x", "--ckpt_path", source, model__scale_loss=settings, trainer__max_epochs=3)
    err = capfd.readouterr().err
    assert code == 2 and said in err and "Traceback" not in err


def test_it_may_be_validated_without_its_settings(finished, line, tmp_path):
    assert line("validate", tmp_path / "x", "--ckpt_path", str(finished / "checkpoints" / "last.ckpt")) == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model__scale_loss": {"alfa": 0.5}}, "did you mean model.scale_loss.alpha?"),
        ({"model__scale_loss": {"alpha": 2.0}}, "model.scale_loss.alpha is 2.0"),
        ({"model__scale_loss": 0.5}, "model.scale_loss is 0.5; it must be settings with values"),
        (
            {"model__scale_loss": {"alpha": 0.5}, "model__optim__presence_alone": True, "model__config__presence": 3},
            "no mask is trained",
        ),
    ],
)
def test_mistakes_are_one_sentence(settings, said, line, tmp_path, capfd):
    assert line("fit", tmp_path / "x", **settings) == 2
    err = capfd.readouterr().err
    assert said in err and err.strip().count("\n") == 0


def test_items_know_the_size_of_their_target(opened, dataset):
    """In pixels of the image, under every symmetry; an absent expression has none."""
    root = dataset("rrsisd")
    data = opened(root=str(root), layout="rrsisd", symmetries=["IDENTITY", "ROT90"], reader={"exhaustive": True})
    split = open_dataset(root, "rrsisd", "train")
    seen = 0
    for made_of in data.train_dataloader():
        for place, index in enumerate(made_of.indices):
            size = made_of.sizes[place].item()
            if index < len(split):
                wanted = math.sqrt(split.mask(split.references[index]).sum())
                assert size == pytest.approx(wanted) and bool(made_of.present[place]) == (size > 0)
                seen += 1
            else:
                assert size == 0
    assert seen
    for made_of in [*data.val_dataloader()]:
        natively = [math.sqrt(truth.sum()) for truth in made_of.truths]
        assert made_of.sizes.tolist() == pytest.approx(natively)


def test_a_window_keeps_the_pixels_it_shows(opened, dataset):
    """Shown twice as large, a target has as many pixels of the image as before; cut, fewer."""
    from s4eca.data.augment.settings import Augmentation

    root = dataset("rrsisd")
    data = opened(
        root=str(root), layout="rrsisd", reader={"exhaustive": True}, absent_share=0.0,
        augment=Augmentation(reframe=1.0, scale=(1.5, 2.0)),
    )  # fmt: skip
    split = open_dataset(root, "rrsisd", "train")
    kept = []
    for made_of in data.train_dataloader():
        for place, index in enumerate(made_of.indices):
            whole = math.sqrt(split.mask(split.references[index]).sum())
            shown = made_of.sizes[place].item()
            assert 0 < shown <= whole + 1e-4
            kept.append((shown / whole, float((made_of.truths[place] > 127).float().mean()) * 112**2 / whole**2))
    assert any(share > 0.999 and larger > 1.5 for share, larger in kept), "shown larger, and of the same size"

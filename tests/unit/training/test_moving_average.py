"""The moving average: what it is, when it is swapped in, and that training goes on where training was."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from s4eca.layers.trainable import trainable_parameters
from s4eca.training.averaging import MovingAverage


class Holder(torch.nn.Module):
    def __init__(self, value=0.0):
        super().__init__()
        self.adapter = torch.nn.Linear(1, 1, bias=False)
        self.decoder = torch.nn.Linear(1, 1, bias=False)
        self.bands = self.encoder_updates = None
        self.set(value)

    @torch.no_grad()
    def set(self, value):
        for p in self.parameters():
            p.fill_(value)

    def values(self):
        return [float(p.detach()) for p in trainable_parameters(self).values()]


def run(average, values):
    model = Holder()
    module = SimpleNamespace(model=model)
    for step, value in enumerate(values, start=1):
        model.set(value)
        average.on_train_batch_end(SimpleNamespace(global_step=step), module)
    return module


def test_by_hand():
    average = MovingAverage(0.5)
    module = run(average, [1.0, 2.0, 4.0])
    # decays min(.5, (1+t)/(10+t)): the first value starts it, then 3/12 and 4/13
    wanted = 1.0
    for value, decay in ((2.0, 3 / 12), (4.0, 4 / 13)):
        wanted = decay * wanted + (1 - decay) * value
    average.on_validation_start(None, module)
    assert module.model.values() == pytest.approx([wanted, wanted])
    average.on_validation_end(None, module)
    assert module.model.values() == [4.0, 4.0]


def test_accumulated_batches_count_once():
    average = MovingAverage(0.9)
    module = run(average, [1.0])
    module.model.set(9.0)
    average.on_train_batch_end(SimpleNamespace(global_step=1), module)
    assert [float(v) for v in average.average.values()] == [1.0, 1.0]


def test_off_leaves_everything_alone():
    average = MovingAverage(0.0)
    module = run(average, [1.0, 2.0])
    average.on_validation_start(None, module)
    assert module.model.values() == [2.0, 2.0] and average.average == {}
    average.on_validation_end(None, module)
    assert module.model.values() == [2.0, 2.0]


def test_the_state_comes_back():
    first, second = MovingAverage(0.9), MovingAverage(0.9)
    run(first, [1.0, 3.0, 2.0])
    second.load_state_dict(first.state_dict())
    module = SimpleNamespace(model=Holder(7.0))
    for average in (first, second):
        average.on_train_batch_end(SimpleNamespace(global_step=4), module)
    assert second.average.keys() == first.average.keys()
    assert all(torch.equal(second.average[k], first.average[k]) for k in first.average)


def test_a_saved_state_does_not_move_with_training():
    average = MovingAverage(0.9)
    module = run(average, [1.0, 3.0])
    state = {k: v.clone() for k, v in average.state_dict()["average"].items()}
    kept = average.state_dict()["average"]
    module.model.set(100.0)
    average.on_train_batch_end(SimpleNamespace(global_step=3), module)
    assert set(kept) == set(state)


@pytest.mark.parametrize("decay", [0.5, 0.97, 0.999])
def test_it_is_what_version_0_1_kept(decay):
    """Tensor by tensor and update by update, for any values."""
    generator = torch.Generator().manual_seed(1)
    average, model, former = MovingAverage(decay), Holder(), {}
    for step in range(1, 60):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(1, 1, generator=generator))
        average.on_train_batch_end(SimpleNamespace(global_step=step), SimpleNamespace(model=model))
        share = 1 - min(decay, (1 + step) / (10 + step))
        for name, parameter in trainable_parameters(model).items():
            now = parameter.detach()
            former[name] = former[name].lerp(now, share) if name in former else now.clone()
    assert former.keys() == average.average.keys()
    assert all(torch.allclose(average.average[name], former[name], rtol=1e-6, atol=1e-7) for name in former)


def test_shown_and_put_back():
    average = MovingAverage(0.5)
    module = run(average, [1.0, 2.0])
    with pytest.raises(RuntimeError), average.shown(module):
        assert module.model.values() != [2.0, 2.0]
        raise RuntimeError
    assert module.model.values() == [2.0, 2.0]

"""Two processes train what one does of the same global batch, under DDP and with the frozen blocks sharded."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from several import in_processes, toy_config, toy_run

from s4eca.data.augment.symmetries import Symmetry
from s4eca.data.feature_cache import FeatureCache
from s4eca.data.open import open_dataset
from s4eca.errors import CacheError, ConfigError
from s4eca.model.encodings import feature_recipe
from s4eca.training import encoding
from s4eca.training.samplers import DrawSampler
from s4eca.training.strategies import ShardedEncoders, check_strategy, check_unused, shard

METHODS = {
    "side": {},
    "inject": {"mode": "inject"},
    "lora": {"method": "lora"},
}


@pytest.fixture
def toys(monkeypatch):
    """Configurations of the toy pair, which has no checkpoint, are attached to it."""
    from s4eca.encoders.toy import toy_pair
    from s4eca.model.model import S4ECAModel

    def attach(config, running=None):
        return S4ECAModel(*toy_pair(6, 3), config)

    monkeypatch.setattr("s4eca.training.module.attach", attach)
    return attach


@pytest.fixture(scope="module")
def single():
    """What one process came to, by the name of the method."""
    return {}


@pytest.mark.parametrize(("name", "strategy"), [*((name, "ddp") for name in METHODS), ("inject", "fsdp")])
def test_two_processes_train_what_one_does(name, strategy, single, toys, dataset, tmp_path):
    """Weights, moving average, loss and scores, with absent expressions and clipped gradients."""
    root = dataset("rrsisd")
    if name not in single:
        toy_run(root, tmp_path / "one.pt", batch=4, **METHODS[name])
        single[name] = torch.load(tmp_path / "one.pt")

    def work(rank):
        chosen = ShardedEncoders() if strategy == "fsdp" else strategy
        toy_run(root, tmp_path / "two.pt", batch=2, devices=2, strategy=chosen, **METHODS[name])

    in_processes(2, work)
    assert_alike(single[name], torch.load(tmp_path / "two.pt"))


def test_two_processes_train_on_several_sets_what_one_does(toys, dataset, tmp_path):
    """One order for both, and scores of each set and of all; a set has an odd number of samples to validate."""
    sets = [
        {"root": str(dataset("rrsisd")), "layout": "rrsisd", "share": 2, "reader": {"exhaustive": True}},
        {"root": str(dataset("jsonl")), "layout": "jsonl", "share": 1, "val_split": "test"},
    ]
    assert len(open_dataset(sets[1]["root"], "jsonl", "test")) % 2
    toy_run(sets, tmp_path / "one.pt", batch=4)
    in_processes(2, lambda rank: toy_run(sets, tmp_path / "two.pt", batch=2, devices=2, strategy="ddp"))
    one = torch.load(tmp_path / "one.pt")
    assert {"val/mIoU", "val/mIoU/rrsisd", "val/oIoU/jsonl"} <= set(one["logged"])
    assert_alike(one, torch.load(tmp_path / "two.pt"))


def assert_alike(one, two):
    """What two runs came to is the same but for rounding."""
    assert one["state"] and one["logged"]["loss"].dtype == torch.float64 and "val/mIoU" in one["logged"]
    for part, values in one.items():
        assert values.keys() == two[part].keys()
        apart = {key: float((value - two[part][key]).abs().max()) for key, value in values.items()}
        assert max(apart.values()) < 1e-6, {key: value for key, value in apart.items() if value > 1e-6}


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 4))
def test_batches_of_all_processes_are_those_of_one(count, batch, processes):
    """Also where the samples do not come out even: one process drops the rest, and so do several."""
    whole = list(DrawSampler(count, 3, batch=batch * processes))
    shares = [list(DrawSampler(count, 3, batch=batch, processes=processes, rank=rank)) for rank in range(processes)]
    steps = -(-len(whole) // (batch * processes))
    assert {-(-len(share) // batch) for share in shares} == {steps}
    for step in range(steps):
        first = step * batch
        dealt = [draw for share in shares for draw in share[first : first + batch]]
        wanted = whole[first * processes : (first + batch) * processes]
        assert set(dealt) == set(wanted) and (len(dealt) == len(wanted) or count < batch * processes)


def trainer(rank):
    """As much of Lightning's as the cache needs."""
    import torch.distributed as dist

    dist.init_process_group("gloo")

    def broadcast(given):
        shared = [given]
        dist.broadcast_object_list(shared)
        return shared[0]

    strategy = SimpleNamespace(root_device="cpu", barrier=lambda name: dist.barrier(), broadcast=broadcast)
    return SimpleNamespace(world_size=2, global_rank=rank, strategy=strategy)


@pytest.mark.parametrize("place", ["memory", "folder"])
def test_the_cache_is_encoded_once_and_shared_out(place, toys, dataset, tmp_path):
    split, symmetries = open_dataset(dataset("rrsisd"), "rrsisd", "train"), (Symmetry.IDENTITY, Symmetry.FLIP_LR)
    model = toys(toy_config())
    images = {reference.image for reference in split.references}
    recipe = feature_recipe(model, "float32")
    folder = tmp_path / "cache" if place == "folder" else None
    alone = FeatureCache(recipe)
    here = SimpleNamespace(world_size=1, global_rank=0, strategy=SimpleNamespace(root_device="cpu"))
    encoding.encode_missing(model, split, alone, symmetries, here)
    assert len(alone._memory) == 2 * len(images)

    def work(rank):
        encoded, encode = [], model.encode
        model.encode = lambda pixels: (encoded.append(len(pixels)), encode(pixels))[1]
        run = trainer(rank)
        cache = encoding.open_cache(recipe, folder, run)
        encoding.encode_missing(model, split, cache, symmetries, run)
        assert sum(encoded) == len(images), "half of two symmetries of every image"
        for name, tensors in alone._memory.items():
            # Batches of another size are rounded in another way.
            assert all(torch.allclose(value, cache.get(name)[key], atol=1e-5) for key, value in tensors.items())

    in_processes(2, work)


def test_a_cache_that_one_process_cannot_keep_is_an_error_of_all(toys, dataset, tmp_path):
    split = open_dataset(dataset("rrsisd"), "rrsisd", "train")
    model = toys(toy_config())

    def refuse(self, name, tensors):
        raise CacheError("The feature cache cannot write: No space left on device.")

    def work(rank):
        run = trainer(rank)
        (tmp_path / "other.txt").write_text("x")
        with pytest.raises(CacheError, match="is not empty and has no cache.json"):
            encoding.open_cache({"dtype": "float32"}, tmp_path, run)
        cache = encoding.open_cache({"dtype": "float32"}, None, run)
        with pytest.MonkeyPatch.context() as patch:
            if rank == 1:
                patch.setattr(FeatureCache, "keep", refuse)
            with pytest.raises(CacheError, match="No space left on device"):
                encoding.encode_missing(model, split, cache, (Symmetry.IDENTITY,), run)
        # Every process with a folder of its own, as where machines share none.
        own = tmp_path / f"own{rank}"
        encoding.open_cache({"dtype": "float32"}, own, SimpleNamespace(world_size=1, global_rank=0))
        with pytest.raises(CacheError, match="another process has encoded; it must be a folder that all machines"):
            encoding.encode_missing(model, split, FeatureCache({"dtype": "float32"}, own), (Symmetry.IDENTITY,), run)

    in_processes(2, work)


def test_what_trains_is_whole_and_what_is_frozen_is_shared_out(toys):
    """Half of every frozen matrix of a block on each of two processes; the encoder is still told by its weights."""
    from torch.distributed.tensor import DTensor

    def work(rank):
        trainer(rank)
        model = toys(toy_config(method="lora"))
        shard(model, "cpu", 2)
        shard(model, "cpu", 2)
        blocks = list(model.vision.block_module(0).named_parameters())
        frozen = [p for _, p in blocks if not p.requires_grad]
        assert frozen and all(isinstance(p, DTensor) and 2 * p.to_local().numel() == p.numel() for p in frozen)
        trained = [p for p in model.parameters() if p.requires_grad]
        assert trained and not any(isinstance(p, DTensor) for p in trained)
        assert model.vision.fingerprint == toys(toy_config()).vision.fingerprint

    in_processes(2, work)


@pytest.mark.parametrize(("method", "reason"), [("full", "nothing frozen is left"), ("adaptformer", "past the block")])
def test_a_method_that_cannot_be_sharded_says_so(method, reason, toys):
    said = f"trainer.strategy is 'fsdp', which the method '{method}' cannot have: .*{reason}"
    with pytest.raises(ConfigError, match=said):
        shard(toys(toy_config(method=method)), "cpu", 1)


def test_strategies_under_which_what_trains_is_not_whole_are_refused():
    from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy, SingleDeviceStrategy

    for word in ("deepspeed_stage_2", "fsdp_cpu_offload", "xla"):
        with pytest.raises(ConfigError, match=f"trainer.strategy is '{word}'; it must be auto, ddp .* or fsdp"):
            check_strategy(word)
    for made in (FSDPStrategy(), ModelParallelStrategy()):
        with pytest.raises(ConfigError, match=f"trainer.strategy is '{type(made).__name__}'"):
            check_strategy(made, made)
    for word in ("auto", "ddp", "ddp_find_unused_parameters_true", "fsdp"):
        check_strategy(word)
    for made in (DDPStrategy(), ShardedEncoders(), SingleDeviceStrategy("cpu")):
        check_strategy("auto", made)
        check_strategy(made, made)


def test_whole_encoders_need_ddp_to_look_for_unused_tensors():
    with pytest.raises(ConfigError, match="trainer.strategy is 'ddp', .* take ddp_find_unused_parameters_true"):
        check_unused("ddp", "full", 2)
    for named, method, processes in (
        ("ddp", "full", 1),
        ("ddp", "lora", 2),
        ("ddp_find_unused_parameters_true", "full", 2),
        (ShardedEncoders(), "full", 2),
    ):
        check_unused(named, method, processes)

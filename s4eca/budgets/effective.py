"""Which trainable parameters can learn at all: two real updates on a tiny twin of a configuration.

A parameter counts in a budget only if a gradient reaches it. Up projections start at zero, so everything in front of
them has a zero gradient at first and a non-zero one from the second update on; what is still zero then is dead: a
bias that a softmax or a norm cancels, an adapter behind the last tap, a kernel wider than the patch grid.

A gradient that cancels is zero on paper and rounding noise in floating point. The twin therefore runs in float64
throughout, where noise and the smallest honest gradient lie many orders of magnitude apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from s4eca.config import S4ECAConfig
from s4eca.decoder.loss import prediction_loss
from s4eca.encoders.toy import toy_pair
from s4eca.model.model import S4ECAModel
from s4eca.records import TextSpec, VisionSpec
from s4eca.registry import method_class

LEAST_GRID = 7
PATCH = 2
TWIN_WIDTH = 8
LEARNING_RATE = 1e-2
# A share of the largest gradient of all.
NOISE = 1e-13
ROUNDS = 2
EXPRESSIONS = ("the large white ship beside the pier", "two cars", "the road on the left", "a red roof by small trees")


def dead_parameters(config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> list[str]:
    """Names of adapter and decoder tensors, or slices of them, that no training can move.

    The twin keeps the number of blocks, stages, sites, taps, mode, switches, kernels, proxies and the decoder; channels
    of the encoders and the adapter width shrink to 8. Its last patch grid is as wide as the kernels reach, at least
    7 x 7, unless the configuration's own grid is smaller; larger grids of earlier stages are so across alone.

    Args:
        config: the configuration to ask about.
        vision: spec of its vision encoder.
        text: spec of its text encoder.

    Returns:
        For instance ``"adapter.vision.3.up.weight"``, or with a slice ``"decoder.kernel.bias[4]"``. The encoders' own
        weights, where a method trains them, are asked about whole: the twin's four expressions touch few rows of its
        word table.

    Raises:
        ConfigError: the settings do not fit the encoders.
    """
    dead: list[str] = []
    for seed in range(ROUNDS):
        # A unit may be saturated by chance; what is dead by structure is dead for other random numbers as well.
        found = set(_dead_once(config, vision, text, seed))
        dead = [name for name in dead if name in found] if seed else sorted(found)
        if len(known_dead(config, dead)) == len(dead):
            break
    return dead


def known_dead(config: S4ECAConfig, names: Sequence[str]) -> list[str]:
    """Those of the dead parameters that the method is known to have, being built as published.

    A method class declares them in ``DEAD``, regular expressions on the names that `dead_parameters` gives.
    """
    patterns = method_class(config).DEAD
    return [name for name in names if any(re.search(pattern, name) for pattern in patterns)]


def _dead_once(config: S4ECAConfig, vision: VisionSpec, text: TextSpec, seed: int) -> list[str]:
    h, w, merge = _grid(config, vision)
    stages = _stages(vision)
    twin_config = config.replace(image_size=PATCH * max(h, w))
    if twin_config.width is not None:
        twin_config = twin_config.replace(width=min(twin_config.width, TWIN_WIDTH))
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), _InDouble():
        torch.manual_seed(seed)
        twins = toy_pair(
            vision.blocks,
            text.blocks,
            width=TWIN_WIDTH,
            patch=PATCH,
            prefix=vision.prefix_tokens,
            seed=seed,
            stages=stages if vision.hierarchical else (),
            widths=[TWIN_WIDTH] * len(stages),
            merge=merge,
        )
        own = {id(parameter) for twin in twins for parameter in twin.parameters()}
        model = S4ECAModel(*twins, twin_config).double()
        with torch.no_grad():
            # Tame starting weights keep activation functions away from their flat ends, where gradients vanish.
            for parameter in model.adapter.parameters():
                parameter.mul_(0.5)
        channels = 3 if model.bands is None else len(config.bands)
        images = torch.randn(len(EXPRESSIONS), channels, PATCH * h, PATCH * w).double()
        truth = (torch.rand(len(EXPRESSIONS), 1, 4 * h, 4 * w) < 0.3).double()
        present = torch.arange(len(EXPRESSIONS)) % 2 == 0
        update = AdamW([p for p in model.parameters() if p.requires_grad])
        for _ in range(2):
            model.zero_grad()
            pixels = images if model.bands is None else model.bands(images)
            said = model.decode(model.encode(pixels), model.tokenize(EXPRESSIONS))
            terms = model.decoder.losses(said.extras, truth, present).values()
            loss: Tensor = sum(terms, prediction_loss(said, truth, present))
            loss.backward()  # type: ignore[no-untyped-call]
            update()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    largest = max((float(p.grad.abs().max()) for p in trained.values() if p.grad is not None), default=0.0)
    dead: list[str] = []
    for name, parameter in trained.items():
        found = dead_slices(name, parameter.grad, NOISE * largest)
        dead += found if id(parameter) not in own or found == [name] else []
    return dead


class _InDouble(TorchFunctionMode):
    """Turns every cast to float32 into one to float64, and every ReLU into a GELU.

    The modules ask for float32 where half precision would hurt. A ReLU shut for the few tokens of the twin says nothing
    about the real encoders; what a closed gate hides from its gradient, a smooth one shows.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch for every function while the mode is on."""
        kwargs = kwargs or {}
        if func in (F.relu, torch.relu, Tensor.relu):
            return F.gelu(args[0])
        if func is Tensor.float:
            return args[0].double()
        if func is Tensor.to:
            args = tuple(torch.float64 if a is torch.float32 else a for a in args)
            kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in kwargs.items()}
        return func(*args, **kwargs)


def _stages(vision: VisionSpec) -> list[int]:
    """Number of blocks of every stage."""
    return [vision.strides.count(stride) for stride in sorted(set(vision.strides))]


def _grid(config: S4ECAConfig, vision: VisionSpec) -> tuple[int, int, tuple[int, int]]:
    """Patches of the twin, down and across, before its first block, and how many become one between stages.

    There are enough in the last stage for every tap of every kernel, and no more than there really are. Where there
    are enough, earlier stages need not be higher than the last, which saves most of the work.
    """
    reach = [dilation * (kernel // 2) for kernel, dilation in config.kernels or ()]
    enough = max(LEAST_GRID, 1 + max(reach, default=0))
    real = max(1, config.image_size // vision.strides[-1])
    last = min(enough, real)
    larger = 2 ** (len(_stages(vision)) - 1)
    if real < enough or config.decoder_detail:  # the decoder's own look takes square patches for granted
        return last * larger, last * larger, (2, 2)
    return last, last * larger, (1, 2)


def dead_slices(name: str, gradient: Tensor | None, noise: float = 0.0) -> list[str]:
    """The tensor's name if its gradient is zero throughout, else its zero slices along every axis.

    >>> dead_slices("bias", torch.tensor([1.0, 0.0]))
    ['bias[1]']
    """
    if gradient is None:
        return [name]
    alive = gradient.abs() > noise
    if not alive.any():
        return [name]
    return [f"{name}[{', '.join(index)}]" for index in _dead_slices(alive)]


def _dead_slices(alive: Tensor) -> Iterator[list[str]]:
    for axis in range(alive.ndim):
        others = [other for other in range(alive.ndim) if other != axis]
        somewhere = alive.any(dim=others) if others else alive
        for position in (~somewhere).nonzero().flatten().tolist():
            yield [str(position) if other == axis else ":" for other in range(alive.ndim)]


class AdamW:
    """The update of Loshchilov and Hutter (2019), written out.

    Torch's own class loads a compiler when it is made, which takes seconds.
    """

    def __init__(self, parameters: list[nn.Parameter], decay: float = 1e-2) -> None:
        self.parameters = parameters
        self.decay = decay
        self.steps = 0
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def __call__(self) -> None:
        """One update of every parameter that has a gradient."""
        self.steps += 1
        for parameter, first, second in zip(self.parameters, self.first, self.second, strict=True):
            if parameter.grad is None:
                continue
            first.lerp_(parameter.grad, 0.1)
            second.mul_(0.999).addcmul_(parameter.grad, parameter.grad, value=0.001)
            size = (second / (1 - 0.999**self.steps)).sqrt_().add_(1e-8)
            parameter.mul_(1 - LEARNING_RATE * self.decay)
            parameter.addcdiv_(first, size, value=-LEARNING_RATE / (1 - 0.9**self.steps))

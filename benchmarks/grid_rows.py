"""What a row of the equal-budget grid is: its settings, its key, and the rows of the two tiers in order of value."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from s4eca.budgets.count import count_trainable, specs
from s4eca.budgets.solve import fit_to, knobs
from s4eca.config import BEFORE_S4ECA_FIELDS, S4ECAConfig
from s4eca.registry import METHODS

ROOT = Path(__file__).resolve().parents[1]
TARGET = 0.024
# Vectors around frozen weights move little at the rate of matrices; all weights at once would break at it.
MIDDLE_RATES = {"ia3": 5e-3, "vera": 5e-3, "ln": 5e-3, "full": 5e-5}
MIDDLE_RATE = 8e-4
# What every row runs through beside its method; a change there makes all rows old, one of a method only its own.
COMMON = ("adapters/base.py", "adapters/sites.py", "adapters/walk.py", "data/augment", "data/preprocess.py", "decoder")
COMMON += ("evaluation/overlap.py", "evaluation/warps.py", "layers", "training/optim.py", "training/dataset.py")
CORE = ("decoder-only", "s4eca", "lora", "detris")
FURTHER = ("dora", "adaptformer", "etris", "full")
SMALLEST = ("ia3", "vera", "ln")
TRAINED = ("vhr10-ref", "isaid-ref", "dubai-ref")


@dataclass(frozen=True)
class Form:
    """A method in one mode.

    Attributes:
        method: its name.
        mode: ``side``, ``inject`` or ``late-inject``.
        late_blocks: m of ``late-inject``, else 0.
        changes: settings of the configuration that differ from the grid's own, for ablations: names and JSON.
    """

    method: str
    mode: str = "side"
    late_blocks: int = 0
    changes: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """As it is called in tables."""
        late = f" {self.late_blocks}" if self.late_blocks else ""
        said = "".join(f", {name} {value}" for name, value in self.changes)
        return f"{self.method}, {self.mode}{late}{said}"

    @property
    def cacheable(self) -> bool:
        """Whether what lies in front of its changes is frozen for most of the encoder."""
        return self.mode == "late-inject" or (self.mode == "side" and self.method in ("s4eca", "decoder-only"))

    @property
    def settings(self) -> dict[str, Any]:
        """The changed settings by name."""
        return {name: json.loads(value) for name, value in self.changes}


@dataclass(frozen=True)
class Recipe:
    """What all rows of one comparison share.

    Attributes:
        size: side of the input in pixels.
        passes: how often training sees every reference; the number of updates follows.
        batch: references an update.
        updates: number of updates in place of `passes`; 0 takes the passes.
        precision: ``fp32`` or ``bf16`` (autocast).
        symmetries: that training draws from.
        search: share of the updates that each of the three short runs for the rate has.
        rate: learning rate in place of the search; 0 searches.
        vision, text: the pair.
        decoder: sizes of the decoder.
    """

    size: int = 224
    passes: int = 5
    batch: int = 8
    updates: int = 0
    precision: str = "fp32"
    symmetries: tuple[str, ...] = ("IDENTITY", "FLIP_LR")
    search: float = 0.2
    rate: float = 0.0
    vision: str = "packaged:dinov2-s"
    text: str = "packaged:minilm-l6"
    decoder: tuple[tuple[str, int], ...] = (
        ("decoder_width", 96),
        ("decoder_layers", 2),
        ("decoder_ffn", 384),
        ("decoder_heads", 4),
        ("decoder_detail", 16),
    )


@dataclass(frozen=True)
class Row:
    """One run of the grid: a form trained on one set (or ``A+B``, joined) with one seed."""

    form: Form
    train: str
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.form.name} on {self.train}, seed {self.seed}, {self.recipe.size} px"

    def updates(self, references: int) -> int:
        """Number of updates on a training set of so many references."""
        return self.recipe.updates or max(1, self.recipe.passes * references // self.recipe.batch)

    def rates(self) -> tuple[float, ...]:
        """Rates among which the short runs choose: a third of the method's middle one, itself, three times it."""
        if self.recipe.rate:
            return (self.recipe.rate,)
        middle = MIDDLE_RATES.get(self.form.method, MIDDLE_RATE)
        return (round(middle / 3, 9), middle, round(3 * middle, 9))

    def config(self) -> S4ECAConfig:
        """The configuration, at S4ECA's number of parameters where the method can scale.

        A form names what it adds to S4ECA without the order of candidates and the norm of the residual.
        """
        r = self.recipe
        sizes: dict[str, Any] = {**dict(r.decoder), **BEFORE_S4ECA_FIELDS}
        base = S4ECAConfig(vision=r.vision, text=r.text, image_size=r.size, **sizes)
        return sized(self.form, base)

    def key(self, data: str) -> str:
        """Everything that matters, in one line; rows of one key are one row.

        Args:
            data: hash of the training references (`grid_data.Sets.mark`).
        """
        r = self.recipe
        rate = "/".join(f"{rate:g}" for rate in self.rates())
        drawn = "+".join(r.symmetries)
        amount = f"{r.updates} updates" if r.updates else f"{r.passes} passes"
        pair = hashlib.sha256(f"{r.vision}|{r.text}|{r.decoder}".encode()).hexdigest()[:6]
        return (
            f"{self.form.name} | {self.train} {data} | {r.size} px {r.precision} | {amount} of {r.batch}, {drawn} | "
            f"rate of {rate}, searched {r.search:g} | seed {self.seed} | pair {pair} | code {code(self.form.method)}"
        )


def sized(form: Form, base: S4ECAConfig) -> S4ECAConfig:
    """A form's configuration at S4ECA's share, or at its own natural size; a size among its changes stays."""
    text = json.dumps(base.to_dict(), sort_keys=True)
    return _sized(form, text)


@cache
def _sized(form: Form, text: str) -> S4ECAConfig:
    ours = fit_to(S4ECAConfig.from_dict(json.loads(text)), share=TARGET)
    asked = {"method": form.method, "mode": form.mode, "late_blocks": form.late_blocks, **form.settings}
    config = S4ECAConfig.from_dict(ours.changed(asked), origin="the row")
    if not knobs(config) or set(knobs(config)) & (set(form.settings) | set(config.options)):
        return config
    if form.method == "s4eca":
        return fit_to(config, share=TARGET) if form.changes else config
    return fit_to(config, count=count_trainable(ours, *specs(ours))[0])


@cache
def code(method: str) -> str:
    """Hash of the code that a row's numbers come from, without its comments and docstrings."""
    package = ROOT / "s4eca"
    own = Path(inspect.getfile(METHODS.load(method)))
    files = [own] if own.parent.name == "adapters" else sorted(own.parent.glob("*.py"))
    for part in COMMON:
        files += sorted((package / part).rglob("*.py")) if (package / part).is_dir() else [package / part]
    files.append(Path(__file__).with_name("grid_training.py"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(ast.dump(_bare(ast.parse(path.read_text()))).encode())
    return digest.hexdigest()[:8]


def _bare(tree: ast.Module) -> ast.Module:
    """A module without docstrings and other texts that are statements."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            kept = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
            node.body = kept or [ast.Pass()]
    return tree


def ours(mode: str = "side", late_blocks: int = 0) -> Form:
    """S4ECA with the parts that gained where they were tried (docs/ablation.md)."""
    return Form("s4eca", mode, late_blocks, (("candidate_order", "true"), ("residual_norm", "true")))


def limited(method: str) -> tuple[Form, ...]:
    """Forms of a method in tier 1: nothing in front of the last four blocks changes, so one cache serves all."""
    if method == "decoder-only":
        return (Form(method),)
    last = Form(method, "late-inject", 4)
    return (ours(), ours("late-inject", 4)) if method == "s4eca" else (last,)


def whole(method: str) -> tuple[Form, ...]:
    """Forms of a method in tier 2, at full depth."""
    return (ours("inject"), ours()) if method == "s4eca" else (Form(method),)


def tier_rows(tier: int, recipe: Recipe, sets: set[str], best: Callable[[str], Form | None]) -> Iterator[Row]:
    """The rows of a tier, the most valuable first.

    Of seeds 1 and 2, S4ECA runs in the form that was best with seed 0 (`best`), in both as long as that is not known.

    Args:
        tier: 1 or 2.
        recipe: what they share.
        sets: names of the data sets at hand; rows of others are left out.
        best: training set -> S4ECA's best form there, None where not known.
    """
    forms = limited if tier == 1 else whole
    trained = [name for name in TRAINED if name in sets]
    first = [name for name in trained if tier == 1 or name == "vhr10-ref"]
    core = (*CORE, "full") if tier == 2 else CORE
    later = tuple(m for m in (*FURTHER, *(SMALLEST if tier == 2 else ())) if m not in core)

    def rows(methods: tuple[str, ...], names: list[str], seed: int = 0) -> Iterator[Row]:
        for name in names:
            for method in methods:
                known = best(name) if seed and method == "s4eca" else None
                for form in (known,) if known else forms(method):
                    yield Row(form, name, seed, recipe)

    yield from rows(core, first)
    if tier == 1:
        for seed in (1, 2):
            yield from rows(CORE, first, seed)
    yield from rows(later, first)
    yield from rows((*core, *later), [name for name in trained if name not in first])
    if tier == 1 and {"isaid-ref", "isaid-more"} <= sets:
        for method in ("decoder-only", "s4eca", "lora"):
            known = best("isaid-ref") if method == "s4eca" else None
            for form in (known,) if known else forms(method):
                yield Row(form, "isaid-ref+isaid-more", 0, recipe)


def with_updates(row: Row, updates: int) -> Row:
    """The same row, shortened: what a search for the rate runs."""
    return replace(row, recipe=replace(row.recipe, updates=updates))

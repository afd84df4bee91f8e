"""Who may import whom, as docs/architecture.md says it; read from the source, so that no import needs to run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "s4eca"

# Layer -> its folders and files directly under s4eca/. A layer imports the ones below it.
LAYERS: dict[int, tuple[str, ...]] = {
    4: ("cli", "demo", "__main__"),
    3: ("training", "geo", "cascade", "explain"),
    2: (
        *("model", "shelf", "running", "effective", "parameters", "solving", "flops", "budget_table"),
        *("adapter_folder", "card", "hub", "predictor", "evaluate", "testing"),
    ),
    1: ("encoders", "adapters", "decoder", "losses", "metrics", "data"),
    0: ("config", "protocols", "registry", "sharing", "errors", "trainable"),
}
# Layers whose members may import one another (in one direction); elsewhere neighbours are strangers.
NEIGHBOURS = (0, 2, 4)
# A heavy library and the places that may import it.
HOMES: dict[str, tuple[str, ...]] = {
    "transformers": ("encoders/hf", "encoders/packaged.py", "encoders/meta.py"),
    "onnx": ("encoders/packaged.py",),
    "open_clip": ("encoders/openclip.py", "encoders/openclip_files.py", "encoders/openclip_plain.py"),
    "timm": ("encoders/timm_models.py", "encoders/timm_files.py"),
    "peft": ("adapters/rivals/weights.py", "adapters/rivals/peft_folders.py"),
    "lightning": ("training/",),
    "pytorch_lightning": ("training/",),
    "jsonargparse": ("training/",),
    "torchmetrics": ("metrics/referring.py",),
    "rasterio": ("geo/",),
    "shapely": ("geo/",),
    "pyogrio": ("geo/",),
    "pyproj": ("geo/",),
    "matplotlib": ("explain/plots.py",),
    "huggingface_hub": ("hub.py",),
}
ADAPTER_LIBRARIES = {"torch", "einops"}


@dataclass(frozen=True)
class Import:
    """One import statement: the file, the line, the module it names, and where it stands."""

    file: Path
    line: int
    module: str
    at_top: bool
    typing_only: bool

    @property
    def root(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _typing_only(node: ast.If) -> bool:
    return any(getattr(part, "id", getattr(part, "attr", "")) == "TYPE_CHECKING" for part in ast.walk(node.test))


def _walk(node: ast.AST, file: Path, at_top: bool, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(file, child.lineno, alias.name, at_top, typing_only)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{file}:{child.lineno} uses a relative import"
            for alias in child.names:
                # `from s4eca import errors` names a module, `from s4eca.errors import X` a thing inside one.
                whole = f"{child.module}.{alias.name}"
                path = ROOT.joinpath(*whole.split("."))
                is_module = path.with_suffix(".py").exists() or path.is_dir()
                yield Import(file, child.lineno, whole if is_module else str(child.module), at_top, typing_only)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            hint = isinstance(child, ast.If) and _typing_only(child)
            yield from _walk(child, file, at_top and not inside, typing_only or hint)


def imports(file: Path) -> list[Import]:
    return list(_walk(ast.parse(file.read_text(encoding="utf-8")), file, True, False))


def unit_of(file: Path) -> str:
    """Folder or file directly under s4eca/; empty for the package's own door."""
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if part == "__init__" else part


def layer_of(unit: str) -> int:
    found = [layer for layer, units in LAYERS.items() if unit in units]
    assert found, f"s4eca/{unit} is in no layer; add it to docs/architecture.md and to this table"
    return found[0]


ALL = [found for file in files() for found in imports(file)]
OWN = [found for found in ALL if found.root == "s4eca" and found.module != "s4eca"]


@pytest.mark.parametrize("unit", sorted({unit_of(f) for f in files()} - {""}))
def test_every_part_has_a_layer(unit: str) -> None:
    assert layer_of(unit) in LAYERS


def test_arrows_go_down() -> None:
    wrong = []
    for found in OWN:
        here, there = unit_of(found.file), found.module.split(".")[1]
        if here in ("", there):
            continue
        mine, theirs = layer_of(here), layer_of(there)
        if theirs > mine or (theirs == mine and mine not in NEIGHBOURS):
            wrong.append(str(found))
    assert not wrong, "\n".join(wrong)


def test_no_knot_of_modules() -> None:
    """Imports at the top of files form no circle."""
    edges: dict[str, set[str]] = {}
    for found in OWN:
        if found.at_top and not found.typing_only:
            name = ".".join(found.file.relative_to(ROOT).with_suffix("").parts)
            edges.setdefault(name, set()).add(found.module)

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        for further in sorted(edges.get(name, ())):
            visit(further, (*path, name))

    for name in sorted(edges):
        visit(name, ())


def test_heavy_libraries_stay_at_home() -> None:
    wrong = [
        str(found)
        for found in ALL
        if found.root in HOMES
        and not any(str(found.file.relative_to(PACKAGE)).startswith(home) for home in HOMES[found.root])
    ]
    assert not wrong, "\n".join(wrong)


def test_adapters_import_torch_and_einops_alone() -> None:
    import sys

    wrong = [
        str(found)
        for found in ALL
        if unit_of(found.file) == "adapters"
        and not str(found.file).endswith(("rivals/weights.py", "rivals/peft_folders.py"))
        and found.root not in ADAPTER_LIBRARIES | set(sys.stdlib_module_names) | {"s4eca"}
    ]
    assert not wrong, "\n".join(wrong)


def test_layer_nought_needs_the_standard_library_alone() -> None:
    import sys

    wrong = [
        str(found)
        for found in ALL
        if unit_of(found.file) in LAYERS[0]
        and found.at_top
        and not found.typing_only
        and found.root not in set(sys.stdlib_module_names) | {"s4eca"}
    ]
    assert not wrong, "\n".join(wrong)


def test_the_command_line_starts_light() -> None:
    """At the top of a verb's file stand the standard library, layer 0 and tables of data; the rest is in functions."""
    import sys

    light = ("s4eca.config", "s4eca.errors", "s4eca.registry", "s4eca.encoders.catalog", "s4eca.cli")
    wrong = [
        str(found)
        for found in ALL
        if unit_of(found.file) in ("cli", "__main__")
        and found.at_top
        and not found.typing_only
        and found.root not in sys.stdlib_module_names
        and found.module != "s4eca"
        and not found.module.startswith(light)
    ]
    assert not wrong, "\n".join(wrong)


def test_package_doors_import_nothing_of_their_rooms() -> None:
    wrong = [
        str(found)
        for found in OWN
        if found.file.name == "__init__.py" and not found.typing_only and unit_of(found.file) != ""
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_bears_the_name_of_a_public_function() -> None:
    """Importing such a module would replace the function in the package's namespace."""
    import s4eca

    assert not {name for name in s4eca.__all__ if name in {unit_of(file) for file in files()}}


def test_architecture_page_draws_the_same_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = {
        int(number): set(re.findall(r"[a-z_]+", units.partition("|")[0]))
        for number, units in re.findall(r"^([0-4])  (.+)$", page, flags=re.MULTILINE)
    }
    assert drawn == {layer: set(units) for layer, units in LAYERS.items()}

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

# A heavy library and the places that may import it.
HOMES: dict[str, tuple[str, ...]] = {
    "transformers": ("encoders/hf", "encoders/packaged.py", "encoders/meta.py", "cascade/"),
    "onnx": ("encoders/packaged.py",),
    "open_clip": ("encoders/openclip.py", "encoders/openclip_files.py", "encoders/openclip_plain.py"),
    "timm": ("encoders/timm_models.py", "encoders/timm_files.py"),
    "peft": ("adapters/peft_methods.py", "encoders/peft_folder.py", "layers/peft_layers.py"),
    "lightning": ("training/",),
    "pytorch_lightning": ("training/",),
    "jsonargparse": ("training/",),
    "torchmetrics": ("evaluation/referring_metric.py",),
    "torchvision": ("decoder/box_loss.py", "decoder/parts/bifusion_neck.py", "data/augment/appearance.py", "cascade/"),
    "rasterio": ("geo/",),
    "shapely": ("geo/",),
    "pyogrio": ("geo/",),
    "pyproj": ("geo/",),
    "dask": ("geo/cluster/",),
    "distributed": ("geo/cluster/",),
    "huggingface_hub": ("saved/hub.py", "encoders/meta.py"),
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


def layers() -> list[tuple[str, ...]]:
    """Lines of the table in docs/architecture.md, the lowest first."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = re.search(r"## Layers.*?```\n(.*?)```", page, re.DOTALL)
    assert table, "docs/architecture.md has no table of layers"
    return [tuple(line.split()) for line in reversed(table.group(1).splitlines())]


LAYERS = layers()
ALL = [found for file in files() for found in imports(file)]
OWN = [found for found in ALL if found.root == "s4eca" and found.module != "s4eca"]


def layer_of(unit: str) -> int:
    found = [layer for layer, units in enumerate(LAYERS) if unit in units]
    assert len(found) == 1, f"s4eca/{unit} must stand once in the table of docs/architecture.md"
    return found[0]


def rooms() -> list[str]:
    return sorted({unit_of(file) for file in files()} - {""})


def circle(edges: dict[str, set[str]]) -> list[str] | None:
    """A path that comes back to where it began, or None."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        for further in sorted(edges.get(name, ())):
            found = visit(further, (*path, name))
            if found:
                return found
        done.add(name)
        return None

    return next((found for name in sorted(edges) if (found := visit(name, ()))), None)


def test_the_table_draws_the_rooms_that_are_there() -> None:
    drawn = [unit for units in LAYERS for unit in units]
    assert sorted(drawn) == rooms()


def test_arrows_go_down() -> None:
    """An import inside a function, or for type checkers alone, counts as one at the top does."""
    wrong = []
    for found in OWN:
        here, there = unit_of(found.file), found.module.split(".")[1]
        if here not in ("", there) and layer_of(there) >= layer_of(here):
            wrong.append(str(found))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("where", ["modules", "folders"])
def test_no_circle_of_any_kind(where: str) -> None:
    """Neither between modules nor between folders, imports inside functions and for type checkers included."""
    edges: dict[str, set[str]] = {}
    for found in OWN:
        name = ".".join(found.file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        there = found.module
        if unit_of(found.file) == "":
            continue
        if where == "folders":
            name, there = (part if is_folder(part) else part.rpartition(".")[0] for part in (name, there))
            if there == name or f"{there}.".startswith(f"{name}.") or f"{name}.".startswith(f"{there}."):
                continue  # a folder and what is inside it are one subject
        edges.setdefault(name, set()).add(there)
    assert circle(edges) is None, " -> ".join(circle(edges) or ())


def is_folder(module: str) -> bool:
    return ROOT.joinpath(*module.split(".")).is_dir()


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) is None


def test_heavy_libraries_stay_at_home() -> None:
    wrong = [
        str(found)
        for found in ALL
        if found.root in HOMES
        and not any(str(found.file.relative_to(PACKAGE)).startswith(home) for home in HOMES[found.root])
    ]
    assert not wrong, "\n".join(wrong)


def test_the_page_names_the_rooms_that_import_each_heavy_library() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = re.search(r"\| libraries \| rooms \|\n\| --- \| --- \|\n((?:\|.*\n)+)", page)
    assert table, "docs/architecture.md has no table of heavy libraries"
    said = {}
    for row in table.group(1).splitlines():
        libraries, rooms_of = (re.findall(r"`(\w+)/?`", cell) for cell in row.strip("|").split("|"))
        said |= dict.fromkeys(libraries, set(rooms_of))
    found: dict[str, set[str]] = {}
    for one in ALL:
        if one.root in HOMES:
            found.setdefault(one.root, set()).add(unit_of(one.file))
    assert said == found


def test_adapters_import_torch_and_einops_alone() -> None:
    import sys

    wrong = [
        str(found)
        for found in ALL
        if unit_of(found.file) == "adapters"
        and not str(found.file).endswith("peft_methods.py")
        and found.root not in ADAPTER_LIBRARIES | set(sys.stdlib_module_names) | {"s4eca"}
    ]
    assert not wrong, "\n".join(wrong)


def test_the_lowest_rooms_need_the_standard_library_alone() -> None:
    import sys

    wrong = [
        str(found)
        for found in ALL
        if unit_of(found.file) in {unit for units in LAYERS[:4] for unit in units}
        and found.at_top
        and not found.typing_only
        and found.root not in set(sys.stdlib_module_names) | {"s4eca"}
    ]
    assert not wrong, "\n".join(wrong)


def test_the_command_line_starts_light() -> None:
    """At the top of a verb's file stand the standard library, layer 0 and tables of data; the rest is in functions."""
    import sys

    names = ("_version", "files", "config", "errors", "registry", "encoders.catalog", "cli")
    light = tuple(f"s4eca.{name}" for name in names)
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

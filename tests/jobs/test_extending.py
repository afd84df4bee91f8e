"""docs/extending.md keeps its word: a separate package, installed beside s4eca, brings what the page shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OUTSIDE = ROOT / "tests" / "outside"
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
BLOCK = re.compile(r"(?:`([\w/]+\.py)`:\n\n)?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILES = [(name, body) for name, body in BLOCK.findall(PAGE) if name]
USES = [(title, body) for title, part in SECTIONS.items() for name, body in BLOCK.findall(part) if not name]
PROJECT = tomllib.loads((OUTSIDE / "pyproject.toml").read_text(encoding="utf-8"))["project"]

Run = Callable[..., subprocess.CompletedProcess[str]]


def install(folder: Path, changes: dict[str, dict[str, str]] | None = None) -> None:
    """What pip leaves of a package: its name and its entry points; `changes` are other entry points of a group."""
    groups = {**PROJECT["entry-points"], **(changes or {})}
    info = folder / f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n")
    lines = [f"[{group}]\n" + "".join(f"{n} = {path}\n" for n, path in rows.items()) for group, rows in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def outside(tmp_path: Path) -> Run:
    """Run Python, or a verb of s4eca, in a process of its own that has the package installed."""

    def run(*line: str, changes: dict[str, dict[str, str]] | None = None) -> subprocess.CompletedProcess[str]:
        site = tmp_path / f"site-{len(list(tmp_path.iterdir()))}"
        install(site, changes)
        words = ["-m", *line] if line[0] == "s4eca" else ["-c", textwrap.dedent(line[0]), *line[1:]]
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, OUTSIDE, site)))},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done

    return run


def test_the_page_has_its_sections() -> None:
    assert list(SECTIONS) == ["Adapter methods", "Encoder sources", "Data layouts", "Raster sinks"]
    assert FILES and USES


@pytest.mark.parametrize(("name", "body"), FILES)
def test_the_page_prints_the_packages_files(name: str, body: str) -> None:
    assert body == (OUTSIDE / name).read_text(encoding="utf-8"), f"docs/extending.md prints another {name}"


def test_the_page_prints_the_packages_entry_points() -> None:
    printed = tomllib.loads("\n".join(re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)))
    for group, rows in printed["project"]["entry-points"].items():
        assert rows == PROJECT["entry-points"][group]


@pytest.mark.parametrize(("title", "body"), USES)
def test_what_the_page_shows_runs(title: str, body: str, outside: Run) -> None:
    outside(body)


PAIR = 'vision="outside:tiny-vit", text="outside:bytes", image_size=32'


def test_encoders_give_what_their_library_gives(outside: Run) -> None:
    outside("""
        import torch
        from s4eca import registry
        from s4eca.encoders import meta
        vision, text = registry.load_vision_encoder("outside:tiny-vit"), registry.load_text_encoder("outside:bytes")
        assert meta.vision_spec("outside:tiny-vit") == vision.spec and meta.text_spec("outside:bytes") == text.spec
        vit, pixels = vision.backbone, torch.randn(2, 3, 32, 32)
        tokens = vision.embed(pixels)
        for index in range(vision.spec.blocks):
            tokens = vision.block(index, tokens)
            assert vision.block_module(index) is vit.encoder.layers[index]
        whole = torch.cat([vit.class_token.expand(2, -1, -1), vit._process_input(pixels)], 1)
        assert torch.equal(vision.finish(tokens).values, vit.encoder(whole))
        assert [text.block_module(index) for index in range(text.spec.blocks)] == list(text.backbone.layers)
        """)


CASES = [
    {}, {"mode": "inject"}, {"mode": "late-inject", "late_blocks": 2},
    *({"method": method} for method in ("adaptformer", "detris", "etris", "decoder-only", "ln", "full")),
]  # fmt: skip


def test_an_outside_pair_learns_is_saved_and_comes_back(outside: Run) -> None:
    printed = outside(
        f"""
        import json, sys, torch, s4eca
        from s4eca.budgets.count import count_model, count_trainable
        pixels, said = torch.randn(2, 3, 32, 32), ["a ship", "the red roof left of it"]
        for number, settings in enumerate(json.loads(sys.argv[1])):
            model = s4eca.attach({PAIR}, decoder_width=16, decoder_heads=4, **settings)
            model.train()(pixels, said).square().mean().backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(0.05 * parameter.grad)
            assert count_trainable(model.config, model.vision.spec, model.text.spec) == count_model(model)
            again = s4eca.S4ECAModel.from_pretrained(model.eval().save_pretrained(f"adapter-{{number}}"))
            with torch.no_grad():
                assert torch.equal(again(pixels, said), model(pixels, said)), settings
            print(settings)
        """,
        json.dumps(CASES),
    ).stdout
    assert printed == "".join(f"{case}\n" for case in CASES)


def test_running_options_reach_an_outside_pair(outside: Run) -> None:
    """Compiled are the library's own blocks, though their names are no numbers."""
    outside(f"""
        import torch, s4eca
        from s4eca.model.running import Running
        model = s4eca.attach({PAIR}, running=Running(encoder_dtype="bf16"))
        model.run_with(Running(checkpointing="all", encoder_dtype="bf16"))
        model(torch.randn(1, 3, 32, 32), ["a ship"]).sum().backward()
        """)


def test_the_command_line_and_the_card_know_them(outside: Run, tmp_path: Path) -> None:
    outside(f"""
        import s4eca
        s4eca.attach({PAIR}).save_pretrained("adapter")
        """)
    card = (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")
    assert "| vision | `outside:tiny-vit` | 55,008 | CC0-1.0 |" in card and "`outside:bytes`: CC0-1.0" in card
    rows = {row["id"]: row for row in json.loads(outside("s4eca", "models", "--json").stdout)}
    counts = {name: rows[name]["parameters"] for name in rows if name.startswith("outside:")}
    assert counts == {"outside:tiny-vit": 55_008, "outside:bytes": 36_000}
    table = outside("s4eca", "models", "--role", "text").stdout
    assert "outside:bytes: reads bytes" in table and "tiny-vit" not in table
    pair = ["--vision", "outside:tiny-vit", "--text", "outside:bytes", "--set", "image_size=32", "--flops"]
    told = outside("s4eca", "budget", *pair, "--width", "8", "--json").stdout
    assert json.loads(told)["frozen_vision"] == 55_008
    assert "frozen vision            55,008" in outside("s4eca", "budget", "--adapter", "adapter").stdout
    assert "outside:tiny-vit" in outside("s4eca", "adapter", "show", "adapter").stdout


def test_a_loaded_module_of_a_library_that_the_package_wraps(outside: Run) -> None:
    outside(
        """
        import sys, types, torch, s4eca
        from s4eca_outside.encoders import OutsideVision, load_vision
        wrapping = sys.modules["wrapping"] = types.ModuleType("wrapping")
        wrapping.wrap = lambda module: OutsideVision(module, f"module:{type(module).__name__}")
        vit = load_vision("outside:tiny-vit").backbone
        model = s4eca.attach(vit, "outside:bytes", image_size=32).eval()
        folder, pixels = model.save_pretrained("adapter"), torch.randn(1, 3, 32, 32)
        again = s4eca.S4ECAModel.from_pretrained(folder, vision=vit)
        assert again.vision.backbone is vit and torch.equal(again(pixels, ["a"]), model(pixels, ["a"]))
        """,
        changes={"s4eca.vision_wrappers": {"torchvision": "wrapping:wrap"}},
    )


WRONG = {
    'load_vision_encoder("outside:tiny")': "'outside:tiny' is no vision encoder of s4eca-outside",
    'load_vision_encoder("elsewhere:tiny")': "no source of vision encoders; known: hf, openclip, timm",
    'load_vision_encoder("broken:x")': "leads to s4eca_outside.missing:load, which cannot be had: No module",
    'load_vision_encoder("wrong:x")': "gave 'wrong:x' as an object of the class int without a VisionSpec; it must",
    'load_vision_encoder("renamed:x")': "with spec.source 'tiny' for 'renamed:x'; it must begin with 'renamed:'",
    'load_text_encoder("text:x")': "gave 'text:x' as an object of the class OutsideVision without a TextSpec",
    'meta.vision_spec("broken:x")': "'broken', whose encoders are counted with their weights: s4eca.budget(model)",
}


def test_what_is_wrong_with_a_source_is_one_sentence(outside: Run) -> None:
    changes = {
        "s4eca.vision_sources": {
            "outside": "s4eca_outside.encoders:load_vision", "broken": "s4eca_outside.missing:load",
            "wrong": "wrong_sources:number", "renamed": "wrong_sources:renamed",
        },
        "s4eca.text_sources": {"text": "wrong_sources:vision"},
    }  # fmt: skip
    printed = outside(
        """
        import dataclasses, json, sys, types
        from s4eca.encoders import meta
        from s4eca.errors import S4ECAError
        from s4eca.registry import load_text_encoder, load_vision_encoder

        def vision(source):
            found = load_vision_encoder("outside:tiny-vit")
            found.spec = dataclasses.replace(found.spec, source="tiny")
            return found

        wrong = sys.modules["wrong_sources"] = types.ModuleType("wrong_sources")
        wrong.number, wrong.renamed, wrong.vision = len, vision, vision
        for code in json.loads(sys.argv[1]):
            try:
                eval(code)
            except S4ECAError as error:
                print(error)
        """,
        json.dumps(list(WRONG)),
        changes=changes,
    ).stdout.splitlines()
    assert len(printed) == len(WRONG)
    for line, said in zip(printed, WRONG.values(), strict=True):
        assert said in line

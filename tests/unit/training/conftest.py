"""Small rendered data sets, and training runs through the real command line on tiny checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from sizes import SMALL

SPLITS = {"train": (0, 4), "val": (10, 4), "test": (20, 1)}


@pytest.fixture(scope="session")
def scenes():
    """Rendered scenes by split."""
    from s4eca.data.rendered.scenes import render_scene

    return {s: [render_scene(first + i, (112, 112)) for i in range(count)] for s, (first, count) in SPLITS.items()}


@pytest.fixture(scope="session")
def dataset(scenes, tmp_path_factory):
    """Folder of the scenes in a layout, by its name."""
    from s4eca.data.rendered.write import write_layout

    root = tmp_path_factory.mktemp("sets")

    def folder(layout: str) -> Path:
        if not (root / layout).exists():
            write_layout(root / layout, layout, scenes)
        return root / layout

    return folder


@pytest.fixture
def opened(toy_model):
    """The data of a run on the toy pair, with as much of Lightning's trainer as they need; keywords are settings.

    `made.trainer.fit_loop.epoch_progress.current.processed` is the epoch that Lightning says the run is in.
    """
    from s4eca.training.datamodule import ReferringData

    def make(model: Any = None, limit_val_batches: float = 1.0, **settings: Any) -> Any:
        made = ReferringData(batch_size=3, **settings)
        progress = SimpleNamespace(current=SimpleNamespace(processed=0))
        made.trainer = SimpleNamespace(
            lightning_module=SimpleNamespace(model=toy_model(**(model or {}))), world_size=1, global_rank=0,
            strategy=SimpleNamespace(root_device="cpu"), limit_val_batches=limit_val_batches,
            state=SimpleNamespace(fn="fit"), fit_loop=SimpleNamespace(restarting=False, epoch_progress=progress),
        )  # fmt: skip
        made.setup("fit")
        return made

    return make


def settings(hub: Any, root: Path, **changes: Any) -> dict[str, Any]:
    """A whole configuration; `changes` are dotted keys with `__` for the dot."""
    made: dict[str, Any] = {
        "model": {
            "config": {
                "vision": str(hub("dinov2")),
                "text": str(hub("bert")),
                "image_size": 28,
                **SMALL,
            },
            "optim": {"lr_adapter": 3e-3, "lr_decoder": 3e-3, "warmup": 4, "average": 0.8},
        },
        "data": {"root": str(root), "layout": "rrsisd", "batch_size": 4, "symmetries": ["IDENTITY", "FLIP_LR"]},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False},
        "run": {"name": "tiny", "data": "rendered scenes", "licence": "CC0-1.0", "dtype": "float32", "threads": 1},
        "seed_everything": 0,
    }
    for key, value in changes.items():
        *path, last = key.split("__")
        place = made
        for part in path:
            place = place[part]
        place[last] = value
    return made


@pytest.fixture(scope="session")
def configuration(hub, dataset):
    """Text of a whole configuration file; keywords are its changes."""
    return lambda **changes: yaml.safe_dump(settings(hub, dataset("rrsisd"), **changes))


@pytest.fixture(scope="session")
def line(hub, dataset, tmp_path_factory):
    """Run one verb of the command line in an empty folder with a configuration; gives the exit code."""
    from s4eca.cli.main import main

    for name in ("dinov2", "bert"):
        hub(name)  # writing them shows bars, which are none of a run's

    def run(verb: str, out: Path, *more: str, **changes: Any) -> int:
        place = tmp_path_factory.mktemp("cwd")
        config = tmp_path_factory.mktemp("config") / "tiny.yaml"
        config.write_text(yaml.safe_dump(settings(hub, dataset("rrsisd"), **changes)))
        before = os.getcwd()
        os.chdir(place)
        try:
            code = main([verb, "-c", str(config), "--run.out", str(out), *more])
        finally:
            os.chdir(before)
        assert list(place.iterdir()) == [], "a run writes nothing outside run.out"
        return code

    return run

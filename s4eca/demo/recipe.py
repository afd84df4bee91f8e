"""What the demonstration trains on, with which settings, and what it asks of the held-out scene."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from s4eca.config import S4ECAConfig
from s4eca.data.rendered.scenes import CLASSES, Scene, render_scene
from s4eca.data.rendered.write import write_layout

TRAIN_SCENES, VAL_SCENES = 140, 24
# Seeds of the held-out scene and of the validation scenes lie outside those of training.
VAL_SEED, SCENE_SEED = 10_000, 20_000
SCENE_SIZE = (560, 784)
ABSENT_CLASS = "tennis court"
PROMPTS = ("all the storage tanks", "the road", "a tennis court")
UPDATES, BATCH = 380, 8


def config() -> S4ECAConfig:
    """The packaged pair in side mode at 224 px, with a narrow decoder; without what makes updates a quarter longer."""
    return S4ECAConfig(
        vision="packaged:dinov2-s",
        text="packaged:minilm-l6",
        mode="side",
        image_size=224,
        width=86,
        candidate_order=False,
        residual_norm=False,
        decoder_width=96,
        decoder_layers=2,
        decoder_ffn=192,
        decoder_heads=4,
        decoder_detail=16,
    )


def write_data(folder: Path) -> None:
    """Render the training and validation scenes in the layout of RRSIS-D, with a progress bar where it lasts."""
    seeds = {"train": range(TRAIN_SCENES), "val": range(VAL_SEED, VAL_SEED + VAL_SCENES)}
    with tqdm(total=TRAIN_SCENES + VAL_SCENES, desc="rendering scenes", delay=2, leave=False, disable=None) as bar:
        scenes: dict[str, list[Scene]] = {}
        for split, numbers in seeds.items():
            scenes[split] = []
            for seed in numbers:
                scenes[split].append(render_scene(seed))
                bar.update()
    write_layout(folder, "rrsisd", scenes)


def held_out_scene() -> Scene:
    """A larger scene that no training scene shares a seed with, in which one class does not occur."""
    return render_scene(SCENE_SEED, SCENE_SIZE, classes=[name for name in CLASSES if name != ABSENT_CLASS])

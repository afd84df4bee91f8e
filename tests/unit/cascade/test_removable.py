"""Without the room and its rows everything else works."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition("s4eca.")[2].split(".")[0] == "cascade":
            raise ModuleNotFoundError(f"{name} is gone", name=name)
sys.meta_path.insert(0, Gone())
from s4eca import registry
registry.BOX_PROPOSERS._own.clear()
registry.MASK_REFINERS._own.clear()
import numpy as np
import s4eca, s4eca.evaluation.run, s4eca.geo.segment, s4eca.cli.predict, s4eca.cli.evaluate, s4eca.cli.label
from s4eca.cli.main import main
from s4eca.config import S4ECAConfig
from s4eca.encoders.toy import toy_pair
vision, text = toy_pair(6, 3)
config = S4ECAConfig(vision="toy:vision", text="toy:text", image_size=32, width=8, vision_sites=3, text_sites=2,
                     decoder_width=16, decoder_ffn=16, decoder_heads=2)
model = s4eca.S4ECAModel(vision, text, config)
found = s4eca.Predictor(model).set_image(np.zeros((40, 50, 3), np.uint8)).segment(["a roof"])
assert found.probabilities.shape == (1, 40, 50)
assert main(["models", "--role", "refiner"]) == 0
assert main(["predict", "--help"]) == 0
"""


def test_nothing_else_needs_it():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

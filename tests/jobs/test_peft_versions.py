"""The tests of peft's side under the oldest peft that is supported, and adapters carried from one version to another.

`S4ECA_PEFT_OLDEST` names a folder with that version alone in it, as this makes it: ``pip install --no-deps --target
FOLDER peft==0.18.0``. Everything else comes from the environment that runs the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
OLDEST = "0.18.0"

# Both scripts run in a process of their own: a version of a library cannot be changed in one that has imported it.
WRITE = """
import sys, torch, s4eca, peft
from peft_tools import CONFIGS, SIZES, features, stir
from transformers import Dinov2Model
base, text, place = sys.argv[1:]
torch.manual_seed(0)
for method in ("lora", "dora", "ia3", "vera", "ln"):
    model = s4eca.attach(base, text, method=method, config=s4eca.S4ECAConfig.from_dict(SIZES))
    stir(model.encoder_updates)
    torch.save(features(model.vision), model.save_pretrained(f"{place}/{method}") / "features.pt")
for kind, make in CONFIGS.items():
    plain = peft.get_peft_model(Dinov2Model.from_pretrained(base), make())
    stir(plain)
    plain.save_pretrained(f"{place}/plain-{kind}")
    model = s4eca.attach(plain, text, config=s4eca.S4ECAConfig.from_dict(SIZES))
    torch.save(features(model.vision), model.save_pretrained(f"{place}/beside-{kind}") / "features.pt")
"""
READ = """
import sys, torch, s4eca, peft
from peft_tools import CONFIGS, features, plain_features, same
from transformers import Dinov2Model
base, place = sys.argv[1], sys.argv[3]
for method in ("lora", "dora", "ia3", "vera", "ln"):
    told = torch.load(f"{place}/{method}/features.pt")
    same(features(s4eca.S4ECAModel.from_pretrained(f"{place}/{method}").vision), told)
    plain = peft.PeftModel.from_pretrained(Dinov2Model.from_pretrained(base), f"{place}/{method}/vision")
    same(plain_features(plain), told)
for kind in CONFIGS:
    told = torch.load(f"{place}/beside-{kind}/features.pt")
    same(features(s4eca.S4ECAModel.from_pretrained(f"{place}/beside-{kind}").vision), told)
    same(features(s4eca.registry.load_vision_encoder(f"peft:{place}/plain-{kind}")), told)
"""


@pytest.fixture(scope="module")
def oldest() -> str:
    """The folder with the oldest peft."""
    place = os.environ.get("S4ECA_PEFT_OLDEST")
    if not place:
        pytest.skip(f"S4ECA_PEFT_OLDEST is not set; it names a folder with peft {OLDEST} alone")
    assert (Path(place) / "peft").is_dir(), f"S4ECA_PEFT_OLDEST names {place}, which holds no peft"
    return place


def python(*words: object, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python with a folder in front of everything that is installed."""
    paths = [before, str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "unit" / "baselines")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return subprocess.run(
        [sys.executable, *map(str, words)], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


def version(before: str = "") -> str:
    said = python("-c", "import peft; print(peft.__version__)", before=before)
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


def test_the_oldest_is_the_one_that_the_package_asks_for(oldest):
    assert version(oldest) == OLDEST != version()
    assert f'"peft>={OLDEST.removesuffix(".0")}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_all_of_it_holds_under_the_oldest(oldest):
    files = sorted((ROOT / "tests" / "unit" / "baselines").glob("test_peft_*.py"))
    files.append(ROOT / "tests" / "unit" / "baselines" / "test_weights.py")
    ran = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *files, before=oldest)
    assert ran.returncode == 0, ran.stdout[-4000:]


@pytest.mark.parametrize("forward", [True, False], ids=["oldest-to-newest", "newest-to-oldest"])
def test_what_one_version_saved_the_other_opens(forward, oldest, hub, tmp_path):
    sources = str(hub("dinov2")), str(hub("bert"))
    for script, before in zip((WRITE, READ), (oldest, "") if forward else ("", oldest), strict=True):
        ran = python("-c", script, *sources, tmp_path, before=before)
        assert ran.returncode == 0, ran.stderr[-4000:]

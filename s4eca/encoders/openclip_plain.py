"""Plain files of open_clip weights without an open_clip_config.json: which architecture each is of.

RemoteCLIP and GeoRSCLIP are published in this way. A file that the catalogue knows has the architecture it says;
another one has that of its name, unless open_clip lists it with and without QuickGELU: weights do not tell them apart.
"""

from __future__ import annotations

import re
from pathlib import Path

import open_clip

from s4eca.encoders import catalog
from s4eca.errors import EncoderError

HUB = "hf-hub:"
SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
_FORM = "openclip:ARCHITECTURE@FILE, for instance openclip:ViT-B-32@FILE"


def in_folder(folder: Path) -> str:
    """``ARCHITECTURE@FILE`` of the one checkpoint in a folder, or in a folder directly in it.

    Raises:
        EncoderError: no checkpoint, several, or one whose name does not say what it is.
    """
    files = sorted(p for pattern in ("*", "*/*") for p in folder.glob(pattern) if p.suffix in SUFFIXES and p.is_file())
    if not files:
        raise EncoderError(f"{folder} holds neither open_clip_config.json nor a checkpoint; pass {_FORM}.")
    named = {file: architectures(file.name) for file in files}
    if len(files) == 1 and len(named[files[0]]) == 1:
        return f"{named[files[0]][0]}@{files[0]}"
    forms = [f"openclip:{name}@{file}" for file, names in named.items() for name in names or ["ARCHITECTURE"]]
    what = f"{len(files)} checkpoints" if len(files) > 1 else f"{files[0].name}, whose name does not tell what it is of"
    raise EncoderError(f"{folder} holds no open_clip_config.json but {what}; write {_or(forms)}.")


def on_hub(repo: str) -> str | None:
    """``ARCHITECTURE@hf-hub:USER/REPO/FILE`` of a repository that the catalogue knows to hold one plain file.

    Args:
        repo: ``USER/REPO``.

    Returns:
        None where the catalogue knows of no plain file in it.

    Raises:
        EncoderError: it knows of several.
    """
    known = [name for name in _known() if name.partition("@")[2].startswith(f"{HUB}{repo}/")]
    if len(known) > 1:
        forms = _or([f"openclip:{name}" for name in known])
        raise EncoderError(f"openclip:{HUB}{repo} holds {len(known)} known checkpoints; write {forms}.")
    return known[0] if known else None


def architectures(file: str) -> list[str]:
    """What a checkpoint may be of by the name of its file: one architecture, several, or none."""
    known = [name.partition("@")[0] for name in _known() if name.rpartition("/")[2] == file]
    if known:
        return known[:1]
    listed = set(open_clip.list_models())
    stem = file.rpartition(".")[0]
    found = [name for name in listed if re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", stem)]
    longest = [name for name in found if not any(name != other and name in other for other in found)]
    return sorted({twin for name in longest for twin in (name, f"{name}-quickgelu") if twin in listed})


def _known() -> list[str]:
    """What stands behind ``openclip:`` in the catalogue's rows of plain files on the hub."""
    rows = (entry.id.removeprefix("openclip:") for entry in catalog.ENTRIES if entry.family == "openclip_vision")
    return [name for name in rows if f"@{HUB}" in name]


def _or(forms: list[str]) -> str:
    return " or ".join((", ".join(forms[:-1]), forms[-1])) if len(forms) > 1 else forms[0]

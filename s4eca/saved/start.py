"""A fit that begins with a saved adapter: the same encoders and widths; no-target head and decoder parts may be new."""

from __future__ import annotations

import warnings
from pathlib import Path

from s4eca.errors import AdapterFolderError
from s4eca.layers.trainable import trainable_state
from s4eca.saved.folder import WEIGHTS, Attached, check_encoders, fill, read_config, read_settings, read_tensors

HEAD, PARTS = "decoder.presence.", "decoder.parts."
# Settings that no saved tensor depends on: a fit at a larger input may begin with an adapter of a smaller one, its
# decoder's tokens pooled so that they stay as many. Encoders are told by their weights: a local copy has another name.
CHANGED = ("threshold", "presence_threshold", "image_size", "decoder_pool")
FREE = ("vision", "text", *CHANGED)


def start_from(model: Attached, folder: Path | str) -> None:
    """Give a fresh model the tensors of an adapter folder.

    Args:
        model: built from the settings of the fit.
        folder: made with encoders of the same weights and with the same settings, thresholds, size of the input and
            pooling aside; a no-target head or a part of the decoder that it does not have stays as the model built it.

    Raises:
        AdapterFolderError: the first thing that differs, by name.
    """
    folder = Path(folder)
    note = read_config(folder)
    saved, own = read_settings(folder, note).to_dict(), model.config.to_dict()
    new_head = model.config.presence > 0 and not saved["presence"]
    new = tuple(f"{PARTS}{name}." for name in own["parts"] if name not in saved["parts"]) + (HEAD,) * new_head
    kept = {name: settings for name, settings in own["parts"].items() if name in saved["parts"]}
    for name in sorted({*saved, *own} - set(FREE)):
        may = (name == "presence" and new_head) or (name == "parts" and saved["parts"] == kept)
        if saved.get(name) != own.get(name) and not may:
            raise AdapterFolderError(
                f"{folder} was made with {name} = {saved.get(name)!r}, here model.config.{name} is {own.get(name)!r}; "
                "a fit that starts from it needs the same."
            )
    for name in CHANGED:
        if saved.get(name) != own.get(name):
            warnings.warn(
                f"{folder} has {name} = {saved.get(name)!r}; this fit goes by model.config.{name} = {own.get(name)!r}.",
                UserWarning, stacklevel=2,
            )  # fmt: skip
    check_encoders(folder, note, model, free=("image_size",))
    tensors = read_tensors(folder / WEIGHTS)
    if new:
        tensors |= {name: tensor for name, tensor in trainable_state(model).items() if name.startswith(new)}
    fill(folder / WEIGHTS, model, tensors)

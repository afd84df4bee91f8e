"""Class-index PNGs: an image file for each image whose values (or palette indices) are classes."""

from __future__ import annotations

import numpy as np

from s4eca.data.imports.found import Asked, Found, pieces, reading, size_of
from s4eca.data.instances import Instance
from s4eca.data.mask_files import read_values
from s4eca.errors import DataError


def read_class_pngs(asked: Asked) -> list[Found]:
    """Images that have a class map of their name; each connected area of a class is an instance.

    Raises:
        DataError: no files, no image for one, another size than its image, or a value that the legend does not name.
    """
    if not asked.source.is_dir():
        raise DataError(f"{asked.split} is {asked.source}, which is no folder; class maps are a folder of PNG files.")
    files = sorted(path for path in asked.source.iterdir() if path.suffix.lower() in (".png", ".tif", ".tiff"))
    if not files:
        raise DataError(f"{asked.source} has no .png or .tif files; class maps are one for each image.")
    found = []
    for file in reading(files, asked):
        path = asked.image_of(file)
        size, values = size_of(path), read_values(file, as_stored=True)
        if values.shape != size:
            raise DataError(
                f"{file} is {values.shape[0]} x {values.shape[1]}, but its image {path.name} is {size[0]} x {size[1]}."
            )
        instances = []
        for value in np.unique(values):
            name = asked.class_named(int(value), f"{file}: value {value}")
            if name is not None:
                instances += [Instance.of(name, mask, cut=cut) for mask, cut in pieces(values == value)]
        found.append(Found(path, path.name, size, instances))
    return found

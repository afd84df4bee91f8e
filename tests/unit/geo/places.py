"""Where the small scenes of these tests lie, and shapes on them."""

from __future__ import annotations

import numpy as np
import shapely
from affine import Affine
from pyproj import Transformer

UTM = "EPSG:32633"
LONLAT = "EPSG:4326"
PLACE = Affine(0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0)


def on_map(shape, place=PLACE):
    """A shape in pixels to the map of the scene."""
    return shapely.transform(shape, lambda p: np.array([place @ tuple(q) for q in p]))


def in_degrees(shape, crs=UTM):
    """A shape on a map to longitude and latitude."""
    move = Transformer.from_crs(crs, LONLAT, always_xy=True)
    return shapely.transform(shape, lambda p: np.stack(move.transform(*p.T), axis=1))

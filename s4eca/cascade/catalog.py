"""Well-known detectors and refiners as data: identifiers, licences, and whether a hub asks who downloads them.

Importing this file costs nothing. Licences are those that the models' own pages state; weights are never bundled.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CascadeEntry:
    """One detector or refiner.

    Attributes:
        id: on the hub.
        role: ``detector`` or ``refiner``.
        kind: a row of `s4eca.registry.BOX_PROPOSERS` or `MASK_REFINERS`.
        licence: of the weights.
        remark: what a user should know; empty where nothing.
    """

    id: str
    role: str
    kind: str
    licence: str
    remark: str = ""


GATED = "gated: its terms are accepted on the hub, and a token is needed"
APACHE = "apache-2.0"
ENTRIES = (
    CascadeEntry("IDEA-Research/grounding-dino-tiny", "detector", "grounding-dino", APACHE),
    CascadeEntry("IDEA-Research/grounding-dino-base", "detector", "grounding-dino", APACHE),
    CascadeEntry(
        "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg", "detector", "mm-grounding-dino", "apache-2.0"
    ),
    CascadeEntry("google/owlv2-base-patch16-ensemble", "detector", "owlv2", APACHE),
    CascadeEntry("google/owlv2-large-patch14-ensemble", "detector", "owlv2", APACHE),
    CascadeEntry("facebook/sam-vit-base", "refiner", "sam", APACHE),
    CascadeEntry("facebook/sam-vit-huge", "refiner", "sam", APACHE),
    CascadeEntry("facebook/sam2.1-hiera-tiny", "refiner", "sam2", APACHE),
    CascadeEntry("facebook/sam2.1-hiera-large", "refiner", "sam2", APACHE),
    CascadeEntry("facebook/sam3", "refiner", "sam3_tracker", "SAM License", GATED),
)

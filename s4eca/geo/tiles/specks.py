"""What is too small to be an instance of its own: left out as one, but not taken for absent."""

from __future__ import annotations

from collections.abc import Sequence

from pycocotools import mask as coco

from s4eca.data.instances import Instance
from s4eca.language.margins import Margins

SMALL = Margins().smallest  # pixels: below it nothing is said of an instance


class Specks:
    """Sifts the instances of tiles by their area, and counts.

    Args:
        least: pixels from which on an instance stays.

    Attributes:
        merged: instances that were too small.
        small: instances that stayed and are below `SMALL`.
        kept: all that stayed.
    """

    def __init__(self, least: int) -> None:
        self.least = least
        self.merged = self.small = self.kept = 0

    def sifted(self, found: Sequence[Instance]) -> list[Instance]:
        """The instances of a tile; those of a class that are too small lie together in one, marked as a crowd.

        So their class is known to be there, and not counted: nothing can be called absent or the only one for them.
        """
        stay: list[Instance] = []
        specks: dict[str, list[Instance]] = {}
        for instance in found:
            area = int(coco.area(instance.rle))
            if area < self.least and not instance.crowd:
                specks.setdefault(instance.category, []).append(instance)
                continue
            stay.append(instance)
            self.small += area < SMALL
        self.kept += len(stay)
        self.merged += sum(len(some) for some in specks.values())
        return stay + [
            Instance(name, dict(coco.merge([one.rle for one in some])), cut=any(one.cut for one in some), crowd=True)
            for name, some in sorted(specks.items())
        ]

    def notes(self) -> list[str]:
        """What a user should know."""
        found = []
        if self.merged:
            found.append(
                f"{self.merged} areas below {self.least} pixels (--min-area) are no instances of their own; those of "
                "one class and tile are one annotation with iscrowd, and no class is described in a tile with one."
            )
        if self.small > self.kept / 3:
            found.append(
                f"{self.small} of {self.kept} instances have less than {SMALL} pixels, of which nothing is said; "
                "--min-area leaves such specks out as instances."
            )
        return found

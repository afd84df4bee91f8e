"""A QGIS style beside the mask, so that it opens with what was found in colour and the rest transparent."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import quoteattr

from s4eca.data.palette import COLOURS, Colour
from s4eca.geo.legend import NODATA, LegendClass
from s4eca.geo.write.outputs import Staged, cannot_write

FOUND = (*COLOURS[0], 255)
NOTHING = (0, 0, 0, 0)
MASK_COLOURS = {0: NOTHING, 1: FOUND, NODATA: NOTHING}


def colour_table(legend: Iterable[LegendClass]) -> dict[int, tuple[int, int, int, int]]:
    """Value -> RGBA of a raster of classes, or of a mask where there are none."""
    found = {one.value: (*one.colour, 255) for one in legend}
    return {0: NOTHING, **found, NODATA: NOTHING} if found else MASK_COLOURS


def qml(*shown: tuple[int, str, Colour]) -> str:
    """The style document of the first band: value, label and colour of all that is shown.

    A label may hold any printable character.
    """
    rows = "\n".join(
        f'        <paletteEntry value="{value}" color="{_hex(colour)}" alpha="255" label={quoteattr(label)}/>'
        for value, label, colour in shown
    )
    return f"""<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
  <pipe>
    <rasterrenderer type="paletted" band="1" alphaBand="-1" opacity="1" nodataColor="">
      <rasterTransparency/>
      <colorPalette>
        <paletteEntry value="0" color="#000000" alpha="0" label="background"/>
{rows}
      </colorPalette>
    </rasterrenderer>
  </pipe>
</qgis>
"""


def _hex(colour: Colour) -> str:
    return "#" + bytes(colour).hex()


class StyleSink:
    """The style file of a mask, staged like every other output.

    Args:
        mask: final name of the mask; the style takes the same name with the ending .qml.
        shown: value, label and colour of all that the first band shows.
    """

    def __init__(self, mask: Path, *shown: tuple[int, str, Colour]) -> None:
        self.path = style_path(mask)
        self._staged = Staged(self.path)
        try:
            self._staged.temporary.write_text(qml(*shown), encoding="utf-8")
        except OSError as error:
            self._staged.abandon()
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Nothing is left to do before the name is given."""

    def commit(self) -> None:
        """Give the style its final name."""
        self._staged.commit()

    def abandon(self) -> None:
        """Take the style away again."""
        self._staged.abandon()


def style_path(mask: Path) -> Path:
    """Where the style of a mask lies."""
    return mask.with_suffix(".qml")

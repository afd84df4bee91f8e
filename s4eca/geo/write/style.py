"""A QGIS style beside the mask, so that it opens with what was found in colour and the rest transparent."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

from s4eca.geo.write.outputs import Staged, cannot_write

FOUND = (227, 26, 28, 255)
MASK_COLOURS = {0: (0, 0, 0, 0), 1: FOUND, 255: (0, 0, 0, 0)}


def qml(prompt: str) -> str:
    """The style document for the first band of a mask; the prompt may hold any printable character."""
    colour = "#{:02x}{:02x}{:02x}".format(*FOUND[:3])
    return f"""<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
  <pipe>
    <rasterrenderer type="paletted" band="1" alphaBand="-1" opacity="1" nodataColor="">
      <rasterTransparency/>
      <colorPalette>
        <paletteEntry value="0" color="#000000" alpha="0" label="background"/>
        <paletteEntry value="1" color="{colour}" alpha="255" label={quoteattr(prompt)}/>
      </colorPalette>
    </rasterrenderer>
  </pipe>
</qgis>
"""


class StyleSink:
    """The style file of a mask, staged like every other output.

    Args:
        mask: final name of the mask; the style takes the same name with the ending .qml.
        prompt: what the first band shows.
    """

    def __init__(self, mask: Path, prompt: str) -> None:
        self.path = style_path(mask)
        self._staged = Staged(self.path)
        try:
            self._staged.temporary.write_text(qml(prompt), encoding="utf-8")
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

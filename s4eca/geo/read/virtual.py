"""Virtual rasters as GDAL describes them in XML, opened from that text without a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

KINDS = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "uint64": "UInt64", "int64": "Int64", "float32": "Float32", "float64": "Float64",
    "complex64": "CFloat32", "complex128": "CFloat64", "complex_int16": "CInt16",
}  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """A rectangle of a source and where it lies.

    Attributes:
        name: what GDAL opens; a path is an absolute one.
        at: column, row, width and height in the source.
        to: column and row here.
        level: the overview of the source that is meant, 0 for the first; None for its own pixels.
    """

    name: str
    at: tuple[int, int, int, int]
    to: tuple[int, int]
    level: int | None = None

    def xml(self, band: str, extra: str = "") -> str:
        """As a source of a band; `extra` makes it one whose values are changed."""
        kind = "ComplexSource" if extra else "SimpleSource"
        options = "" if self.level is None else f'<OOI key="OVERVIEW_LEVEL">{self.level}</OOI>'
        rectangles = "".join(
            f'<{name} xOff="{x}" yOff="{y}" xSize="{self.at[2]}" ySize="{self.at[3]}"/>'
            for name, x, y in (("SrcRect", *self.at[:2]), ("DstRect", *self.to))
        )
        return (
            f'<{kind}><SourceFilename relativeToVRT="0">{escape(self.name)}</SourceFilename>'
            f"<OpenOptions>{options}</OpenOptions><SourceBand>{band}</SourceBand>{rectangles}{extra}</{kind}>"
        )


def band_xml(
    number: int, dtype: str, sources: Iterable[str], *, colour: str = "", description: str | None = None,
    nodata: float | None = None, scale: float = 1.0, offset: float = 0.0, masks: Iterable[str] = (), table: Any = None,
) -> str:  # fmt: skip
    """A band of such a raster, with its own mask where sources of one are given."""
    described = "" if not description else f"<Description>{escape(description)}</Description>"
    missing = "" if nodata is None else f"<NoDataValue>{nodata!r}</NoDataValue>"
    units = "" if (scale, offset) == (1.0, 0.0) else f"<Offset>{offset!r}</Offset><Scale>{scale!r}</Scale>"
    shown = f"<ColorInterp>{colour.capitalize()}</ColorInterp>" if colour else ""
    if table is not None:
        entries = "".join(
            '<Entry c1="{}" c2="{}" c3="{}" c4="{}"/>'.format(*table.get(index, (0, 0, 0, 0)))
            for index in range(max(table) + 1)
        )
        shown += f"<ColorTable>{entries}</ColorTable>"
    mask = "".join(masks)
    if mask:
        mask = f'<MaskBand><VRTRasterBand dataType="Byte">{mask}</VRTRasterBand></MaskBand>'
    return (
        f'<VRTRasterBand dataType="{KINDS[dtype]}" band="{number}">{described}{missing}{units}{shown}'
        f"{''.join(sources)}{mask}</VRTRasterBand>"
    )


def dataset_xml(
    width: int, height: int, crs: Any, transform: Any, bands: Sequence[str], point: str | None = None
) -> str:
    """A whole one."""
    a, b, c, d, e, f = tuple(transform)[:6]
    place = ", ".join(repr(float(v)) for v in (c, a, b, f, d, e))
    where = f'<SRS dataAxisToSRSAxisMapping="1,2">{escape(crs.to_wkt())}</SRS>' if crs else ""
    if not transform.is_identity:
        where += f"<GeoTransform>{place}</GeoTransform>"
    tags = "" if point is None else f"<Metadata><MDI key={quoteattr('AREA_OR_POINT')}>{escape(point)}</MDI></Metadata>"
    return f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{where}{tags}{"".join(bands)}</VRTDataset>'

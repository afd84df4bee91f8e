"""Virtual rasters, and whole ones read plainly."""

from __future__ import annotations

import rasterio

TYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "int32": "Int32", "float32": "Float32",
         "float64": "Float64"}  # fmt: skip


def vrt(path, sources, size=(20, 30), nodata=None):
    """A VRT of the first band of each (file, type)."""
    bands = "".join(
        f'<VRTRasterBand dataType="{TYPES[kind]}" band="{number}">'
        + ("" if nodata is None else f"<NoDataValue>{nodata}</NoDataValue>")
        + f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for number, (name, kind) in enumerate(sources, 1)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{size[1]}" rasterYSize="{size[0]}"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>500000,0.5,0,5000000,0,-0.5</GeoTransform>{bands}</VRTDataset>"
    )
    return path


def plain(path):
    """All values of a raster."""
    with rasterio.open(path) as file:
        return file.read()

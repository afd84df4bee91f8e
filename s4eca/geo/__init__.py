"""Rasters: windowed reading, blending, writing masks and polygons; rasterio, shapely, pyproj and pyogrio live here."""

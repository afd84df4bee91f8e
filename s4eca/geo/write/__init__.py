"""Rasters and polygons out."""

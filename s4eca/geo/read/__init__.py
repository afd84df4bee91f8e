"""Rasters in."""

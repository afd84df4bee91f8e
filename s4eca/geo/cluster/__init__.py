"""Cells of a scene on the workers of a Dask cluster."""

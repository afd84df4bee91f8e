"""Scenes with polygons or class maps over them, cut into annotated tiles that are split by place."""

"""Frozen backbones, one file per library they come from."""

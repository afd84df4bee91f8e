"""Readers of the layouts on disk, a file each."""

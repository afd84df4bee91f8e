"""The version, where the lowest layer can read it."""

__version__ = "0.2.0"

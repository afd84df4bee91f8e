"""Sentences about a whole scene: the objects that were found, measured, and those that are meant."""

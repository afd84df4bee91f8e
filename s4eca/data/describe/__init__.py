"""Referring expressions made from instance annotations."""

"""Scores under the protocols of the field."""

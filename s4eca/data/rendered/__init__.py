"""Rendered scenes with true expressions."""

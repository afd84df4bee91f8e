"""Saved adapters: the folder, its card, the hub."""

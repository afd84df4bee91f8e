"""Data sets, rendered scenes, and the words that turn with an image."""

"""Data sets, rendered scenes, and the words that change with an image."""

"""Annotations in other formats, brought into the layout jsonl with ``instances.json``: a file for each format."""

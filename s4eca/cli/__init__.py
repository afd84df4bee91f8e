"""The command line: one file a verb, found through the table in `main.py`."""

"""Finished cells kept beside the output until it is whole, so that no work is lost."""

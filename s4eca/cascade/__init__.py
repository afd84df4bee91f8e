"""Detect, then segment: boxes by phrases, masks from boxes, around the masks of an adapter."""

"""Referring expressions as trees: one grammar that parses them, finds their targets, and says them."""

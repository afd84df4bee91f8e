"""How predictions are scored: counts, rulebooks, reports."""

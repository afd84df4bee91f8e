"""The method and, beside it, its baselines; torch and einops only."""

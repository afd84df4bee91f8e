"""The method and, beside it, its rivals; torch and einops only."""

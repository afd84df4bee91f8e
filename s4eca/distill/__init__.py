"""Learning from a teacher that sees images and phrases together (docs/distillation.md)."""

"""From fused levels and words to mask logits."""

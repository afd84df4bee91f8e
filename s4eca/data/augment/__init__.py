"""Training samples changed together: image, mask and words."""

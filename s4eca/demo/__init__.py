"""The demonstration: the whole path on rendered scenes, with the packaged encoders and nothing else."""

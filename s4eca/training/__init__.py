"""Lightning lives here and nowhere else."""

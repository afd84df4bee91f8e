"""A frozen pair with named adapters, how it runs, and the predictor in front of it."""

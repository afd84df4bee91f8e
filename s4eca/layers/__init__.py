"""What adapters, decoder and encoders share."""

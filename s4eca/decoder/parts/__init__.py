"""Optional parts of the mask decoder, each off by default and bit-equal to its absence when it arrives."""

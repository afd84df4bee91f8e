"""What a paper would compare with, under the same roof and the same decoder."""

"""What another package can bring to s4eca, a file each; docs/extending.md shows them."""

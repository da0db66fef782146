"""Detection in images of any size."""

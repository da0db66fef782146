"""Models written for other packages."""

"""Images and masks as NumPy arrays and as files."""

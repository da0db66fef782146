"""Images and masks as NumPy arrays and as files: reading, resizing, drawing and writing."""

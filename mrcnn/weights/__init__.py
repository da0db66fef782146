"""Weight files: downloading, reading, writing, and loading into layers."""

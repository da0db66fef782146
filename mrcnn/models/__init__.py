"""The objects that users hold: one class per network."""

"""Pure functions on tensors, written in `keras.ops`: no settings, no layers, no weights."""

"""Pure functions on arrays: no settings object, no layers, no weights."""

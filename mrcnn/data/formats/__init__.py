"""Annotation formats, one file per format."""

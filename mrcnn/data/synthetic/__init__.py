"""Synthetic images with exact masks."""

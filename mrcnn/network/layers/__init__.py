"""Layers and losses that the recipes share."""

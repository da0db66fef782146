"""Backbones: image to the feature maps C2..C5."""

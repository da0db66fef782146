"""Scores of a model on annotated images: COCO AP and the pooled score of microscopy papers."""

"""Regions of interest: anchors, proposals, pooling, training targets, detections."""

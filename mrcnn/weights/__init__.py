"""Files of weights: our own checkpoints in Matterport's layout."""

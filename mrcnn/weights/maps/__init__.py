"""Name maps: weights of other packages to the layers of this one."""

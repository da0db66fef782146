"""The network: Keras layers, and functions that build pieces of the graph."""

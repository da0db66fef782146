"""Weight file formats: HDF5, PyTorch pickles, safetensors."""

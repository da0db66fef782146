# %% [markdown]
# # Weights
#
# Weights that are all equal, not finite or very large are the first sign that a training failed or
# that a file was not loaded.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from mrcnn import MaskRCNN, visualize
from mrcnn.weights.files.reading import read_weights

model = MaskRCNN.demo()
visualize.display_weight_stats(model)

# %% [markdown]
# ## Histograms
# The kernels of some layers. The weights of a trained layer form a bell around 0; a layer that
# never learned shows a single spike.

# %%
kinds = ("Conv2D", "Dense", "Conv2DTranspose")
layers = [layer for layer in model.network.layers if type(layer).__name__ in kinds]
chosen = [layers[i] for i in np.linspace(0, len(layers) - 1, 12).astype(int)]
_, axes = plt.subplots(3, 4, figsize=(14, 8), constrained_layout=True)
for ax, layer in zip(axes.flat, chosen, strict=True):
    ax.hist(layer.get_weights()[0].ravel(), 50)
    ax.set_title(f"{layer.name} {layer.get_weights()[0].shape}", fontsize=8)
plt.show()

# %% [markdown]
# ## Files
# A checkpoint is an HDF5 file with one group per layer, in the layout of Keras 2. Reading it needs
# no network, and nothing in it is executed.

# %%
folder = Path(tempfile.mkdtemp())
model.save(folder)
file = read_weights(folder / "weights.h5")
for name in list(file)[:4]:
    print(name, {key: value.shape for key, value in file[name].items()})
count = sum(array.size for weights in file.values() for array in weights.values())
print(f"{len(file)} layers, {count:,} numbers")

# %% [markdown]
# `load_weights` reports what happened to each layer.

# %%
report = MaskRCNN.demo().load_weights(folder / "weights.h5")
print(report.summary())

# %%
assert not report.missing and not report.unexpected and len(report.loaded) == len(file)
assert all(np.isfinite(a).all() for weights in file.values() for a in weights.values())
kernels = [layer.get_weights()[0] for layer in layers]
assert all(kernel.std() > 1e-4 for kernel in kernels), "no layer is dead"

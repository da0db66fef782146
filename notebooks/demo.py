# %% [markdown]
# # Find objects in a photograph
#
# The package brings a small model along, trained on drawn squares, circles (coins too) and
# triangles.
# Nothing is downloaded.

# %%
import numpy as np
import skimage.data

from mrcnn import MaskRCNN, visualize

model = MaskRCNN.demo(DETECTION_MIN_CONFIDENCE=0.7)
print(model.class_names)

# %% [markdown]
# `detect` takes a list of pictures of any sizes, grey or RGB, and gives one dict for each.

# %%
photograph = skimage.data.coins()
(found,) = model.detect([photograph])
for name, array in found.items():
    print(f"{name:10} {array.dtype!s:8} {array.shape}")

# %% [markdown]
# Boxes are `(y1, x1, y2, x2)` in pixels of the photograph, their upper bounds excluded; masks are
# `[height, width, objects]`, best object first.

# %%
visualize.display_instances(
    photograph, found["rois"], found["masks"], found["class_ids"], model.class_names,
    found["scores"], figsize=(10, 8),
)  # fmt: skip

# %% [markdown]
# A mask is a plain array: areas, positions and sizes are a line of NumPy each.

# %%
areas = found["masks"].sum(axis=(0, 1))
diameters = 2 * np.sqrt(areas / np.pi)
print("coins:", len(areas), " diameters in pixels:", np.sort(diameters).round(1))

# %%
assert len(areas) == 24, "the photograph shows 24 coins"
assert found["masks"].shape == (*photograph.shape, 24) and found["masks"].dtype == bool
assert (20 < diameters).all() and (diameters < 90).all()

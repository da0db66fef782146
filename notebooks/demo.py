# %% [markdown]
# # Find objects in a photograph
#
# The package contains a small model, trained on drawn squares, circles (also coins) and triangles.
# Nothing is downloaded.

# %%
import numpy as np
import skimage.data

from mrcnn import MaskRCNN, visualize

model = MaskRCNN.demo(DETECTION_MIN_CONFIDENCE=0.7)
print(model.class_names)

# %% [markdown]
# `detect` takes a list of images of any size, gray or RGB, and returns one dict per image.

# %%
photograph = skimage.data.coins()
(found,) = model.detect([photograph])
for name, array in found.items():
    print(f"{name:10} {array.dtype!s:8} {array.shape}")

# %% [markdown]
# Boxes are `(y1, x1, y2, x2)` in pixels of the photograph; `y2` and `x2` are exclusive. Masks are
# `[height, width, objects]`. The object with the highest score comes first.

# %%
visualize.display_instances(
    photograph,
    found["rois"],
    found["masks"],
    found["class_ids"],
    model.class_names,
    found["scores"],
    figsize=(10, 8),
)

# %% [markdown]
# Masks are a NumPy array, so areas, positions and sizes take one line each.

# %%
areas = found["masks"].sum(axis=(0, 1))
diameters = 2 * np.sqrt(areas / np.pi)
print("coins:", len(areas), " diameters in pixels:", np.sort(diameters).round(1))

# %%
assert len(areas) == 24, "the photograph shows 24 coins"
assert found["masks"].shape == (*photograph.shape, 24) and found["masks"].dtype == bool
assert (20 < diameters).all() and (diameters < 90).all()

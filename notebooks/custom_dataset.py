# %% [markdown]
# # Your own pictures
#
# A data set is a subclass of `Dataset` with two things: pictures that are added, and a `load_mask`
# that says what is on them. This notebook draws a folder of pictures with label images (0 is
# background, every object has a number of its own), then writes the class for it.

# %%
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np

from mrcnn import Config, Dataset, MaskRCNN, visualize
from mrcnn.data.augment import Augmenter

SMOKE = bool(os.environ.get("MRCNN_SMOKE"))
folder = Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)
for number in range(12):
    picture = rng.integers(0, 60, (96, 128, 3), dtype=np.uint8)
    labels = np.zeros((96, 128), np.uint16)
    for label in range(1, 5):
        centre = tuple(int(x) for x in rng.integers(12, (116, 84)))
        axes = tuple(int(x) for x in rng.integers(6, 14, 2))
        cv2.ellipse(labels, centre, axes, int(rng.integers(180)), 0, 360, label, -1)
    for label in range(1, 5):
        picture[labels == label] = rng.integers(100, 255, 3)
    cv2.imwrite(str(folder / f"{number}.png"), picture)
    cv2.imwrite(str(folder / f"{number}_labels.png"), labels)


# %% [markdown]
# ## The class
# `add_class` once a class, `add_image` once a picture, with whatever `load_mask` will need.
# `load_mask` returns masks `[height, width, objects]` and the class id of each.


# %%
class CellDataset(Dataset):
    """Pictures N.png with label images N_labels.png."""

    def load(self, folder, numbers):
        """Adds the pictures of these numbers."""
        self.add_class("cells", 1, "cell")
        for number in numbers:
            path = Path(folder) / f"{number}.png"
            self.add_image("cells", number, path, labels=Path(folder) / f"{number}_labels.png")
        self.prepare()

    def load_mask(self, image_id):
        """One mask a label."""
        labels = cv2.imread(str(self.image_info[image_id]["labels"]), cv2.IMREAD_UNCHANGED)
        masks = labels[..., None] == np.unique(labels[labels > 0])
        return masks, np.ones(masks.shape[-1], np.int32)


train_set, val_set = CellDataset(), CellDataset()
train_set.load(folder, range(9))
val_set.load(folder, range(9, 12))

# %% [markdown]
# Look at what the class returns, before anything is trained.

# %%
from mrcnn.utils import extract_bboxes  # noqa: E402

image, (masks, class_ids) = train_set.load_image(0), train_set.load_mask(0)
visualize.display_instances(
    image, extract_bboxes(masks), masks, class_ids, train_set.class_names, figsize=(6, 5)
)


# %% [markdown]
# ## Settings and training
# The bundled model has seen round things: its weights are a better start than none. The layers that
# depend on the number of classes are left out. `mrcnn train` does all this from a shell.

# %%
demo = MaskRCNN.demo()
config = Config.from_dict(
    demo.config.to_dict()
    | {"NAME": "cells", "NUM_CLASSES": 1 + 1, "IMAGES_PER_GPU": 3, "WARMUP_STEPS": 0}
)
demo_folder = tempfile.mkdtemp()
demo.save(demo_folder)

model = MaskRCNN("training", config, model_dir=str(folder / "runs"))
heads = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"]
report = model.load_weights(demo_folder, exclude=heads)
print(report.summary())

# %%
history = model.train(
    train_set, val_set, learning_rate=5e-4, epochs=2 if SMOKE else 10, layers="heads",
    augmentation=Augmenter(fliplr=0.5, flipud=0.5, rot90=0.5), verbose=2,
)  # fmt: skip

# %% [markdown]
# ## Saving and using it
# `save` writes a folder that needs nothing else.

# %%
model.save(folder / "cells")
cells = MaskRCNN.load(folder / "cells", DETECTION_MIN_CONFIDENCE=0.5)
image = val_set.load_image(0)
(found,) = cells.detect([image])
visualize.display_instances(
    image, found["rois"], found["masks"], found["class_ids"], cells.class_names, found["scores"],
    figsize=(6, 5),
)  # fmt: skip
result = cells.evaluate(val_set)
print(result.summary())

# %%
assert set(report.excluded) == set(heads) and not report.missing
assert cells.class_names == ["BG", "cell"]
losses = history.history["loss"]
assert np.isfinite(losses).all() and losses[-1] < losses[0]

# %% [markdown]
# # Your own images
#
# A dataset is a subclass of `Dataset` that adds its images and defines `load_mask`, which returns
# the objects of one image. This notebook draws a folder of images with label images (0 is
# background, each object has its own number), then writes the dataset class for it.

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
    image = rng.integers(0, 60, (96, 128, 3), dtype=np.uint8)
    labels = np.zeros((96, 128), np.uint16)
    for label in range(1, 5):
        centre = tuple(int(x) for x in rng.integers(12, (116, 84)))
        axes = tuple(int(x) for x in rng.integers(6, 14, 2))
        cv2.ellipse(labels, centre, axes, int(rng.integers(180)), 0, 360, label, -1)
    for label in range(1, 5):
        image[labels == label] = rng.integers(100, 255, 3)
    cv2.imwrite(str(folder / f"{number}.png"), image)
    cv2.imwrite(str(folder / f"{number}_labels.png"), labels)


# %% [markdown]
# ## The class
# Call `add_class` once per class and `add_image` once per image, with whatever `load_mask` needs.
# `load_mask` returns the masks `[height, width, objects]` and the class id of each object.


# %%
class CellDataset(Dataset):
    """Images N.png with label images N_labels.png."""

    def load(self, folder, numbers):
        """Adds the images with these numbers."""
        self.add_class("cells", 1, "cell")
        for number in numbers:
            path = Path(folder) / f"{number}.png"
            self.add_image("cells", number, path, labels=Path(folder) / f"{number}_labels.png")
        self.prepare()

    def load_mask(self, image_id):
        """Returns one mask per label."""
        labels = cv2.imread(str(self.image_info[image_id]["labels"]), cv2.IMREAD_UNCHANGED)
        masks = labels[..., None] == np.unique(labels[labels > 0])
        return masks, np.ones(masks.shape[-1], np.int32)


train_set, val_set = CellDataset(), CellDataset()
train_set.load(folder, range(9))
val_set.load(folder, range(9, 12))

# %% [markdown]
# Look at what the class returns before you train on it.

# %%
from mrcnn.utils import extract_bboxes  # noqa: E402

image, (masks, class_ids) = train_set.load_image(0), train_set.load_mask(0)
visualize.display_instances(
    image, extract_bboxes(masks), masks, class_ids, train_set.class_names, figsize=(6, 5)
)


# %% [markdown]
# ## Settings and training
# The bundled model was trained on round objects, so its weights are a better start than random
# ones. The layers that depend on the number of classes are excluded. The command `mrcnn train` does
# all this from a shell.

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
    train_set,
    val_set,
    learning_rate=5e-4,
    epochs=2 if SMOKE else 10,
    layers="heads",
    augmentation=Augmenter(fliplr=0.5, flipud=0.5, rot90=0.5),
    verbose=2,
)

# %% [markdown]
# ## Save and use the model
# `save` writes a folder that holds everything the model needs.

# %%
model.save(folder / "cells")
cells = MaskRCNN.load(folder / "cells", DETECTION_MIN_CONFIDENCE=0.5)
image = val_set.load_image(0)
(found,) = cells.detect([image])
visualize.display_instances(
    image,
    found["rois"],
    found["masks"],
    found["class_ids"],
    cells.class_names,
    found["scores"],
    figsize=(6, 5),
)
result = cells.evaluate(val_set)
print(result.summary())

# %%
assert set(report.excluded) == set(heads) and not report.missing
assert cells.class_names == ["BG", "cell"]
losses = history.history["loss"]
assert np.isfinite(losses).all() and losses[-1] < losses[0]

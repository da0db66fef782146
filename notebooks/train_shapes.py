# %% [markdown]
# # Train on shapes
#
# Train a network from scratch on images that are drawn on demand. It takes a few minutes on two CPU
# cores; set `MRCNN_SMOKE=1` for a short run.

# %%
import os
import tempfile

import numpy as np

from mrcnn import Config, MaskRCNN, utils, visualize
from mrcnn import model as modellib
from mrcnn.data.synthetic.shapes import ShapesDataset

SMOKE = bool(os.environ.get("MRCNN_SMOKE"))


class ShapesConfig(Config):
    """A small network: ResNet-18, narrow heads, images of 128 pixels."""

    NAME = "shapes"
    NUM_CLASSES = 1 + 3  # background + square, circle, triangle
    IMAGES_PER_GPU = 8
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 128
    BACKBONE = "resnet18"
    RPN_ANCHOR_SCALES = (12, 24, 48, 72, 96)
    TOP_DOWN_PYRAMID_SIZE = 64
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    MASK_CHANNELS = 64
    TRAIN_ROIS_PER_IMAGE = 64
    PRE_NMS_LIMIT = POST_NMS_ROIS_TRAINING = 256
    POST_NMS_ROIS_INFERENCE = 128
    OPTIMIZER = "adamw"
    LR_SCHEDULE = "cosine"
    WARMUP_STEPS = 30
    STEPS_PER_EPOCH = 4 if SMOKE else 100
    EVALUATE_EVERY = 0


config = ShapesConfig()
train_set, val_set = (
    ShapesDataset(500, 128, 128, seed=0),
    ShapesDataset(4 if SMOKE else 20, 128, 128, seed=1),
)

# %% [markdown]
# ## The data
# Look at the data before you train: most failed trainings come from wrong masks.

# %%
for image_id in (0, 1):
    masks, class_ids = train_set.load_mask(image_id)
    visualize.display_top_masks(
        train_set.load_image(image_id), masks, class_ids, train_set.class_names
    )

# %% [markdown]
# ## Training
# Losses and checkpoints are written to a folder named after `NAME` and the time. After an
# interruption, the same call resumes the training.

# %%
logs = tempfile.mkdtemp()
model = MaskRCNN("training", config, model_dir=logs)
history = model.train(train_set, val_set, epochs=1 if SMOKE else 6, learning_rate=1e-3, verbose=2)
print(sorted(os.listdir(model.folder.path)))

# %% [markdown]
# ## Detection
# `MaskRCNN.load` reads settings, class names and weights from the folder of the training.

# %%
trained = MaskRCNN.load(model.folder.path, DETECTION_MIN_CONFIDENCE=0.0 if SMOKE else 0.7)
image = val_set.load_image(0)
(found,) = trained.detect([image])
visualize.display_instances(
    image,
    found["rois"],
    found["masks"],
    found["class_ids"],
    trained.class_names,
    found["scores"],
    figsize=(6, 6),
)

# %% [markdown]
# ## How good is it?
# `compute_ap` is the average precision of one image at a mask IoU of 0.5. `model.evaluate` computes
# the COCO metrics over the whole dataset.

# %%
scores = []
for image_id in val_set.image_ids:
    image, _, class_ids, boxes, masks = modellib.load_image_gt(val_set, config, image_id)
    (r,) = trained.detect([image])
    ap, *_ = utils.compute_ap(
        boxes, class_ids, masks, r["rois"], r["class_ids"], r["scores"], r["masks"]
    )
    scores.append(ap)
print(f"mAP at 0.5: {np.mean(scores):.3f}")
print(trained.evaluate(val_set).summary())

# %%
assert np.isfinite(history.history["loss"]).all()
assert 0 <= np.mean(scores) <= 1 and len(scores) == len(val_set.image_ids)
assert SMOKE or np.mean(scores) > 0.8

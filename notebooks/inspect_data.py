# %% [markdown]
# # What the network is trained on
#
# From an image and its masks to what the losses compare: resizing, boxes, mini masks, anchors and
# their targets, regions and their targets.

# %%
import matplotlib.pyplot as plt
import numpy as np

from mrcnn import Config, utils, visualize
from mrcnn import model as modellib
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.model import log

np.random.seed(0)


class ShapesConfig(Config):
    """The settings that the data depends on."""

    NAME = "shapes"
    NUM_CLASSES = 1 + 3
    IMAGE_MIN_DIM = IMAGE_MAX_DIM = 256
    RPN_ANCHOR_SCALES = (16, 32, 64, 128, 256)
    RPN_BBOX_STD_DEV = np.array([0.1, 0.1, 0.2, 0.2])
    MINI_MASK_SHAPE = (28, 28)
    TRAIN_ROIS_PER_IMAGE = 32


config = ShapesConfig()
dataset = ShapesDataset(20, 150, 220, seed=4)

# %% [markdown]
# ## Images and masks

# %%
image = dataset.load_image(0)
masks, class_ids = dataset.load_mask(0)
boxes = utils.extract_bboxes(masks)
log("image", image)
log("masks", masks)
log("boxes", boxes)
visualize.display_instances(
    image, boxes, masks, class_ids, dataset.class_names, figsize=(7, 5), title="boxes from masks"
)

# %% [markdown]
# ## Resizing
# In mode "square" the image is scaled to fit and then padded. Masks are resized in the same way.

# %%
molded, window, scale, padding, crop = utils.resize_image(
    image, config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM, config.IMAGE_MIN_SCALE, "square"
)
molded_masks = utils.resize_mask(masks, scale, padding, crop)
print("window", window, " scale", round(scale, 4), " padding", padding)
molded_boxes = utils.extract_bboxes(molded_masks)
visualize.display_instances(
    molded,
    molded_boxes,
    molded_masks,
    class_ids,
    dataset.class_names,
    figsize=(6, 6),
    title="resized and padded",
)

# %% [markdown]
# ## Mini masks
# To save memory, a mask is cropped to its box and made smaller. Some pixels at the edge are lost
# when it is expanded again.

# %%
mini = utils.minimize_mask(molded_boxes, molded_masks, config.MINI_MASK_SHAPE)
visualize.display_images([mini[..., i] for i in range(mini.shape[-1])], cmap="Blues_r")
back = utils.expand_mask(molded_boxes, mini, molded.shape)
both, either = (back & molded_masks).sum(axis=(0, 1)), (back | molded_masks).sum(axis=(0, 1))
print("IoU after there and back:", (both / either).round(3))

# %% [markdown]
# ## Anchors
# Anchors are the boxes that detection starts from: three shapes at each cell of each pyramid level.
# The plot shows the anchors of the middle cell of each level.

# %%
shapes = modellib.compute_backbone_shapes(config, molded.shape)
levels = [
    utils.generate_pyramid_anchors([size], config.RPN_ANCHOR_RATIOS, [shape], [stride], 1)
    for size, shape, stride in zip(
        config.RPN_ANCHOR_SCALES, shapes, config.BACKBONE_STRIDES, strict=True
    )
]
anchors = np.concatenate(levels)
print("anchors per level:", [len(level) for level in levels])
middle = [
    level[3 * (len(level) // 6 + shape[1] // 2) :][:3]
    for level, shape in zip(levels, shapes, strict=True)
]
visualize.draw_boxes(molded, boxes=np.concatenate(middle), title="anchors of one cell per level")
plt.show()

# %% [markdown]
# ## RPN targets
# An anchor with a large overlap with an object is positive, one that overlaps no object is
# negative, and the rest is ignored. Positive anchors (dotted) learn to move onto their object
# (solid).

# %%
rpn_match, rpn_bbox = modellib.build_rpn_targets(
    molded.shape, anchors, class_ids, molded_boxes, config
)
positive = np.flatnonzero(rpn_match == 1)
print("positive", len(positive), " negative", (rpn_match == -1).sum())
deltas = rpn_bbox[: len(positive)] * config.RPN_BBOX_STD_DEV
refined = utils.apply_box_deltas(anchors[positive], deltas)
visualize.draw_boxes(
    molded, boxes=anchors[positive], refined_boxes=refined, title="positive anchors"
)
plt.show()

# %% [markdown]
# ## Regions and their targets
# The data generator of the old package draws random regions and returns their targets. Training
# computes regions and targets inside the graph, by the same rules.

# %%
generator = modellib.data_generator(
    dataset, config, shuffle=False, random_rois=200, batch_size=2, detection_targets=True
)
inputs, outputs = next(generator)
images, metas, *_, rois = inputs
target_ids, target_boxes, target_masks = outputs
ids = target_ids[0, :, 0]
rows = np.arange(len(ids))
moved = utils.apply_box_deltas(
    rois[0].astype(np.float32), target_boxes[0][rows, ids] * config.BBOX_STD_DEV
)
visualize.draw_rois(
    modellib.unmold_image(images[0], config),
    rois[0],
    moved.astype(np.int32),
    target_masks[0][rows, :, :, ids],
    ids,
    dataset.class_names,
)
plt.show()

# %%
assert len(anchors) == 3 * sum(h * w for h, w in shapes) and len(positive) > 0
assert (both / either > 0.8).all()
overlaps = utils.compute_overlaps(refined, molded_boxes)
assert (overlaps.max(axis=1) > 0.99).all(), "the deltas move the anchors exactly onto the objects"
assert images.shape == (2, 256, 256, 3) and metas.shape == (2, config.IMAGE_META_SIZE)
assert (ids > 0).any() and (ids == 0).any()

# %% [markdown]
# # What happens inside the network
#
# The bundled model, stage by stage. It uses the standard numerics: boxes inside the graph are in
# pixels of the network input. With `NUMERICS = "matterport"`, which weights of the old package
# need, they are normalized: convert them with `utils.denorm_boxes`.

# %%
import matplotlib.pyplot as plt
import numpy as np

from mrcnn import model as modellib
from mrcnn import utils, visualize
from mrcnn.data.synthetic.shapes import ShapesDataset

model = modellib.MaskRCNN.demo()  # with the methods of the old package, such as `run_graph`
config, graph = model.config, model.keras_model
dataset = ShapesDataset(8, 288, 384, seed=2, style="mixed")
image, meta, gt_ids, gt_boxes, gt_masks = modellib.load_image_gt(dataset, config, 0)
visualize.display_instances(
    image, gt_boxes, gt_masks, gt_ids, dataset.class_names, figsize=(6, 6), title="ground truth"
)

# %% [markdown]
# `run_graph` returns the value of any tensor of the graph. `get_layer(name).output` is the output
# of a layer, and `ancestor` finds the stages inside the proposal layer.

# %%
roi = graph.get_layer("ROI").output
names = ["res2b_out", "res5b_out", "fpn_p2", "ROI", "mrcnn_class", "mrcnn_bbox"]
rpn_logits = [(f"rpn_logits_{i}", level) for i, level in enumerate(model.network.trunk.rpn.logits)]
values = model.run_graph(
    [image],
    [(name, graph.get_layer(name).output) for name in names]
    + rpn_logits
    + [
        (name, model.ancestor(roi, f"ROI/{name}:0"))
        for name in ("pre_nms_anchors", "refined_anchors_clipped", "rpn_non_max_suppression")
    ],
)

# %% [markdown]
# ## 1. The region proposal network
# Each anchor gets a score and four deltas. The plot shows the anchors with the highest scores
# (dotted) and the boxes after their deltas are applied (solid).

# %%
logits = np.concatenate([values[name][0] for name, _ in rpn_logits])  # of all pyramid levels
print("anchors:", len(logits), " of these above 0.5:", (logits > 0).sum())
anchors, refined = values["pre_nms_anchors"][0], values["refined_anchors_clipped"][0]
# The layer takes the best of each level; NMS orders them over all levels.
kept = values["rpn_non_max_suppression"]
limit = 15
visualize.draw_boxes(
    image,
    boxes=anchors[kept[:limit]],
    refined_boxes=refined[kept[:limit]],
    title="best anchors, before and after refinement",
)
plt.show()

# %% [markdown]
# Non-maximum suppression keeps one of many boxes of the same object.

# %%
proposals = values["ROI"][0]
overlap = utils.compute_overlaps(refined, gt_boxes)
print(
    "boxes on an object before NMS:",
    (overlap.max(axis=1) > 0.5).sum(),
    " after:",
    (utils.compute_overlaps(proposals, gt_boxes).max(axis=1) > 0.5).sum(),
)
recall, _ = utils.compute_recall(proposals, gt_boxes, 0.5)
print(f"share of objects covered by a proposal: {recall:.2f}")

# %% [markdown]
# ## 2. Classes
# The box head predicts, for each proposal, a probability and four deltas per class.

# %%
odds = values["mrcnn_class"][0]
ids, scores = odds.argmax(axis=1), odds.max(axis=1)
objects = np.flatnonzero((ids > 0) & (scores > 0.5))
print("proposals:", len(ids), " classified as objects:", len(objects))
deltas = values["mrcnn_bbox"][0][objects, ids[objects]] * config.BBOX_STD_DEV
moved = utils.apply_box_deltas(proposals[objects], deltas)
captions = [f"{dataset.class_names[ids[i]]} {scores[i]:.2f}" for i in objects[:20]]
visualize.draw_boxes(
    image,
    boxes=proposals[objects[:20]],
    refined_boxes=moved[:20],
    captions=captions,
    title="proposals classified as objects, before and after refinement",
)
plt.show()

# %% [markdown]
# ## 3. One box per object
# Non-maximum suppression again, now within each class.

# %%
final = []
for class_id in np.unique(ids[objects]):
    mine = np.flatnonzero(ids[objects] == class_id)
    chosen = utils.non_max_suppression(
        moved[mine], scores[objects][mine], config.DETECTION_NMS_THRESHOLD
    )
    final += list(mine[chosen])
visualize.draw_boxes(
    image,
    refined_boxes=moved[final],
    captions=[f"{scores[objects][i]:.2f}" for i in final],
    title="after NMS within each class",
)
plt.show()

# %% [markdown]
# ## 4. Masks
# The mask head predicts a small mask per detection, which is resized and pasted into its box.

# %%
(found,) = model.detect([image])
visualize.display_instances(
    image,
    found["rois"],
    found["masks"],
    found["class_ids"],
    model.class_names,
    found["scores"],
    figsize=(6, 6),
    title="detections",
)
visualize.display_differences(
    image,
    gt_boxes,
    gt_ids,
    gt_masks,
    found["rois"],
    found["class_ids"],
    found["scores"],
    found["masks"],
    model.class_names,
)

# %% [markdown]
# ## Activations
# Some channels of three layers.

# %%
for name in ("res2b_out", "res5b_out", "fpn_p2"):
    maps = values[name][0]
    print(name, maps.shape)
    visualize.display_images([maps[..., i] for i in range(4)], cmap="viridis")

# %% [markdown]
# ## Precision and recall

# %%
ap, precisions, recalls, overlaps = utils.compute_ap(
    gt_boxes, gt_ids, gt_masks, found["rois"], found["class_ids"], found["scores"], found["masks"]
)
visualize.plot_precision_recall(ap, precisions, recalls)
visualize.plot_overlaps(gt_ids, found["class_ids"], found["scores"], overlaps, model.class_names)
plt.show()

# %%
assert np.allclose(refined[kept], proposals[: len(kept)], atol=1e-3)
assert recall > 0.8 and 0.5 < ap <= 1
matched = utils.compute_overlaps(moved[final], found["rois"]).max(axis=0)
assert (matched > 0.8).all(), "the steps above lead to the detections"

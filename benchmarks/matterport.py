"""Compares this package with Matterport's Mask_RCNN, stage by stage, on the same weights.

    python benchmarks/matterport.py weights DIR
    python benchmarks/matterport.py dump DIR old      # where `mrcnn` is the old package
    python benchmarks/matterport.py dump DIR new      # where `mrcnn` is this one
    python benchmarks/matterport.py compare DIR

`weights` writes seeded weights into DIR, `dump` the output of every stage, and `compare` prints the
differences.

The old package does not run on current versions of TensorFlow. It needs an environment of its own
(TensorFlow 2.15, NumPy 1.26), and a copy of the package in which the imports and the TF 1 names are
replaced. The arithmetic must stay as it is.
"""

import argparse
from pathlib import Path

import numpy as np
import scipy.ndimage

SETTINGS = {
    "NAME": "stages",
    "NUM_CLASSES": 5,
    "BACKBONE": "resnet50",
    "IMAGE_MIN_DIM": 256,
    "IMAGE_MAX_DIM": 256,
    "IMAGES_PER_GPU": 2,
    "RPN_ANCHOR_SCALES": (16, 32, 64, 128, 256),
    "PRE_NMS_LIMIT": 600,
    "POST_NMS_ROIS_INFERENCE": 100,
    "DETECTION_MIN_CONFIDENCE": 0.0,
    "DETECTION_MAX_INSTANCES": 50,
}
STAGES = [
    "res2c_out",
    "res3d_out",
    "res4f_out",
    "res5c_out",
    "fpn_p2",
    "fpn_p3",
    "fpn_p4",
    "fpn_p5",
    "fpn_p6",
    "rpn_class",
    "rpn_bbox",
    "ROI",
    "roi_align_classifier",
    "mrcnn_class_logits",
    "mrcnn_class",
    "mrcnn_bbox",
    "mrcnn_detection",
    "roi_align_mask",
    "mrcnn_mask",
]
# Standard deviations of the last kernels, times sqrt(fan in). They spread the scores and boxes.
SPREAD = {
    "rpn_class_raw": 0.8,
    "rpn_bbox_pred": 0.3,
    "mrcnn_class_logits": 0.6,
    "mrcnn_bbox_fc": 0.3,
    "mrcnn_mask": 0.6,
}


def images():
    """Returns two noisy images of soft blobs, of different sizes."""
    rng = np.random.RandomState(3)
    drawn = []
    for shape in ((200, 300), (256, 256)):
        blobs = [scipy.ndimage.gaussian_filter(rng.normal(size=shape), 8) for _ in range(3)]
        image = np.stack(blobs, axis=-1)
        image = (image - image.min()) / np.ptp(image) * 220 + rng.normal(size=image.shape) * 10 + 10
        drawn.append(image.clip(0, 255).astype(np.uint8))
    return drawn


def random_weight(rng, layer, part, shape):
    """Returns a random array that keeps the activations near 1.

    Args:
        rng: RandomState. Source of the random numbers.
        layer: str. Name of the layer.
        part: str. Name of the weight in the layer, such as "kernel".
        shape: tuple of int.
    """
    fan = np.prod(shape[:-1])
    if part == "kernel":
        scale = 1.0 if layer.startswith("fpn_") else np.sqrt(2)
        return rng.normal(0, SPREAD.get(layer, scale) / np.sqrt(fan), shape)
    if part == "gamma":
        # The last normalization of a residual block is weaker, so that sums do not grow.
        low, high = (0.3, 0.7) if layer.endswith("2c") else (0.7, 1.2)
        return rng.uniform(low, high, shape)
    if part == "moving_variance":  # the stem sees pixels in 0..255
        return rng.uniform(0.7, 1.5, shape) * (9600 if layer == "bn_conv1" else 1)
    return rng.normal(0, 0.05 if part == "bias" else 0.1, shape)


def write_weights(folder):
    """Writes weights.h5 in the layout of Matterport's Mask_RCNN."""
    from mrcnn.config import Config
    from mrcnn.model import MaskRCNN
    from mrcnn.network.layers.basic import layer_weights, leaf_layers

    model = MaskRCNN("inference", Config(**SETTINGS, NUMERICS="matterport"), folder)
    rng = np.random.RandomState(0)
    for layer in leaf_layers(model.keras_model):
        for weight in layer_weights(layer):
            weight.assign(random_weight(rng, layer.name, weight.name, tuple(weight.shape)))
    model.keras_model.save_weights(str(folder / "weights.h5"))


def dump(folder, name):
    """Writes the output of every stage and the detections into NAME.npz.

    Both packages run the same calls.
    """
    import keras

    import mrcnn.model as modellib
    from mrcnn.config import Config

    model = modellib.MaskRCNN("inference", type("C", (Config,), dict(SETTINGS))(), str(folder))
    loader = model.keras_model if name == "old" else model
    loader.load_weights(str(folder / "weights.h5"), by_name=True)
    molded, metas, windows = model.mold_inputs(images())
    anchors = np.stack([model.get_anchors(molded[0].shape)] * 2)
    layers = [model.keras_model.get_layer(stage).output for stage in STAGES]
    values = keras.Model(model.keras_model.inputs, layers).predict([molded, metas, anchors])
    found = dict(zip(STAGES, values))  # noqa: B905 - Python 3.9 has no `strict`
    found |= {"molded": molded, "metas": metas, "windows": windows, "anchors": anchors}
    for i, result in enumerate(model.detect(images())):
        found |= {f"{key} of image {i}": value for key, value in result.items()}
    np.savez(folder / f"{name}.npz", **found)


def compare(folder):
    """Prints the greatest difference of each array, as a share of the greatest value in it."""
    old = np.load(folder / "old.npz")
    new = np.load(folder / "new.npz")
    for name in old:
        a, b = old[name].astype(float), new[name].astype(float)
        if a.shape != b.shape:
            print(f"{name:24} {a.shape} is now {b.shape}")
            continue
        difference = np.abs(a - b)
        rows = (difference > 1e-4 * np.abs(a).max()).reshape(*a.shape[:2], -1).any(-1)
        share = difference.max() / max(np.abs(a).max(), 1e-9)
        print(
            f"{name:24} {a.shape!s:22} {share:.1e}   rows beyond 1e-4: {rows.sum()} of {rows.size}"
        )


def main():
    """Reads the command line and runs one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["weights", "dump", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("package", nargs="?", choices=["old", "new"])
    args = parser.parse_args()
    if args.command == "dump":
        dump(args.folder, args.package)
    else:
        {"weights": write_weights, "compare": compare}[args.command](args.folder)


if __name__ == "__main__":
    main()

"""Writes the golden values: what the reference models compute with the weights of seeded.py.

Needs torch 2.13.0 with torchvision 0.28.0 and Pillow, in an environment of its own:

    python -m venv goldens-env
    goldens-env/bin/pip install torch==2.13.0 torchvision==0.28.0 pillow
    goldens-env/bin/python tests/goldens/make.py                      # all of them
    goldens-env/bin/python tests/goldens/make.py torchvision          # one family

Each `<family>_<image>.npz` holds the stages of one image. The tests read these files and
need no torch. Boxes are (x1, y1, x2, y2) and classes are in the reference's own order; maps are
[height, width, channels]. Large stages are kept at the positions that `seeded.sample` gives, as
`<stage>`, with the stage's `<stage>_shape` and its largest absolute value, `<stage>_scale`.
"""

import pathlib
import sys
import time
import zlib

import numpy as np
import seeded
import torch
from make_detectron2 import detectron2_stages
from torchvision.models import detection
from torchvision.models.detection._utils import overwrite_eps
from torchvision.ops import misc

FOLDER = pathlib.Path(__file__).parent
PICTURES = {
    "torchvision": (0, 1, 2, 3),
    "detectron2": (0, 1, 2, 3),
    "torchvision_v2": (0, 1, 2),
}
WHOLE = ("proposals", "objectness", "det_boxes", "det_labels", "det_scores", "boxes")


# --- torchvision -----------------------------------------------------------------------------


def torchvision_model(family):
    """The model as the loader of its published weights makes it, with the seeded ones."""
    if family == "torchvision":
        # Any weights make the loader freeze the norms, and COCO_V1 has an epsilon of 0.
        model = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
        freeze_norms(model.backbone.body)
        overwrite_eps(model, 0.0)
    else:
        model = detection.maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
    weights = seeded.state_dict(family)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return model.eval()


def freeze_norms(module):
    """Puts FrozenBatchNorm2d in the place of each BatchNorm2d."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            setattr(module, name, misc.FrozenBatchNorm2d(child.num_features))
        else:
            freeze_norms(child)


def torchvision_stages(model, picture):
    """One image through the model; every stage is picked up on the way."""
    seen = {}

    def keep(name):
        return lambda module, inputs, output: seen.__setitem__(name, output)

    def keep_detections(module, inputs, output):
        seen["detections"] = dict(output[0][0])  # the model rescales them in place

    def keep_proposals(*args):
        seen["filtered"] = filter_proposals(*args)
        return seen["filtered"]

    heads, filter_proposals = model.roi_heads, model.rpn.filter_proposals
    watched = {
        "transform": model.transform,
        "body": model.backbone.body,
        "fpn": model.backbone,
        "rpn": model.rpn.head,
        "roi_features": heads.box_roi_pool,
        "box": heads.box_predictor,
        "mask_features": heads.mask_roi_pool,
        "mask": heads.mask_predictor,
    }
    hooks = [module.register_forward_hook(keep(name)) for name, module in watched.items()]
    hooks.append(heads.register_forward_hook(keep_detections))
    model.rpn.filter_proposals = keep_proposals
    pixels = torch.from_numpy(picture).permute(2, 0, 1) / 255
    found = model([pixels.to(next(model.parameters()).dtype)])[0]
    del model.rpn.filter_proposals
    for hook in hooks:
        hook.remove()

    (proposals,), (objectness,) = seen["filtered"]
    class_logits, box_deltas = seen["box"]
    detected = seen["detections"]
    logits, deltas = seen["rpn"]
    return {
        "image": channels_last(seen["transform"][0].tensors),
        **{f"c{level}": channels_last(c) for level, c in enumerate(seen["body"].values(), 2)},
        **{f"p{level}": channels_last(p) for level, p in enumerate(seen["fpn"].values(), 2)},
        "rpn_logits": torch.cat([channels_last(x).reshape(-1) for x in logits]),
        "rpn_deltas": torch.cat([channels_last(x).reshape(-1, 4) for x in deltas]),
        "proposals": proposals,
        "objectness": objectness,
        "roi_features": seen["roi_features"].permute(0, 2, 3, 1),
        "class_logits": class_logits,
        "box_deltas": box_deltas,
        "det_boxes": detected["boxes"],
        "det_labels": detected["labels"],
        "det_scores": detected["scores"],
        "boxes": found["boxes"],
        "mask_features": seen["mask_features"].permute(0, 2, 3, 1),
        "mask_logits": of_label(seen["mask"], detected["labels"]),
        "masks": found["masks"][:, 0] >= 0.5,
    }


def channels_last(batch):
    """The one map of a batch, as [height, width, channels]."""
    return batch[0].permute(1, 2, 0)


def of_label(masks, labels):
    """Each detection's mask of its own class."""
    return masks[torch.arange(len(labels)), labels]


# --- files -----------------------------------------------------------------------------------


def write(path, picture, stages):
    """Stages to one npz file: whole, packed to bits, or at sampled positions."""
    kept = {"picture_crc": np.uint32(zlib.crc32(picture.tobytes()))}
    for name, tensor in stages.items():
        values = tensor.numpy()
        if name == "masks":
            kept["masks"] = np.packbits(values.reshape(-1))
            kept["masks_shape"] = np.array(values.shape)
        elif name in WHOLE:
            kept[name] = values
        else:
            kept[name] = values.reshape(-1)[seeded.sample(values.shape, name)]
            kept[f"{name}_shape"] = np.array(values.shape)
            kept[f"{name}_scale"] = np.abs(values).max()
    np.savez_compressed(path, **kept)


def load(family):
    """What a family's stages are made with, and the function that makes them."""
    if family == "detectron2":
        weights = seeded.state_dict(family)
        weights = {name: torch.from_numpy(value) for name, value in weights.items()}
        return weights, detectron2_stages
    return torchvision_model(family), torchvision_stages


def main(families):
    """The files of those families."""
    for family in families:
        model, run = load(family)
        for index in PICTURES[family]:
            start, picture = time.time(), seeded.image(index)
            with torch.inference_mode():
                stages = run(model, picture)
            path = FOLDER / f"{family}_{index}.npz"
            write(path, picture, stages)
            print(
                f"{path.name}: {path.stat().st_size} bytes, {len(stages['boxes'])} detections,"
                f" {time.time() - start:.1f} s"
            )


if __name__ == "__main__":
    main(sys.argv[1:] or seeded.FAMILIES)

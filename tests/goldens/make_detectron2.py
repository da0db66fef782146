"""Detectron2's Mask R-CNN R50-FPN at test time, written in plain torch from its arithmetic.

Detectron2 has no installable release, so this stands for it in make.py: a model as
`COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x` configures it, from a uint8 RGB image to the
pasted masks. `weights` is the state dict, as tensors; their dtype is the dtype of all that is
computed.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.ops import batched_nms, roi_align

MIN_SIDE, MAX_SIDE = 800, 1333
BGR_MEAN = (103.53, 116.28, 123.675)  # standard deviations are 1
STRIDES = (4, 8, 16, 32, 64)
SIZES = (32, 64, 128, 256, 512)
RATIOS = (0.5, 1.0, 2.0)
LARGEST_DELTA = math.log(1000 / 16)


def detectron2_stages(weights, picture):
    """One image through the model, with every stage that the golden values hold."""
    image, size = preprocess(picture, next(iter(weights.values())).dtype)
    bottom_up = resnet(weights, image)
    pyramid = feature_pyramid(weights, bottom_up)
    logits, deltas = region_head(weights, pyramid)
    anchors = [grid_anchors(p, *level) for p, *level in zip(pyramid, SIZES, STRIDES, strict=True)]
    proposals, objectness = find_proposals(anchors, logits, deltas, size)
    features = pool(pyramid, proposals, 7)
    scores, box_deltas = box_head(weights, features)
    boxes, det_scores, labels = detect(proposals, scores, box_deltas, size)
    mask_features = pool(pyramid, boxes, 14)
    masks = mask_head(weights, mask_features)[torch.arange(len(labels)), labels]
    original = rescale(boxes, size, picture.shape[:2])
    filled = ((original[:, 2:] - original[:, :2]) > 0).all(1)
    return {
        "image": image[0].permute(1, 2, 0),
        **{f"c{level}": c[0].permute(1, 2, 0) for level, c in enumerate(bottom_up, 2)},
        **{f"p{level}": p[0].permute(1, 2, 0) for level, p in enumerate(pyramid, 2)},
        "rpn_logits": torch.cat(logits),
        "rpn_deltas": torch.cat(deltas),
        "proposals": proposals,
        "objectness": objectness,
        "roi_features": features.permute(0, 2, 3, 1),
        "class_logits": scores,
        "box_deltas": box_deltas,
        "det_boxes": boxes,
        "det_labels": labels,
        "det_scores": det_scores,
        "boxes": original[filled],
        "mask_features": mask_features.permute(0, 2, 3, 1),
        "mask_logits": masks,
        "masks": paste(masks.sigmoid()[filled], original[filled], picture.shape[:2]) >= 0.5,
    }


# --- image ---------------------------------------------------------------------------------


def resized(height, width):
    """Height and width with a short side of 800, or less where the long one would pass 1333."""
    scale = MIN_SIDE / min(height, width)
    if height < width:
        height, width = MIN_SIDE, scale * width
    else:
        height, width = scale * height, MIN_SIDE
    if max(height, width) > MAX_SIDE:
        scale = MAX_SIDE / max(height, width)
        height, width = height * scale, width * scale
    return int(height + 0.5), int(width + 0.5)


def preprocess(picture, dtype):
    """The resized, centered BGR image, padded to multiples of 32, and its size before that."""
    height, width = resized(*picture.shape[:2])
    small = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(small)[:, :, ::-1].copy()).permute(2, 0, 1).to(dtype)
    pixels = pixels - torch.tensor(BGR_MEAN, dtype=dtype)[:, None, None]
    return F.pad(pixels, (0, -width % 32, 0, -height % 32))[None], (height, width)


# --- features --------------------------------------------------------------------------------


def conv(weights, name, x, stride=1, padding=0):
    """A convolution with the bias or the frozen batch normalisation that the weights have."""
    x = F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), stride, padding)
    if f"{name}.norm.weight" not in weights:
        return x
    gamma, beta, mean, variance = (
        weights[f"{name}.norm.{part}"][:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma * torch.rsqrt(variance + 1e-5)
    return x * scale + (beta - mean * scale)


def resnet(weights, x):
    """C2..C5 of a ResNet-50 that strides in the first 1x1 of a block."""
    body = "backbone.bottom_up"
    x = F.relu(conv(weights, f"{body}.stem.conv1", x, 2, 3))
    x = F.max_pool2d(x, 3, 2, 1)
    outputs = []
    for stage, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        for block in range(blocks):
            name = f"{body}.res{stage}.{block}"
            stride = 2 if block == 0 and stage > 2 else 1
            shortcut = conv(weights, f"{name}.shortcut", x, stride) if block == 0 else x
            x = F.relu(conv(weights, f"{name}.conv1", x, stride))
            x = F.relu(conv(weights, f"{name}.conv2", x, 1, 1))
            x = F.relu(conv(weights, f"{name}.conv3", x) + shortcut)
        outputs.append(x)
    return outputs


def feature_pyramid(weights, bottom_up):
    """P2..P6."""
    above, outputs = None, []
    for level, x in reversed(list(enumerate(bottom_up, 2))):
        lateral = conv(weights, f"backbone.fpn_lateral{level}", x)
        if above is not None:
            lateral = lateral + F.interpolate(above, scale_factor=2.0, mode="nearest")
        above = lateral
        outputs.insert(0, conv(weights, f"backbone.fpn_output{level}", lateral, 1, 1))
    return [*outputs, F.max_pool2d(outputs[-1], 1, 2)]


# --- proposals -------------------------------------------------------------------------------


def region_head(weights, pyramid):
    """Per level: logits [n] and deltas [n, 4], in the order ((y * width) + x) * 3 + anchor."""
    head = "proposal_generator.rpn_head"
    logits, deltas = [], []
    for p in pyramid:
        x = F.relu(conv(weights, f"{head}.conv", p, 1, 1))
        logits.append(conv(weights, f"{head}.objectness_logits", x)[0].permute(1, 2, 0).reshape(-1))
        deltas.append(conv(weights, f"{head}.anchor_deltas", x)[0].permute(1, 2, 0).reshape(-1, 4))
    return logits, deltas


def grid_anchors(p, size, stride):
    """Anchors [n, 4] of one level; the first is centered on the image's corner."""
    half = []
    for ratio in RATIOS:
        width = math.sqrt(size**2 / ratio)
        half.append((width / 2, ratio * width / 2))
    half = torch.tensor(half, dtype=p.dtype)
    cells = torch.cat([-half, half], 1)
    height, width = p.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=p.dtype) * stride,
        torch.arange(width, dtype=p.dtype) * stride,
        indexing="ij",
    )
    centres = torch.stack([x, y, x, y], -1)
    return (centres[:, :, None] + cells).reshape(-1, 4)


def find_proposals(anchors, logits, deltas, size):
    """The 1000 best boxes: 1000 per level, each level thinned out at an IoU of .7."""
    boxes, scores, levels = [], [], []
    for level, (anchor, logit, delta) in enumerate(zip(anchors, logits, deltas, strict=True)):
        score, index = logit.topk(min(1000, len(logit)))
        boxes.append(decode(anchor[index], delta[index], (1, 1, 1, 1)))
        scores.append(score)
        levels.append(torch.full_like(index, level))
    boxes, scores, levels = clip(torch.cat(boxes), size), torch.cat(scores), torch.cat(levels)
    filled = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
    boxes, scores, levels = boxes[filled], scores[filled], levels[filled]
    keep = batched_nms(boxes, scores, levels, 0.7)[:1000]
    return boxes[keep], scores[keep]


def decode(boxes, deltas, weights):
    """Boxes [n, 4] moved by deltas [n, 4 * k] (dx, dy, dw, dh), to [n, 4 * k]."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).T[:, :, None]
    centre_x = boxes[:, 0:1] + 0.5 * width
    centre_y = boxes[:, 1:2] + 0.5 * height
    dx, dy, dw, dh = (deltas[:, i::4] / weights[i] for i in range(4))
    centre_x, centre_y = dx * width + centre_x, dy * height + centre_y
    width = torch.exp(dw.clamp(max=LARGEST_DELTA)) * width
    height = torch.exp(dh.clamp(max=LARGEST_DELTA)) * height
    corners = (
        centre_x - 0.5 * width,
        centre_y - 0.5 * height,
        centre_x + 0.5 * width,
        centre_y + 0.5 * height,
    )
    return torch.stack(corners, 2).reshape(deltas.shape)


def clip(boxes, size):
    """Boxes [n, 4] cut at the border of an image of that (height, width)."""
    height, width = size
    x, y = boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)


# --- heads -----------------------------------------------------------------------------------


def pool(pyramid, boxes, output):
    """RoIAlign (aligned, adaptive) of each box on the level that fits its size."""
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    levels = torch.floor(4 + torch.log2(side / 224 + 1e-8)).clamp(2, 5)
    pooled = boxes.new_zeros(len(boxes), 256, output, output)
    for level in range(2, 6):
        (index,) = torch.nonzero(levels == level, as_tuple=True)
        pooled[index] = roi_align(
            pyramid[level - 2], [boxes[index]], output, 1 / 2**level, 0, aligned=True
        )
    return pooled


def linear(weights, name, x):
    """A fully connected layer."""
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def box_head(weights, features):
    """Class logits [n, 81], background last, and deltas [n, 80 * 4]."""
    x = features.flatten(1)
    for layer in ("fc1", "fc2"):
        x = F.relu(linear(weights, f"roi_heads.box_head.{layer}", x))
    predictor = "roi_heads.box_predictor"
    return (
        linear(weights, f"{predictor}.cls_score", x),
        linear(weights, f"{predictor}.bbox_pred", x),
    )


def detect(proposals, logits, deltas, size):
    """The 100 best boxes of all classes with their scores and labels."""
    scores = logits.softmax(1)[:, :-1]
    boxes = decode(proposals, deltas, (10, 10, 5, 5))
    boxes = clip(boxes.reshape(-1, 4), size).reshape(*scores.shape, 4)
    rows, labels = torch.nonzero(scores > 0.05, as_tuple=True)
    boxes, scores = boxes[rows, labels], scores[rows, labels]
    keep = batched_nms(boxes, scores, labels, 0.5)[:100]
    return boxes[keep], scores[keep], labels[keep]


def mask_head(weights, x):
    """Mask logits [n, 80, 28, 28]."""
    head = "roi_heads.mask_head"
    for index in range(1, 5):
        x = F.relu(conv(weights, f"{head}.mask_fcn{index}", x, 1, 1))
    deconv = weights[f"{head}.deconv.weight"], weights[f"{head}.deconv.bias"]
    x = F.relu(F.conv_transpose2d(x, *deconv, stride=2))
    return conv(weights, f"{head}.predictor", x)


# --- original image ------------------------------------------------------------------------


def rescale(boxes, size, original):
    """Boxes of the resized image in the original one, cut at its border."""
    y, x = original[0] / size[0], original[1] / size[1]
    return clip(boxes * torch.tensor([x, y, x, y], dtype=boxes.dtype), original)


def paste(masks, boxes, size):
    """Mask probabilities [n, 28, 28] sampled at the centre of each pixel, [n, height, width]."""
    height, width = size
    pasted = masks.new_zeros(len(masks), height, width)
    for index, (mask, (x1, y1, x2, y2)) in enumerate(zip(masks, boxes, strict=True)):
        x = (torch.arange(width, dtype=masks.dtype) + 0.5 - x1) / (x2 - x1) * 2 - 1
        y = (torch.arange(height, dtype=masks.dtype) + 0.5 - y1) / (y2 - y1) * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
        pasted[index] = F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]
    return pasted

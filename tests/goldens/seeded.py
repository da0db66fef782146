"""Seeded weights, images and sample positions that the golden values rest on; NumPy only.

`make.py` loads `state_dict(family)` into the reference model and writes what it computes;
the tests load the same numbers into ours and compare. So no weights need to be stored.

Only `Generator.random` is used: its numbers are the plain bits of PCG64, which NumPy keeps,
while its normal draws may change between versions.
"""

import zlib

import numpy as np

FAMILIES = ("torchvision", "detectron2", "torchvision_v2")
SEEDS = {"torchvision": 1, "detectron2": 5, "torchvision_v2": 1}

# height, width. Resized to 800/1333, no image is a multiple of 32 on both sides; the second
# stands upright, torchvision makes 799 of the third's 97 rows, and the last one shrinks.
SIZES = ((427, 640), (500, 333), (97, 150), (700, 1400))

BLOCKS = (3, 4, 6, 3)


# --- weights ---------------------------------------------------------------------------------


def state_dict(family):
    """All tensors of a ResNet-50 FPN model of that family: {name: array}, in the model's order.

    Each depends on the family's seed and on its own name alone. The scales keep activations
    near 1, and spread class scores, RPN logits and masks so that every decision is exercised.
    """
    build = {
        "torchvision": _torchvision,
        "torchvision_v2": _torchvision_v2,
        "detectron2": _detectron2,
    }[family]
    tensors = _Tensors(SEEDS[family])
    build(tensors)
    return dict(tensors)


HE = 2**0.5  # what a layer after a ReLU needs to keep the size of its input
CENTRED = 0.7
LEVELS = (0.5, 0.65, 1.0, 1.5)  # P2..P5: the top-down sum grows, but all levels shall be used


class _Tensors(dict):
    """Names to arrays, with methods that draw one layer each."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def draw(self, name, shape, std, mean=0.0):
        """Uniform numbers of that mean and standard deviation."""
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        numbers = rng.random(shape, dtype=np.float32)
        self[name] = (numbers - np.float32(0.5)) * np.float32(std * 12**0.5) + np.float32(mean)

    def kernel(self, name, shape, gain, centered=CENTRED, transposed=False):
        """A kernel whose output has about `gain` times the size of its input.

        `centered` takes that part of each output channel's mean away: features after ReLU are
        positive, and what they have in common would drown what tells two places apart.
        """
        axes = (0,) if transposed else tuple(range(1, len(shape)))
        fan_in = np.prod([shape[axis] for axis in axes])
        self.draw(f"{name}.weight", shape, gain / fan_in**0.5)
        mean = self[f"{name}.weight"].mean(axis=axes, keepdims=True, dtype=np.float64)
        self[f"{name}.weight"] -= (centered * mean).astype(np.float32)

    def dense(self, name, shape, gain, centered=CENTRED, bias=0.1, transposed=False):
        """A kernel with a bias."""
        self.kernel(name, shape, gain, centered, transposed)
        self.draw(f"{name}.bias", (shape[1 if transposed else 0],), bias)

    def normed(self, name, norm, shape, gain=HE, centered=CENTRED, scale=1.0, tracked=False):
        """A convolution without bias and its batch normalisation, which multiplies by `scale`.

        The variances are about 1/64, so that a wrong epsilon shows.
        """
        self.kernel(name, shape, gain / 8, centered)
        self.draw(f"{norm}.weight", shape[:1], 0.15 * scale, scale)
        self.draw(f"{norm}.bias", shape[:1], 0.15)
        self.draw(f"{norm}.running_mean", shape[:1], 0.15 / 8)
        self.draw(f"{norm}.running_var", shape[:1], 0.2 / 64, 1 / 64)
        if tracked:
            self[f"{norm}.num_batches_tracked"] = np.zeros((), np.int64)


def _torchvision_resnet(tensors, tracked):
    body = "backbone.body"
    tensors.normed(f"{body}.conv1", f"{body}.bn1", (64, 3, 7, 7), 1.0, 0.0, tracked=tracked)
    inputs = 64
    for stage, blocks in enumerate(BLOCKS, 1):
        width = 32 * 2**stage
        for block in range(blocks):
            name = f"{body}.layer{stage}.{block}"
            for index, (shape, scale) in enumerate(_bottleneck(inputs, width), 1):
                layer, norm = f"{name}.conv{index}", f"{name}.bn{index}"
                tensors.normed(layer, norm, shape, scale=scale, tracked=tracked)
            if block == 0:
                layer, norm = f"{name}.downsample.0", f"{name}.downsample.1"
                tensors.normed(layer, norm, (4 * width, inputs, 1, 1), tracked=tracked)
            inputs = 4 * width


def _detectron2_resnet(tensors):
    body = "backbone.bottom_up"
    stem = f"{body}.stem.conv1"
    tensors.normed(stem, f"{stem}.norm", (64, 3, 7, 7), 1 / 40, 0.0)  # pixels go up to 255
    inputs = 64
    for stage, blocks in enumerate(BLOCKS, 2):
        width = 16 * 2**stage
        for block in range(blocks):
            name = f"{body}.res{stage}.{block}"
            if block == 0:
                layer = f"{name}.shortcut"
                tensors.normed(layer, f"{layer}.norm", (4 * width, inputs, 1, 1))
            for index, (shape, scale) in enumerate(_bottleneck(inputs, width), 1):
                layer = f"{name}.conv{index}"
                tensors.normed(layer, f"{layer}.norm", shape, scale=scale)
            inputs = 4 * width


def _bottleneck(inputs, width):
    """Shapes of a block's three kernels and what their norms multiply by; a small last one
    keeps the sum from growing."""
    return (
        ((width, inputs, 1, 1), 1.0),
        ((width, width, 3, 3), 1.0),
        ((4 * width, width, 1, 1), 0.4),
    )


def _torchvision(tensors):
    _torchvision_resnet(tensors, tracked=False)
    pyramid = "backbone.fpn"
    for level in range(4):
        tensors.dense(f"{pyramid}.inner_blocks.{level}.0", (256, 256 * 2**level, 1, 1), 1.0)
    for level, gain in enumerate(LEVELS):
        tensors.dense(f"{pyramid}.layer_blocks.{level}.0", (256, 256, 3, 3), gain, 0.0)
    _region_head(tensors, "rpn.head", ("conv.0.0",), ("cls_logits", "bbox_pred"))
    _two_layers(tensors, "roi_heads.box_head.fc6", "roi_heads.box_head.fc7")
    _box_predictor(tensors, 91, 91, gain=3.6, background=0, lead=8.5)
    for index in range(4):
        tensors.dense(f"roi_heads.mask_head.{index}.0", (256, 256, 3, 3), HE)
    predictor = "roi_heads.mask_predictor"
    _mask_predictor(tensors, f"{predictor}.conv5_mask", f"{predictor}.mask_fcn_logits", 91)


def _torchvision_v2(tensors):
    _torchvision_resnet(tensors, tracked=True)

    def convs(name, shapes, gains, centered):
        for index, (shape, gain) in enumerate(zip(shapes, gains, strict=True)):
            layer = f"{name}.{index}"
            tensors.normed(f"{layer}.0", f"{layer}.1", shape, gain, centered, tracked=True)

    squares = [(256, 256, 3, 3)] * 4
    laterals = [(256, 256 * 2**level, 1, 1) for level in range(4)]
    convs("backbone.fpn.inner_blocks", laterals, [1.0] * 4, CENTRED)
    convs("backbone.fpn.layer_blocks", squares, LEVELS, 0.0)
    _region_head(tensors, "rpn.head", ("conv.0.0", "conv.1.0"), ("cls_logits", "bbox_pred"))
    convs("roi_heads.box_head", squares, [HE] * 4, CENTRED)
    tensors.dense("roi_heads.box_head.5", (1024, 256 * 7 * 7), HE, 1.0)
    _box_predictor(tensors, 91, 91, gain=6.0, background=0, lead=12.2)
    convs("roi_heads.mask_head", squares, [HE] * 4, CENTRED)
    predictor = "roi_heads.mask_predictor"
    _mask_predictor(tensors, f"{predictor}.conv5_mask", f"{predictor}.mask_fcn_logits", 91)


def _detectron2(tensors):
    _detectron2_resnet(tensors)
    for level, gain in enumerate(LEVELS):
        tensors.dense(f"backbone.fpn_lateral{level + 2}", (256, 256 * 2**level, 1, 1), 1.0)
        tensors.dense(f"backbone.fpn_output{level + 2}", (256, 256, 3, 3), gain, 0.0)
    outputs = ("objectness_logits", "anchor_deltas")
    _region_head(tensors, "proposal_generator.rpn_head", ("conv",), outputs)
    _two_layers(tensors, "roi_heads.box_head.fc1", "roi_heads.box_head.fc2")
    _box_predictor(tensors, 81, 80, gain=3.6, background=80, lead=10.0)
    head = "roi_heads.mask_head"
    for index in range(1, 5):
        tensors.dense(f"{head}.mask_fcn{index}", (256, 256, 3, 3), HE)
    _mask_predictor(tensors, f"{head}.deconv", f"{head}.predictor", 80)


def _region_head(tensors, head, convs, outputs):
    for conv in convs:
        tensors.dense(f"{head}.{conv}", (256, 256, 3, 3), HE)
    logits, deltas = outputs
    tensors.dense(f"{head}.{logits}", (3, 256, 1, 1), 1.7, 1.0)
    tensors.dense(f"{head}.{deltas}", (12, 256, 1, 1), 0.25, 1.0)


def _two_layers(tensors, first, second):
    tensors.dense(first, (1024, 256 * 7 * 7), HE, 1.0)
    tensors.dense(second, (1024, 1024), HE, 1.0)


def _box_predictor(tensors, classes, boxes, gain, background, lead):
    """The bias of the background `lead`s, so that it wins most boxes but not all."""
    predictor = "roi_heads.box_predictor"
    tensors.dense(f"{predictor}.cls_score", (classes, 1024), gain, 1.0, bias=0.5)
    tensors[f"{predictor}.cls_score.bias"][background] += np.float32(lead)
    tensors.dense(f"{predictor}.bbox_pred", (boxes * 4, 1024), 1.4, 1.0)


def _mask_predictor(tensors, deconv, logits, classes):
    tensors.dense(deconv, (256, 256, 2, 2), HE, transposed=True)
    tensors.dense(logits, (classes, 256, 1, 1), 4.0, 1.0, bias=0.3)


# --- images --------------------------------------------------------------------------------


def image(index):
    """An image with soft light, objects with edges, textures and a little noise.

    uint8 RGB [height, width, 3]. The edges are three pixels wide: at harder ones a resize shows
    how its coordinates were rounded.
    """
    height, width = SIZES[index]
    rng = np.random.default_rng([20, index])
    y, x = np.mgrid[0:height, 0:width] / min(height, width)
    edge = 3 / min(height, width)
    corners = _colours(rng, 4)
    across, down = (x / x.max())[..., None], (y / y.max())[..., None]
    top = corners[0] * (1 - across) + corners[1] * across
    picture = top * (1 - down) + (corners[2] * (1 - across) + corners[3] * across) * down
    for _ in range(30):
        inside, u, v = _outline(rng, y, x, edge)
        picture += inside[..., None] * (_texture(rng, u, v, edge) - picture)
    picture += (rng.random(picture.shape) - 0.5) * 8
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def _colours(rng, count):
    return 30 + rng.random((count, 3)) * 200


def _step(distance, edge):
    """0 outside, 1 inside of a border that is `edge` wide."""
    return np.clip(distance / edge + 0.5, 0, 1)


def _outline(rng, y, x, edge):
    """An ellipse or a box at a random place, turned; with the coordinates inside it."""
    angle, round_ = rng.random() * np.pi, rng.random() < 0.5
    centre_y, centre_x = rng.random(2) * (y.max(), x.max())
    height, width = 0.03 * 12 ** rng.random(2)
    u = (x - centre_x) * np.cos(angle) + (y - centre_y) * np.sin(angle)
    v = (y - centre_y) * np.cos(angle) - (x - centre_x) * np.sin(angle)
    if round_:
        distance = (1 - np.hypot(u / width, v / height)) * min(height, width)
    else:
        distance = np.minimum(width - abs(u), height - abs(v))
    return _step(distance, edge), u, v


def _texture(rng, u, v, edge):
    """Two colours in stripes, checks, rings or a smooth change."""
    first, second = _colours(rng, 2)
    kind, period = int(rng.random() * 4), 0.01 + rng.random() * 0.05
    stripes, across = (period * np.sin(along / period) for along in (u, v))
    part = (
        lambda: _step(stripes, edge),
        lambda: _step(stripes * across / period, edge),
        lambda: 0.5 + 0.5 * np.cos(np.hypot(u, v) / period),
        lambda: np.clip(0.5 + 2 * u, 0, 1),
    )[kind]()[..., None]
    return first + (second - first) * part


# --- sample positions ------------------------------------------------------------------------


def sample(shape, name, count=4096):
    """Flat positions in an array of that shape at which the golden values of a stage are kept."""
    rng = np.random.default_rng([30, zlib.crc32(name.encode())])
    return (rng.random(count) * np.prod(shape, dtype=np.int64)).astype(np.int64)

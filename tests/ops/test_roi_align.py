import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.ops import roi_align as roi

RAMP5 = np.arange(25, dtype="float32").reshape(1, 5, 5, 1)
RAMP8 = np.arange(64, dtype="float32").reshape(1, 8, 8, 1)
STRIDES = (4, 8, 16, 32)


def run(function, *args, **kwargs):
    """Calls a function of tensors with arrays and returns an array."""
    args = keras.tree.map_structure(
        lambda a: ops.convert_to_tensor(a) if isinstance(a, np.ndarray) else a, args
    )
    return ops.convert_to_numpy(function(*args, **kwargs))


def random_boxes(rng, *shape, low=0, high=128):
    corners = np.sort(rng.uniform(low, high, (*shape, 2, 2)), axis=-2)
    return corners.reshape(*shape, 4).astype("float32")


def bilinear(image, y, x):
    """Returns one bilinear sample as torchvision's kernel computes it."""
    height, width = image.shape[:2]
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0 * image[0, 0]
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    t, l = int(y), int(x)  # noqa: E741
    b, r = min(t + 1, height - 1), min(l + 1, width - 1)
    top = image[t, l] * (1 - x + l) + image[t, r] * (x - l)
    return top * (1 - y + t) + (image[b, l] * (1 - x + l) + image[b, r] * (x - l)) * (y - t)


def oracle(image, box, n, stride, ratio, aligned):
    y1, x1, y2, x2 = box.astype(np.float64) / stride - (0.5 if aligned else 0)
    height, width = y2 - y1, x2 - x1
    if not aligned:
        height, width = max(height, 1), max(width, 1)
    down, across = (ratio or int(np.ceil(side / n)) for side in (height, width))
    if not down * across:
        return np.zeros((n, n, image.shape[-1]))
    samples = [
        [bilinear(image, y1 + s * height, x1 + t * width) for t in shares(n, across)]
        for s in shares(n, down)
    ]
    return np.reshape(samples, (n, down, n, across, -1)).mean((1, 3))


def shares(n, ratio):
    return (np.arange(n * ratio) + 0.5) / (n * ratio)


def align(image, xyxy, n, stride=1, ratio=2, aligned=True):
    box, index = np.array([xyxy], "float32")[:, [1, 0, 3, 2]], np.zeros(1, "int32")
    out = run(roi.roi_align, image, box, index, n, stride, ratio, aligned)
    return out[0, ..., 0]


def test_against_torchvision():
    below = align(RAMP5, [-3, -3, 1, 1], 4, ratio=1, aligned=False)
    assert below.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0.5], [0, 0, 2.5, 3]]
    above = align(RAMP5, [3, 3, 7, 7], 4, ratio=1, aligned=False)
    assert above.tolist() == [[21, 21.5, 0, 0], [23.5, 24, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    whole = align(RAMP5, [0, 0, 4, 4], 2, aligned=False)
    np.testing.assert_allclose(whole, [[6, 8], [16, 18]], atol=2e-5)
    scaled = align(RAMP8, [4, 6, 20, 22], 2, stride=4, aligned=False)
    np.testing.assert_allclose(scaled, [[22, 24], [38, 40]], atol=2e-5)
    tiny = align(RAMP8, [4, 4, 5.6, 5.6], 2, stride=4, aligned=False)
    np.testing.assert_allclose(tiny, [[11.25, 11.75], [15.25, 15.75]], atol=2e-5)


def test_against_detectron2():
    """The adaptive grid takes one sample per cell here. On a ramp, every grid has this mean."""
    rows = np.arange(4)[:, None] * 2.5 + np.arange(4) * 0.5
    for ratio in (1, 2, 3):
        out = align(RAMP5, [1, 1, 3, 3], 4, ratio=ratio)
        np.testing.assert_allclose(out, 4.5 + rows, atol=2e-5)
        out = align(RAMP5, [1, 1, 3, 3], 4, ratio=ratio, aligned=False)
        np.testing.assert_allclose(out, 7.5 + rows, atol=2e-5)
    np.testing.assert_allclose(
        align(RAMP8, [4, 6, 20, 22], 2, stride=4), [[17.5, 19.5], [33.5, 35.5]], atol=2e-5
    )
    np.testing.assert_allclose(
        align(RAMP8, [4, 4, 5.6, 5.6], 2, stride=4), [[5.4, 5.6], [7.0, 7.2]], atol=2e-5
    )


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("n, ratio", [(7, 2), (3, 1), (1, 2), (2, 3)])
def test_against_oracle(aligned, n, ratio):
    rng = np.random.default_rng(n)
    image = rng.normal(size=(2, 11, 9, 2)).astype("float32")
    boxes = random_boxes(rng, 40, low=-25, high=70)  # beyond the map of 44 x 36 pixels
    boxes[0], boxes[1] = 0, [0, 0, 44, 36]
    index = rng.integers(0, 2, 40).astype("int32")
    out = run(roi.roi_align, image, boxes, index, n, 4, ratio, aligned)
    expected = [
        oracle(image[k], b, n, 4, ratio, aligned) for k, b in zip(index, boxes, strict=True)
    ]
    # A sample within rounding of -1 or of the size may fall on either side of the border.
    assert np.abs(out - expected).max() < 2e-5


def test_output_shape_and_no_boxes():
    none = np.zeros((0, 4), "float32"), np.zeros(0, "int32")
    assert run(roi.roi_align, RAMP5, *none, 7, 4).shape == (0, 7, 7, 1)
    one = np.ones((1, 4), "float32"), np.zeros(1, "int32")
    assert run(roi.roi_align, RAMP5, *one, (2, 3), 4).shape == (1, 2, 3, 1)
    assert (run(roi.roi_align, RAMP5, one[0] * np.nan, one[1], 2, 4) == 0).all()


def test_levels():
    """Thresholds of Detectron2 for square boxes."""
    golden = {0: 2, 10: 2, 111.99: 2, 111.9999: 2, 112: 3, 223.99: 3, 223.9999: 3, 224: 4}
    golden |= {447.9: 4, 448: 5, 895: 5, 896: 5, 2000: 5}
    boxes = np.array([[0, 0, side, side] for side in golden], "float32")
    levels = run(roi.assign_levels, boxes)
    assert levels.tolist() == list(golden.values())
    assert levels.dtype == np.int32
    assert run(roi.assign_levels, boxes, max_level=3).max() == 3
    assert run(roi.assign_levels, boxes / 4, canonical_size=56).tolist() == levels.tolist()


def test_level_of_torchvision():
    """The tolerance moves a side just below the border to the next level."""
    sides = {111.99: 2, 112: 3, 223.99: 3, 223.9999: 4, 224: 4, 447.9: 4, 448: 5}
    boxes = np.array([[0, 0, side, side] for side in sides], "float32")
    assert run(roi.assign_levels, boxes, tolerance=1e-6).tolist() == list(sides.values())


def pyramid(rng, height=128, width=96, channels=3, batch=2):
    return [
        rng.normal(size=(batch, height // s, width // s, channels)).astype("float32")
        for s in STRIDES
    ]


def per_level(maps, boxes, levels, n, ratio=2):
    batch, rois = boxes.shape[:2]
    index = np.repeat(np.arange(batch), rois).astype("int32")
    flat = ops.reshape(boxes, (-1, 4))
    total = 0
    for level, (feature_map, stride) in enumerate(zip(maps, STRIDES, strict=True), start=2):
        out = roi.roi_align(feature_map, flat, index, n, stride, ratio)
        out = ops.reshape(out, (batch, rois, n, n, -1))
        total = total + out * ops.cast(levels == level, "float32")[..., None, None, None]
    return total


def pyramid_case(rois=64):
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng, 2, rois, high=1) * np.array([128, 96, 128, 96], "float32")
    boxes[0, 0], boxes[1, 0], boxes[0, 1] = [0, 0, 128, 96], [0, 0, 0, 0], [128, 96, 128, 96]
    # The levels do not depend on the sizes, so that boxes reach every border.
    levels = rng.integers(2, 6, (2, rois)).astype("int32")
    return pyramid(rng), boxes, levels


@pytest.mark.parametrize("n, ratio", [(7, 2), (14, 2), (1, 1)])
def test_pyramid_equals_levels(n, ratio):
    maps, boxes, levels = pyramid_case()
    out = run(roi.pyramid_roi_align, maps, boxes, STRIDES, n, levels, ratio)
    assert out.shape == (2, 64, n, n, 3)
    expected = run(per_level, maps, boxes, levels, n, ratio)
    np.testing.assert_allclose(out, expected, atol=5e-5)


def test_pyramid_edges():
    maps, boxes, levels = pyramid_case()
    none = run(roi.pyramid_roi_align, maps, boxes[:, :0], STRIDES, 7, levels[:, :0])
    assert none.shape == (2, 0, 7, 7, 3)
    one = run(roi.pyramid_roi_align, maps[:1], boxes, STRIDES[:1], 7, 0 * levels + 2)
    expected = run(per_level, maps, boxes, 0 * levels + 2, 7)
    np.testing.assert_allclose(one, expected, atol=5e-5)
    tall = [np.ones((1, 64 // s, 16 // s or 1, 1), "float32") for s in (1, 2, 4, 8)]
    box = np.array([[[0, 0, 64, 16]] * 4], "float32")
    out = run(roi.pyramid_roi_align, tall, box, (1, 2, 4, 8), 3, np.array([[2, 3, 4, 5]], "int32"))
    np.testing.assert_allclose(out, 1, atol=1e-6)  # no sample reads the zeros of the padding


def gradient(function, arrays):
    """Returns the gradients of a scalar function of tensors, on the current backend."""
    tensors = [ops.convert_to_tensor(array) for array in arrays]
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(tensors)
        gradients = tape.gradient(value, tensors)
    elif backend == "jax":
        import jax

        gradients = jax.grad(function)(tensors)
    else:
        import torch

        tensors = [tensor.requires_grad_(True) for tensor in tensors]
        gradients = torch.autograd.grad(function(tensors), tensors)
    return [ops.convert_to_numpy(value) for value in gradients]


def test_pyramid_gradient_equals_levels():
    maps, boxes, levels = pyramid_case(rois=20)
    weights = np.random.default_rng(1).normal(size=(2, 20, 7, 7, 3)).astype("float32")
    boxes, levels, weights = (ops.convert_to_tensor(a) for a in (boxes, levels, weights))

    def on_canvas(maps):
        return ops.sum(roi.pyramid_roi_align(maps, boxes, STRIDES, 7, levels) * weights)

    def level_by_level(maps):
        return ops.sum(per_level(maps, boxes, levels, 7) * weights)

    for a, b in zip(gradient(on_canvas, maps), gradient(level_by_level, maps), strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, atol=3e-4)


def test_half_precision_maps():
    maps, boxes, levels = pyramid_case(rois=8)
    half = [m.astype("float16") for m in maps]
    out = run(roi.pyramid_roi_align, half, boxes, STRIDES, 7, levels)
    assert out.dtype == np.float16
    full = run(roi.pyramid_roi_align, maps, boxes, STRIDES, 7, levels)
    np.testing.assert_allclose(out, full, atol=5e-3)


def mask_oracle(mask, frame, box, n, ratio=2):
    padded = np.pad(mask, 1)[..., None].astype(np.float64)
    size = np.maximum(frame[2:] - frame[:2], 1e-6).astype(np.float64)
    shares = (np.arange(n * ratio) + 0.5) / (n * ratio)

    def places(axis):
        at = box[axis] + shares * (box[axis + 2] - box[axis])
        return (at - frame[axis]) / size[axis] * mask.shape[axis] - 0.5

    samples = [[bilinear(padded, y + 1, x + 1) for x in places(1)] for y in places(0)]
    return np.reshape(samples, (n, ratio, n, ratio)).mean((1, 3))


def test_masks_against_oracle():
    rng = np.random.default_rng(0)
    masks = rng.random((2, 5, 14, 10)).astype("float32")
    frames, boxes = random_boxes(rng, 2, 5), random_boxes(rng, 2, 30, low=-10, high=140)
    frames[..., 2:] += 4
    masks[1, 4], frames[1, 4] = 0, 0  # a padding row
    index = rng.integers(0, 5, (2, 30)).astype("int32")
    out = run(roi.crop_masks, masks, frames, boxes, index, (8, 8))
    for image in range(2):
        for row in range(30):
            k = index[image, row]
            expected = mask_oracle(masks[image, k], frames[image, k], boxes[image, row], 8)
            np.testing.assert_allclose(out[image, row], expected, atol=1e-4)


def test_mask_of_its_own_box_and_next_to_it():
    mask = np.ones((1, 1, 28, 28), "float32")
    frame = np.array([[[10, 20, 66, 76]]], "float32")
    boxes = np.array([[[10, 20, 66, 76], [100, 100, 120, 120], [10, 20, 66, 132]]], "float32")
    out = run(roi.crop_masks, mask, frame, boxes, np.zeros((1, 3), "int32"), (28, 28))[0]
    assert out[0, 1:-1, 1:-1].min() == 1 and out[0].min() > 0.5
    assert (out[1] == 0).all()
    half = out[2] >= 0.5
    assert half[:, :14].all() and not half[:, 14:].any()


def test_full_mask_gives_the_same_target_as_a_mini_mask():
    full = np.zeros((1, 1, 64, 64), "float32")
    full[0, 0, 16:48, 8:40] = np.tri(32)
    gt = np.array([[[16, 8, 48, 40]]], "float32")
    image = np.array([[[0, 0, 64, 64]]], "float32")
    boxes = np.array([[[18, 10, 44, 38], [20, 12, 30, 30]]], "float32")
    index = np.zeros((1, 2), "int32")
    mini = run(roi.crop_masks, full[:, :, 16:48, 8:40], gt, boxes, index, (14, 14))
    np.testing.assert_allclose(
        mini, run(roi.crop_masks, full, image, boxes, index, (14, 14)), atol=1e-5
    )


def test_masks_without_boxes():
    none = run(
        roi.crop_masks,
        np.zeros((2, 3, 4, 4), "float32"),
        np.zeros((2, 3, 4), "float32"),
        np.zeros((2, 0, 4), "float32"),
        np.zeros((2, 0), "int32"),
        (28, 28),
    )
    assert none.shape == (2, 0, 28, 28)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="about tf.function")
@pytest.mark.parametrize("dynamic", [True, False])
def test_tensorflow_graph_with_unknown_sizes_and_with_xla(dynamic):
    import tensorflow as tf

    maps, boxes, levels = pyramid_case()
    function = tf.function(
        lambda maps, boxes, levels: roi.pyramid_roi_align(maps, boxes, STRIDES, 7, levels),
        input_signature=[
            [tf.TensorSpec((None, None, None, 3) if dynamic else m.shape) for m in maps],
            tf.TensorSpec((None, 64, 4) if dynamic else boxes.shape),
            tf.TensorSpec((None, 64) if dynamic else levels.shape, tf.int32),
        ],
        jit_compile=not dynamic,
    )
    expected = run(per_level, maps, boxes, levels, 7)
    np.testing.assert_allclose(function(maps, boxes, levels), expected, atol=5e-5)


def pooled_by_oracle(maps, boxes, levels, n, ratio, aligned):
    return np.array(
        [
            [
                oracle(maps[level - 2][image], box, n, STRIDES[level - 2], ratio, aligned)
                for box, level in zip(boxes[image], levels[image], strict=True)
            ]
            for image in range(len(boxes))
        ]
    )


@pytest.mark.parametrize("aligned, ratio", [(False, 2), (True, 0), (True, 3)])
@pytest.mark.parametrize("n", [7, 3, 1])
def test_pyramid_against_oracle(aligned, ratio, n):
    maps, boxes = pyramid_case(40)[:2]
    levels = np.random.default_rng(1).integers(2, 6, boxes.shape[:2]).astype("int32")
    # A sliver at the lower right corner, which unaligned pooling widens beyond the map; an empty
    # box; one as wide as the image; the image.
    boxes[0, :4] = [[127, 95, 128, 96], [0, 0, 0, 0], [60, 0, 63, 96], [0, 0, 128, 96]]
    levels[0, :4] = [5, 2, 2, 2]
    boxes[1, 0], levels[1, 0] = [127.5, 3, 128, 5], 2
    args = maps, boxes, STRIDES, n, levels, ratio, aligned
    out = run(roi.pyramid_roi_align, *args)
    np.testing.assert_allclose(
        out, pooled_by_oracle(maps, boxes, levels, n, ratio, aligned), atol=2e-5
    )


def test_adaptive_gradient():
    """The sum of squares is quadratic in the maps, so gradient times maps is twice the sum."""
    maps, boxes, levels = pyramid_case(6)

    def total(feature_maps):
        pooled = roi.pyramid_roi_align(feature_maps, boxes, STRIDES, 3, levels, 0, bounded=True)
        return ops.sum(pooled * pooled)

    value, gradients = value_and_gradients(total, maps)
    euler = sum((g * m).sum() for g, m in zip(gradients, maps, strict=True))
    assert euler == pytest.approx(2 * value, rel=1e-4)


def value_and_gradients(function, arrays):
    """Returns the value of a function of tensors and its gradients, on the current backend."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        value, gradients = jax.value_and_grad(function)(arrays)
    elif backend == "torch":
        tensors = [ops.convert_to_tensor(array).requires_grad_() for array in arrays]
        value = function(tensors)
        value.backward()
        gradients = [tensor.grad for tensor in tensors]
    else:
        import tensorflow as tf

        variables = [tf.Variable(array) for array in arrays]
        with tf.GradientTape() as tape:
            value = function(variables)
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(value, variables)]
    return float(value), [ops.convert_to_numpy(gradient) for gradient in gradients]

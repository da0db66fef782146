import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.inference import compiled
from mrcnn.ops import kernels

CROP = [kernels.crop_and_resize, kernels.generic_crop_and_resize]
NMS = [kernels.non_max_suppression, kernels.generic_non_max_suppression]
RAMP = np.arange(25, dtype="float32").reshape(1, 5, 5, 1)


def run(function, *args, **kwargs):
    """Calls a function of tensors with arrays and returns an array."""
    args = keras.tree.map_structure(
        lambda a: ops.convert_to_tensor(a) if isinstance(a, np.ndarray) else a, args
    )
    return ops.convert_to_numpy(function(*args, **kwargs))


def random_boxes(rng, *shape, side=100):
    corners = np.sort(rng.uniform(0, side, (*shape, 2, 2)), axis=-2)
    return corners.reshape(*shape, 4).astype("float32")


def crop_oracle(image, box, rows, columns):
    def places(low, high, size, count):
        if count == 1:
            return [(low + high) / 2 * (size - 1)]
        return [(low + i * (high - low) / (count - 1)) * (size - 1) for i in range(count)]

    height, width, channels = image.shape
    out = np.zeros((rows, columns, channels))
    for i, y in enumerate(places(box[0], box[2], height, rows)):
        for j, x in enumerate(places(box[1], box[3], width, columns)):
            if 0 <= y <= height - 1 and 0 <= x <= width - 1:
                t, l = int(y), int(x)  # noqa: E741
                b, r = min(t + 1, height - 1), min(l + 1, width - 1)
                top = image[t, l] * (1 - x + l) + image[t, r] * (x - l)
                bottom = image[b, l] * (1 - x + l) + image[b, r] * (x - l)
                out[i, j] = top * (1 - y + t) + bottom * (y - t)
    return out


@pytest.mark.parametrize("crop", CROP)
def test_crop_against_tensorflows_values(crop):
    boxes = np.array([[0.25, 0.25, 0.75, 0.75]], "float32")
    inner = run(crop, RAMP, boxes, np.zeros(1, "int32"), (4, 4))[0, :, :, 0]
    np.testing.assert_allclose(inner[0], [6, 6.6667, 7.3333, 8], atol=1e-4)
    np.testing.assert_allclose(inner[3], [16, 16.6667, 17.3333, 18], atol=1e-4)
    across = np.array([[-0.5, -0.5, 0.5, 0.5]], "float32")
    across = run(crop, RAMP, across, np.zeros(1, "int32"), (3, 3))[0, :, :, 0]
    assert across.tolist() == [[0, 0, 0], [0, 0, 2], [0, 10, 12]]


@pytest.mark.parametrize("crop", CROP)
@pytest.mark.parametrize("n, size", [(1, (1, 1)), (129, (3, 2)), (7, (1, 5))])
def test_crop_against_oracle(crop, n, size):
    rng = np.random.default_rng(n)
    images = rng.normal(size=(3, 9, 7, 2)).astype("float32")
    boxes = rng.uniform(-0.3, 1.3, (n, 4)).astype("float32")  # some are flipped or outside
    index = rng.integers(0, 3, n).astype("int32")
    expected = [crop_oracle(images[k], box, *size) for k, box in zip(index, boxes, strict=True)]
    np.testing.assert_allclose(run(crop, images, boxes, index, size), expected, atol=1e-5)


@pytest.mark.parametrize("crop", CROP)
def test_crop_at_the_edges_of_the_numbers(crop):
    none = run(crop, RAMP, np.zeros((0, 4), "float32"), np.zeros(0, "int32"), (2, 2))
    assert none.shape == (0, 2, 2, 1)
    far = np.array([[1e12, 0, 1e13, 1]], "float32")
    assert (run(crop, RAMP, far, np.zeros(1, "int32"), (2, 2)) == 0).all()


def test_crop_of_boxes_that_are_not_finite():
    boxes = np.array([[np.nan, 0, 1, 1], [0, 0, np.inf, 1], [0, 0, 1, 1]], "float32")
    out = run(kernels.crop_and_resize, RAMP, boxes, np.zeros(3, "int32"), (2, 2))
    assert (out[:2] == 0).all() and out[2].sum() == 48


def nms_oracle(boxes, scores, count, threshold):
    def iou(a, b):
        inter = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
        return inter / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter)

    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > -1e30 and all(iou(boxes[i], boxes[k]) <= threshold for k in kept):
            kept.append(int(i))
    return kept[:count]


def run_nms(nms, boxes, scores, count, threshold):
    index, valid = nms(
        ops.convert_to_tensor(np.asarray(boxes, "float32")),
        ops.convert_to_tensor(np.asarray(scores, "float32")),
        count,
        threshold,
    )
    index, valid = ops.convert_to_numpy(index), ops.convert_to_numpy(valid)
    assert index.shape == valid.shape == (len(boxes), count)
    assert (index[~valid] == 0).all()
    assert (np.sort(~valid, axis=1) == ~valid).all()  # valid rows come first
    return [row[flags].tolist() for row, flags in zip(index, valid, strict=True)]


@pytest.mark.parametrize("nms", NMS)
def test_nms_facts(nms):
    boxes = [[[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 10]]]
    assert run_nms(nms, boxes, [[0.9, 0.8, 0.7, 0.6]], 4, 0.5) == [[0, 2]]
    assert run_nms(nms, boxes, [[0.6, 0.8, 0.7, 0.9]], 1, 0.5) == [[3]]
    half = [[[0, 0, 10, 10], [0, 0, 10, 5]]]  # IoU exactly 0.5: suppression is strict
    assert run_nms(nms, half, [[0.9, 0.8]], 2, 0.5) == [[0, 1]]
    assert run_nms(nms, half, [[0.9, 0.8]], 2, 0.49999) == [[0]]
    chain = [[[0, k, 10, k + 10] for k in range(0, 40, 4)]]  # each suppresses only the next
    assert run_nms(nms, chain, [np.arange(10, 0, -1)], 10, 0.4) == [[0, 2, 4, 6, 8]]


@pytest.mark.parametrize("nms", NMS)
@pytest.mark.parametrize("n, count", [(1, 1), (1, 5), (129, 200), (129, 20)])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_nms_against_oracle(nms, n, count, threshold):
    rng = np.random.default_rng(n + count)
    boxes = random_boxes(rng, 3, n)
    scores = rng.random((3, n)).astype("float32").round(1 if n > 1 else 3)  # with ties
    scores[0, ::3] = -1e30
    scores[1, ::4] = -np.inf
    expected = [nms_oracle(b, s, count, threshold) for b, s in zip(boxes, scores, strict=True)]
    assert run_nms(nms, boxes, scores, count, threshold) == expected


@pytest.mark.parametrize("nms", NMS)
def test_nms_without_boxes(nms):
    boxes = np.zeros((2, 3, 4))
    assert run_nms(nms, boxes, np.full((2, 3), -np.inf), 4, 0.5) == [[], []]
    assert run_nms(nms, boxes, np.full((2, 3), np.nan), 4, 0.5) == [[], []]
    assert run_nms(kernels.non_max_suppression, boxes[:, :0], np.zeros((2, 0)), 4, 0.5) == [[], []]


def toy_model():
    inputs = keras.Input((None, None, 3))
    outputs = {"sum": ops.sum(inputs, axis=(1, 2)), "twice": [keras.layers.Rescaling(2.0)(inputs)]}
    return keras.Model(inputs, outputs)


def test_compiled_model_is_traced_once_per_shape():
    predict = compiled.compiled(toy_model())
    for batch, side in [(1, 4), (1, 4), (3, 4), (1, 6), (3, 4), (3, 6), (1, 6)]:
        images = np.random.default_rng(batch).random((batch, side, side, 3)).astype("float32")
        outputs = predict(images)
        assert isinstance(outputs["sum"], np.ndarray)
        np.testing.assert_allclose(outputs["sum"], images.sum((1, 2)), rtol=1e-5)
        np.testing.assert_allclose(outputs["twice"][0], 2 * images, rtol=1e-6)
    expected = {"tensorflow": 2, "jax": 4}.get(keras.backend.backend(), 0)
    assert predict.traces == expected


def test_compiled_model_sees_new_weights():
    inputs = keras.Input((None, None, 1))
    layer = keras.layers.Dense(1, use_bias=False)
    predict = compiled.compiled(keras.Model(inputs, layer(inputs)))
    images = np.ones((1, 2, 2, 1), "float32")
    for weight in (2.0, 3.0):
        layer.set_weights([np.full((1, 1), weight, "float32")])
        np.testing.assert_allclose(predict(images), weight * images)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="about tf.function")
class TestTensorFlowGraphs:
    def test_dynamic_batch(self):
        import tensorflow as tf

        @tf.function(input_signature=[tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, None))])
        def nms(boxes, scores):
            return kernels.non_max_suppression(boxes, scores, 5, 0.5)

        rng = np.random.default_rng(0)
        for batch, n in [(1, 3), (2, 9), (0, 4), (2, 0)]:
            boxes, scores = random_boxes(rng, batch, n), rng.random((batch, n)).astype("float32")
            index, valid = nms(boxes, scores)
            kept = [row[v].tolist() for row, v in zip(index.numpy(), valid.numpy(), strict=True)]
            expected = [nms_oracle(b, s, 5, 0.5) for b, s in zip(boxes, scores, strict=True)]
            assert kept == expected

    def test_xla(self):
        import tensorflow as tf

        rng = np.random.default_rng(0)
        boxes, scores = random_boxes(rng, 2, 129), rng.random((2, 129)).astype("float32")
        for count in (20, 200):
            nms = tf.function(kernels.non_max_suppression, jit_compile=True)
            expected = [nms_oracle(b, s, count, 0.5) for b, s in zip(boxes, scores, strict=True)]
            index, valid = nms(boxes, scores, count, 0.5)
            kept = [row[v].tolist() for row, v in zip(index.numpy(), valid.numpy(), strict=True)]
            assert kept == expected
        arguments = RAMP, boxes[0] / 90, np.zeros(129, "int32")
        crop = tf.function(lambda *a: kernels.crop_and_resize(*a, (3, 3)), jit_compile=True)
        np.testing.assert_allclose(
            crop(*arguments), kernels.crop_and_resize(*arguments, (3, 3)), atol=1e-4
        )

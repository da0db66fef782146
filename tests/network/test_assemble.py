"""The training and the inference graph of a tiny network, and its heads."""

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn import batch
from mrcnn.config import Config
from mrcnn.network.heads.box import build_box_head
from mrcnn.network.heads.mask import build_mask_head
from mrcnn.network.mask_rcnn import Network
from mrcnn.training.fit import trainer

LOSSES = [
    "rpn_class_loss",
    "rpn_bbox_loss",
    "mrcnn_class_loss",
    "mrcnn_bbox_loss",
    "mrcnn_mask_loss",
]
OBJECTS = 6


def settings(**overrides):
    config = Config(
        **{
            "NAME": "tiny",
            "NUM_CLASSES": 4,
            "BACKBONE": "resnet18",
            "BACKBONE_WIDTH": 8,
            "IMAGE_MIN_DIM": 64,
            "IMAGE_MAX_DIM": 64,
            "RPN_ANCHOR_SCALES": (8, 16, 32, 48, 64),
            "TOP_DOWN_PYRAMID_SIZE": 16,
            "FPN_CLASSIF_FC_LAYERS_SIZE": 32,
            "MASK_CHANNELS": 16,
            "MASK_CONV_LAYERS": 1,
            "PRE_NMS_LIMIT": 50,
            "POST_NMS_ROIS_TRAINING": 24,
            "POST_NMS_ROIS_INFERENCE": 12,
            "TRAIN_ROIS_PER_IMAGE": 8,
            "RPN_TRAIN_ANCHORS_PER_IMAGE": 32,
            "MAX_GT_INSTANCES": OBJECTS,
            "MINI_MASK_SHAPE": (28, 28),
            "DETECTION_MAX_INSTANCES": 5,
            "DETECTION_MIN_CONFIDENCE": 0.0,
        }
        | overrides
    )
    config.validate()
    return config


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return Network(settings())


def numpy(outputs):
    return {name: ops.convert_to_numpy(value) for name, value in outputs.items()}


def detect(network, images):
    """Returns the outputs of the detector. Boxes are clipped to the whole image."""
    window = np.array([[0, 0, *images.shape[1:3]]] * len(images), "float32")
    return numpy(network.detector([images, window], training=False))


def random_images(height=64, width=64, count=2, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (count, height, width, channels)).astype("float32")


def example(objects=1, side=None, masks=(28, 28), channels=3):
    """Returns a batch of two images with the given number of objects each, plus padding."""
    rng = np.random.default_rng(objects)
    corner = rng.integers(0, 40, (2, OBJECTS, 2))
    size = rng.integers(4, 24, (2, OBJECTS, 2)) if side is None else side
    real = np.arange(OBJECTS) < objects
    arrays = {
        batch.IMAGE: random_images(channels=channels),
        batch.WINDOW: np.array([[0, 0, 64, 64]] * 2, "float32"),
        batch.GT_CLASS_IDS: (rng.integers(1, 4, (2, OBJECTS)) * real).astype("int32"),
        batch.GT_BOXES: (np.concatenate([corner, corner + size], -1) * real[:, None]).astype(
            "float32"
        ),
        batch.LEFT_OUT: np.zeros((2, batch.LEFT_OUT_ROWS, 4), "float32"),
    }
    if masks:
        masks = np.full((2, OBJECTS, *masks), 255, "uint8")
        arrays[batch.GT_MASKS] = masks * real[:, None, None].astype("uint8")
    return arrays


def losses_and_gradient_norm(model, arrays):
    """Returns the losses and the norm of the gradient of their sum, on the current backend."""
    backend = keras.backend.backend()
    weights = model.trainable_weights

    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            outputs = model(arrays, training=True)
            total = sum(outputs.values())
        gradients = tape.gradient(total, [w.value for w in weights])
    elif backend == "jax":
        import jax

        def total(values):
            outputs, _ = model.stateless_call(
                values, [w.value for w in model.non_trainable_variables], arrays, training=True
            )
            return sum(outputs.values()), outputs

        gradients, outputs = jax.grad(total, has_aux=True)([w.value for w in weights])
    else:
        outputs = model(arrays, training=True)
        model.zero_grad()
        sum(outputs.values()).backward()
        gradients = [w.value.grad for w in weights]
    squares = [float(ops.sum(ops.square(g))) for g in gradients if g is not None]
    return {k: float(v) for k, v in numpy(outputs).items()}, np.sqrt(sum(squares)), len(squares)


# --- Training graph ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arrays",
    [example(0), example(1), example(OBJECTS), example(OBJECTS, side=1)],
    ids=["nothing", "one", "full", "one pixel each"],
)
def test_losses_and_gradients_are_finite(network, arrays):
    losses, norm, _ = losses_and_gradient_norm(network.training, arrays)
    assert sorted(losses) == sorted(LOSSES)
    assert all(np.isfinite(value) and value >= 0 for value in losses.values())
    assert np.isfinite(norm) and norm > 0
    if not arrays[batch.GT_CLASS_IDS].any():
        assert losses["rpn_bbox_loss"] == losses["mrcnn_bbox_loss"] == 0
        assert losses["mrcnn_mask_loss"] == 0
    else:
        assert losses["mrcnn_mask_loss"] > 0 and losses["mrcnn_bbox_loss"] > 0


def test_a_roi_that_sees_nothing_of_its_instance_has_no_mask_loss(network):
    arrays = example(2)
    arrays[batch.GT_MASKS][:] = 0
    losses, _, _ = losses_and_gradient_norm(network.training, arrays)
    assert losses["mrcnn_mask_loss"] == 0 and losses["mrcnn_bbox_loss"] > 0


def test_the_total_is_the_weighted_sum(network):
    outputs = network.training(example(2), training=True)
    values = {name: float(value) for name, value in numpy(outputs).items()}
    total = float(trainer(network.training, {}).compute_loss(y_pred=outputs))
    assert total == pytest.approx(sum(values.values()), rel=1e-5)
    weighted = trainer(network.training, {"mrcnn_mask_loss": 3.0}).compute_loss(y_pred=outputs)
    assert float(weighted) == pytest.approx(total + 2 * values["mrcnn_mask_loss"], rel=1e-5)


def test_only_crowds_equal_no_objects(network):
    arrays = example(2)
    arrays[batch.GT_CLASS_IDS] *= -1
    losses, norm, _ = losses_and_gradient_norm(network.training, arrays)
    assert losses["rpn_bbox_loss"] == losses["mrcnn_bbox_loss"] == losses["mrcnn_mask_loss"] == 0
    assert np.isfinite(norm)


def test_every_weight_learns(network):
    *_, learning = losses_and_gradient_norm(network.training, example(OBJECTS))
    assert learning == len(network.training.trainable_weights)


def test_inputs_have_the_documented_names(network):
    specs = batch.training_specs((None, None, 3), OBJECTS, (28, 28))
    inputs = {tensor.name: tensor for tensor in network.training.inputs}
    assert set(inputs) == set(specs)
    for name, spec in specs.items():
        assert inputs[name].shape == (None, *spec.shape)
        assert inputs[name].dtype == spec.dtype


def test_validation_draws_no_statistics(network):
    norm = network.training.get_layer("bn_conv1")
    before = ops.convert_to_numpy(norm.moving_mean).copy()
    network.training(example(1), training=False)
    np.testing.assert_array_equal(ops.convert_to_numpy(norm.moving_mean), before)


@pytest.mark.parametrize(
    "overrides, arrays",
    [
        ({"USE_MINI_MASK": False}, example(2, masks=(64, 64))),
        ({"IMAGE_CHANNEL_COUNT": 1, "MEAN_PIXEL": (9,), "PIXEL_STD": (2,)}, example(2, channels=1)),
        ({"BACKBONE_NORM": "group", "HEAD_NORM": "group"}, example(2)),
        ({"BACKBONE_NORM": "frozen", "RPN_ANCHOR_STRIDE": 2}, example(2)),
    ],
    ids=["full masks", "gray", "group norm", "anchor stride 2"],
)
def test_other_settings(overrides, arrays):
    network = Network(settings(**overrides))
    losses = numpy(network.training(arrays, training=True))
    assert all(np.isfinite(value) for value in losses.values())
    detections = detect(network, arrays[batch.IMAGE])
    assert detections["masks"].shape == (2, 5, 28, 28)


def test_sizes_may_be_open_while_tracing(network):
    """A data pipeline with images of many sizes declares shapes without fixed sides."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends trace known shapes")
    import tensorflow as tf

    signature = {
        name: tf.TensorSpec(
            [None] * 3 + [3] if name == batch.IMAGE else [None, *a.shape[1:]], a.dtype
        )
        for name, a in example(1).items()
    }
    step = tf.function(lambda arrays: network.training(arrays, training=True), [signature])
    for shape in ((64, 64), (64, 128)):
        losses = numpy(step(example(2) | {batch.IMAGE: random_images(*shape)}))
        assert all(np.isfinite(value) for value in losses.values())


# --- Inference graph ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 64), (64, 192), (128, 64)])
def test_detections_of_any_padded_shape(network, shape):
    result = detect(network, random_images(*shape))
    assert {k: v.shape for k, v in result.items()} == {
        "boxes": (2, 5, 4),
        "class_ids": (2, 5),
        "scores": (2, 5),
        "masks": (2, 5, 28, 28),
    }
    assert (result["class_ids"] > 0).any() and result["class_ids"].max() <= 3
    assert 0 <= result["scores"].min() and result["scores"].max() <= 1
    assert 0 <= result["masks"].min() and result["masks"].max() <= 1
    assert result["boxes"].min() >= 0
    assert (result["boxes"] <= [shape[0], shape[1]] * 2).all()


def test_an_image_does_not_depend_on_its_batch(network):
    images = random_images()
    together = detect(network, images)
    alone = detect(network, images[1:])
    for name, value in alone.items():
        np.testing.assert_allclose(together[name][1:], value, rtol=1e-3, atol=1e-3)


def test_graphs_share_their_weights(network):
    training = {id(weight) for weight in network.training.trainable_weights}
    assert {id(weight) for weight in network.detector.trainable_weights} == training


def test_pixels_are_normalized_inside(network):
    layer = network.detector.get_layer("normalize_pixels")
    pixels = np.float32([[[[123.675, 116.28, 103.53], [182.07, 173.4, 160.905]]]])
    result = ops.convert_to_numpy(layer(pixels))
    np.testing.assert_allclose(result, [[[[0] * 3, [1] * 3]]], atol=1e-5)


# --- Without masks: Faster R-CNN ---------------------------------------------------------------


@pytest.fixture(scope="module")
def boxes_only():
    return Network(settings(USE_MASKS=False))


def test_no_mask_layer_is_built(network, boxes_only):
    for model in (boxes_only.training, boxes_only.detector):
        assert not [layer.name for layer in model.layers if "mask" in layer.name]
    assert [layer.name for layer in network.detector.layers if "mask" in layer.name]
    assert batch.GT_MASKS not in {tensor.name for tensor in boxes_only.training.inputs}


def test_four_losses(boxes_only):
    losses, norm, _ = losses_and_gradient_norm(boxes_only.training, example(2, masks=None))
    assert sorted(losses) == sorted(LOSSES[:4])
    assert all(np.isfinite(value) for value in losses.values()) and np.isfinite(norm)


def test_boxes_are_those_of_the_network_with_masks(network, boxes_only):
    for layer in boxes_only.detector.layers:
        if layer.weights:
            layer.set_weights(network.detector.get_layer(layer.name).get_weights())
    images = random_images(64, 128)
    with_masks = detect(network, images)
    without = detect(boxes_only, images)
    assert sorted(without) == ["boxes", "class_ids", "scores"]
    assert (without["class_ids"] > 0).any()
    for name, value in without.items():
        np.testing.assert_allclose(value, with_masks[name], atol=1e-5)


# --- Heads -------------------------------------------------------------------------------------


def test_box_head():
    pooled = keras.Input((6, 7, 7, 16))
    model = keras.Model(pooled, list(build_box_head(5, width=32)(pooled)))
    values = np.random.default_rng(0).normal(size=(2, 6, 7, 7, 16)).astype("float32")
    logits, odds, deltas = map(ops.convert_to_numpy, model(values))
    assert logits.shape == odds.shape == (2, 6, 5) and deltas.shape == (2, 6, 5, 4)
    np.testing.assert_allclose(odds.sum(axis=-1), 1, atol=1e-6)
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(odds, expected, atol=1e-6)
    # The channels of the deltas are ordered by class, then by coordinate.
    hidden = values.reshape(12, -1)
    for name in ("mrcnn_class_conv1", "mrcnn_class_conv2"):
        kernel, bias = model.get_layer(name).get_weights()
        hidden = np.maximum(hidden @ kernel + bias, 0)
    kernel, bias = model.get_layer("mrcnn_bbox_fc").get_weights()
    np.testing.assert_allclose(deltas, (hidden @ kernel + bias).reshape(2, 6, 5, 4), atol=1e-4)


@pytest.mark.parametrize("norm, depth", [(None, 2), ("group", 2), (None, 0)])
def test_mask_head(norm, depth):
    pooled = keras.Input((6, 7, 7, 16))
    model = keras.Model(pooled, build_mask_head(5, channels=16, depth=depth, norm=norm)(pooled))
    values = np.random.default_rng(0).normal(size=(2, 6, 7, 7, 16)).astype("float32")
    logits = ops.convert_to_numpy(model(values))
    assert logits.shape == (2, 6, 14, 14, 5)
    convolutions = [layer for layer in model.layers if "conv" in layer.name and layer.weights]
    assert len([c for c in convolutions if "deconv" not in c.name]) == depth
    assert all(c.layer.use_bias == (norm is None) for c in convolutions if "deconv" not in c.name)
    # Each RoI on its own.
    values[0, 1:] = 0
    again = ops.convert_to_numpy(model(values))
    np.testing.assert_allclose(again[0, 0], logits[0, 0], atol=1e-5)
    assert np.abs(again[0, 1] - logits[0, 1]).max() > 1e-4

"""Every custom layer of the package can be rebuilt from its get_config."""

import importlib
import inspect
import pkgutil

import keras
import numpy as np
import pytest
from keras import ops

import mrcnn.network
from mrcnn.network.layers import losses
from mrcnn.network.layers.basic import Loss, Normalize, Unweighted
from mrcnn.network.layers.matterport import (
    CornerMaskTargets,
    CornerPooling,
    JoinDetections,
    Margin,
    NormalizeBoxes,
    ProposalStages,
)
from mrcnn.network.layers.normalization import FixedStatistics
from mrcnn.network.layers.regions import PerRegion
from mrcnn.network.rois.anchors import PyramidAnchors
from mrcnn.network.rois.detections import DetectionLayer, SelectMasks
from mrcnn.network.rois.pooling import PyramidROIAlign
from mrcnn.network.rois.proposals import ProposalLayer
from mrcnn.network.rois.targets import DetectionTargets, MaskTargets, RPNTargets

RNG = np.random.default_rng(0)
STD = (0.1, 0.2, 0.3, 0.4)


def random(*shape):
    return RNG.normal(size=shape).astype("float32")


def boxes(*shape):
    corner = RNG.uniform(0, 40, (*shape, 2))
    return np.concatenate([corner, corner + RNG.uniform(3, 24, (*shape, 2))], -1).astype("float32")


IMAGE = RNG.uniform(0, 255, (2, 64, 64, 3)).astype("float32")
PYRAMID = [random(2, 64 // s, 64 // s, 4) for s in (4, 8, 16, 32, 64)]
IDS = np.array([[1, 2, -1], [3, 0, 0]], "int32")
MASKS = RNG.integers(0, 256, (2, 3, 64, 64)).astype("uint8")

SCORES = [random(2, 3 * (64 // s) ** 2) for s in (8, 16, 32)]
DELTAS = [random(2, 3 * (64 // s) ** 2, 4) for s in (8, 16, 32)]
ANCHORS = [boxes(3 * (64 // s) ** 2) for s in (8, 16, 32)]
WINDOW = np.array([[0, 0, 60, 50]] * 2, "float32")
SIZES, RATIOS, STRIDES = (8, 9, 10, 11, 12), (0.5, 3), (4, 8, 16, 32, 64)
HEAD = (boxes(2, 9), abs(random(2, 9, 3)), random(2, 9, 3, 4), WINDOW)
MATCHED = np.array([[0, 1, 1], [0, 0, 2]], "int32")

# Each layer with arguments that differ from the defaults, and what to call it on.
LAYERS = [
    (Normalize((1, 2, 3), (4, 5, 6)), (IMAGE,)),
    (
        Loss(losses.rpn_box_loss, beta=0.3, name="a_loss"),
        (random(2, 9, 4), random(2, 9, 4), np.eye(2, 9) > 0, np.eye(2, 9) == 0),
    ),
    (PyramidAnchors(SIZES, RATIOS, STRIDES, 2, 0.25, ratio_is_width=True), (IMAGE, PYRAMID)),
    (PyramidAnchors(SIZES, RATIOS, STRIDES, whole=True), (IMAGE, PYRAMID)),
    (ProposalLayer(40, 12, 0.6, STD, 2.5), (SCORES, DELTAS, ANCHORS, WINDOW)),
    (
        ProposalLayer(40, 12, 0.6, STD, 2.5, merged_levels=True, bounds=(0, 0, 30, 30)),
        (SCORES, DELTAS, ANCHORS, WINDOW),
    ),
    (PyramidROIAlign(3, (4, 8, 16, 32), 1), (PYRAMID[:4], boxes(2, 7))),
    (
        PyramidROIAlign(3, (4, 8, 16, 32), 0, aligned=False, tolerance=1e-3),
        (PYRAMID[:4], boxes(2, 7)),
    ),
    (CornerPooling(3, (4, 8, 16, 32)), (PYRAMID[:4], boxes(2, 7) / 64)),
    (DetectionLayer(6, 0.2, 0.4, STD, min_side=12.0), HEAD),
    (DetectionLayer(6, 0.2, 0.4, STD, best_class_only=True, min_side=None), HEAD),
    (SelectMasks(), (random(2, 3, 4, 4, 5), np.array([[1, 2, 0], [4, 0, 0]], "int32"))),
    (SelectMasks(True), (random(2, 3, 4, 4, 5), np.array([[1, 2, 0], [4, 0, 0]], "int32"))),
    (RPNTargets(20, STD, seed=7), (boxes(50), IDS, boxes(2, 3))),
    (
        DetectionTargets(10, 0.4, STD, append_gt=False, balanced=True, seed=8),
        (boxes(2, 30), IDS, boxes(2, 3)),
    ),
    (MaskTargets((6, 5), full_masks=True), (IMAGE, boxes(2, 3), MASKS, boxes(2, 3), MATCHED)),
    (
        CornerMaskTargets((6, 5), full_masks=True),
        (IMAGE, boxes(2, 3) / 64, MASKS, boxes(2, 3) / 64, MATCHED),
    ),
    (Margin(), (random(2, 5, 2),)),
    (NormalizeBoxes(), (IMAGE, boxes(2, 3))),
    (
        JoinDetections(0.4),
        ({"boxes": boxes(2, 3), "class_ids": IDS, "scores": abs(random(2, 3))},),
    ),
]


def custom_layers():
    """Returns all layer classes of mrcnn.network, without base classes."""
    found = set()
    for module in pkgutil.walk_packages(mrcnn.network.__path__, "mrcnn.network."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if (
                inspect.isclass(value)
                and issubclass(value, keras.layers.Layer)
                and value.__module__.startswith("mrcnn.")
                and not name.startswith("_")
            ):
                found.add(value)
    return found


def test_every_layer_is_listed():
    """A new layer needs a line in LAYERS, unless it holds layers or weights."""
    assert custom_layers() - {FixedStatistics, PerRegion, ProposalStages, Unweighted} == {
        type(layer) for layer, _ in LAYERS
    }


@pytest.mark.parametrize("layer, inputs", LAYERS, ids=[type(layer).__name__ for layer, _ in LAYERS])
class TestLayer:
    def test_comes_back_equal(self, layer, inputs):
        config = layer.get_config()
        again = type(layer).from_config(config)
        assert again.get_config() == config
        if hasattr(layer, "seed_generator"):  # the original starts over too
            layer.seed_generator.state.assign(again.seed_generator.state)
        results = [keras.tree.flatten(one(*inputs)) for one in (layer, again)]
        assert results[0]
        for first, second in zip(*results, strict=True):
            first, second = ops.convert_to_numpy(first), ops.convert_to_numpy(second)
            np.testing.assert_array_equal(first, second)

    def test_config_holds_every_argument(self, layer, inputs):
        if "__init__" not in vars(type(layer)):
            return  # it adds no arguments
        arguments = set(inspect.signature(type(layer).__init__).parameters) - {
            "self",
            "kwargs",
            "options",
        }
        assert arguments <= set(layer.get_config())

    def test_is_found_by_its_registered_name(self, layer, inputs):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert type(again) is type(layer) and again.get_config() == layer.get_config()

    def test_symbolic_shapes_are_those_of_the_values(self, layer, inputs):
        symbols = keras.tree.map_structure(
            lambda x: keras.KerasTensor(x.shape, str(x.dtype)), list(inputs)
        )
        specs = keras.tree.flatten(layer.compute_output_spec(*symbols))
        values = keras.tree.flatten(layer(*inputs))
        for spec, value in zip(specs, values, strict=True):
            assert len(spec.shape) == len(value.shape)
            pairs = zip(spec.shape, value.shape, strict=True)
            assert all(known in (None, actual) for known, actual in pairs)
            assert spec.dtype == keras.backend.standardize_dtype(value.dtype)

    def test_has_no_weights(self, layer, inputs):
        """Then weight files hold only the weights of the network."""
        assert layer.trainable_weights == []


def test_loss_takes_its_function_by_name():
    by_name = Loss("class_loss", name="x")
    assert by_name.function is losses.class_loss
    with pytest.raises(AttributeError, match="no_such_loss"):
        Loss("no_such_loss")

"""Keras' mixed precision: convolutions in 16 bits, boxes, scores and losses in 32."""

import keras
import numpy as np
import pytest
from keras import ops
from tiny import TinyConfig

from mrcnn.data.batches import Batches
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.models.mask_rcnn import MaskRCNN


@pytest.fixture
def policy():
    """Returns the function that sets the dtype policy, which goes back afterwards."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("dialect", ["standard", "matterport"])
@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_detections_are_those_of_float32(policy, name, dialect):
    image = ShapesDataset(1, 64, 64).load_image(0)[None].astype("float32")
    if dialect == "matterport":
        image /= 64  # weights that are not trained for it saturate otherwise
    window = np.array([[0, 0, 64, 64]], "float32")
    found = []
    for chosen in ("float32", name):
        policy(chosen)
        network = MaskRCNN("inference", TinyConfig(NUMERICS=dialect)).network
        outputs = network.detector([image, window], training=False)
        found.append({key: ops.convert_to_numpy(value) for key, value in outputs.items()})
    hidden = network.detector.get_layer("mrcnn_mask_conv1")
    assert hidden.compute_dtype == hidden.layer.compute_dtype == name.removeprefix("mixed_")
    exact, rounded = found
    assert {key: value.dtype for key, value in exact.items()} == {
        key: value.dtype for key, value in rounded.items()
    }
    np.testing.assert_allclose(rounded["scores"], exact["scores"], atol=0.02)


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_losses_are_those_of_float32(policy, name):
    data, found = ShapesDataset(4, 64, 64), []
    for chosen in ("float32", name):
        policy(chosen)
        model = MaskRCNN("training", TinyConfig())
        outputs = model.network.training(Batches(data, model.config)[0], training=True)
        assert {keras.backend.standardize_dtype(v.dtype) for v in outputs.values()} == {"float32"}
        found.append({key: float(value) for key, value in outputs.items()})
    exact, rounded = found
    for key in ("rpn_class_loss", "rpn_bbox_loss", "mrcnn_mask_loss"):  # no RoI is chosen by these
        assert rounded[key] == pytest.approx(exact[key], rel=0.02)
    assert all(np.isfinite(value) for value in rounded.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_training_takes_a_step_and_resumes(policy, name, tmp_path):
    policy(name)
    data = ShapesDataset(4, 64, 64)
    model = MaskRCNN("training", TinyConfig(), tmp_path)
    before = [np.array(ops.convert_to_numpy(w)) for w in model.keras_model.trainable_weights]
    history = model.train(data, learning_rate=1e-3, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all() and 1 < history["loss"][0] < 6
    after = [ops.convert_to_numpy(w) for w in model.keras_model.trainable_weights]
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    again = MaskRCNN.load(model.folder.path, "training")
    assert np.isfinite(again.train(data, epochs=3, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float64"])
def test_weights_are_float32(policy, name):
    policy(name)
    with pytest.raises(ValueError, match=r"set_dtype_policy\('float32'\)") as raised:
        MaskRCNN("inference", TinyConfig())
    assert name in str(raised.value)

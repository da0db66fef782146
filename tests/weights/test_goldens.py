"""Weights of torchvision and Detectron2 compute the same here as there, stage by stage.

The golden values are in `tests/goldens`; `make.py` there says how they were made.
"""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn import MaskRCNN, dialects
from mrcnn.inference.detect import fit_for_detection
from mrcnn.weights.files.tensors import write_safetensors

FOLDER = Path(__file__).parents[1] / "goldens"
CASES = sorted(path.stem for path in FOLDER.glob("*_[0-9].npz"))
ORDER = [1, 0, 3, 2]  # (x, y) <-> (y, x), of boxes and of deltas


def load_seeded():
    spec = importlib.util.spec_from_file_location("seeded", FOLDER / "seeded.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


seeded = load_seeded()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Builds the model of a dialect. Only one exists at a time, since they are large."""
    built = {}

    def build(family):
        if family not in built:
            built.clear()
            path = tmp_path_factory.mktemp("weights") / f"{family}.safetensors"
            write_safetensors(path, seeded.state_dict(family))
            built[family] = MaskRCNN.from_weights(path)
            path.unlink()
        return built[family]

    yield build
    built.clear()
    keras.backend.clear_session()


@pytest.fixture(
    scope="module",
    params=[pytest.param(c, marks=[] if c == "torchvision_0" else pytest.mark.slow) for c in CASES],
)
def case(request, models):
    """Dialect, model, image, golden values, and our stages up to the proposals."""
    family, index = request.param.rsplit("_", 1)
    model, image = models(family), seeded.image(int(index))
    with np.load(FOLDER / f"{request.param}.npz") as file:
        golden = dict(file)
    fitted = fit_for_detection(image, model.config)
    window = dialects.of(model.config).frame.window(fitted)
    inputs = [fitted.image[None], window[None]]
    last = {2: "res2c", 3: "res3d", 4: "res4f", 5: "res5c"}
    names = {"image": "normalize_pixels", "proposals": "ROI"}
    names |= {f"c{i}": f"{name}_out" for i, name in last.items()}
    norm = "_norm" if family == "torchvision_v2" else ""
    names |= {f"p{level}": f"fpn_p{level}{norm}" for level in range(2, 6)} | {"p6": "fpn_p6"}
    tensors = {name: model.keras_model.get_layer(layer).output for name, layer in names.items()}
    rpn = model.network.trunk.rpn
    tensors["rpn_logits"] = ops.concatenate(rpn.logits, axis=1)
    tensors["rpn_deltas"] = ops.concatenate(rpn.deltas, axis=1)
    # One graph frees what no later layer needs. Eager execution would take 4 GB.
    stages = keras.Model(model.keras_model.inputs, tensors).predict_on_batch(inputs)
    return family, model, image, golden, stages


def sampled(stage, golden, name):
    """Returns the largest difference at the sampled positions, relative to the largest value."""
    stage = ops.convert_to_numpy(stage)
    assert stage.shape == tuple(golden[f"{name}_shape"])
    values = stage.reshape(-1)[seeded.sample(stage.shape, name)]
    return np.abs(values - golden[name]).max() / golden[f"{name}_scale"]


def test_images_are_those_of_the_goldens(case):
    assert seeded.zlib.crc32(case[2].tobytes()) == case[3]["picture_crc"]


@pytest.mark.parametrize("name", ["image", "c2", "c3", "c4", "c5", "p2", "p3", "p4", "p5", "p6"])
def test_maps(case, name):
    family, _, _, golden, stages = case
    stage = stages[name][0]
    if name == "image" and family == "detectron2":  # BGR in Detectron2
        stage = stage[..., ::-1]
    assert sampled(stage, golden, name) < 1e-4


def test_rpn(case):
    _, _, _, golden, stages = case
    assert sampled(stages["rpn_logits"][0], golden, "rpn_logits") < 1e-4
    deltas = ops.convert_to_numpy(stages["rpn_deltas"][0])[:, ORDER]
    assert sampled(deltas, golden, "rpn_deltas") < 1e-4


def test_proposals(case):
    _, _, _, golden, stages = case
    ours = ops.convert_to_numpy(stages["proposals"][0])[:, ORDER]
    theirs = golden["proposals"]
    ours = ours[: len(theirs)]
    distance = np.abs(ours[:, None] - theirs[None]).max(axis=-1)
    assert len(set(distance.argmin(axis=0))) == len(theirs)  # one to one
    assert distance.min(axis=0).max() < 1e-4 * np.abs(theirs).max()


def of_golden_boxes(case, name, align, output):
    """Returns the pooled features of the golden boxes, and the outputs of the heads."""
    _, model, _, golden, stages = case
    layer = model.keras_model.get_layer(align)
    boxes = np.zeros((1, *layer.output.shape[1:2], 4), "float32")
    boxes[0, : len(golden[name])] = golden[name][:, ORDER]
    maps = [ops.convert_to_tensor(stages[f"p{level}"]) for level in range(2, 6)]
    pooled = layer(maps, ops.convert_to_tensor(boxes))
    heads = {head: model.keras_model.get_layer(head).output for head in output}
    rows, outputs = len(golden[name]), keras.Model(layer.output, heads)(pooled)
    arrays = pooled, *(outputs[head] for head in output)
    return [ops.convert_to_numpy(array[0, :rows]) for array in arrays]


def test_box_head(case):
    family, _, _, golden, _ = case
    heads = ["mrcnn_class_logits", "mrcnn_bbox"]
    pooled, logits, deltas = of_golden_boxes(case, "proposals", "roi_align_classifier", heads)
    assert sampled(pooled, golden, "roi_features") < 1e-4
    deltas = deltas[..., ORDER]
    if family == "detectron2":
        logits, deltas = np.roll(logits, -1, axis=1), deltas[:, 1:]
    assert sampled(logits, golden, "class_logits") < 1e-4
    assert sampled(deltas.reshape(len(deltas), -1), golden, "box_deltas") < 1e-4


def test_mask_head(case):
    family, _, _, golden, _ = case
    pooled, masks = of_golden_boxes(case, "det_boxes", "roi_align_mask", ["mrcnn_mask"])
    assert sampled(pooled, golden, "mask_features") < 1e-4
    classes = golden["det_labels"] + (family == "detectron2")
    masks = masks[np.arange(len(classes)), ..., classes]
    assert sampled(masks, golden, "mask_logits") < 1e-4


def test_detections(case):
    """One to one: same class, score within 1e-3, box within 0.05 pixels, mask IoU 0.99."""
    family, model, image, golden, _ = case
    (found,) = model.detect([image])
    assert len(found["scores"]) == len(golden["boxes"])
    masks = np.unpackbits(golden["masks"], count=int(np.prod(golden["masks_shape"])))
    masks = masks.reshape(golden["masks_shape"]).astype(bool)
    classes = golden["det_labels"] + (family == "detectron2")
    for index, score in enumerate(golden["det_scores"]):
        box = golden["boxes"][index][ORDER]
        near = np.abs(found["boxes"] - box).max(axis=1) < 0.05
        (match,) = np.flatnonzero(near & (found["class_ids"] == classes[index]))
        assert abs(found["scores"][match] - score) < 1e-3
        ours = found["masks"][..., match]
        union = (ours | masks[index]).sum()
        assert union == 0 or (ours & masks[index]).sum() / union >= 0.99

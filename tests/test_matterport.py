"""Weights of Matterport's Mask_RCNN: recognized, loaded completely, used in their dialect."""

import numpy as np
import pytest
from tiny import TinyConfig

from mrcnn import dialects, utils
from mrcnn.compat import detections
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.inference.detect import fit_for_detection
from mrcnn.model import MaskRCNN
from mrcnn.network.layers.basic import leaf_layers
from mrcnn.weights.files.reading import read_weights


class OldConfig(TinyConfig):
    NAME = "old"
    BACKBONE = "resnet50"
    IMAGE_MAX_DIM = 128
    IMAGE_MIN_DIM = 128


@pytest.fixture(scope="module")
def old_file(tmp_path_factory):
    """A small file in the layout of mask_rcnn_coco.h5."""
    path = tmp_path_factory.mktemp("old") / "mask_rcnn_coco.h5"
    model = MaskRCNN("inference", OldConfig(NUMERICS="matterport"))
    model.save(path.parent / "model")
    (path.parent / "model" / "weights.h5").rename(path)
    return path


def test_the_file_chooses_its_dialect(old_file):
    model = MaskRCNN("inference", OldConfig())
    assert model.config.NUMERICS == "auto" and len(model.config.PIXEL_STD) == 3
    report = model.load_weights(str(old_file), by_name=True)
    assert not report.missing and not report.unexpected
    assert model.config.NUMERICS == "matterport" and model.config.PIXEL_STD == (1, 1, 1)
    assert model.config.PRE_NMS_LIMIT == TinyConfig.PRE_NMS_LIMIT  # the value of the user is kept
    file = read_weights(old_file)
    for layer in leaf_layers(model.keras_model):
        if layer.weights:
            for ours, theirs in zip(layer.get_weights(), file[layer.name].values(), strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_new_heads_for_other_classes(old_file, tmp_path):
    class Two(OldConfig):
        NUM_CLASSES = 1 + 1

    model = MaskRCNN("training", Two(), tmp_path)
    heads = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]
    report = model.load_weights(str(old_file), by_name=True, exclude=heads)
    assert set(report.excluded) == set(heads) - {"mrcnn_bbox"}
    with pytest.raises(ValueError, match="mrcnn_class_logits"):
        MaskRCNN("training", Two(), tmp_path).load_weights(str(old_file), by_name=True)


def test_detect(old_file):
    model = MaskRCNN("inference", OldConfig(DETECTION_MIN_CONFIDENCE=0))
    model.load_weights(old_file)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (*shape, 3), dtype="uint8") for shape in ((90, 70), (128, 128))]
    for image, result in zip(images, model.detect(images), strict=True):
        height, width = image.shape[:2]
        n = len(result["scores"])
        assert result["masks"].shape == (height, width, n) and result["masks"].dtype == bool
        assert (result["rois"][:, 2:] <= [height, width]).all() and (result["rois"] >= 0).all()
    rles = model.detect(images, masks="rle")
    assert len(rles[0]["rles"]) == len(rles[0]["scores"])


def test_train_and_resume_in_the_same_dialect(old_file, tmp_path):
    model = MaskRCNN("training", OldConfig(), tmp_path)
    model.load_weights(old_file)
    shapes = ShapesDataset(4, 128, 128)
    history = model.train(shapes, learning_rate=1e-3, epochs=1, layers="heads", verbose=0)
    assert np.isfinite(history.history["loss"][0])
    again = MaskRCNN.load(model.log_dir, mode="training")
    assert again.config.NUMERICS == "matterport" and again.epoch == 1
    again.train(shapes, learning_rate=1e-3, epochs=2, layers="all", verbose=0)


# --- Geometry ------------------------------------------------------------------------------------
def test_a_detection_is_scaled_back():
    """Scaling and padding are undone to within one pixel."""
    config = OldConfig(IMAGE_MIN_DIM=256, IMAGE_MAX_DIM=256)
    image = np.zeros((200, 300, 3), np.uint8)
    box = np.array([[40, 60, 120, 150]])
    frame = dialects.named("matterport").frame
    fitted = frame.fit(image, config)
    assert fitted.image.shape == (256, 256, 3)
    y, x = fitted.window[:2]
    molded_box = box * fitted.scale + [y, x, y, x]
    normalized = utils.norm_boxes(molded_box, (256, 256))
    outputs = {"boxes": normalized, "masks": np.ones((1, 28, 28), "float32")}
    boxes, pasted = frame.restore(outputs, fitted, image.shape[:2])
    assert np.abs(boxes[0] - box[0]).max() <= 1
    crop, region = pasted[0]
    assert region == tuple(boxes[0]) and crop.all()


def test_unmold_detections():
    """Rows from the first one of class 0 on are padding. A box of one pixel is kept."""
    rows = np.zeros((5, 6), np.float32)
    rows[0] = [0.25, 0.25, 0.5, 0.75, 2, 0.9]
    rows[1] = [0.25, 0.25, 0.25, 0.25, 1, 0.8]  # one pixel
    rows[3] = [0.1, 0.1, 0.9, 0.9, 1, 0.7]  # after the end
    masks = np.zeros((5, 28, 28, 3), np.float32)
    masks[0, ..., 2] = 1
    boxes, class_ids, scores, full = detections.unmold_detections(
        rows, masks, (64, 64, 3), (64, 64, 3), (0, 0, 64, 64)
    )
    assert class_ids.tolist() == [2, 1] and boxes.dtype == np.int32
    assert boxes[0].tolist() == utils.denorm_boxes(rows[:1, :4], (64, 64))[0].tolist()
    np.testing.assert_allclose(scores, [0.9, 0.8], rtol=1e-6)
    y1, x1, y2, x2 = boxes[0]
    assert full.shape == (64, 64, 2) and full.dtype == bool
    assert full[y1:y2, x1:x2, 0].all() and full[..., 0].sum() == (y2 - y1) * (x2 - x1)
    nothing = detections.unmold_detections(
        rows[2:], masks[2:], (64, 64, 3), (64, 64, 3), (0, 0, 64, 64)
    )
    assert nothing[0].shape == (0, 4) and nothing[3].shape == (64, 64, 0)


def test_mold_inputs():
    config = OldConfig(MEAN_PIXEL=np.array([100.0, 110, 120]))
    images = [np.full((64, 128, 3), 200, np.uint8), np.full((128, 64, 3), 50, np.uint8)]
    molded, metas, windows = detections.mold_inputs(images, config)
    assert molded.shape == (2, 128, 128, 3) and metas.shape == (2, 12 + 4)
    assert windows.tolist() == [[32, 0, 96, 128], [0, 32, 128, 96]]
    np.testing.assert_allclose(molded[0, 64, 64], [100, 90, 80])
    np.testing.assert_allclose(molded[0, 0, 0], [-100, -110, -120])  # padding before the mean
    with pytest.raises(ValueError, match="different shapes"):
        detections.mold_inputs(images, OldConfig(IMAGE_RESIZE_MODE="none"))


def test_gray_images_and_errors_name_the_image():
    config = OldConfig(NUMERICS="matterport")
    for gray in (np.zeros((64, 64), np.uint8), np.zeros((64, 64, 1), np.uint8)):
        assert fit_for_detection(gray, config).image.shape == (128, 128, 3)
        assert detections.mold_inputs([gray], config)[0].shape == (1, 128, 128, 3)
    with pytest.raises(ValueError, match="my scan.*NaN"):
        fit_for_detection(np.full((8, 8, 3), np.nan), config, "my scan")
    with pytest.raises(ValueError, match=r"images\[0\].*NaN"):
        detections.mold_inputs([np.full((8, 8, 3), np.nan)], config)

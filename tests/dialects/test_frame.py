"""Training and detection resize and pad an image in the same way, in every dialect."""

import numpy as np
import pytest
from tiny import TinyConfig

from mrcnn import dialects
from mrcnn.batch import IMAGE, WINDOW
from mrcnn.compat.images import resize_image
from mrcnn.data.dataset import Dataset
from mrcnn.data.sample import load_sample
from mrcnn.inference.detect import fit_for_detection

SHAPES = [(120, 200), (200, 120), (97, 150), (64, 64), (1, 7), (300, 301)]


class One(Dataset):
    """One image with one rectangle."""

    def __init__(self, shape):
        super().__init__()
        self.image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
        self.add_class("one", 1, "thing")
        self.add_image("one", 0, None)
        self.prepare()

    def load_image(self, image_id):
        return self.image.copy()

    def load_mask(self, image_id):
        mask = np.zeros((*self.image.shape[:2], 1), bool)
        mask[: max(1, mask.shape[0] // 2), : max(1, mask.shape[1] // 2)] = True
        return mask, np.ones(1, np.int32)


def config_of(name, **settings):
    sides = {"IMAGE_MIN_DIM": 256, "IMAGE_MAX_DIM": 256}
    config = TinyConfig(NUMERICS=name, NUM_CLASSES=2, IMAGES_PER_GPU=1, **(sides | settings))
    return config.resolved(dialects.named(name).settings)


@pytest.mark.parametrize("mode", ["square", "pad64", "none"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", dialects.names())
def test_training_and_detection_agree(name, shape, mode):
    config, dataset = config_of(name, IMAGE_RESIZE_MODE=mode), One(shape)
    sample = load_sample(dataset, config, 0)
    fitted = fit_for_detection(dataset.image, config)
    np.testing.assert_array_equal(sample[IMAGE], fitted.image)
    window = dialects.of(config).frame.window(fitted)
    np.testing.assert_array_equal(sample[WINDOW], window)


@pytest.mark.parametrize("name", [n for n in dialects.names() if n not in ("standard",)])
def test_shortest_edge_agrees_where_there_is_no_padding(name):
    """In training, the padded image is square, so only the image itself can be compared."""
    config, dataset = config_of(name, IMAGE_RESIZE_MODE="shortest_edge"), One((120, 200))
    sample, fitted = load_sample(dataset, config, 0), fit_for_detection(dataset.image, config)
    y1, x1, y2, x2 = fitted.window
    kept = fitted.image[y1:y2, x1:x2]
    places = [(y1, x1), tuple(((256 - np.array(kept.shape[:2])) // 2).tolist())]
    assert any(
        np.array_equal(sample[IMAGE][y : y + kept.shape[0], x : x + kept.shape[1]], kept)
        for y, x in places
    )


@pytest.mark.parametrize("mode", ["square", "pad64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_matterport_resizes_and_pads_as_the_old_package(shape, mode):
    config, dataset = config_of("matterport", IMAGE_RESIZE_MODE=mode), One(shape)
    old, window, scale, _, _ = resize_image(dataset.image, 256, 256, 0, mode)
    sample = load_sample(dataset, config, 0)
    np.testing.assert_array_equal(sample[IMAGE], old.astype(np.float32))
    assert tuple(sample[WINDOW]) == window
    y1, x1, _, _ = window
    top, left = sample["input_gt_boxes"][0, :2]
    assert (top, left) == (y1, x1)  # the rectangle starts in the corner of the image


def test_the_case_of_a_120x200_image():
    """The image is centered, and the padding becomes minus the mean, as in detection."""
    sample = load_sample(One((120, 200)), config_of("matterport"), 0)
    assert sample[WINDOW].tolist() == [51, 0, 205, 256]
    assert not sample[IMAGE][:51].any() and not sample[IMAGE][205:].any()


def test_fields_of_groups_are_arguments_of_their_readers():
    """The field names of a group are keyword arguments of the function or layer that reads it."""
    import inspect

    from mrcnn.network.backbones.resnet import resnet
    from mrcnn.network.heads.box import build_box_head
    from mrcnn.network.heads.mask import build_mask_head
    from mrcnn.network.heads.rpn import rpn_model
    from mrcnn.network.layers.fpn import feature_pyramid
    from mrcnn.network.layers.losses import box_loss, class_loss
    from mrcnn.network.rois.anchors import PyramidAnchors
    from mrcnn.network.rois.detections import DetectionLayer
    from mrcnn.network.rois.pooling import PyramidROIAlign
    from mrcnn.network.rois.proposals import ProposalLayer
    from mrcnn.network.rois.targets import DetectionTargets

    readers = {
        "resnet": resnet,
        "pyramid": feature_pyramid,
        "rpn": rpn_model,
        "box_head": build_box_head,
        "mask_head": build_mask_head,
        "anchors": PyramidAnchors,
        "proposals": ProposalLayer,
        "pooling": PyramidROIAlign,
        "targets": DetectionTargets,
        "box_loss": box_loss,
        "class_loss": class_loss,
        "detections": DetectionLayer,
    }
    standard = dialects.named("standard")
    for group, reader in readers.items():
        known = set(inspect.signature(reader).parameters)
        assert set(vars(getattr(standard, group))) <= known, group


def test_a_dialect_is_found_by_its_file(monkeypatch):
    import sys
    import types

    module = types.ModuleType("mrcnn.dialects.mine")
    module.DIALECTS = (dialects.Dialect(name="mine"),)
    monkeypatch.setitem(sys.modules, "mrcnn.dialects.mine", module)
    found = [*dialects.pkgutil.iter_modules(dialects.__path__)]
    info = found[0]._replace(name="mine")
    monkeypatch.setattr(dialects.pkgutil, "iter_modules", lambda path: [*found, info])
    dialects.dialects.cache_clear()
    try:
        assert dialects.names()[0] == "standard" and "mine" in dialects.names()
    finally:
        monkeypatch.undo()
        dialects.dialects.cache_clear()
    assert "mine" not in dialects.names()

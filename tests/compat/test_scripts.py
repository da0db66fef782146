"""Scripts in the style of Matterport's days run as they are: only the sizes are small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A project of its time, down to prints, uint8 masks and super(self.__class__).
PROJECT = '''
import os
import sys
import random
import datetime
import numpy as np
import skimage.draw

ROOT_DIR = os.path.abspath("./")
sys.path.append(ROOT_DIR)  # To find local version of the library
{imports}

COCO_WEIGHTS_PATH = os.path.join(ROOT_DIR, "mask_rcnn_coco.h5")
DEFAULT_LOGS_DIR = os.path.join(ROOT_DIR, "logs")


class DiscConfig(Config):
    """Configuration for training on discs."""
    NAME = "disc_ring"
    IMAGES_PER_GPU = 2
    GPU_COUNT = 1
    NUM_CLASSES = 1 + 2  # Background + disc + ring
    STEPS_PER_EPOCH = 2
    VALIDATION_STEPS = 1
    DETECTION_MIN_CONFIDENCE = 0
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    IMAGE_RESIZE_MODE = "square"
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 64
    TRAIN_ROIS_PER_IMAGE = 16
    POST_NMS_ROIS_TRAINING = 50
    POST_NMS_ROIS_INFERENCE = 30
    MAX_GT_INSTANCES = 10
    DETECTION_MAX_INSTANCES = 10
    MEAN_PIXEL = np.array([40.0, 40.0, 40.0])
    MINI_MASK_SHAPE = (28, 28)
    TOP_DOWN_PYRAMID_SIZE = 16
    FPN_CLASSIF_FC_LAYERS_SIZE = 32
    USE_MINI_MASK = True
    TRAIN_BN = False
    LEARNING_RATE = 0.001
    WEIGHT_DECAY = 0.0001


class DiscDataset({dataset}):

    def load_disc(self, count):
        self.add_class("disc", 1, "disc")
        self.add_class("disc", 2, "ring, hollow")
        for i in range(count):
            self.add_image("disc", image_id=i, path=None, width=80, height=60, radius=8 + i)

    def load_image(self, image_id):
        info = self.image_info[image_id]
        image = np.ones([info["height"], info["width"], 3], dtype=np.uint8) * 40
        rr, cc = skimage.draw.disk((30, 40), info["radius"])
        image[rr, cc] = (200, 100, 50)
        return image

    def image_reference(self, image_id):
        info = self.image_info[image_id]
        if info["source"] == "disc":
            return info["radius"]
        else:
            super(self.__class__, self).image_reference(image_id)

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        if info["source"] != "disc":
            return super(self.__class__, self).load_mask(image_id)
        mask = np.zeros([info["height"], info["width"], 2], dtype=np.uint8)
        rr, cc = skimage.draw.disk((30, 40), info["radius"])
        mask[rr, cc, 0] = 1
        rr, cc = skimage.draw.disk((30, 40), info["radius"] // 2)
        mask[rr, cc, 0] = 0
        mask[rr, cc, 1] = 1
        names = ["disc", "ring"]
        class_ids = np.array([self.class_names.index(s) for s in names])
        return mask.astype(bool), class_ids.astype(np.int32)


config = DiscConfig()
config.display()
dataset_train = DiscDataset()
dataset_train.load_disc(6)
dataset_train.prepare()
dataset_val = DiscDataset()
dataset_val.load_disc(2)
dataset_val.prepare()
print("Image Count: {{}}".format(len(dataset_train.image_ids)))
print("Class Count: {{}}".format(dataset_train.num_classes))
for i, info in enumerate(dataset_train.class_info):
    print("{{:3}}. {{:50}}".format(i, info["name"]))

model = modellib.MaskRCNN(mode="training", config=config, model_dir=DEFAULT_LOGS_DIR)
init_with = "file"
if init_with == "imagenet":
    model.load_weights(model.get_imagenet_weights(), by_name=True)
elif init_with == "file":
    model.load_weights(COCO_WEIGHTS_PATH, by_name=True,
                       exclude=["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"])
elif init_with == "last":
    model.load_weights(model.find_last(), by_name=True)

model.train(dataset_train, dataset_val, learning_rate=config.LEARNING_RATE, epochs=1,
            layers="heads")
model.train(dataset_train, dataset_val, learning_rate=config.LEARNING_RATE / 10, epochs=2,
            layers="all")
model_path = os.path.join(DEFAULT_LOGS_DIR, "mask_rcnn_disc.h5")
model.keras_model.save_weights(model_path)


class InferenceConfig(config.__class__):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1


inference_config = InferenceConfig()
model = modellib.MaskRCNN(mode="inference", config=inference_config, model_dir=DEFAULT_LOGS_DIR)
model_path = model.find_last()
print("Loading weights from ", model_path)
assert os.path.basename(model_path) == "mask_rcnn_disc_ring_0002.h5"
model.load_weights(model_path, by_name=True)

image_id = random.choice(dataset_val.image_ids)
original_image, image_meta, gt_class_id, gt_bbox, gt_mask = \\
    modellib.load_image_gt(dataset_val, inference_config, image_id, use_mini_mask=False)
log("original_image", original_image)
log("image_meta", image_meta)
log("gt_class_id", gt_class_id)
log("gt_bbox", gt_bbox)
log("gt_mask", gt_mask)
visualize.display_instances(original_image, gt_bbox, gt_mask, gt_class_id,
                            dataset_train.class_names, figsize=(8, 8))
results = model.detect([original_image], verbose=1)
r = results[0]
visualize.display_instances(original_image, r["rois"], r["masks"], r["class_ids"],
                            dataset_val.class_names, r["scores"])
APs = []
for image_id in dataset_val.image_ids:
    image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(
        dataset_val, inference_config, image_id, use_mini_mask=False)
    molded_images = np.expand_dims(modellib.mold_image(image, inference_config), 0)
    results = model.detect([image], verbose=0)
    r = results[0]
    AP, precisions, recalls, overlaps = utils.compute_ap(
        gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"])
    APs.append(AP)
print("mAP: ", np.mean(APs))
info = dataset_val.image_info[0]
print("{{}}.{{}}".format(info["source"], info["id"]), dataset_val.image_reference(0))
assert dataset_train.class_names == ["BG", "disc", "ring"]
assert r["rois"].dtype == np.int32 and r["masks"].dtype == bool
'''

STYLES = {
    "from mrcnn import": (
        "from mrcnn.config import Config\n"
        "from mrcnn import model as modellib, utils\n"
        "from mrcnn import visualize\n"
        "from mrcnn.model import log",
        "utils.Dataset",
    ),
    "import mrcnn.model": (
        "import mrcnn.config\nimport mrcnn.model as modellib\nimport mrcnn.utils as utils\n"
        "import mrcnn.visualize as visualize\n"
        "from mrcnn.config import Config\nfrom mrcnn.utils import Dataset\n"
        "from mrcnn.model import log, MaskRCNN",
        "Dataset",
    ),
    "import mrcnn": (
        "import mrcnn.model\nimport mrcnn.utils\nimport mrcnn.visualize\nimport mrcnn.config\n"
        "modellib, utils, visualize = mrcnn.model, mrcnn.model.utils, mrcnn.visualize\n"
        "Config, log = mrcnn.config.Config, mrcnn.model.log",
        "utils.Dataset",
    ),
}


@pytest.fixture(scope="module")
def coco_weights(tmp_path_factory):
    """A small file in the layout of mask_rcnn_coco.h5, with 81 classes."""
    sys.path.insert(0, str(ROOT / "tests" / "weights"))
    from test_matterport_files import tensors, write

    path = tmp_path_factory.mktemp("weights") / "mask_rcnn_coco.h5"
    return write(path, tensors((3, 4, 6, 3), 81, 64, 16, 32, 4, 256))


@pytest.mark.parametrize(
    "style",
    [list(STYLES)[0], *(pytest.param(s, marks=pytest.mark.slow) for s in list(STYLES)[1:])],
)
def test_a_project(style, tmp_path, coco_weights):
    """Neither imgaug nor an old NumPy: the first is hidden, the second not there."""
    (tmp_path / "mask_rcnn_coco.h5").symlink_to(coco_weights)
    imports, dataset = STYLES[style]
    script = "import sys; sys.modules['imgaug'] = None\n"
    script += PROJECT.format(imports=imports, dataset=dataset)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for text in ("Image Count: 6", "Class Count: 3", "  1. disc", "gt_mask    ", "mAP:  0."):
        assert text in done.stdout
    assert "IMAGES_PER_GPU                 2" in done.stdout
    runs = [path for path in (tmp_path / "logs").iterdir() if path.is_dir()]
    assert len(runs) == 1 and runs[0].name.startswith("disc_ring2")
    names = {path.name for path in runs[0].iterdir()}
    assert {"mask_rcnn_disc_ring_0001.h5", "mask_rcnn_disc_ring_0002.h5"} <= names
    assert (tmp_path / "logs" / "mask_rcnn_disc.h5").is_file()

"""Scripts and notebooks of the time of Matterport's package run unchanged, imgaug included."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrcnn.cli import main
from mrcnn.compat.run import python_of, run

ROOT = Path(__file__).parents[2]

# In the manner of the old coco.py and nucleus.py: its imports, its augmentation, its commands.
SCRIPT = '''
import os
import sys
import numpy as np
import skimage.draw
import imgaug  # https://github.com/aleju/imgaug (pip3 install imgaug)
from imgaug import augmenters as iaa
import tensorflow as tf
import keras
import keras.backend as K
import keras.layers as KL
import keras.engine as KE
import keras.models as KM
from keras.layers.core import Activation
from keras.backend.tensorflow_backend import set_session
from distutils.version import LooseVersion

ROOT_DIR = os.path.abspath("../../")
sys.path.append(ROOT_DIR)  # To find local version of the library
from mrcnn.config import Config
from mrcnn import utils
from mrcnn import model as modellib
from mrcnn import visualize

assert LooseVersion(np.__version__) >= LooseVersion("1.10")
tf_config = tf.ConfigProto()
tf_config.gpu_options.allow_growth = True
set_session(tf.Session(config=tf_config))
DEFAULT_LOGS_DIR = os.path.join(os.getcwd(), "logs")


class CellConfig(Config):
    """Configuration for training on cells."""
    NAME = "cell"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 1
    STEPS_PER_EPOCH = 2
    VALIDATION_STEPS = 1
    DETECTION_MIN_CONFIDENCE = 0
    BACKBONE = "resnet18"
    BACKBONE_WIDTH = 8
    TOP_DOWN_PYRAMID_SIZE = 16
    FPN_CLASSIF_FC_LAYERS_SIZE = 32
    IMAGE_RESIZE_MODE = "square"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (8, 16, 32, 48, 64)
    TRAIN_ROIS_PER_IMAGE = 16
    POST_NMS_ROIS_TRAINING = 50
    POST_NMS_ROIS_INFERENCE = 30
    MAX_GT_INSTANCES = 10
    DETECTION_MAX_INSTANCES = 10
    MINI_MASK_SHAPE = (28, 28)


class CellInferenceConfig(CellConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1


class CellDataset(utils.Dataset):

    def load_cells(self, count):
        self.add_class("cell", 1, "cell")
        for i in range(count):
            self.add_image("cell", image_id=i, path=None)

    def load_image(self, image_id):
        image = np.full([64, 64, 3], 40, dtype=np.uint8)
        rr, cc = skimage.draw.circle(30, 24 + image_id, 12)
        image[rr, cc] = (200, 100, 50)
        return image

    def load_mask(self, image_id):
        mask = np.zeros([64, 64, 1], dtype=np.bool)
        rr, cc = skimage.draw.circle(30, 24 + image_id, 12)
        mask[rr, cc, 0] = np.int(1)
        return mask, np.ones([1], dtype=np.int32)


def train(model):
    dataset_train = CellDataset()
    dataset_train.load_cells(4)
    dataset_train.prepare()
    dataset_val = CellDataset()
    dataset_val.load_cells(2)
    dataset_val.prepare()
    # Image augmentation
    augmentation = iaa.SomeOf((0, 2), [
        iaa.Fliplr(0.5),
        iaa.Flipud(0.5),
        iaa.OneOf([iaa.Affine(rotate=90),
                   iaa.Affine(rotate=180),
                   iaa.Affine(rotate=270)]),
        iaa.Multiply((0.8, 1.5)),
        iaa.GaussianBlur(sigma=(0.0, 5.0))
    ])
    print("Train network heads")
    model.train(dataset_train, dataset_val, learning_rate=config.LEARNING_RATE, epochs=1,
                augmentation=augmentation, layers="heads")
    image, meta, class_ids, bbox, mask = modellib.load_image_gt(
        dataset_train, config, 0, augmentation=imgaug.augmenters.Fliplr(1.0))
    plain = modellib.load_image_gt(dataset_train, config, 0)
    assert (image == plain[0][:, ::-1]).all() and mask.dtype == bool


if __name__ == "__main__":
    import argparse
    parser = argparse.ArgumentParser(description="Mask R-CNN for cells")
    parser.add_argument("command", metavar="<command>")
    parser.add_argument("--logs", required=False, default=DEFAULT_LOGS_DIR)
    args = parser.parse_args()
    print("Command: ", args.command)
    if args.command == "train":
        config = CellConfig()
        config.display()
        model = modellib.MaskRCNN(mode="training", config=config, model_dir=args.logs)
        train(model)
    else:
        print("'{}' is not recognized.".format(args.command))
        sys.exit(5)
'''


def cell(*lines, kind="code"):
    return {"cell_type": kind, "metadata": {}, "source": [f"{line}\n" for line in lines]}


def write_notebook(path, *cells):
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    return path


def shell(*words, cwd):
    env = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    words = [sys.executable, "-m", "mrcnn", "run", *map(str, words)]
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True)


def test_a_script(tmp_path):
    (tmp_path / "cells.py").write_text(SCRIPT)
    done = shell("cells.py", "train", "--logs", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Command:  train" in done.stdout and "Train network heads" in done.stdout
    assert list(tmp_path.glob("here/cell2*/mask_rcnn_cell_0001.h5"))
    done = shell("cells.py", "paint", cwd=tmp_path)
    assert done.returncode == 5 and "'paint' is not recognized." in done.stdout


@pytest.mark.slow
def test_a_notebook_that_imports_the_script(tmp_path):
    """As demo.ipynb imports coco.py: from another folder, with lines of IPython."""
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "cells.py").write_text(SCRIPT)
    notebook = write_notebook(
        tmp_path / "demo.ipynb",
        cell("# Demo", kind="markdown"),
        cell("import os, sys", "%matplotlib inline", "sys.path.append('samples')", "import cells"),
        cell("%%bash", "exit 1"),
        cell("%%time", "if True:", "    !pip install imgaug", "config = cells.CellConfig()"),
        cell("cells.config = config", "cells?", "get_ipython().magic('pwd')"),
        cell(
            "model = cells.modellib.MaskRCNN(mode='training', config=config, model_dir='logs')",
            "cells.train(model)",
            "display(sorted(os.listdir('.')))",
        ),
    )
    (tmp_path / "elsewhere").mkdir()
    done = shell(notebook, cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr[-3000:]
    for text in ("%matplotlib inline", "!pip install imgaug", "%%bash", "%%time", "cells?", "%pwd"):
        assert f"left out: {text}\n" in done.stdout
    assert "['demo.ipynb', 'elsewhere', 'logs', 'samples']" in done.stdout
    assert list(tmp_path.glob("logs/cell2*/mask_rcnn_cell_0001.h5"))


def test_everything_goes_as_it_came(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "neighbor_of_script.py").write_text("value = 3")
    (tmp_path / "script.py").write_text(
        "import sys, os, neighbor_of_script, imgaug\n"
        "found = sys.argv[1:], __name__, __file__, neighbor_of_script.value\n"
        "class Kept:\n    pass\n"
        "assert sys.modules[Kept.__module__].Kept is Kept\n"
    )
    before = sys.argv, list(sys.path), sys.modules["__main__"]
    names = run("script.py", ["--one", 2])
    assert names["found"] == (["--one", "2"], "__main__", str(tmp_path / "script.py"), 3)
    assert (sys.argv, sys.path, sys.modules["__main__"]) == before
    assert "imgaug" not in sys.modules
    (tmp_path / "script.py").write_text("import imgaug\nraise KeyError('own')")
    with pytest.raises(KeyError, match="own"):
        run("script.py")
    assert "imgaug" not in sys.modules and sys.path == before[1]
    notebook = write_notebook(tmp_path / "own.ipynb", cell("x = 1"), cell("x += 1"))
    assert run(notebook)["x"] == 2


def test_errors_show_the_line_of_the_script(tmp_path, capsys):
    (tmp_path / "bad.py").write_text("def f():\n    return 1 / 0\nf()\n")
    assert main(["run", str(tmp_path / "bad.py")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and "return 1 / 0" in err and "ZeroDivisionError" in err
    assert "mrcnn/" not in err
    notebook = write_notebook(tmp_path / "bad.ipynb", cell("x = 1"), cell("%pwd", "y = 1 / 0"))
    assert main(["run", str(notebook)]) == 1
    err = capsys.readouterr().err
    assert 'bad.ipynb cell 2", line 2' in err and "y = 1 / 0" in err


def test_what_has_no_equivalent_is_named(tmp_path, capsys):
    (tmp_path / "bad.py").write_text("from imgaug import augmenters as iaa\niaa.Superpixels(3)\n")
    assert main(["run", str(tmp_path / "bad.py")]) == 1
    err = capsys.readouterr().err
    assert "imgaug.augmenters.Superpixels has no stand-in" in err and "line 2" in err


@pytest.mark.parametrize("name, text", [("nowhere.py", "no such script"), ("a.txt", ".ipynb")])
def test_no_script(tmp_path, capsys, name, text):
    (tmp_path / "a.txt").touch()
    assert main(["run", str(tmp_path / name)]) == 2
    assert text in capsys.readouterr().err
    with pytest.raises((FileNotFoundError, ValueError), match="script"):
        run(tmp_path / name)


@pytest.mark.parametrize("text", ["{", "[]", '{"cells": [{}]}', '{"cells": 3}'])
def test_no_notebook(tmp_path, text):
    (tmp_path / "a.ipynb").write_text(text)
    with pytest.raises(ValueError, match="a.ipynb: not a notebook"):
        run(tmp_path / "a.ipynb")


def test_only_lines_of_ipython_are_left_out():
    notes = []
    text = 'x = """\n%d things\n!""" % 3\n'
    assert python_of(text, "cell", notes.append) == text and notes == []
    source = "%matplotlib inline\nfor i in range(2):\n    !ls {i}\nx = 5 % 3"
    assert python_of(source, "cell", notes.append).split("\n") == [
        "pass",
        "for i in range(2):",
        "    pass",
        "x = 5 % 3",
    ]
    assert notes == ["cell: left out: %matplotlib inline", "cell: left out: !ls {i}"]


def test_an_old_notebook_of_format_3(tmp_path):
    cells = [{"cell_type": "code", "input": ["x = 7"]}]
    (tmp_path / "a.ipynb").write_text(json.dumps({"worksheets": [{"cells": cells}]}))
    assert run(tmp_path / "a.ipynb")["x"] == 7

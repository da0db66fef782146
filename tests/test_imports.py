"""Imports point one way, the core needs nothing optional, and `import mrcnn` is instant."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mrcnn

ROOT = Path(mrcnn.__file__).parent

# First part of a module's name inside mrcnn -> its layer. A module imports only from lower layers
# or from its own part. Two parts of the same layer never import each other.
LAYERS = {
    **dict.fromkeys(["errors"], 0),
    **dict.fromkeys(["ops", "images", "batch", "runtime", "backend"], 1),
    **dict.fromkeys(["settings", "dialects"], 2),
    **dict.fromkeys(["config"], 3),
    **dict.fromkeys(["data", "network", "folder", "plots", "results", "visualize"], 4),
    **dict.fromkeys(["weights", "evaluation", "inference"], 5),
    **dict.fromkeys(["training", "exports"], 6),
    **dict.fromkeys(["models", "learn"], 7),
    **dict.fromkeys(["compat"], 8),
    **dict.fromkeys(["model", "utils", "parallel_model"], 9),
    **dict.fromkeys(["cli", "serve"], 10),
    **dict.fromkeys(["__main__", "__init__"], 11),
}
# Only this file may import a backend; others that need TensorFlow do so inside a function.
BACKENDS = {"tensorflow", "jax", "torch"}
MAY_IMPORT_BACKEND = {"ops/kernels.py"}
# Nothing here takes a Config: plain values only.
WITHOUT_CONFIG = ("ops", "network")
READS_CONFIG = {"network/mask_rcnn.py"}
OPTIONAL = {
    *("imgaug", "albumentations", "pandas", "onnx", "onnxruntime", "tf2onnx", "av", "imageio"),
    *("rasterio", "shapely", "gradio", "pytest", "typer", "safetensors", "torchvision", "jax"),
    *("torch", "tqdm", "seaborn", "huggingface_hub"),
}

FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def imported(name, tree=None, package="mrcnn"):
    """Returns the absolute names of all modules that a file imports, also inside functions."""
    tree = tree or ast.parse((ROOT / name).read_text(encoding="utf-8"))
    here = [package, *Path(name).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # "from mrcnn import utils" and "from mrcnn.ops import boxes" import a module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def part(name):
    """Returns the row of the table that a file belongs to."""
    first = Path(name).parts[0]
    return first.removesuffix(".py")


def violations(name, modules):
    own = part(name)
    found = []
    for module in modules:
        if not module.startswith("mrcnn."):
            continue
        other = module.split(".")[1]
        if other not in LAYERS:  # a name from mrcnn/__init__.py
            other = "__init__"
        if other == own:
            continue
        if LAYERS[other] >= LAYERS[own]:
            found.append(f"{name} (layer {LAYERS[own]}) imports {module} (layer {LAYERS[other]})")
        if other == "utils":
            found.append(f"{name} imports utils, which holds old names for users only")
        if other == "config" and own in WITHOUT_CONFIG and name not in READS_CONFIG:
            found.append(f"{name} imports Config: it takes plain values")
    return found


@pytest.mark.parametrize("name", FILES)
def test_imports_point_one_way(name):
    assert part(name) in LAYERS, f"{name} stands in no row of the table of DESIGN.md"
    assert violations(name, imported(name)) == []


def test_the_rule_can_fail():
    def check(name, text):
        return violations(name, imported(name, ast.parse(text)))

    assert check("ops/boxes.py", "from mrcnn.model import MaskRCNN")
    assert check("ops/boxes.py", "from ..config import Config")
    assert check("data/sample.py", "def f():\n    from mrcnn import network")
    assert check("weights/h5.py", "from mrcnn.evaluation import coco")
    assert check("training/fit.py", "from mrcnn import Config")
    assert check("model.py", "from mrcnn import utils")
    assert not check("network/mask_rcnn.py", "from ..config import Config")
    assert not check("data/check.py", "from . import dataset\nfrom mrcnn.images import masks")


@pytest.mark.parametrize("name", FILES)
def test_backends_stay_behind_the_kernels(name):
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    for node in tree.body:  # only the top level: imports inside a function are allowed
        found = {m.split(".")[0] for m in imported(name, ast.Module([node], []))}
        if isinstance(node, (ast.Import, ast.ImportFrom)) and name not in MAY_IMPORT_BACKEND:
            assert not found & BACKENDS


def test_core_imports_without_optional_packages():
    modules = [
        "mrcnn." + n.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for n in FILES
        if Path(n).name != "__main__.py" and n != "__init__.py"
    ]
    code = (
        "import sys, importlib\n"
        f"for name in {sorted(OPTIONAL)!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_files_are_read_without_keras():
    """Neither a backend nor Keras is needed to read weights, annotations, images and folders."""
    readers = ["weights.source", "weights.files.reading", "folder", "config", "images.files"]
    readers += ["data.formats", "data.annotated", "data.instances", "evaluation.coco"]
    code = "".join(f"import mrcnn.{name}\n" for name in readers)
    code += "import sys\nsys.exit(', '.join({'keras', 'tensorflow'} & set(sys.modules)) or None)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_is_instant():
    code = (
        "import mrcnn, sys; mrcnn.__version__\n"
        "heavy = {'tensorflow', 'keras', 'matplotlib', 'cv2', 'skimage', 'numpy'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or None)"
    )

    def seconds(text):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", text], check=True)
        return time.perf_counter() - start

    # in turn, so that a busy moment of the machine slows down both
    pairs = [(seconds("pass"), seconds(code)) for _ in range(3)]
    start, with_import = (min(times) for times in zip(*pairs, strict=True))
    assert with_import - start < 0.2


def test_public_names():
    assert {"Config", "Dataset", "MaskRCNN", "__version__"} <= set(dir(mrcnn))
    assert mrcnn.Config.__module__ == "mrcnn.config"
    with pytest.raises(AttributeError, match="no attribute 'Confg'"):
        mrcnn.Confg  # noqa: B018 - the access is the test

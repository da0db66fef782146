"""The modules and names of older packages, as they stand while an old script runs.

Each function takes the `ExitStack` that undoes what it does.
"""

from __future__ import annotations

import importlib
import logging
import sys
import types
import warnings
from contextlib import ExitStack
from typing import Any

import numpy as np

from mrcnn.compat.stand_ins import geometric, meta, parameters, photometric

logger = logging.getLogger("mrcnn")

_MISSING = object()
NUMPY_NAMES = {
    "bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str,
    "long": int, "unicode": str, "float_": np.float64, "complex_": np.complex128,
    "unicode_": np.str_, "string_": np.bytes_, "Inf": np.inf, "Infinity": np.inf,
    "infty": np.inf, "NaN": np.nan, "NAN": np.nan, "product": np.prod, "cumproduct": np.cumprod,
    "alltrue": np.all, "sometrue": np.any, "round_": np.round, "row_stack": np.vstack,
    "in1d": lambda a, b, **options: np.isin(np.ravel(a), b, **options),
    "asscalar": lambda a: np.asarray(a).item(),
    "msort": lambda a: np.sort(a, axis=0),
}  # fmt: skip
KERAS_LAYER_MODULES = (
    "core", "convolutional", "pooling", "normalization", "merge", "recurrent", "wrappers",
    "advanced_activations", "embeddings", "noise", "local", "convolutional_recurrent",
)  # fmt: skip
KERAS_UTILS_MODULES = ("np_utils", "generic_utils", "data_utils", "vis_utils", "layer_utils")
# Names of TensorFlow 1 that mean the same under tf.compat.v1 in a script of today.
TENSORFLOW_NAMES = (
    "GPUOptions", "ConfigProto", "logging", "gfile", "app", "flags", "set_random_seed", "to_float",
    "to_int32", "to_int64", "log", "global_variables_initializer", "random_uniform",
    "random_normal", "random_shuffle", "ceil", "is_nan", "where_v2", "variable_scope",
)  # fmt: skip


def module(stack: ExitStack, name: str, names: dict, source: Any = None, advice: str = ""):
    """Puts a module into `sys.modules`, and into its parent.

    Args:
        stack: undoes it.
        name: dotted name.
        names: what it holds.
        source: module. Where else to look for a name. Defaults to None.
        advice: str. Ends the error for a name that it does not have.

    Returns:
        The module. A name that it does not have raises NotImplementedError.
    """
    made = types.ModuleType(name, f"Stand-in of `mrcnn.compat.stand_ins` for {name}.")
    made.__path__ = []  # it may have submodules
    made.__dict__.update(names)

    def missing(attribute):
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if source is not None and hasattr(source, attribute):
            return getattr(source, attribute)
        raise NotImplementedError(f"{name}.{attribute} has no stand-in. {advice}".strip())

    made.__getattr__ = missing
    parent, _, last = name.rpartition(".")
    set_item(stack, sys.modules, name, made)
    if parent in sys.modules:
        set_name(stack, sys.modules[parent], last, made)
    return made


def set_item(stack: ExitStack, values: dict, key: str, value: Any):
    """Sets an entry of a dict until the stack is closed."""
    before = values.get(key, _MISSING)
    values[key] = value
    stack.callback(lambda: values.pop(key) if before is _MISSING else values.update({key: before}))


def set_name(stack: ExitStack, owner: Any, name: str, value: Any):
    """Sets an attribute until the stack is closed."""
    set_item(stack, vars(owner), name, value)


def add_missing(stack: ExitStack, owner: Any, names: dict):
    """Sets those attributes that the owner does not have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of some of them
        absent = {name: value for name, value in names.items() if not hasattr(owner, name)}
    for name, value in absent.items():
        set_name(stack, owner, name, value)


def importable(name: str) -> bool:
    """Whether a module can be imported; one that raises anything on import cannot."""
    before = set(sys.modules)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
        return True
    except Exception:
        for left in set(sys.modules) - before:
            if left == name or left.startswith(f"{name}."):
                del sys.modules[left]
        return False


# --- imgaug --------------------------------------------------------------------------------------
def augmenter_names() -> dict:
    """All augmenters, by name."""
    found = {}
    for part in (meta, geometric, photometric):
        for name, value in vars(part).items():
            if isinstance(value, type) and issubclass(value, meta.Augmenter) and name[0] != "_":
                found[name] = value
    return found


def imgaug(stack: ExitStack):
    """`imgaug`, unless there is one that can be imported."""
    if importable("imgaug"):
        return
    augmenters = augmenter_names()
    advice = (
        f"There are stand-ins for {', '.join(sorted(augmenters))}. For anything else, give "
        "train(augmentation=...) a function (image, masks) -> (image, masks)."
    )
    names = {
        "__version__": "0.4.0", "ALL": geometric.ALL, "HooksImages": meta.HooksImages,
        "seed": _seed,
    }  # fmt: skip
    module(stack, "imgaug", names, advice="Only augmenters and parameters have one.")
    module(stack, "imgaug.imgaug", names)
    module(stack, "imgaug.augmenters", augmenters, advice=advice)
    for part in (
        "meta", "flip", "geometric", "size", "arithmetic", "blur", "contrast", "color",
        "convolutional",
    ):  # fmt: skip
        module(stack, f"imgaug.augmenters.{part}", augmenters, advice=advice)
    distributions = {
        name: value
        for name, value in vars(parameters).items()
        if isinstance(value, type) and issubclass(value, parameters.StochasticParameter)
    }
    module(stack, "imgaug.parameters", distributions, advice=f"There are {list(distributions)}.")


def _seed(entropy=None, seedval=None):
    """`imgaug.seed`: the augmenters here follow NumPy's seed."""
    np.random.seed(seedval if entropy is None else entropy)


# --- NumPy, SciPy, scikit-image, distutils -------------------------------------------------------
def numpy_names(stack: ExitStack):
    """`np.bool`, `np.int` and the like."""
    add_missing(stack, np, NUMPY_NAMES)


def scipy_misc(stack: ExitStack):
    """`scipy.misc.imread`, `imsave` and `imresize`."""
    names = {"imread": _imread, "imsave": _imsave, "imresize": _imresize}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy deprecates the module
        try:
            add_missing(stack, importlib.import_module("scipy.misc"), names)
        except ImportError:
            importlib.import_module("scipy")
            module(stack, "scipy.misc", names)


def _imread(name, flatten=False, mode=None):
    from PIL import Image

    image = Image.open(name)
    image = image.convert(mode) if mode else image
    return np.asarray(image.convert("F") if flatten else image)


def _imsave(name, arr, format=None):
    from PIL import Image

    Image.fromarray(np.asarray(arr).astype(np.uint8)).save(name, format)


def _imresize(arr, size, interp="bilinear", mode=None):
    """The image in another size: a share in percent (int), a factor (float) or (height, width)."""
    from PIL import Image

    arr = np.asarray(arr)
    if arr.dtype != np.uint8:  # SciPy stretched the values to 0..255
        low, high = float(arr.min()), float(arr.max())
        arr = np.rint((arr - low) * (255 / ((high - low) or 1))).astype(np.uint8)
    image = Image.fromarray(arr, mode) if mode else Image.fromarray(arr)
    if isinstance(size, (int, np.integer)):
        size = size / 100
    if isinstance(size, (float, np.floating)):
        width, height = (int(side * size) for side in image.size)
    else:
        height, width = size[:2]
    filters = {"cubic": "BICUBIC"}
    how = getattr(Image.Resampling, filters.get(interp, interp.upper()))
    return np.asarray(image.resize((int(width), int(height)), how))


def skimage_names(stack: ExitStack):
    """`skimage.draw.circle`, and `skimage.external.tifffile` where tifffile is installed."""
    import skimage
    import skimage.draw

    def circle(r, c, radius, shape=None):
        return skimage.draw.disk((r, c), radius, shape=shape)

    add_missing(stack, skimage.draw, {"circle": circle})
    if not importable("skimage.external") and importable("tifffile"):
        external = module(stack, "skimage.external", {})
        external.tifffile = sys.modules["tifffile"]
        set_item(stack, sys.modules, "skimage.external.tifffile", external.tifffile)


def distutils_version(stack: ExitStack):
    """`distutils.version`, which Python 3.12 no longer has."""
    if sys.version_info < (3, 12) or importable("distutils.version"):  # setuptools may bring it
        return
    module(stack, "distutils", {})
    module(
        stack, "distutils.version", {"LooseVersion": LooseVersion, "StrictVersion": LooseVersion}
    )


class LooseVersion:
    """A version that compares by its numbers, as "1.10" > "1.9".

    Args:
        vstring: str. The version.
    """

    def __init__(self, vstring: str = ""):
        import re

        self.vstring = vstring
        parts = re.findall(r"\d+|[a-z]+", vstring.lower())
        # Numbers are newer than letters: 1.0 comes after 1.0rc1 only by its end, as it did.
        self.version = [int(part) if part.isdigit() else part for part in parts]

    def _key(self):
        return [(isinstance(part, int), part) for part in self.version]

    def _compare(self, other, how):
        other = other if isinstance(other, LooseVersion) else LooseVersion(str(other))
        return how(self._key(), other._key())

    def __eq__(self, other):
        return self._compare(other, lambda a, b: a == b)

    def __lt__(self, other):
        return self._compare(other, lambda a, b: a < b)

    def __le__(self, other):
        return self._compare(other, lambda a, b: a <= b)

    def __gt__(self, other):
        return self._compare(other, lambda a, b: a > b)

    def __ge__(self, other):
        return self._compare(other, lambda a, b: a >= b)

    def __hash__(self):
        return hash(tuple(self._key()))

    def __str__(self):
        return self.vstring

    def __repr__(self):
        return f"LooseVersion ('{self.vstring}')"


# --- Keras and TensorFlow ------------------------------------------------------------------------
class Session:
    """A session of TensorFlow 1: there is none in TensorFlow 2, and nothing needs one."""

    graph = None

    def __init__(self, *args: Any, **options: Any):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def as_default(self):
        """Returns itself, for `with`."""
        return self

    def close(self):
        """Does nothing."""

    def run(self, fetches: Any, feed_dict: Any = None, **options: Any):
        """Does nothing without a `feed_dict`, as for `global_variables_initializer`."""
        if fetches is None:
            return None
        raise NotImplementedError(
            "tf.Session.run has no stand-in: TensorFlow 2 computes at once. For the outputs of "
            "layers of a model, use model.run_graph(images, outputs)."
        )


def backend_names() -> dict:
    """What `keras.backend` no longer has and old scripts call."""
    return {
        "set_session": lambda session=None: None,
        "get_session": Session,
        "image_dim_ordering": lambda: "tf",
        "set_image_dim_ordering": _set_image_dim_ordering,
        "learning_phase": lambda: 0,
        "set_learning_phase": lambda value: None,
    }


def _set_image_dim_ordering(ordering):
    if ordering != "tf":
        raise NotImplementedError(
            f"keras.backend.set_image_dim_ordering({ordering!r}) has no stand-in: images are "
            "[height, width, channels] here."
        )


def keras_paths(stack: ExitStack):
    """The modules of Keras 2, and what `keras.backend` held."""
    import keras
    import keras.backend
    import keras.layers
    import keras.utils

    classes = {
        "Layer": keras.layers.Layer, "InputSpec": keras.layers.InputSpec, "Model": keras.Model,
        "Input": keras.Input, "InputLayer": keras.layers.InputLayer,
        "get_source_inputs": keras.utils.get_source_inputs,
    }  # fmt: skip
    module(stack, "keras.engine", classes)
    for name in ("topology", "base_layer", "training", "input_layer", "network", "saving"):
        module(stack, f"keras.engine.{name}", classes)
    for name in KERAS_LAYER_MODULES:
        if not importable(f"keras.layers.{name}"):
            module(stack, f"keras.layers.{name}", {}, source=keras.layers)
    utils = {"multi_gpu_model": _multi_gpu_model}
    for name in (*KERAS_UTILS_MODULES, "training_utils"):
        if not importable(f"keras.utils.{name}"):
            module(stack, f"keras.utils.{name}", utils, source=keras.utils)
    add_missing(stack, keras.utils, utils)
    if not importable("keras.objectives"):
        module(stack, "keras.objectives", {}, source=keras.losses)

    missing = backend_names()
    if importable("tensorflow"):  # Keras 2's functions live on there
        import tensorflow as tf

        # One file, imported under two names.
        for old in (tf.keras.backend, importlib.import_module("tensorflow.keras.backend")):
            add_missing(stack, old, missing)
        missing = {name: getattr(old, name) for name in dir(old) if name[0] != "_"} | missing
    add_missing(stack, keras.backend, missing)
    module(stack, "keras.backend.tensorflow_backend", {}, source=keras.backend)


def _multi_gpu_model(model, gpus=None, **options):
    raise NotImplementedError(
        "keras.utils.multi_gpu_model has no stand-in: set GPU_COUNT in the Config, which splits "
        "each batch over the devices."
    )


def tensorflow_names(stack: ExitStack):
    """`tf.ConfigProto`, `tf.Session` and what else of TensorFlow 1 old scripts begin with."""
    if not importable("tensorflow"):
        return
    import tensorflow as tf

    names = {name: getattr(tf.compat.v1, name) for name in TENSORFLOW_NAMES
             if hasattr(tf.compat.v1, name)}  # fmt: skip
    # Nothing is initialized by hand any more; a Session runs this as nothing.
    names["global_variables_initializer"] = lambda: None
    names |= {"Session": Session, "InteractiveSession": Session}
    add_missing(stack, tf, names)

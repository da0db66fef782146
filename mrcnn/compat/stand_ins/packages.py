"""Installs imgaug, and names that NumPy, SciPy, scikit-image and Python no longer have.

Each function takes an `ExitStack`; closing it undoes the installation.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from contextlib import ExitStack

import numpy as np

from mrcnn.compat.stand_ins import geometric, meta, parameters, photometric
from mrcnn.compat.stand_ins.modules import add_missing, importable, module, set_item

NUMPY_NAMES = {
    "bool": bool,
    "int": int,
    "float": float,
    "complex": complex,
    "object": object,
    "str": str,
    "long": int,
    "unicode": str,
    "float_": np.float64,
    "complex_": np.complex128,
    "unicode_": np.str_,
    "string_": np.bytes_,
    "Inf": np.inf,
    "Infinity": np.inf,
    "infty": np.inf,
    "NaN": np.nan,
    "NAN": np.nan,
    "product": np.prod,
    "cumproduct": np.cumprod,
    "alltrue": np.all,
    "sometrue": np.any,
    "round_": np.round,
    "row_stack": np.vstack,
    "in1d": lambda a, b, **options: np.isin(np.ravel(a), b, **options),
    "asscalar": lambda a: np.asarray(a).item(),
    "msort": lambda a: np.sort(a, axis=0),
}
# Submodules of imgaug.augmenters: each holds all augmenters here.
IMGAUG_PARTS = (
    "meta",
    "flip",
    "geometric",
    "size",
    "arithmetic",
    "blur",
    "contrast",
    "color",
    "convolutional",
)


# --- imgaug --------------------------------------------------------------------------------------
def augmenter_names() -> dict:
    """Returns the classes of all augmenters, by name."""
    found = {}
    for part in (meta, geometric, photometric):
        for name, value in vars(part).items():
            if isinstance(value, type) and issubclass(value, meta.Augmenter) and name[0] != "_":
                found[name] = value
    return found


def imgaug(stack: ExitStack) -> None:
    """Installs `imgaug`, unless a real one can be imported."""
    if importable("imgaug"):
        return
    augmenters = augmenter_names()
    advice = (
        f"There are stand-ins for {', '.join(sorted(augmenters))}. For anything else, pass a "
        "function of (image, masks) that returns both to train(augmentation=...)."
    )
    names = {
        "__version__": "0.4.0",
        "ALL": geometric.ALL,
        "HooksImages": meta.HooksImages,
        "seed": _seed,
    }
    module(stack, "imgaug", names, advice="Only augmenters and parameters have one.")
    module(stack, "imgaug.imgaug", names)
    module(stack, "imgaug.augmenters", augmenters, advice=advice)
    for part in IMGAUG_PARTS:
        module(stack, f"imgaug.augmenters.{part}", augmenters, advice=advice)
    distributions = {
        name: value
        for name, value in vars(parameters).items()
        if isinstance(value, type) and issubclass(value, parameters.StochasticParameter)
    }
    module(stack, "imgaug.parameters", distributions, advice=f"There are {list(distributions)}.")


def _seed(entropy=None, seedval=None):
    """Does what `imgaug.seed` did: the augmenters here follow NumPy's seed."""
    np.random.seed(seedval if entropy is None else entropy)


# --- NumPy, SciPy, scikit-image, distutils -------------------------------------------------------
def numpy_names(stack: ExitStack) -> None:
    """Installs `np.bool`, `np.int` and other names that NumPy removed."""
    add_missing(stack, np, NUMPY_NAMES)


def scipy_misc(stack: ExitStack) -> None:
    """Installs `scipy.misc.imread`, `imsave` and `imresize`."""
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

    with Image.open(name) as file:
        image = file.convert(mode or file.mode)
    return np.asarray(image.convert("F") if flatten else image)


def _imsave(name, arr, format=None):
    from PIL import Image

    Image.fromarray(np.asarray(arr).astype(np.uint8)).save(name, format)


def _imresize(arr, size, interp="bilinear", mode=None):
    """Resizes to a percentage (int), by a factor (float) or to (height, width)."""
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


def skimage_names(stack: ExitStack) -> None:
    """Installs `skimage.draw.circle`, and `skimage.external.tifffile` if there is tifffile."""
    import skimage
    import skimage.draw

    def circle(r, c, radius, shape=None):
        return skimage.draw.disk((r, c), radius, shape=shape)

    add_missing(stack, skimage.draw, {"circle": circle})
    if not importable("skimage.external") and importable("tifffile"):
        external = module(stack, "skimage.external", {})
        tifffile = sys.modules["tifffile"]
        vars(external)["tifffile"] = tifffile
        set_item(stack, sys.modules, "skimage.external.tifffile", tifffile)


def distutils_version(stack: ExitStack) -> None:
    """Installs `distutils.version`, which Python 3.12 no longer has."""
    if sys.version_info < (3, 12) or importable("distutils.version"):  # setuptools may bring it
        return
    module(stack, "distutils", {})
    module(
        stack, "distutils.version", {"LooseVersion": LooseVersion, "StrictVersion": LooseVersion}
    )


class LooseVersion:
    """Compares versions number by number, so that "1.10" > "1.9".

    Args:
        vstring: str. The version.
    """

    def __init__(self, vstring: str = ""):
        self.vstring = vstring
        parts = re.findall(r"\d+|[a-z]+", vstring.lower())
        # Numbers sort above letters. As in distutils, 1.0rc1 sorts above 1.0, since it is longer.
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

"""Stand-ins for packages and names that scripts of 2017 to 2020 import and that are gone.

`installed()` installs them for a block. In a notebook, use `install()` and `remove()`::

    from mrcnn.compat import stand_ins
    stand_ins.install()
    import imgaug.augmenters as iaa       # augments images and masks
    import coco                           # an old script

They are `imgaug`, `np.bool` and similar names, the module paths of Keras 2, `tf.ConfigProto` and
`tf.Session`, `scipy.misc.imread` and `imresize`, and `distutils.version`. Nothing that can be
imported is replaced, and a name that has no stand-in raises an error that says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mrcnn.compat.stand_ins import frameworks, packages

_installed: ExitStack | None = None


@contextmanager
def installed() -> Iterator[None]:
    """Installs the stand-ins for a block; does nothing if they are installed already."""
    if _installed is not None:
        yield
        return
    install()
    try:
        yield
    finally:
        remove()


def install() -> None:
    """Installs the stand-ins until `remove`. A second call does nothing."""
    global _installed
    if _installed is not None:
        return
    with ExitStack() as stack:
        packages.imgaug(stack)  # looks for a real one before NumPy has its old names
        packages.numpy_names(stack)
        packages.scipy_misc(stack)
        packages.skimage_names(stack)
        packages.distutils_version(stack)
        frameworks.keras_paths(stack)
        frameworks.tensorflow_names(stack)
        _installed = stack.pop_all()


def remove() -> None:
    """Removes the stand-ins; does nothing if there are none."""
    global _installed
    if _installed is not None:
        stack, _installed = _installed, None
        stack.close()
